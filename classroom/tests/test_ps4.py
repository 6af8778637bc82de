"""Problem set 4: wrong answers lose points in their task, right ones get all, whatever was dealt."""

import copy
import io
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from random import Random

import nbformat
import pytest
import torch
from answers.ps4 import ALTERNATIVES, WRONG, program
from answers.ps4_ways import WAYS
from dfcvae_classroom.grading import PUBLIC, Deal, Poisoned, points, poisoned, ps4
from dfcvae_classroom.grading.wild.case import Case
from dfcvae_classroom.grading.wild.editing import build, dealt, rewritten, text
from dfcvae_classroom.grading.wild.faults import FAULTS
from dfcvae_classroom.grading.wild.promises import PROMISES, broken
from dfcvae_classroom.guard import TimeUp

from dfcvae import dfc
from dfcvae.course.checks import ps4 as check

NOTEBOOK = (
    Path(__file__).parents[1] / "dfcvae_classroom/sources/ps4_find_the_bugs/ps4_find_the_bugs.ipynb"
)
DEALS = (Deal(), Deal("another"))
ANSWERS = {"found": "found", "repaired": "Repaired", "tests": "tests"}
BEGIN, END = "### BEGIN SOLUTION\n", "### END SOLUTION"


@cache
def notebook(deal: Deal = DEALS[0]):
    return ps4.deal_notebook(nbformat.read(NOTEBOOK, as_version=4), deal)


def source(cell_id: str, deal: Deal = DEALS[0]) -> str:
    return next(cell.source for cell in notebook(deal).cells if cell.id == cell_id)


def surroundings(deal: Deal) -> dict:
    """What a student's cells find: the imports, the program with the dealt faults, the findings."""
    found = {"__name__": "__main__"}
    for cell_id in ("imports", "program-vgg", "program-judge", "program-model", "found"):
        exec(source(cell_id, deal), found)
    return found


def answered(task: str, answer: str, deal: Deal = DEALS[0]) -> dict:
    around = surroundings(deal)
    del around["found"]
    exec(answer, around)
    return around


def worth(task: str, answer: str, deal: Deal = DEALS[0]) -> float:
    return points(answered(task, answer, deal), ps4.TASKS[task], deal)


def said(task: str, answer: str, deal: Deal = DEALS[0]) -> str:
    """The line of the self-check."""
    around, mine = surroundings(deal), answered(task, answer, deal)
    exec(source("repaired", deal), around)
    more = {"found": (), "repaired": (around["found"],), "tests": (around["Repaired"], around["WildDFCVAE"])}
    with redirect_stdout(io.StringIO()) as printed:
        getattr(check, task)(mine[ANSWERS[task]], *more[task])
    assert printed.getvalue().count("\n") == 1
    return printed.getvalue()


def with_fault(name: str) -> Deal:
    """A deal with this fault in it."""
    return next(deal for i in range(99) if name in dealt(deal := Deal(str(i))))


# The program and its faults


def test_a_deal_is_five_of_ten_and_another_for_another_secret():
    assert len(FAULTS) == 10 and {len(dealt(Deal(str(i)))) for i in range(20)} == {5}
    assert len({tuple(dealt(Deal(str(i)))) for i in range(20)}) > 10
    assert set().union(*(dealt(Deal(str(i))) for i in range(20))) == set(FAULTS)


@pytest.mark.slow
def test_the_program_keeps_its_promises():
    case = Case(build(text())["WildDFCVAE"], Random(0))
    assert {promise: broken(case, promise) for promise in PROMISES} == dict.fromkeys(PROMISES, [])


