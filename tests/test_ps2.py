"""Problem set 2: right answers get all points, wrong ones lose some, and the self-checks tell them apart."""

import re
from pathlib import Path

import nbformat
import pytest
import torch
from answers import ps2 as answers
from torch import nn
from torch.nn import functional as F

import dfcvae
from dfcvae.course import seeing
from dfcvae.course.checks import ps2 as checks
from dfcvae.course.grading import Deal, points, ps2
from dfcvae.vgg import layer_names

SOURCE = Path(__file__).resolve().parent.parent / "notebooks/assignments/source/ps2_perceptual"
SOLUTION = re.compile(r"### BEGIN SOLUTION\n.*### END SOLUTION", re.DOTALL)
DEALS = Deal("public"), Deal("another course's secret")
DEAR = ("restore", "disagree")  # which search, or draw faces
QUICK = [("restore", "weights for the image"), ("restore", "gradients left in the network")]  # of the dear
TASKS = list(ps2.TASKS)


def cells():
    book = nbformat.read(SOURCE / "ps2_perceptual.ipynb", as_version=4)
    return {cell.metadata.nbgrader.grade_id: cell for cell in book.cells if "nbgrader" in cell.metadata}


def defined(source: str) -> dict:
    around = {"torch": torch, "nn": nn, "F": F, "dfcvae": dfcvae}
    exec(source, around)
    return around


def answer_cell(task: str) -> str:
    return cells()[task.replace("_", "-")].source


def worth(source: str, task: str, deal: Deal = DEALS[0]) -> float:
    return points(defined(source), ps2.TASKS[task], deal)


def line(source: str, task: str, capsys) -> str:
    """What the self-check prints of an answer: one line."""
    function = defined(source)[task]
    capsys.readouterr()
    getattr(checks, task)(function)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{task}: ") and printed.count("\n") == 1
    return printed


def some_wrong(dear: bool) -> list:
    pairs = [(task, name) for task, wrong in answers.WRONG.items() for name in wrong]
    return [pair for pair in pairs if (pair[0] in DEAR and pair not in QUICK) == dear]


@pytest.mark.parametrize("task", TASKS)
def test_solution_gets_all(task, capsys):
    for deal in DEALS[: 1 if task == "disagree" else 2]:
        assert worth(answer_cell(task), task, deal) == ps2.TASKS[task].points
    assert "looks right" in line(answer_cell(task), task, capsys)


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[pytest.mark.slow] if task in DEAR else []) for task in TASKS]
)
def test_alternative_gets_all(task, capsys):
    assert worth(answers.ALTERNATIVES[task], task, DEALS[1]) == ps2.TASKS[task].points
    assert "looks right" in line(answers.ALTERNATIVES[task], task, capsys)


@pytest.mark.parametrize("task", TASKS)
def test_untouched_stub_gets_nothing(task, capsys):
    stub, replaced = SOLUTION.subn("raise NotImplementedError  # your code", answer_cell(task))
    assert replaced == 1 and worth(stub, task) == 0
    assert "not written yet" in line(stub, task, capsys)


def loses(task: str, name: str, capsys) -> None:
    source = answers.WRONG[task][name]
    for deal in DEALS:
        assert worth(source, task, deal) < ps2.TASKS[task].points
    assert "looks right" not in line(source, task, capsys)


@pytest.mark.parametrize(("task", "name"), some_wrong(dear=False))
def test_wrong_answer_loses_points(task, name, capsys):
    loses(task, name, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "name"), some_wrong(dear=True))
def test_dear_wrong_answer_loses_points(task, name, capsys):
    loses(task, name, capsys)


@pytest.mark.slow
def test_a_search_by_gradient_disagrees_too(capsys):
    for deal in (*DEALS, Deal("a third")):
        assert worth(answers.DISAGREE_SEARCH, "disagree", deal) == ps2.TASKS["disagree"].points
    assert "looks right" in line(answers.DISAGREE_SEARCH, "disagree", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_solution_gets_all_under_many_secrets(task):
    for secret in range(12):
        assert worth(answer_cell(task), task, Deal(str(secret))) == ps2.TASKS[task].points


def test_enough_wrong_answers():
    assert {task: len(wrong) for task, wrong in answers.WRONG.items() if len(wrong) < 6} == {}
    assert set(answers.WRONG) == set(answers.ALTERNATIVES) == set(TASKS)


def test_the_packages_own_function_earns_nothing_and_works_afterwards():
    for task in ("normalise", "name_layers", "features", "sees", "dfc_loss", "restore"):
        assert worth(answers.WRONG[task]["the package's"], task) == 0
    vgg = dfcvae.VGGFeatures(layers=["relu1_1"], weights="mini")
    x = torch.rand(1, 3, 8, 8)
    assert dfcvae.PerceptualLoss(vgg)(x, x) == 0 and layer_names("vgg19")[1] == "relu1_1"
    assert seeing.receptive_field([nn.Conv2d(1, 1, 3)]) == (3, 1)
    assert seeing.invert(vgg, x, steps=1).shape == x.shape


def test_an_error_is_told_in_one_line_with_what_was_given(capsys):
    told = line("def normalise(x, card):\n    return x @ torch.ones(9, 9)\n", "normalise", capsys)
    assert "RuntimeError" in told and "tensor (3, 3, 4, 6)" in told


@pytest.mark.parametrize("given", ["None", "3", "'relu'", "[]", "torch.zeros(())", "{'relu1_1': None}"])
@pytest.mark.parametrize("task", TASKS)
def test_self_check_bears_anything(task, given, capsys):
    source = f"def {task}(*given):\n    return {given}\n"
    assert "looks right" not in line(source, task, capsys)
    assert worth(source, task) == 0


def test_notebook_asks_for_what_is_tested():
    asked = {name: cell for name, cell in cells().items() if "grading.award" in cell.source}
    told = {name: cell.metadata.nbgrader.points for name, cell in asked.items()}
    assert told == {f"{task.replace('_', '-')}-test": ps2.TASKS[task].points for task in TASKS}
    assert all(
        f'award("ps2", "{name[:-5].replace("-", "_")}", globals())' in c.source for name, c in asked.items()
    )
    assert all(cell.id == name for name, cell in cells().items())
    assert sum(cell.metadata.nbgrader.get("points", 0) for cell in cells().values()) == 60
