"""``grading.award``: the one line of a problem set's test cell. The hidden tests are not in this package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def award(problem_set: str, task: str, answers: Mapping[str, Any]) -> None:
    """Mark the place of a task's points in a notebook; print a line for the student.

    The points are found by ``dfcvae-classroom grade``, which runs the answers in a sandbox and writes what
    they are worth below this cell: whatever this function printed, returned or was replaced by would count
    for nothing. ``answers`` (a notebook's ``globals()``) shows in the cell what is looked at, and is unread.

    Raises RuntimeError where nbgrader itself runs the cell to grade it, since it would take silence for full
    points.
    """
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        raise RuntimeError(
            "nbgrader runs this cell by itself, which gives no points: grade with  dfcvae-classroom grade, "
            "which sets the course's nbgrader_config.py to use what the sandbox found."
        )
    print(
        f"{problem_set}, {task}: this is graded after you hand in. The self-check above helps you until then."
    )
