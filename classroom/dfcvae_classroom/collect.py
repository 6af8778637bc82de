"""Find out whose notebook is whose: nbgrader's folders, downloads from Colab, Canvas or Moodle."""

from __future__ import annotations

import os
import re
import time
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from dfcvae_classroom import cells
from dfcvae_classroom.restore import tell_set

COPY = re.compile(r"^(?:copy of |kopie von |copie de |copia de )+|[ _-]*\(\d+\)$", re.IGNORECASE)
MOODLE = re.compile(r"_\d+_assignsubmission_.*$")
CANVAS = re.compile(r"^([^_]+)(?:_LATE)?_(\d+)_\d+_")  # NAME_USER_SUBMISSION_FILE of a bulk download
UNSAFE = re.compile(r"[^\w.@-]+")
HIDDEN = {".ipynb_checkpoints", "__MACOSX"}
CROWD = 4  # notebooks in a folder from which it is a class's and no student's
MOST = 500 * 2**20  # bytes that an archive may unpack to
OTHER = {".txt", ".json", ".py", ".html", ".pdf", ".rar", ".7z"}
SIGNED = re.compile(r"""^\s*student\s*=\s*(["'])(.+?)\1""", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Submission:
    """rule: how the student was found. canvas_id: where the name of a bulk download tells it."""

    student: str
    problem_set: str
    path: Path
    rule: str
    canvas_id: str = ""


@dataclass
class Collected:
    """submissions: one a student and set. told: what could not be told, and what was passed over."""

    submissions: list[Submission] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def unpack(folder: Path, target: Path) -> list[str]:
    """Unpack the notebooks of the archives below the folder, as Canvas and Moodle give them, to ``target``.

    Returns what could not be unpacked, and files that are no notebooks by their name.
    """
    told = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in OTHER:
            told.append(f"NOT GRADED: {path}: a notebook's name ends in .ipynb: rename it, or ask for one")
        elif path.suffix == ".zip":
            try:
                with zipfile.ZipFile(path) as archive:
                    notebooks = [info for info in archive.infolist() if info.filename.endswith(".ipynb")]
                    if sum(info.file_size for info in notebooks) > MOST:
                        raise ValueError(f"its notebooks are larger than {MOST:,} bytes")
                    for info in notebooks:
                        when = time.mktime((*info.date_time, 0, 0, -1))  # of two, the newer counts
                        os.utime(archive.extract(info, target / path.relative_to(folder)), (when, when))
            except (zipfile.BadZipFile, ValueError, OverflowError, OSError) as error:
                told.append(f"NOT GRADED: {path}: could not be unpacked: {error}")
    return told


def clean(student: str) -> str:
    """A name as folders take it: composed letters (macOS takes them apart), no spaces, no commas."""
    return UNSAFE.sub("-", unicodedata.normalize("NFC", student)).strip("-.")


def collect(
    folder: Path,
    releases: dict[str, NotebookNode],
    ids: Mapping[str, Mapping],
    unpacked: Path | None = None,
) -> Collected:
    """Every notebook below the folder, and the student and set that it belongs to.

    ids: the rows of ids.csv by student. unpacked: an empty folder for what archives hold. Raises ValueError
    where the folder is not there or has no notebook.
    """
    collected = Collected(told=unpack(folder, unpacked) if unpacked else [])
    paths = [(p, root) for root in (folder, unpacked) if root for p in sorted(root.rglob("*.ipynb"))]
    paths = [(path, root) for path, root in paths if path.is_file() and not HIDDEN & set(path.parts)]
    if not paths:
        raise ValueError(f"{folder} has no notebook (.ipynb) in it: give the folder with what was handed in.")
    best: dict[tuple[str, str], Submission] = {}
    for path, root in paths:
        try:
            found = _whose(path, root, releases, ids)
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
    named_set = (name for name in releases if name in path.stem or name in path.parts[:-1])
    problem_set = next(named_set, None) or tell_set(releases, notebook)
    if problem_set is None:
        raise ValueError(f"{path}: belongs to none of the sets {', '.join(releases)}")
    named = _rest_of_name(path.stem, problem_set)
    parts = path.relative_to(folder).parts
    canvas_id, given = _given(parts)
    parents = [part for part in parts[:-1] if not part.endswith(".zip")]
    theirs = parents and len([*path.parent.glob("*.ipynb")]) < CROWD
    code = [cells.text(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    signed = next((found[2] for found in map(SIGNED.search, code) if found), "")
    rules = (
        ("an ID of ids.csv", _by_id(canvas_id if given else named, ids)),
        ("the name that Canvas or Moodle gave", given),
        ("the folder STUDENT/SET", parents[-2] if len(parents) >= 2 and parents[-1] == problem_set else ""),
        ("the folder", parents[-1] if theirs and parents[-1] not in releases else ""),
        ("the file's name", named.split("_")[0] if "_" in named else named),
        ('the line student = "..." in it', signed),
    )
    for rule, student in rules:
        if student := clean(student):
            # in the spelling of ids.csv, where it differs in case alone
            student = next((known for known in ids if known.lower() == student.lower()), student)
            return Submission(student, problem_set, path, rule, canvas_id)
    raise ValueError(
        f"{path}: cannot tell whose it is: rename it to STUDENT_{problem_set}.ipynb, or put it into a folder "
        "with the student's name"
    )


def _given(parts: Iterable[str]) -> tuple[str, str]:
    """(Canvas's ID, name) as a bulk download gives them: the outermost, since a student chose the others."""
    for part in parts:
        if MOODLE.search(part):
            return "", MOODLE.sub("", part)
        if canvas := CANVAS.match(part):
            return canvas[2], canvas[1]
    return "", ""


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
