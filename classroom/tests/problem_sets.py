"""Problem sets 1 to 3 as the tests see them: what an answer is worth, and what its self-check says of it."""

import importlib
import io
import itertools
import math
import re
from contextlib import redirect_stdout

import nbformat
import torch
from dfcvae_classroom.course import SOURCES
from dfcvae_classroom.grading import Deal, points
from torch import nn
from torch.nn import functional as F

import dfcvae

SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION$.*?^ *### END SOLUTION$", re.MULTILINE | re.DOTALL)
AROUND = {"math": math, "itertools": itertools, "torch": torch, "nn": nn, "F": F, "dfcvae": dfcvae}
DEALS = Deal("public"), Deal("another course")


class ProblemSet:
    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks = importlib.import_module(f"dfcvae_classroom.grading.{name}").TASKS
        self.check = importlib.import_module(f"dfcvae.course.checks.{name}")
        answers = importlib.import_module(f"answers.{name}")
        self.right, self.wrong, self.named = answers.RIGHT, answers.WRONG, answers.NAMED
        self.notebook = nbformat.read(next(SOURCES.glob(f"{name}_*/*.ipynb")), as_version=4)
        self.cells = {cell.id: cell for cell in self.notebook.cells}

    def solution(self, task: str) -> str:
        return self.cells[task.replace("_", "-")].source

    def stub(self, task: str) -> str:
        stub, replaced = SOLUTION.subn(r"\1raise NotImplementedError()", self.solution(task))
        assert replaced
        return stub

    def wrong_answer(self, task: str, name: str) -> str:
        answer = self.wrong[task][name]
        if isinstance(answer, str):
            return answer
        source = self.right[task][0]
        for old, new in zip(answer[::2], answer[1::2], strict=True):
            assert old in source, f"{task}, {name}: {old!r} is not in the right answer"
            source = source.replace(old, new)
        return source

    def worth(self, task: str, source: str, deal: Deal = DEALS[0]) -> float:
        return points(defined(source), self.tasks[task], deal)

    def said(self, task: str, source: str) -> str:
        """The one line of the self-check."""
        names = defined(source)
        parts = ("up_block", "make_decoder") if task == "decoder" else (task,)
        with redirect_stdout(io.StringIO()) as printed:
            getattr(self.check, task)(*(names[part] for part in parts))
        line = printed.getvalue()
        assert line.startswith(f"{task}: ") and line.count("\n") == 1
        return line


def defined(source: str) -> dict:
    """What an answer's cell defines among the notebook's imports, up to where it is not written yet."""
    names = dict(AROUND)
    try:
        exec(source, names)
    except NotImplementedError:
        pass
    return names
