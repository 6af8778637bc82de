"""An instructor's private course folder: its paths, its secret, its hidden tests; ``new`` makes one."""

from __future__ import annotations

import csv
import importlib
import os
import secrets
import shutil
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

from dfcvae_classroom import cells
from dfcvae_classroom.collect import clean
from dfcvae_classroom.grading import Deal

SOURCES = Path(__file__).parent / "sources"
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

    dfcvae-classroom release {name}
    dfcvae-classroom grade {name} --submitted FOLDER_OF_NOTEBOOKS

The first writes what students get to `release/`, a folder a problem set. The second grades what they hand
in: feedback pages in `feedback/`, tables for nbgrader, Canvas and Moodle and a list of what needs your eyes
in `reports/`. Written answers are marked in `jupyter lab`, started in this folder: Nbgrader → Formgrader.
Run the second line again afterwards, and the tables have the marks.

`ids.csv` maps your names of students to Canvas's and Moodle's: fill it in before you upload a table. A set
of your own is a folder `source/NAME_WHAT/` with a notebook, and its hidden tests in `hidden/NAME.py`.
docs/teaching.md in the course's repository tells the rest.
"""


@dataclass(frozen=True)
class Course:
    """A course folder. ``open`` raises ValueError for a folder that ``new`` did not make."""

    folder: Path

    @staticmethod
    def is_one(folder: Path) -> bool:
        return (folder / "secret").is_file()

    @classmethod
    def open(cls, folder: Path) -> Course:
        folder = Path(os.path.realpath(folder))
        if not cls.is_one(folder):
            raise ValueError(
                f"{folder} has no file 'secret', so it is no course folder: make one with  "
                f"dfcvae-classroom new {folder}"
            )
        return cls(folder)

    @cached_property
    def deal(self) -> Deal:
        return Deal((self.folder / "secret").read_text(encoding="utf-8").strip())

    @property
    def sets(self) -> list[str]:
        return sorted(path.parent.name for path in (self.folder / "source").glob("*/*.ipynb"))

    def source(self, problem_set: str) -> Path:
        return self.folder / "source" / problem_set / f"{problem_set}.ipynb"

    def released(self, problem_set: str) -> Path:
        return self.folder / "release" / problem_set / f"{problem_set}.ipynb"

    def release_notebooks(self) -> dict[str, nbformat.NotebookNode]:
        """By set. Raises ValueError while a set has not been released."""
        missing = [name for name in self.sets if not self.released(name).is_file()]
        if missing:
            raise ValueError(
                f"not released yet: {', '.join(missing)}: run  dfcvae-classroom release {self.folder}"
            )
        return {name: cells.read(self.released(name)) for name in self.sets}

    def hidden_source(self, module: str) -> str | None:
        """The text of the course's own hidden tests of that name, or None where the package has them."""
        path = self.folder / "hidden" / f"{module}.py"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def hidden_tests(self, module: str) -> types.ModuleType:
        return hidden_tests(module, self.hidden_source(module))

    def ids(self) -> dict[str, dict[str, str]]:
        """student -> the row of ids.csv. Raises ValueError where a column is missing."""
        return {clean(row["student"]): row for row in self._rows()[1] if row["student"]}

    def add_students(self, canvas_ids: Mapping[str, str]) -> None:
        """Add to ids.csv who is not in it, with the Canvas ID where it is known, for somebody to complete."""
        columns, rows = self._rows()
        known = {clean(row["student"]) for row in rows}
        new = [
            {"student": s, "canvas_id": canvas_id} for s, canvas_id in canvas_ids.items() if s not in known
        ]
        if new:
            with (self.folder / "ids.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows + new)

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
        name = f"dfcvae_classroom.grading.{module}"
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise ValueError(
                f"no hidden tests are named {module!r}: neither hidden/{module}.py in the course folder "
                "nor dfcvae_classroom.grading has them."
            ) from error
    own = types.ModuleType(f"hidden_{module}")
    sys.modules[own.__name__] = own
    exec(compile(source, f"hidden/{module}.py", "exec"), own.__dict__)
    return own


def new(folder: Path, sources: Path = SOURCES, secret: str | None = None) -> Course:
    """A course folder with the problem sets of ``sources``, dealt by a secret of 128 random bits.

    sources: a folder a set, and hidden tests that the package has not in ``hidden``. Raises ValueError where
    something is in the folder already, or where there are no problem sets.
    """
    folder = Path(os.path.realpath(folder))
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: give the name of a new folder.")
    paths = sorted(sources.glob("*/*.ipynb"))
    if not paths:
        raise ValueError(f"{sources} holds no problem sets: expected NAME/NAME.ipynb in it.")
    folder.mkdir(parents=True, exist_ok=True)
    with open(os.open(folder / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write((secret or secrets.token_hex(16)) + "\n")
    files = {
        ".gitignore": IGNORED,
        "nbgrader_config.py": CONFIG,
        "ids.csv": ",".join(IDS) + "\n",
        "README.md": README.format(name=folder.name),
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    if (sources / "hidden").is_dir():
        shutil.copytree(sources / "hidden", folder / "hidden")
    course = Course(folder)
    for path in paths:
        _deal(course, path)
    return course


def _deal(course: Course, path: Path) -> None:
    """Copy a set's folder, its notebook with what the secret deals."""
    target = course.source(path.parent.name)
    shutil.copytree(path.parent, target.parent)
    notebook = cells.read(path)
    for module in sorted({test.module for test in cells.tests(notebook)}):
        deal_notebook = getattr(course.hidden_tests(module), "deal_notebook", None)
        if deal_notebook is not None:
            notebook = deal_notebook(notebook, course.deal) or notebook
    nbformat.write(notebook, target)
