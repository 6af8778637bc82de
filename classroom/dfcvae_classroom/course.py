"""An instructor's private course folder: its paths, its secret, its hidden tests; ``new`` makes one."""

from __future__ import annotations

import csv
import importlib
import os
import secrets
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

from dfcvae_classroom import cells
from dfcvae_classroom.collect import clean
from dfcvae_classroom.grading import Deal, Task

ROOT = Path(__file__).resolve().parents[3]
ASSIGNMENTS = ROOT / "notebooks" / "assignments"
IDS = ("student", "canvas_id", "moodle_id")
CONFIG = '''"""Settings of nbgrader for this course; add your own below the line."""

from pathlib import Path

from dfcvae_classroom.settings import configure

configure(get_config(), Path(__file__).parent)
'''
IGNORED = (
    "secret\ngradebook.db*\nsubmitted/\nunpacked/\nsandboxed/\nautograded/\nfeedback/\nreports/\nids.csv\n"
)
README = """# {name}: a private course folder

Keep this folder to yourself: `secret` deals the hidden cases, `source/` holds the solutions.

    dfcvae classroom release {folder}
    dfcvae classroom grade {folder} --submitted FOLDER_OF_NOTEBOOKS

The first writes what students get to `release/`, a folder a problem set. The second grades what they hand
in: feedback pages in `feedback/`, tables for nbgrader, Canvas and Moodle and a list of what needs your eyes
in `reports/`. Written answers are marked in `jupyter lab`, started in this folder: Nbgrader → Formgrader.
Run the second line again afterwards, and the tables have the marks.

`ids.csv` maps your names of students to Canvas's and Moodle's: fill it in before you upload a table. A set
of your own is a folder `source/NAME_WHAT/` with a notebook, and its hidden tests in `hidden/NAME.py`.
The repository's docs/teaching.md tells the rest.
"""


@dataclass(frozen=True)
class Course:
    """A course folder. Raises ValueError (of ``open``) for a folder that ``new`` did not make."""

    folder: Path

    @staticmethod
    def is_one(folder: Path) -> bool:
        return (folder / "secret").is_file()

    @classmethod
    def open(cls, folder: Path) -> Course:
        folder = Path(folder).resolve()
        if not cls.is_one(folder):
            raise ValueError(
                f"{folder} has no file 'secret', so it is no course folder: make one with  "
                f"dfcvae classroom new {folder}"
            )
        return cls(folder)

    @cached_property
    def deal(self) -> Deal:
        return Deal((self.folder / "secret").read_text(encoding="utf-8").strip())

    @property
    def sets(self) -> list[str]:
        return sorted(path.parent.name for path in (self.folder / "source").glob("*/*.ipynb"))

    def released(self, problem_set: str) -> Path:
        return self.folder / "release" / problem_set / f"{problem_set}.ipynb"

    def release_notebooks(self) -> dict[str, nbformat.NotebookNode]:
        """By set. Raises ValueError while a set has not been released."""
        missing = [name for name in self.sets if not self.released(name).is_file()]
        if missing:
            raise ValueError(
                f"not released yet: {', '.join(missing)}: run  dfcvae classroom release {self.folder}"
            )
        return {name: cells.read(self.released(name)) for name in self.sets}

    def hidden_source(self, module: str) -> str | None:
        """The text of the course's own hidden tests of that name, or None where the package has them."""
        path = self.folder / "hidden" / f"{module}.py"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def ids(self) -> dict[str, dict[str, str]]:
        """student -> the row of ids.csv. Raises ValueError where a column is missing."""
        return {clean(row["student"]): row for row in self._rows()[1] if row["student"]}

    def add_students(self, canvas_ids: Mapping[str, str]) -> None:
        """Add to ids.csv who is not in it, with the Canvas ID where it is known, for somebody to complete."""
        columns, rows = self._rows()
        known = {clean(row["student"]): row for row in rows}
        new = [student for student in canvas_ids if student not in known]
        for student in new:
            rows.append({"student": student, "canvas_id": canvas_ids[student]})
        if new:
            with (self.folder / "ids.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)

    def _rows(self) -> tuple[list[str], list[dict[str, str]]]:
        path = self.folder / "ids.csv"
        if not path.is_file():
            return list(IDS), []
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not set(IDS) <= set(rows.fieldnames or ()):
                raise ValueError(f"{path} has the columns {rows.fieldnames}: expected {', '.join(IDS)}.")
            return list(rows.fieldnames), list(rows)


def hidden_tests(module: str, source: str | None) -> types.ModuleType:
    """The module with ``TASKS``: from the text of a course's own, or the package's.

    Raises ValueError for a name that neither has.
    """
    if source is None:
        try:
            return importlib.import_module(f"dfcvae_classroom.grading.{module}")
        except ModuleNotFoundError as error:
            raise ValueError(
                f"no hidden tests are named {module!r}: neither hidden/{module}.py in the course folder "
                "nor dfcvae_classroom.grading has them."
            ) from error
    own = types.ModuleType(f"hidden_{module}")
    sys.modules[own.__name__] = own
    exec(compile(source, f"hidden/{module}.py", "exec"), own.__dict__)
    return own


def tasks(module: str, source: str | None) -> dict[str, Task]:
    return hidden_tests(module, source).TASKS


def new(folder: Path, assignments: Path = ASSIGNMENTS, secret: str | None = None) -> Course:
    """A course folder with the problem sets of ``assignments``, dealt by a secret of 128 random bits.

    Raises ValueError where something is in the folder already, or where there are no problem sets.
    """
    folder = Path(folder).resolve()
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: give the name of a new folder.")
    sources = sorted((Path(assignments) / "source").glob("*/*.ipynb"))
    if not sources:
        raise ValueError(
            f"no problem sets in {assignments}: they come with the repository, so clone it and install it "
            'with  pip install -e ".[teach]"'
        )
    folder.mkdir(parents=True, exist_ok=True)
    _write_secret(folder / "secret", secret or secrets.token_hex(16))
    files = {
        ".gitignore": IGNORED,
        "nbgrader_config.py": CONFIG,
        "ids.csv": ",".join(IDS) + "\n",
        "README.md": README.format(name=folder.name, folder=folder.name),
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    course = Course(folder)
    for path in sorted((Path(assignments) / "hidden").glob("*.py")):  # of sets that are a fork's own
        (folder / "hidden").mkdir(exist_ok=True)
        (folder / "hidden" / path.name).write_bytes(path.read_bytes())
    for path in sources:
        _deal(course, path)
    return course


def _write_secret(path: Path, secret: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(secret + "\n")


def _deal(course: Course, path: Path) -> None:
    """Copy a set's folder, its notebook with what the secret deals."""
    name = path.parent.name
    target = course.folder / "source" / name
    target.mkdir(parents=True)
    for extra in path.parent.iterdir():
        if extra.is_file() and extra.suffix != ".ipynb":
            (target / extra.name).write_bytes(extra.read_bytes())
    notebook = cells.read(path)
    for module in sorted({test.module for test in cells.tests(notebook)}):
        tests = hidden_tests(module, course.hidden_source(module))
        deal_notebook = getattr(tests, "deal_notebook", None)
        if deal_notebook is not None:
            notebook = deal_notebook(notebook, course.deal) or notebook
    nbformat.write(notebook, target / f"{name}.ipynb")
