"""Problem sets 1 to 3: right answers get all points, wrong ones lose some and are named, nothing is free."""

import re

import pytest
import torch
from dfcvae_classroom.grading import Deal, points
from problem_sets import DEALS, ProblemSet, defined

import dfcvae
from dfcvae import latent
from dfcvae.course import lesson_02 as seeing
from dfcvae.vgg import layer_names

SETS = {name: ProblemSet(name) for name in ("ps1", "ps2", "ps3")}
TASKS = [(name, task) for name, one in SETS.items() for task in one.tasks]
FUNCTIONS = [(name, task) for name, task in TASKS if task != "claim"]
DEAR = {"train_vae", "restore", "disagree", "counterfactual_gains"}  # a second and more for an answer
FREE = re.compile("the package's|torch's own|calls the")  # whoever hands these in did nothing
WRONG = [(name, task, how) for name, one in SETS.items() for task in one.wrong for how in one.wrong[task]]


def slow_if(slow: bool, *values):
    return pytest.param(*values, marks=[pytest.mark.slow] if slow else [])


def is_named(name: str, task: str, how: str) -> bool:
    return how in SETS[name].named.get(task, ())


@pytest.mark.parametrize(("name", "task"), FUNCTIONS)
def test_solution_gets_all(name, task):
    one = SETS[name]
    assert one.worth(task, one.solution(task)) == one.tasks[task].points
    assert "looks right so far" in one.said(task, one.solution(task))


@pytest.mark.parametrize(("name", "task"), [slow_if(task in DEAR, name, task) for name, task in FUNCTIONS])
def test_however_it_is_written_it_gets_all(name, task):
    one = SETS[name]
    for source in one.right[task]:
        assert one.worth(task, source) == one.tasks[task].points
        state = torch.get_rng_state()
        assert "looks right so far" in one.said(task, source)
        assert torch.equal(state, torch.get_rng_state())  # the notebook's own draws go on as they were


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), FUNCTIONS)
def test_right_answers_get_all_whatever_is_dealt(name, task):
    one = SETS[name]
    for deal in [DEALS[1], *(Deal(f"{i}") for i in range(12))]:
        assert one.worth(task, one.solution(task), deal) == one.tasks[task].points, deal
    for source in one.right[task]:
        assert one.worth(task, source, DEALS[1]) == one.tasks[task].points


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_an_untouched_stub_gets_nothing(name, task):
    one = SETS[name]
    assert one.worth(task, one.stub(task)) == one.worth(task, "") == 0
    if task != "claim":
        assert "not written yet" in one.said(task, one.stub(task))


@pytest.mark.parametrize(
    ("name", "task", "how"), [slow_if(one[1] in DEAR and not is_named(*one), *one) for one in WRONG]
)
def test_a_wrong_answer_loses_points_and_the_self_check_names_it(name, task, how):
    one = SETS[name]
    source, most = one.wrong_answer(task, how), one.tasks[task].points
    earned, line = one.worth(task, source), one.said(task, source)
    assert earned < most
    assert not FREE.match(how) or task == "compare_seeds" or earned == 0  # there the mean is their own
    assert how not in ("zeros", "all to both", "nothing tested") or earned <= 0.15 * most
    assert "not right yet" not in line or name == "ps3"
    # What only the classroom has is not poisoned for a self-check: no student has it.
    assert "looks right" not in line or how == "calls the hidden tests"
    assert one.named.get(task, {}).get(how, "") in line


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task", "how"), WRONG)
def test_a_wrong_answer_loses_points_under_another_deal(name, task, how):
    one = SETS[name]
    assert one.worth(task, one.wrong_answer(task, how), DEALS[1]) < one.tasks[task].points


def test_every_task_has_answers_and_what_is_named_is_among_them():
    for one in SETS.values():
        functions = [task for task in one.tasks if task != "claim"]
        assert list(one.right) == list(one.wrong) == functions
        assert all(set(how) <= set(one.wrong[task]) for task, how in one.named.items())
        assert min(map(len, one.wrong.values())) >= 6


@pytest.mark.parametrize(("name", "task"), [slow_if(task in DEAR, name, task) for name, task in FUNCTIONS])
def test_a_self_check_bears_anything(name, task):
    one = SETS[name]
    for given in ("None", "[]", "'forty'", "torch.zeros(())", "{'relu1_1': None}"):
        source = f"def give(*given):\n    return {given}\n\n\n{task} = up_block = make_decoder = give\n"
        assert "looks right" not in one.said(task, source)
        assert one.worth(task, source) <= 0.1 * one.tasks[task].points


def test_an_exception_is_told_in_one_line_with_what_was_given():
    for name, task, body, told in (
        ("ps1", "kl_normal", "given[0] @ given[2].view(2, 2)", "tensor (3, 5)"),
        ("ps2", "normalise", "given[0] @ torch.ones(9, 9)", "tensor (3, 3, 4, 6)"),
        ("ps3", "matched_vector", "given[0] @ given[1]", "(9, 2)"),
    ):
        line = SETS[name].said(task, f"def {task}(*given):\n    return {body}\n")
        assert "RuntimeError" in line and told in line


@pytest.mark.parametrize("name", SETS)
def test_poisoned_functions_work_again(name):
    one = SETS[name]
    for task in one.tasks.values():
        codes = [function.__code__ for function in task.poisoned]
        points(defined(""), task, DEALS[0])
        assert [function.__code__ for function in task.poisoned] == codes
    assert dfcvae.kl_divergence(torch.ones(2, 3), torch.zeros(2, 3)) == 1.5
    vgg = dfcvae.VGGFeatures(layers=["relu1_1"], weights="mini")
    x = torch.rand(1, 3, 8, 8)
    assert dfcvae.PerceptualLoss(vgg)(x, x) == 0 and layer_names("vgg19")[1] == "relu1_1"
    assert seeing.invert(vgg, x, steps=1).shape == x.shape
    vectors = latent.attribute_vectors(torch.eye(4), torch.tensor([[True], [True], [False], [False]]))
    assert vectors.tolist() == [[0.5, 0.5, -0.5, -0.5]]
