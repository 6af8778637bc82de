"""nbgrader's settings for a course folder, and the two of its steps that we replace."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.converters.autograde import Autograde
from nbgrader.converters.generate_assignment import GenerateAssignment
from nbgrader.preprocessors import ClearOutput, Execute, NbGraderPreprocessor

from dfcvae_classroom import cells, harmless, record

STUB = "raise NotImplementedError  # your code"
PICTURE = re.compile(r"<img\b")
YOURS = "yours"  # tag of a cell that draws a student's answer, or what a course's secret dealt


class KeepPictures(ClearOutput):
    """Clears what cells printed, but keeps figures outside of answers: the pictures to expect.

    A figure of a cell that is tagged "yours" was drawn from the model answer, and goes with it.
    """

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        expected = []
        yours = YOURS in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not (yours or cells.is_answer(cell) or cells.is_test(cell)):
            expected = [output for output in cell.outputs if _is_picture(output)]
        cell, resources = super().preprocess_cell(cell, resources, index)
        if expected:
            cell.outputs = expected
        return cell, resources


def _is_picture(output: NotebookNode) -> bool:
    data = output.get("data", {})
    return any(kind.startswith("image/") for kind in data) or bool(PICTURE.search(data.get("text/html", "")))


class Recorded(NbGraderPreprocessor):
    """In the place of running the notebook: what the sandbox found, as the cells' outputs.

    Student code thus runs once, in the sandbox alone. Raises ValueError where the sandbox has no result
    for this very submission, so that nothing is scored 0 in silence.
    """

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        where = resources["nbgrader"]
        found = record.load(Path.cwd(), where["student"], where["assignment"])
        if found is None:
            raise ValueError(
                f"the sandbox has no result for {where['student']}, {where['assignment']}: grade with  "
                f"dfcvae-classroom grade {Path.cwd()}"
            )
        for cell in nb.cells:
            harmless.disarm(cell)
            if cell.cell_type == "code":
                show(cell, found)
        return nb, resources


def show(cell: NotebookNode, found: dict) -> None:
    """Put the sandbox's outputs into a code cell; a test cell's points as the value that nbgrader reads."""
    cell.execution_count = None
    name = cells.grade_id(cell)
    outputs = harmless.outputs(found["outputs"].get(cell.id, []))
    if cells.is_test(cell) and name in found["points"]:
        value = {"text/plain": repr(float(found["points"][name]))}
        outputs = [{"output_type": "execute_result", "data": value, "metadata": {}, "execution_count": None}]
    cell.outputs = nbformat.from_dict(outputs)


def configure(config, folder: Path) -> None:
    """Set what a course needs; ``config`` is what nbgrader's configuration file gets from get_config()."""
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.course_id = folder.name
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.text_stub = "YOUR ANSWER HERE"
    # The marking guide stands in the answer's cell, and goes with the model answer.
    config.ClearMarkScheme.enforce_metadata = False
    config.GenerateAssignment.preprocessors = _with(
        GenerateAssignment.preprocessors.default_args[0], ClearOutput, KeepPictures
    )
    config.Autograde.autograde_preprocessors = _with(
        Autograde.autograde_preprocessors.default_args[0], Execute, Recorded
    )


def _with(steps: list[type], old: type, new: type) -> list[type]:
    return [new if step is old else step for step in steps]