def test_shares_of_a_promise_add_up():
    for questions in PROMISES.values():
        assert sum(share for share, _ in questions) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_published_fault_breaks_its_promise_whole_and_no_other(name):
    fault = FAULTS[name]
    for seed in range(3):
        case = Case(build(text(fault.published))["WildDFCVAE"], Random(seed))
        lost = {promise: sum(share for share, _ in broken(case, promise)) for promise in PROMISES}
        assert lost.pop(fault.promise) == pytest.approx(1)
        assert not any(lost.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_half_repairs_lose_something_and_other_right_ways_nothing(name):
    fault = FAULTS[name]
    for seed in range(3):
        for edit in fault.right:
            case = Case(build(text(edit))["WildDFCVAE"], Random(seed))
            assert not [promise for promise in PROMISES if broken(case, promise)]
        for edit in fault.halves.values():
            assert broken(Case(build(text(edit))["WildDFCVAE"], Random(seed)), fault.promise)


@pytest.mark.slow
def test_programs_that_are_written_anew_differ_in_their_text_only():
    texts = {rewritten(Random(seed)) for seed in range(4)}
    assert len(texts) == 4
    case = Case(build(texts.pop())["WildDFCVAE"], Random(1))
    assert not [promise for promise in PROMISES if broken(case, promise)]


# The notebook


def test_the_notebook_shows_what_the_public_deal_gives():
    stored = nbformat.read(NOTEBOOK, as_version=4)
    assert ps4.deal_notebook(copy.deepcopy(stored), Deal(PUBLIC)) == stored


def test_another_course_gets_another_program_and_its_answers():
    ours, theirs = notebook(), notebook(DEALS[1])
    for cell_id in ("found", "explained", "tests"):
        assert source(cell_id) != source(cell_id, DEALS[1])
    differing = {a.id for a, b in zip(ours.cells, theirs.cells, strict=True) if a.source != b.source}
    assert differing <= {"program-judge", "program-model", "found", "explained", "tests"}
    for name in dealt(DEALS[1]):
        assert FAULTS[name].promise in source("found", DEALS[1])
    assert "=== BEGIN MARK SCHEME" in source("explained", DEALS[1])


@pytest.mark.slow
def test_the_program_in_the_notebook_has_the_five_faults_and_no_other():
    for deal in DEALS:
        case = Case(surroundings(deal)["WildDFCVAE"], Random(3))
        expected = {FAULTS[name].promise for name in dealt(deal)}
        assert {promise for promise in PROMISES if broken(case, promise)} == expected


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
    assert worth(task, source(task, deal), deal) == ps4.TASKS[task].points
    assert "looks right so far" in said(task, source(task, deal), deal)


@pytest.mark.parametrize("task", ps4.TASKS)
def test_the_untouched_release_gets_nothing(task):
    stub = source(task).partition(BEGIN)[0] + "raise NotImplementedError()\n"
    around = surroundings(DEALS[0])
    del around["found"]
    with pytest.raises(NotImplementedError):
        exec(stub, around)
    assert points(around, ps4.TASKS[task], DEALS[0]) == 0


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("found", "all fourteen"),
        ("repaired", "nothing repaired"),
        ("repaired", "the grader's own program"),
        ("repaired", "built from the grader's text"),
        ("tests", "asserts nothing"),
        ("tests", "the grader's questions"),
    ],
)
def test_an_answer_that_earns_nothing(task, name):
    assert worth(task, WRONG[task][name]) == pytest.approx(0)


def test_a_poisoned_function_works_again():
    with poisoned(ps4.TASKS["tests"].poisoned), pytest.raises(Poisoned):
        dfc.DFCVAE.loss_function(None, None, None)
    worth("repaired", WRONG["repaired"]["nothing repaired"])
    model = Case(build(text())["WildDFCVAE"], Random(0)).model()
    assert model.generate(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)
    assert dfc.DFCVAE("pixel", latent_dim=4, channels=(4, 4)).alpha >= 0


def test_a_fault_is_worth_a_fifth_and_its_place_four_tenths_of_it():
    names = dealt(DEALS[0])
    right = {FAULTS[name].promise: FAULTS[name].places[0] for name in names}
    one = dict(list(right.items())[:1])
    assert ps4.share(right, DEALS[0]) == pytest.approx(1)
    assert ps4.share(one, DEALS[0]) == pytest.approx(0.2)
    assert ps4.share(dict.fromkeys(one, "Judge"), DEALS[0]) == pytest.approx(0.12)
    assert ps4.share(right | {"P11": "WildDFCVAE.loss_function"}, DEALS[0]) == pytest.approx(0.88)


def test_a_half_repair_loses_a_part():
    name = "size"
    assert name in dealt(DEALS[0])
    earned = worth("repaired", program(FAULTS[name].halves["64 pixels only"]))
    assert 11 < earned < 14.5


MISTAKES = [(task, name) for task in WRONG for name in WRONG[task]]
# What depends on the deal is tried under another one too.
ELSEWHERE = {*dealt(DEALS[1]), "the published fault alone"}
HERE_AND_THERE = [(*m, DEALS[0]) for m in MISTAKES] + [
    (*m, DEALS[1]) for m in MISTAKES if m[1].partition(":")[0] in ELSEWHERE
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "name", "deal"), HERE_AND_THERE, ids=[f"{t}-{n}-{d.secret}" for t, n, d in HERE_AND_THERE]
)
def test_a_wrong_answer_loses_points(task, name, deal):
    assert worth(task, WRONG[task][name], deal) < ps4.TASKS[task].points - 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("task", "name"), MISTAKES)
