"""``grading.award``: the one line of a problem set's test cell. The hidden tests are not in this package."""

import os
from collections.abc import Mapping
from typing import Any


def award(problem_set: str, task: str, answers: Mapping[str, Any]) -> None:
    """Mark the place of a task's points in a notebook; print a line for the student.

    ``dfcvae-classroom grade`` runs the answers in a sandbox and writes the points below this cell: what this
    function prints or returns counts for nothing, and ``answers`` (a notebook's ``globals()``) is unread.
    Raises RuntimeError where nbgrader itself grades the cell: it would take silence for full points.
    """
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        raise RuntimeError(
            "nbgrader runs this cell by itself, which gives no points: grade with  dfcvae-classroom grade, "
            "which sets the course's nbgrader_config.py to use what the sandbox found."
        )
    print(
        f"{problem_set}, {task}: this is graded after you hand in. The self-check above helps you until then."
    )
