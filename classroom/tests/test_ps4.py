"""Problem set 4: wrong answers lose points in their task, right ones get all, whatever was dealt."""

import copy
import io
from contextlib import redirect_stdout
from functools import cache
from random import Random

import nbformat
import pytest
import torch
from answers.ps4 import NAMED, RIGHT, WAYS, WRONG, program
from dfcvae_classroom.course import SOURCES
from dfcvae_classroom.grading import PUBLIC, Deal, points, poisoned, ps4
from dfcvae_classroom.grading.wild.case import Case
from dfcvae_classroom.grading.wild.editing import build, dealt, rewritten, text
from dfcvae_classroom.grading.wild.faults import FAULTS
from dfcvae_classroom.grading.wild.promises import PROMISES, broken
from dfcvae_classroom.guard import TimeUp

from dfcvae import dfc
from dfcvae.course.checks import ps4 as check
from dfcvae.course.checks.trial import Poisoned

STORED = nbformat.read(SOURCES / "ps4_find_the_bugs" / "ps4_find_the_bugs.ipynb", as_version=4)
DEALS = (Deal(), Deal("another"))
ANSWERS = {"found": "found", "repaired": "Repaired", "tests": "tests"}


@cache
def cells(deal: Deal = DEALS[0]) -> dict[str, str]:
    """Sources of the notebook's cells as they are dealt, by id."""
    return {cell.id: cell.source for cell in ps4.deal_notebook(copy.deepcopy(STORED), deal).cells}


def surroundings(deal: Deal, *more: str) -> dict:
    """What a student's cells find: imports, the program with the dealt faults, what other cells define."""
    around = {"__name__": "__main__"}
    for cell_id in ("imports", "program-vgg", "program-judge", "program-model", *more):
        exec(cells(deal)[cell_id], around)
    return around


def answered(answer: str, deal: Deal) -> dict:
    around = surroundings(deal)
    exec(answer, around)
    return around


def worth(task: str, answer: str, deal: Deal = DEALS[0]) -> float:
    return points(answered(answer, deal), ps4.TASKS[task], deal)


def said(task: str, answer: str, deal: Deal = DEALS[0]) -> str:
    """The line of the self-check."""
    around = surroundings(deal, "found", "repaired")
    more = {"found": (), "repaired": (around["found"],), "tests": (around["Repaired"], around["WildDFCVAE"])}
    with redirect_stdout(io.StringIO()) as printed:
        getattr(check, task)(answered(answer, deal)[ANSWERS[task]], *more[task])
    assert printed.getvalue().count("\n") == 1
    return printed.getvalue()


def case_of(source: str, seed: int) -> Case:
    return Case(build(source)["WildDFCVAE"], Random(seed))


def all_broken(case: Case) -> dict[str, float]:
    """promise -> how much of it is broken, where something is."""
    lost = {promise: sum(share for share, _ in broken(case, promise)) for promise in PROMISES}
    return {promise: share for promise, share in lost.items() if share}


# The program and its faults


def test_a_deal_is_five_of_ten_and_another_for_another_secret():
    deals = [tuple(dealt(Deal(str(i)))) for i in range(20)]
    assert len(FAULTS) == 10 and {len(deal) for deal in deals} == {5}
    assert len(set(deals)) > 10 and set().union(*deals) == set(FAULTS)


def test_shares_of_a_promise_add_up():
    for questions in PROMISES.values():
        assert sum(share for share, _ in questions) == pytest.approx(1)


@pytest.mark.slow
def test_the_program_keeps_its_promises_however_it_is_written():
    texts = {rewritten(Random(seed)) for seed in range(4)}
    assert len(texts) == 4
    assert all_broken(case_of(text(), 0)) == all_broken(case_of(texts.pop(), 1)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_breaks_its_promise_a_half_repair_loses_something_and_a_right_one_nothing(name, seed):
    fault = FAULTS[name]
    assert all_broken(case_of(text(fault.published), seed)) == {fault.promise: pytest.approx(1)}
    for edit in fault.right:
        assert all_broken(case_of(text(edit), seed)) == {}
    for edit in fault.halves.values():
        assert fault.promise in all_broken(case_of(text(edit), seed))


# The notebook


def test_the_notebook_shows_what_the_public_deal_gives():
    assert ps4.deal_notebook(copy.deepcopy(STORED), Deal(PUBLIC)) == STORED


def test_another_course_gets_another_program_and_its_answers():
    ours, theirs = cells(), cells(DEALS[1])
    differing = {name for name in ours if ours[name] != theirs[name]}
    assert {"found", "explained", "tests"} <= differing
    assert differing <= {"program-judge", "program-model", "found", "explained", "tests"}
    assert all(FAULTS[name].promise in theirs["found"] for name in dealt(DEALS[1]))
    assert "=== BEGIN MARK SCHEME" in theirs["explained"]


@pytest.mark.slow
@pytest.mark.parametrize("deal", DEALS, ids=lambda deal: deal.secret)
def test_the_program_in_the_notebook_has_the_five_faults_and_no_other(deal):
    case = Case(surroundings(deal)["WildDFCVAE"], Random(3))
    assert set(all_broken(case)) == {FAULTS[name].promise for name in dealt(deal)}


def test_pytests_own_exceptions_say_no_and_a_time_limit_goes_on():
    def raises(error: type[BaseException]):
        raise error

    assert not ps4.passes(lambda Model: pytest.fail("found"), object, 0)
    assert not ps4.passes(lambda Model: raises(SystemExit), object, 0)
    for error in (TimeUp, KeyboardInterrupt):
        with pytest.raises(error):
            ps4.passes(lambda Model, error=error: raises(error), object, 0)


# What answers are worth


@pytest.mark.parametrize(
    "deal", [DEALS[0], pytest.param(DEALS[1], marks=pytest.mark.slow)], ids=lambda deal: deal.secret
)
@pytest.mark.parametrize("task", ps4.TASKS)
def test_the_solution_gets_all_and_is_told_so(task, deal):
    assert worth(task, cells(deal)[task], deal) == ps4.TASKS[task].points
    assert "looks right so far" in said(task, cells(deal)[task], deal)


@pytest.mark.slow
@pytest.mark.parametrize("deal", DEALS, ids=lambda deal: deal.secret)
@pytest.mark.parametrize("task", RIGHT)
def test_another_right_answer_gets_all(task, deal):
    assert worth(task, RIGHT[task], deal) == ps4.TASKS[task].points


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_a_repair_by_inheritance_gets_all_and_is_told_so(how):
    mended, answer = WAYS[how]
    deal = next(deal for i in range(5000) if set(dealt(deal := Deal(str(i)))) == mended)
    assert worth("repaired", answer, deal) == pytest.approx(ps4.TASKS["repaired"].points)
    assert "looks right so far" in said("repaired", answer, deal)


@pytest.mark.parametrize("task", ps4.TASKS)
def test_the_untouched_release_gets_nothing(task):
    assert points(surroundings(DEALS[0]), ps4.TASKS[task], DEALS[0]) == 0


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("found", "all fourteen"),
        ("repaired", "nothing repaired"),
        ("repaired", "the grader's own program"),
        ("repaired", "built from the grader's text"),
        pytest.param("tests", "asserts nothing", marks=pytest.mark.slow),
        pytest.param("tests", "the grader's questions", marks=pytest.mark.slow),
    ],
)
def test_an_answer_that_earns_nothing(task, name):
    assert worth(task, WRONG[task][name]) == pytest.approx(0)