def test_a_wrong_answer_is_not_told_that_it_is_right(task, name):
    fault = name.partition(":")[0]
    deal = with_fault(fault) if fault in FAULTS else DEALS[0]
    if name != "the published fault alone":  # what half repairs the tests will meet is not told
        assert "looks right so far" not in said(task, WRONG[task][name], deal)


@pytest.mark.slow
@pytest.mark.parametrize("deal", DEALS, ids=lambda deal: deal.secret)
@pytest.mark.parametrize("task", ALTERNATIVES)
def test_another_right_answer_gets_all(task, deal):
    assert worth(task, ALTERNATIVES[task], deal) == ps4.TASKS[task].points


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_a_repair_by_inheritance_gets_all_and_is_told_so(how):
    mended, answer = WAYS[how]
    deal = next(deal for i in range(5000) if set(dealt(deal := Deal(str(i)))) == mended)
    assert worth("repaired", answer, deal) == pytest.approx(ps4.TASKS["repaired"].points)
    assert "looks right so far" in said("repaired", answer, deal)


@pytest.mark.slow
def test_model_tests_catch_every_mutant_of_every_fault():
    for name in FAULTS:
        test = ps4.model_answers.TESTS[name]
        assert all(ps4.passes(test, Model, seed) for seed, Model in enumerate(ps4.right_programs(DEALS[1])))
        for seed, (_, mutant) in enumerate(ps4.mutants(name, DEALS[1])):
            assert not ps4.passes(test, mutant, seed), name


@pytest.mark.parametrize(
    ("task", "name", "told"),
    [
        ("found", "all fourteen", "the program breaks 5"),
        ("found", "nothing", "still empty"),
        ("found", "numbers for names", "write 'P1'"),
        ("found", "a list", "expected a dict"),
        ("found", "whole classes", "which method of it"),
        ("found", "lines for methods", "the number of a line"),
        ("found", "turned round", "is no promise"),
        ("repaired", "a model for a class", "give the class itself"),
        ("repaired", "range: clipped", "clipping hides the range"),
        ("repaired", "mode: .eval() only in the constructor", "train() undoes .eval()"),
        ("repaired", "mode: momentum 0", "neighbours in the batch"),
        ("repaired", "in place: a clone after the in-place ReLU", "the ReLU behind wrote into it first"),
        ("repaired", "log_var: clamped in the KL alone", "the KL alone is protected"),
        ("repaired", "KL averaged over latents", "P11"),
        ("repaired", "no 1/2", "half the mean squared differences"),
        ("repaired", "size: four levels only", "with channels ["),
        ("repaired", "the package's DFC-VAE", "a class of the package"),
        ("repaired", "the grader's judge", "the package's own program"),
        ("tests", "asserts nothing", "passes on the program as it was found"),
        ("tests", "returns what it found", "returns"),
        ("tests", "catches its own assert", "does it catch exceptions?"),
        ("tests", "does not use its Model", "a class that cannot be built"),
        ("tests", "always fails", "fails on your own class"),
        ("tests", "shapes alone", "passes on the program as it was found"),
        ("tests", "one test for everything, on one batch", "functions in the list: 1"),
    ],
)
def test_a_self_check_names_the_mistake(task, name, told):
    assert told in said(task, WRONG[task][name])


FIVE = "\n\ntests = [lambda Model, own=own: {call} for own in range(5)]\n"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("Model(small_vgg()) and None", "passes on the program as it was found"),
        ("True if Model(small_vgg()) else None", "returns True"),
        ("None", "passes with a class that cannot be built"),
        ("1 / 0", "fails on your own class, ZeroDivisionError"),
        ("Model(small_vgg()).no_such_method()", "fails on your own class, AttributeError"),
    ],
)
def test_a_self_check_names_what_is_wrong_with_tests(call, told):
    assert told in said("tests", FIVE.replace("{call}", call))


def test_a_test_with_two_arguments_is_named():
    assert "cannot be called with a class alone" in said(
        "tests", "tests = [lambda a, b, i=i: a for i in range(5)]"
    )
