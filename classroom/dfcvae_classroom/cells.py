"""Notebooks of a problem set as the classroom reads them: what each cell is for, and how much it is worth."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

Cell = dict[str, Any]
AWARD = re.compile(r"""\bgrading\.award\(\s*["'](\w+)["'],\s*["'](\w+)["'],\s*globals\(\)\s*\)\s*\Z""")


@dataclass(frozen=True)
class Graded:
    """A test cell: its grade_id, the hidden tests' module ("ps1") and task that it names, its points."""

    grade_id: str
    module: str
    task: str
    points: float


def read(path: Path) -> NotebookNode:
    """A notebook of the course. Raises ValueError where the file is none."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} is no notebook that can be read: {error}") from error


def read_submitted(path: Path) -> Cell:
    """A student's file as it is: nbformat would invent ids for the cells that lost theirs.

    Raises ValueError where the file is no notebook.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is a folder or a pipe, expected a notebook: give its file.")
    try:
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(notebook, dict) and notebook.get("nbformat", 4) < 4:  # of before 2015: never had ids
            notebook = nbformat.convert(nbformat.from_dict(notebook), 4)
        if not isinstance(notebook, dict) or not isinstance(notebook["cells"], list):
            raise KeyError("cells")
        for cell in notebook["cells"]:
            if cell["cell_type"] not in ("code", "markdown", "raw") or not isinstance(text(cell), str):
                raise KeyError("cell_type")
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no notebook that can be read ({type(error).__name__}: {error}): ask for "
            "File → Download → .ipynb again."
        ) from error
    return notebook


def text(cell: Cell) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def marks(cell: Cell) -> dict:
    """nbgrader's metadata of a cell, or nothing."""
    found = cell.get("metadata", {}).get("nbgrader")
    return found if isinstance(found, dict) else {}


def grade_id(cell: Cell) -> str | None:
    return marks(cell).get("grade_id")


def is_answer(cell: Cell) -> bool:
    """Whether a student writes in it: code that is tested, or text that is marked by hand."""
    return bool(marks(cell).get("solution"))


def is_test(cell: Cell) -> bool:
    return cell["cell_type"] == "code" and bool(marks(cell).get("grade")) and not is_answer(cell)


def is_written(cell: Cell) -> bool:
    return bool(marks(cell).get("grade")) and is_answer(cell)


def is_prediction(cell: Cell) -> bool:
    """Whether a released cell holds nothing but names that are None, for a student to fill in, unmarked."""
    try:
        body = ast.parse(text(cell)).body if cell["cell_type"] == "code" and not marks(cell) else []
    except SyntaxError:
        return False
    return bool(body) and all(isinstance(line, ast.Assign) and _is_none(line.value) for line in body)


def _is_none(value: ast.expr) -> bool:
    if isinstance(value, ast.Tuple):
        return all(map(_is_none, value.elts))
    return isinstance(value, ast.Constant) and value.value is None


def tests(notebook: NotebookNode) -> Iterator[Graded]:
    """The test cells of a release. Raises ValueError for one that does not end in ``grading.award(...)``."""
    for cell in filter(is_test, notebook.cells):
        asked = AWARD.search(text(cell))
        if asked is None:
            raise ValueError(
                f"the test cell {grade_id(cell)} does not end in grading.award(set, task, globals())"
            )
        yield Graded(grade_id(cell), asked[1], asked[2], float(marks(cell)["points"]))


def points(notebook: NotebookNode) -> float:
    return sum(marks(cell).get("points", 0) for cell in notebook.cells if marks(cell).get("grade"))


def answers(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if is_answer(cell)]


def names(source: str) -> frozenset[str]:
    """What code defines at its top level: functions, classes, variables. Nothing where it does not parse."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return frozenset()
    defined = {line.name for line in body if isinstance(line, ast.FunctionDef | ast.ClassDef)}
    assigned = (
        node for line in body if isinstance(line, ast.Assign | ast.AnnAssign) for node in ast.walk(line)
    )
    stored = {node.id for node in assigned if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return frozenset(defined | stored)


def digest(notebook: Cell) -> str:
    """Of the sources: whether a result belongs to this submission."""
    sources = json.dumps([[cell.get("id"), text(cell)] for cell in notebook["cells"]])
    return hashlib.sha256(sources.encode()).hexdigest()