def test_a_poisoned_function_works_again():
    with poisoned(ps4.TASKS["tests"].poisoned), pytest.raises(Poisoned):
        dfc.DFCVAE.loss_function(None, None, None)
    worth("repaired", WRONG["repaired"]["nothing repaired"])
    model = case_of(text(), 0).model()
    assert model.generate(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)
    assert dfc.DFCVAE("pixel", latent_dim=4, channels=(4, 4)).alpha >= 0


def test_a_fault_is_worth_a_fifth_and_its_place_four_tenths_of_it():
    right = {FAULTS[name].promise: FAULTS[name].places[0] for name in dealt(DEALS[0])}
    one = dict(list(right.items())[:1])
    assert ps4.share(right, DEALS[0]) == pytest.approx(1)
    assert ps4.share(one, DEALS[0]) == pytest.approx(0.2)
    assert ps4.share(dict.fromkeys(one, "Judge"), DEALS[0]) == pytest.approx(0.12)
    assert ps4.share(right | {"P11": "WildDFCVAE.loss_function"}, DEALS[0]) == pytest.approx(0.88)


def test_a_half_repair_loses_a_part():
    assert "size" in dealt(DEALS[0])
    assert 11 < worth("repaired", program(FAULTS["size"].halves["64 pixels only"])) < 14.5


MISTAKES = [(task, name) for task in WRONG for name in WRONG[task]]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "name"), MISTAKES)
def test_a_wrong_answer_loses_points_and_is_not_told_that_it_is_right(task, name):
    most, fault = ps4.TASKS[task].points - 0.05, name.partition(":")[0]
    assert worth(task, WRONG[task][name]) < most
    if fault in dealt(DEALS[1]) or name == "the published fault alone":  # what depends on the deal
        assert worth(task, WRONG[task][name], DEALS[1]) < most
    deals = [deal for deal in map(Deal, map(str, range(99))) if fault not in FAULTS or fault in dealt(deal)]
    # What half repairs the tests will meet is not told, and no student has the grader's questions.
    if name not in ("the published fault alone", "the grader's questions"):
        assert "looks right so far" not in said(task, WRONG[task][name], deals[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_model_tests_catch_every_mutant_of_every_fault(name):
    test = ps4.model_answers.TESTS[name]
    assert all(ps4.passes(test, Model, seed) for seed, Model in enumerate(ps4.right_programs(DEALS[1])))
    assert not any(ps4.passes(test, mutant, i) for i, (_, mutant) in enumerate(ps4.mutants(name, DEALS[1])))


@pytest.mark.parametrize(("task", "name"), [(task, name) for task in NAMED for name in NAMED[task]])
def test_a_self_check_names_the_mistake(task, name):
    assert NAMED[task][name] in said(task, WRONG[task][name])


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ("lambda Model, own=own: Model(small_vgg()) and None", "passes on the program as it was found"),
        ("lambda Model, own=own: True if Model(small_vgg()) else None", "returns True"),
        ("lambda Model, own=own: None", "passes with a class that cannot be built"),
        ("lambda Model, own=own: 1 / 0", "fails on your own class, ZeroDivisionError"),
        ("lambda Model, own=own: Model(small_vgg()).no_such()", "fails on your own class, AttributeError"),
        ("lambda a, b, own=own: a", "cannot be called with a class alone"),
    ],
)
def test_a_self_check_names_what_is_wrong_with_tests(test, told):
    assert told in said("tests", f"tests = [{test} for own in range(5)]")
