"""Problem set 1: right answers get all points, wrong ones lose some and are named, nothing is for free."""

import importlib.util
import math
import re
from pathlib import Path

import nbformat
import pytest
import torch
from dfcvae_classroom.grading import Deal, points, ps1
from torch import nn
from torch.nn import functional as F

import dfcvae
from dfcvae.course.checks import ps1 as check

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "dfcvae_classroom/sources" / "ps1_vae" / "ps1_vae.ipynb"
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION$.*?^ *### END SOLUTION$", re.MULTILINE | re.DOTALL)
SLOW = "train_vae"  # its wrong answers take a third of a second each
SAMPLE = "KL averaged over latents", "spread detached", "rand for randn", "the package's own"
DEALS = Deal("public"), Deal("another course")


def _answers():
    """tests/answers/ps1.py, which pytest does not import: a folder of answers, no tests."""
    spec = importlib.util.spec_from_file_location("answers_ps1", Path(__file__).parent / "answers" / "ps1.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ANSWERS = _answers()


def defined(source):
    """What the source defines, after the imports of the notebook."""
    names = {"math": math, "torch": torch, "nn": nn, "F": F, "dfcvae": dfcvae}
    exec(source, names)
    return names


def graded_cells():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return [(cell, cell.metadata["nbgrader"]) for cell in cells if "nbgrader" in cell.metadata]


def answer_cells():
    """task -> source of the cell with its solution."""
    cells = {grading["grade_id"]: cell for cell, grading in graded_cells()}
    return {task: cells[task.replace("_", "-")].source for task in ps1.TASKS}


def right_answers(task):
    return answer_cells()[task], ANSWERS.ALTERNATIVES[task], ANSWERS.MORE_RIGHT[task]


def self_check(task, names, capsys):
    answers = [names["up_block"], names["make_decoder"]] if task == "decoder" else [names[task]]
    getattr(check, task)(*answers)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{task}: ") and printed.count("\n") == 1
    return printed


WRONG = [
    pytest.param(task, name, marks=pytest.mark.slow if task == SLOW and name not in SAMPLE else ())
    for task, wrong in ANSWERS.WRONG.items()
    for name in wrong
]

TASKS_BUT_SLOW_ONE = [
    pytest.param(task, marks=pytest.mark.slow if task == SLOW else ()) for task in ps1.TASKS
]


@pytest.mark.parametrize("task", ps1.TASKS)
@pytest.mark.parametrize("deal", DEALS, ids=lambda deal: deal.secret)
def test_right_answers_get_all_points(task, deal):
    for source in right_answers(task):
        assert points(defined(source), ps1.TASKS[task], deal) == ps1.TASKS[task].points


@pytest.mark.parametrize(("task", "name"), WRONG)
def test_wrong_answers_lose_points_and_the_self_check_objects(task, name, capsys):
    names = defined(ANSWERS.WRONG[task][name])
    assert points(names, ps1.TASKS[task], DEALS[0]) < ps1.TASKS[task].points
    line = self_check(task, names, capsys)
    assert "looks right" not in line and "not right yet" not in line


@pytest.mark.slow
@pytest.mark.parametrize("task", ps1.TASKS)
def test_wrong_answers_lose_points_under_another_deal(task):
    for name, source in ANSWERS.WRONG[task].items():
        assert points(defined(source), ps1.TASKS[task], DEALS[1]) < ps1.TASKS[task].points, name


@pytest.mark.slow
@pytest.mark.parametrize("task", ps1.TASKS)
def test_right_answers_get_all_points_whatever_is_dealt(task):
    names = defined(answer_cells()[task])
    lost = [i for i in range(12) if points(names, ps1.TASKS[task], Deal(f"{i}")) < ps1.TASKS[task].points]
    assert lost == []


@pytest.mark.parametrize("task", ps1.TASKS)
def test_stubs_nothing_and_the_packages_own_functions_get_nothing(task, capsys):
    stub = defined(SOLUTION.sub(r"\1raise NotImplementedError()", answer_cells()[task]))
    assert points(stub, ps1.TASKS[task], DEALS[0]) == 0
    assert "not written yet" in self_check(task, stub, capsys)
    assert points({}, ps1.TASKS[task], DEALS[0]) == 0
    for name in ANSWERS.WRONG[task]:
        if name.endswith("'s own"):
            assert points(defined(ANSWERS.WRONG[task][name]), ps1.TASKS[task], DEALS[0]) == 0


@pytest.mark.parametrize("task", ps1.TASKS)
def test_the_package_works_again_afterwards(task, capsys):
    wrong = ANSWERS.WRONG[task]
    names = defined(wrong.get("the package's own", wrong.get("no gradient")))
    codes = [function.__code__ for function in ps1.TASKS[task].poisoned]
    self_check(task, names, capsys)
    points(names, ps1.TASKS[task], DEALS[0])
    assert [function.__code__ for function in ps1.TASKS[task].poisoned] == codes
    assert dfcvae.kl_divergence(torch.ones(2, 3), torch.zeros(2, 3)) == 1.5


@pytest.mark.parametrize("task", TASKS_BUT_SLOW_ONE)
def test_self_checks_find_right_answers_right_and_name_six_mistakes(task, capsys):
    state = torch.get_rng_state()
    for source in right_answers(task):
        assert "looks right so far" in self_check(task, defined(source), capsys)
    assert torch.equal(state, torch.get_rng_state())
    named = set()
    for source in ANSWERS.WRONG[task].values():
        line = self_check(task, defined(source), capsys)
        named.add(line)
    assert len(named) >= 6


@pytest.mark.parametrize(
    ("task", "name", "words"),
    [
        ("draw_z", "std = exp(log_var)", "that is a variance"),
        ("draw_z", "rand for randn", "looks uniform"),
        ("draw_z", "one epsilon a batch", "one epsilon serves the whole batch"),
        ("draw_z", "broken gradient (.data)", "no gradient arrives at mu"),
        ("kl_normal", "averages over latents", "averaged over latents: sum them"),
        ("kl_normal", "sums the batch", "summed over pictures"),
        ("kl_normal", "drops 1/2", "a factor of 1/2 is dropped"),
        ("kl_normal", "flips the sign", "wrong sign"),
        ("kl_normal", "bits for nats", "in bits"),
        ("kl_from_draws", "without log q", "log q looks left out"),
        ("elbo", "mean pixels with summed KL", "pixels look averaged and the KL summed"),
        ("decoder", "tiles in place of repeated pixels", "repeat each pixel"),
        ("draw_z", "generator seeded anew", "seeded anew"),
        ("kl_normal", "std = exp(log_var)", "used as standard deviation"),
        ("kl_normal", "exp(log_var) squared", "exp(log_var) looks squared"),
        ("kl_normal", "log_var for log sigma", "log_var looks used as log sigma"),
        ("kl_normal", "sums pictures, averages latents", "the other way round"),
        ("kl_from_draws", "log q with the variance for std", "log q is taken with exp(log_var)"),
        ("kl_from_draws", "log q without log sigma", "log q lacks log sigma"),
        ("kl_from_draws", "generator unused", "must come from `generator`"),
        ("kl_from_draws", "closed form for every prior", "log_p is never called"),
        ("elbo", "constant without 2 pi", "without 2 pi"),
        ("elbo", "exp(log_var) squared", "exp(log_var) looks squared in the KL"),
        ("elbo", "pixels of all pictures", "pixels of all pictures are summed"),
        ("decoder", "LeakyReLU in up_block", "a LeakyReLU stands in up_block"),
        ("train_vae", "std = exp(log_var)", "exp(log_var) looks used as standard deviation"),
        ("train_vae", "log_var unused", "log_var looks unused"),
        ("train_vae", "z from the prior", "z looks drawn from N(0, I)"),
        ("train_vae", "trains the decoder only", "the encoder's weights have not moved"),
        ("train_vae", "x_hat detached", "the decoder's weights have not moved"),
        ("train_vae", "broken gradient (.data)", "does the gradient pass through z"),
    ],
)
def test_self_checks_name_the_mistake(task, name, words, capsys):
    assert words in self_check(task, defined(ANSWERS.WRONG[task][name]), capsys)


def test_a_self_check_says_what_an_exception_was_and_what_was_given(capsys):
    names = defined("def kl_normal(mu, log_var, m, s):\n    return (mu @ m.view(2, 2)).sum()\n")
    line = self_check("kl_normal", names, capsys)
    assert "RuntimeError" in line and "tensor (3, 5)" in line
    names = defined("def kl_normal(mu, log_var, m, s):\n    return 'forty'\n")
    assert "gives 'forty': expected a tensor" in self_check("kl_normal", names, capsys)


def test_the_points_of_the_notebook_are_those_of_the_tests():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    awarded = {
        re.search(r'award\("ps1", "(\w+)", globals\(\)\)', cell.source)[1]: grading["points"]
        for cell, grading in graded_cells()
        if grading["grade"] and not grading["solution"]
    }
    assert awarded == {name: task.points for name, task in ps1.TASKS.items()}
    rows = re.findall(r"^\| (\d) \| (.+?) \| (\d+) \| (\d+) \|$", cells[0].source, re.MULTILINE)
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"^### Task (\d) · (.+?) · (\d) points · (\d+) minutes", text, re.MULTILINE)
    assert [(number, *row) for number, _, *row in rows] == [(number, *row) for number, _, *row in headings]
    together = re.search(r"\*\*together\*\* \| \*\*(\d+)\*\* \| \*\*(\d+)\*\*", cells[0].source)
    assert [sum(int(row[i]) for row in rows) for i in (2, 3)] == [int(together[1]), int(together[2])]
    assert sum(grading.get("points", 0) for _, grading in graded_cells()) == int(together[1]) == 40
    assert 60 <= int(together[2]) <= 120


def test_cells_are_told_apart_and_pictures_described():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(grading["grade_id"] == cell.id for cell, grading in graded_cells())
    assert len({cell.id for cell in cells}) == len(cells)
    expected = [cell for cell in cells if cell.get("attachments")]
    assert {f"{task.replace('_', '-')}-expected" for task in ps1.TASKS} == {cell.id for cell in expected}
    alts = [alt for cell in expected for alt in re.findall(r"!\[(.+?)\]\(attachment:", cell.source)]
    assert len(alts) == 7 and all(len(alt.split()) > 8 for alt in alts)
    assert NOTEBOOK.stat().st_size < 300_000
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [
        output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ]
