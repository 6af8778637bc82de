"""Problem set 2: right answers get all points, wrong ones lose some, and the self-checks tell them apart."""

import re
from pathlib import Path

import nbformat
import pytest
import torch
from answers import ps2 as answers
from dfcvae_classroom.grading import Deal, points, ps2
from torch import nn
from torch.nn import functional as F

import dfcvae
from dfcvae.course import lesson_02 as seeing
from dfcvae.course.checks import ps2 as checks
from dfcvae.vgg import layer_names

SOURCE = Path(__file__).resolve().parent.parent / "dfcvae_classroom/sources/ps2_perceptual"
SOLUTION = re.compile(r"### BEGIN SOLUTION\n.*### END SOLUTION", re.DOTALL)
DEALS = Deal("public"), Deal("another course's secret")
DEAR = ("restore", "disagree")  # which search, or draw faces
QUICK = [("restore", "weights for the image"), ("restore", "gradients left in the network")]  # of the dear
TASKS = list(ps2.TASKS)
NAMED = [
    ("normalise", "twice", "normalised twice"),
    ("normalise", "first image only", "only the first image"),
    ("normalise", "not at all", "x comes back as it was"),
    ("normalise", "always RGB", "the colours are in the wrong order"),
    ("normalise", "[-1, 1]", "this is x on [-1, 1]"),
    ("normalise", "rows turned, not colours", "the rows are turned round"),
    ("name_layers", "blocks from 0", "layer 0, Conv2d behind picture, is called 'conv0_1'"),
    ("name_layers", "block dropped where it is cut", "a network that ends within a block"),
    ("features", "conv for ReLU", "what is called relu2_1 is conv2_1"),
    ("features", "relu1_2 for relu1_1", "one layer too early or too late"),
    ("features", "overwritten", "in-place ReLU behind it has overwritten it"),
    ("features", "names in the order of wanted", "the features of two layers are exchanged"),
    ("features", "a copy run to its end", "layers behind the deepest one wanted are computed"),
    ("capture", "detached", "has no gradient: is it detached"),
    ("capture", "hooks stay", "your hooks are still in the network"),
    ("capture", "network set to train", "left in training mode: it was in eval"),
    ("sees", "without stride", "a stride: neighbouring features look several pixels apart"),
    ("dfc_loss", "no half", "twice too large"),
    ("dfc_loss", "no C", "the number of channels"),
    ("dfc_loss", "sum over the batch", "summed over the batch"),
    ("dfc_loss", "a root", "looks like half a root"),
    ("dfc_loss", "no_grad on both", "no gradient reaches x_hat"),
    ("dfc_loss", "alpha and beta swapped", "alpha and beta look swapped"),
    ("dfc_loss", "pixels, too", "pixels (0."),
    ("dfc_loss", "KL detached", "no gradient reaches the KL"),
    ("restore", "weights for the image", "the network's weights have changed"),
    ("disagree", "hard-coded", "another face gives the same two pictures"),
]


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
    for source in (answers.ALTERNATIVES[task], answers.MORE_RIGHT[task]):
        assert worth(source, task, DEALS[1]) == ps2.TASKS[task].points
        assert "looks right" in line(source, task, capsys)


@pytest.mark.parametrize("task", TASKS)
def test_untouched_stub_gets_nothing(task, capsys):
    stub, replaced = SOLUTION.subn("raise NotImplementedError  # your code", answer_cell(task))
    assert replaced == 1 and worth(stub, task) == 0
    assert "not written yet" in line(stub, task, capsys)


def loses(task: str, name: str, capsys) -> None:
    source = answers.WRONG[task][name]
    for deal in DEALS:
        assert worth(source, task, deal) < ps2.TASKS[task].points
    told = line(source, task, capsys)
    assert "looks right" not in told and "not right yet" not in told


@pytest.mark.parametrize(("task", "name", "words"), NAMED)
def test_self_check_names_the_mistake(task, name, words, capsys):
    assert words in line(answers.WRONG[task][name], task, capsys)


@pytest.mark.parametrize(("task", "name"), some_wrong(dear=False))
def test_wrong_answer_loses_points(task, name, capsys):
    loses(task, name, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "name"), some_wrong(dear=True))
def test_dear_wrong_answer_loses_points(task, name, capsys):
    loses(task, name, capsys)


@pytest.mark.slow
def test_a_search_by_gradient_disagrees_too():
    for deal in (DEALS[0], Deal("a third")):
        assert worth(answers.DISAGREE_SEARCH, "disagree", deal) == ps2.TASKS["disagree"].points


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_solution_gets_all_under_many_secrets(task):
    for secret in range(12):
        assert worth(answer_cell(task), task, Deal(str(secret))) == ps2.TASKS[task].points


def test_enough_wrong_answers():
    assert {task: len(wrong) for task, wrong in answers.WRONG.items() if len(wrong) < 6} == {}
    assert set(answers.WRONG) == set(answers.ALTERNATIVES) == set(answers.MORE_RIGHT) == set(TASKS)


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


def test_the_release_shows_pictures_to_expect_but_no_pair_that_disagrees():
    release = SOURCE.parents[3] / "notebooks/assignments/ps2_perceptual/ps2_perceptual.ipynb"
    shown = {cell.id for cell in nbformat.read(release, as_version=4).cells if cell.get("outputs")}
    tasks = {task.replace("_", "-") for task in TASKS}
    assert {name.removesuffix("-expected").removesuffix("-figure") for name in shown} == tasks
    assert "disagree-figure" not in shown


def test_notebook_asks_for_what_is_tested():
    asked = {name: cell for name, cell in cells().items() if "grading.award" in cell.source}
    told = {name: cell.metadata.nbgrader.points for name, cell in asked.items()}
    assert told == {f"{task.replace('_', '-')}-test": ps2.TASKS[task].points for task in TASKS}
    assert all(
        f'award("ps2", "{name[:-5].replace("-", "_")}", globals())' in c.source for name, c in asked.items()
    )
    assert all(cell.id == name for name, cell in cells().items())
    assert sum(cell.metadata.nbgrader.get("points", 0) for cell in cells().values()) == 60
