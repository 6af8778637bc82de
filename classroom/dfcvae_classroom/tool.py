"""nbgrader's steps on a course folder, with the course's nbgrader_config.py, in this process."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dfcvae_classroom.course import Course

if TYPE_CHECKING:
    from nbgrader.api import Gradebook
    from nbgrader.apps import NbGraderAPI


def generate_assignment(course: Course, name: str) -> None:
    _run("generate_assignment", _api(course), name, force=True, create=True)


def autograde(course: Course, name: str, others: Iterable[str]) -> None:
    """Of every student with this set but the others. Raises ValueError where nbgrader fails."""
    api = _api(course)
    api.coursedir.student_id_exclude = ",".join(others)
    _run("autograde", api, name, "*", force=True, create=True)


def generate_feedback(course: Course, name: str) -> None:
    _run("generate_feedback", _api(course), name, force=True)


def export(course: Course, path: Path) -> None:
    """nbgrader's own table of all scores."""
    from nbgrader.plugins import CsvExportPlugin

    plugin = CsvExportPlugin()
    plugin.to = str(path)
    with gradebook(course) as book:
        plugin.export(book)


def gradebook(course: Course) -> Gradebook:
    from nbgrader.api import Gradebook

    return Gradebook(f"sqlite:///{course.folder / 'gradebook.db'}")


def _api(course: Course) -> NbGraderAPI:
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    # nbgrader calls the program "alembic", which only an activated environment has on its PATH.
    programs = str(Path(sys.executable).parent)
    if programs not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", "")])
    return NbGraderAPI(config=PyFileConfigLoader("nbgrader_config.py", str(course.folder)).load_config())


def _run(step: str, api: NbGraderAPI, *arguments: object, **options: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's, about nbgrader's way with its database
        result = getattr(api, step)(*arguments, **options)
    if not result["success"]:
        log = [line for line in result.get("log", "").splitlines() if line.strip()]
        raise ValueError(f"nbgrader {step} failed: {' '.join(log)[-1500:]} {result['error'][-800:]}")
