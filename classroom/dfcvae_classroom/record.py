"""What the sandbox found about a submission, kept in the course folder: points, outputs, what was odd."""

from __future__ import annotations

import json
from pathlib import Path

from dfcvae_classroom import cells


def path(folder: Path, student: str, problem_set: str) -> Path:
    return folder / "sandboxed" / student / f"{problem_set}.json"


def submission(folder: Path, student: str, problem_set: str) -> Path:
    return folder / "submitted" / student / problem_set / f"{problem_set}.ipynb"


def load(folder: Path, student: str, problem_set: str) -> dict | None:
    """The result for the notebook in ``submitted``; None where there is none or it is of another."""
    here, notebook = path(folder, student, problem_set), submission(folder, student, problem_set)
    if not here.is_file() or not notebook.is_file():
        return None
    found = json.loads(here.read_text(encoding="utf-8"))
    return found if found["digest"] == cells.digest(cells.read_submitted(notebook)) else None


def save(folder: Path, student: str, problem_set: str, found: dict) -> None:
    here = path(folder, student, problem_set)
    here.parent.mkdir(parents=True, exist_ok=True)
    here.write_text(json.dumps(found, indent=1), encoding="utf-8")
