"""Find out whose notebook is whose: nbgrader's folders, downloads from Colab, Canvas or Moodle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from dfcvae.course.classroom import cells
from dfcvae.course.classroom.restore import tell_set

COPY = re.compile(r"^(?:copy of |kopie von |copie de |copia de )+|[ _-]*\(\d+\)$", re.IGNORECASE)
MOODLE = re.compile(r"_\d+_assignsubmission_\w*$")
UNSAFE = re.compile(r"[^\w.@-]+")


@dataclass(frozen=True)
class Submission:
    """rule: how the student was found."""

    student: str
    problem_set: str
    path: Path
    rule: str


@dataclass
class Collected:
    """submissions: one a student and set. told: what could not be told, and what was passed over."""

    submissions: list[Submission] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def collect(folder: Path, releases: dict[str, NotebookNode], ids: Mapping[str, Mapping]) -> Collected:
    """Every notebook below the folder, and the student and set that it belongs to.

    ids: the rows of ids.csv by student. Raises ValueError where the folder is not there or has no notebook.
    """
    paths = sorted(p for p in Path(folder).rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    if not paths:
        raise ValueError(f"{folder} has no notebook (.ipynb) in it: give the folder with what was handed in.")
    collected = Collected()
    best: dict[tuple[str, str], Submission] = {}
    for path in paths:
        try:
            found = _whose(path, Path(folder), releases, ids)
        except ValueError as error:
            collected.told.append(f"NOT GRADED: {error}")
            continue
        key = (found.student, found.problem_set)
        if key in best:
            older, found = sorted((best[key], found), key=lambda one: one.path.stat().st_mtime)
            collected.told.append(f"{older.path} is passed over: {found.path} by {key[0]} is newer")
        best[key] = found
    collected.submissions = [best[key] for key in sorted(best)]
    return collected


def _whose(path: Path, folder: Path, releases: dict[str, NotebookNode], ids: Mapping) -> Submission:
    """Raises ValueError that says what could not be told."""
    notebook = cells.read_submitted(path)
    problem_set = _set_in(path, releases) or tell_set(releases, notebook)
    if problem_set is None:
        raise ValueError(f"{path}: belongs to none of the sets {', '.join(releases)}")
    named = _rest_of_name(path.stem, problem_set)
    parents = path.relative_to(folder).parts[:-1]
    rules = (
        ("an ID of ids.csv in the file's name", _by_id(named, ids)),
        ("the folder STUDENT/SET", parents[-2] if len(parents) >= 2 and parents[-1] == problem_set else ""),
        ("the folder", MOODLE.sub("", parents[-1]) if parents and parents[-1] not in releases else ""),
        ("the file's name", named.split("_")[0] if "_" in named else named),
        ('the line student = "..." in it', _signed(notebook)),
    )
    for rule, student in rules:
        student = UNSAFE.sub("-", student).strip("-.")
        if student:
            return Submission(_of_ids(student, ids), problem_set, path, rule)
    raise ValueError(
        f"{path}: cannot tell whose it is: rename it to STUDENT_{problem_set}.ipynb, or put it into a folder "
        "with the student's name"
    )


def _set_in(path: Path, releases: Iterable[str]) -> str | None:
    return next((name for name in releases if name in path.stem or name in path.parts[:-1]), None)


def _rest_of_name(stem: str, problem_set: str) -> str:
    """What is left of a file's name without the set and what browsers and Colab add: "Copy of", "(1)"."""
    stem = COPY.sub("", COPY.sub("", stem.strip()).strip())
    if problem_set not in stem:
        return ""  # a name of the student's own choosing says nothing for certain
    before, _, after = stem.partition(problem_set)
    return before.strip(" _-") or re.sub(r"^\(?\d*\)?$", "", after.strip(" _-"))


def _by_id(named: str, ids: Mapping) -> str:
    """The student of ids.csv whose id is a part of the name, as in Canvas's NAME_123_456_ps1.ipynb."""
    parts = set(named.split("_")) | {named}
    fits = {student for student, row in ids.items() if parts & {row["canvas_id"], row["moodle_id"]} - {""}}
    return fits.pop() if len(fits) == 1 else ""


def _of_ids(student: str, ids: Mapping) -> str:
    """The spelling of ids.csv, where it differs in case alone."""
    return next((known for known in ids if known.lower() == student.lower()), student)


def _signed(notebook: dict) -> str:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            for line in cells.text(cell).splitlines():
                name, equals, value = line.partition("=")
                if equals and name.strip().lower() == "student":
                    try:
                        return str(ast.literal_eval(value.strip()))
                    except (ValueError, SyntaxError):
                        continue
    return ""
