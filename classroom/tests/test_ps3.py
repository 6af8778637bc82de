"""Problem set 3: wrong answers lose points, right ones get all, and the self-check names what is wrong."""

import itertools
import re
from pathlib import Path

import nbformat
import pytest
import torch
from answers.ps3 import ALTERNATIVES, WRONG
from answers.ps3_ways import WAYS
from dfcvae_classroom.grading import Deal, points, ps3_cases
from dfcvae_classroom.grading.ps3 import TASKS, deal_notebook

from dfcvae import latent
from dfcvae.course.checks import ps3 as check

SOURCE = Path(__file__).parents[1] / "dfcvae_classroom/sources/ps3_latent_evidence"
NOTEBOOK = nbformat.read(SOURCE / "ps3_latent_evidence.ipynb", as_version=4)
CELLS = {cell.id: cell for cell in NOTEBOOK.cells}
SOLUTION = re.compile(r"( *)### BEGIN SOLUTION\n.*?### END SOLUTION", re.DOTALL)
FUNCTIONS = [task for task in TASKS if task != "claim"]
DEALS = Deal(), Deal("another course")
MISTAKES = [(task, name) for task, answers in WRONG.items() for name in answers]
QUICK = (  # of the dearest task these are tried every time, the others where time does not matter
    "test images define the vector",
    "no baseline",
    "sampled z for mu",
    "no eval",
    "a graph hangs on it",
    "zeros",
    "calls the package",
)
TRIED = [
    pytest.param(*m, marks=[pytest.mark.slow] if m[0] == "counterfactual_gains" and m[1] not in QUICK else [])
    for m in MISTAKES
]
# What a self-check lets pass, because on its own numbers it is no mistake.
HIDDEN_ONLY: set[tuple[str, str]] = set()
CLAIM = {"attribute": "Bangs"}


def run(source: str) -> dict:
    """What an answer defines, among the names of the notebook's imports."""
    found = {"torch": torch, "itertools": itertools}
    exec(source, found)
    return found


def solved(task: str) -> str:
    return CELLS[task.replace("_", "-")].source


def stub(task: str) -> str:
    return SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", solved(task))


def worth(source: str, task: str, deal: Deal = DEALS[0]) -> float:
    try:
        answers = run(source)
    except NotImplementedError:  # a cell without a function fails where it stands
        answers = {}
    return points(answers, TASKS[task], deal)


def said(source: str, task: str, capsys) -> str:
    getattr(check, task)(run(source)[task])
    return capsys.readouterr().out


@pytest.mark.parametrize("task", FUNCTIONS)
def test_solution_gets_all_and_the_check_says_so(task, capsys):
    assert worth(solved(task), task) == TASKS[task].points
    assert said(solved(task), task, capsys).startswith(f"{task}: looks right so far")


@pytest.mark.slow
@pytest.mark.parametrize("task", FUNCTIONS)
@pytest.mark.parametrize("deal", [*DEALS, Deal("a third")])
def test_solution_and_alternative_get_all_under_every_deal(task, deal):
    assert worth(solved(task), task, deal) == worth(ALTERNATIVES[task], task, deal) == TASKS[task].points


@pytest.mark.parametrize("task", FUNCTIONS)
def test_alternative_gets_all_and_the_check_says_so(task, capsys):
    assert worth(ALTERNATIVES[task], task) == TASKS[task].points
    assert said(ALTERNATIVES[task], task, capsys).startswith(f"{task}: looks right so far")


@pytest.mark.parametrize("task, how", [(task, how) for task in WAYS for how in WAYS[task]])
def test_however_it_is_written_it_gets_all_and_the_check_says_so(task, how, capsys):
    assert worth(WAYS[task][how], task) == TASKS[task].points
    assert said(WAYS[task][how], task, capsys).startswith(f"{task}: looks right so far")


@pytest.mark.parametrize("task", TASKS)
def test_untouched_release_gets_nothing(task, capsys):
    assert worth(stub(task), task) == 0
    if task in FUNCTIONS:
        assert said(stub(task), task, capsys) == f"{task}: not written yet.\n"


@pytest.mark.parametrize("task, name", TRIED)
def test_a_mistake_costs_points_and_is_seen_by_the_check(task, name, capsys):
    assert worth(WRONG[task][name], task) < TASKS[task].points
    line = said(WRONG[task][name], task, capsys)
    assert line.count("\n") == 1
    assert ("looks right" in line) == ((task, name) in HIDDEN_ONLY), line


@pytest.mark.slow
@pytest.mark.parametrize("task, name", MISTAKES)
def test_a_mistake_costs_points_under_another_deal(task, name):
    assert worth(WRONG[task][name], task, DEALS[1]) < TASKS[task].points


@pytest.mark.parametrize(
    "task, name", [m for m in MISTAKES if m[1] in ("zeros", "all to both", "nothing tested")]
)
def test_an_answer_that_does_nothing_is_worth_next_to_nothing(task, name):
    assert worth(WRONG[task][name], task) <= 0.15 * TASKS[task].points


@pytest.mark.parametrize("task, name", [m for m in MISTAKES if m[1].startswith("calls the")])
def test_the_packages_own_function_earns_nothing(task, name, capsys):
    if task != "compare_seeds":  # there the mean difference is the student's own
        assert worth(WRONG[task][name], task) == 0
    assert "write it yourself" in said(WRONG[task][name], task, capsys)


def test_a_poisoned_function_works_again_afterwards():
    worth(WRONG["matched_vector"]["calls the package"], "matched_vector")
    vectors = latent.attribute_vectors(torch.eye(4), torch.tensor([[True], [True], [False], [False]]))
    assert vectors.tolist() == [[0.5, 0.5, -0.5, -0.5]]


@pytest.mark.parametrize(
    "task, name, names_it",
    [
        ("matched_vector", "confounded groups: the plain difference", "the company is still in it"),
        ("counterfactual_gains", "test images define the vector", "comes from the test faces"),
        ("counterfactual_gains", "no baseline", "baseline is missing"),
        ("counterfactual_gains", "sampled z for mu", "z looks sampled"),
        ("counterfactual_gains", "the notebook's helper for the model", "`code_of` knows"),
        ("choose_then_measure", "chosen on the test faces", "the best on `test`"),
        ("choose_then_measure", "spread of faces", "holds 95 % of the *faces*"),
        ("evidence", "majority of the test labels", "majority is that of the test labels"),
        ("evidence", "not paired", "drawn apart"),
        ("evidence", "90 %", "interval of 90 %"),
        ("split_by_person", "pictures at random", "people are on both sides"),
        ("compare_seeds", "best of several seeds", "best against best"),
        ("compare_seeds", "one side", "only one side"),
        ("compare_seeds", "signs only", "counts the signs alone"),
        ("compare_seeds", "sorted first", "the seeds look sorted"),
        ("compare_seeds", "not in pairs", "the pairs are lost"),
        ("compare_seeds", "normal distribution", "to be normal"),
        ("matched_vector", "company subtracted as another vector", "direction of the company"),
        ("matched_vector", "summed, not averaged", "counted and added up"),
        ("counterfactual_gains", "baseline is the first amount", "the first amount"),
        ("counterfactual_gains", "minus the mean of all", "the mean of *all*"),
        ("choose_then_measure", "chosen by the median", "not the median"),
        ("choose_then_measure", "interval of the faces that chose", "that of the validation faces"),
        ("split_by_person", "test before learning", "learning comes before it"),
        ("split_by_person", "people counted from 0", "need not be 0, 1, 2"),
    ],
)
def test_the_check_names_the_mistake(task, name, names_it, capsys):
    assert names_it in said(WRONG[task][name], task, capsys)


def test_the_check_says_what_stopped_an_answer(capsys):
    line = said("def matched_vector(mu, has, company):\n    return mu @ has\n", "matched_vector", capsys)
    assert "RuntimeError" in line and "(9, 2)" in line and line.count("\n") == 1


@pytest.mark.parametrize(
    "change, names_it",
    [
        ({"verdict": ...}, "not complete: verdict"),
        ({"attribute": "Hat"}, "take one of Eyeglasses"),
        ({"gain": "much"}, "expected a number each"),
        ({"low": 0.5}, "low lies above high"),
        ({"gain": 0.9}, "outside of its own interval"),
        ({"verdict": "undecided"}, "says 'nearer'"),
        ({"verdict": "yes"}, "one of nearer"),
        ({"amount": 0}, "one of the amounts"),
        ({"faces": 0.5}, "number of test faces"),
    ],
)
def test_the_check_reads_the_claims_form(change, names_it, capsys):
    claim = run(solved("claim"))["claim"]
    check.claim(claim)
    assert "looks right so far" in capsys.readouterr().out
    check.claim(claim | change)
    assert names_it in capsys.readouterr().out


def test_the_public_notebook_is_the_public_deal():
    """The notebook in the repository holds the public faces and points, and nothing else is dealt."""
    seeds = "LEARNING, CHOOSING, MEASURING = {}, {}, {}".format(*ps3_cases.seeds(Deal()))
    assert seeds in CELLS["faces"].source
    graded = [c.metadata.nbgrader for c in NOTEBOOK.cells if c.metadata.get("nbgrader", {}).get("grade")]
    for task, points_of in ((task, TASKS[task].points) for task in TASKS):
        cell = CELLS[task.replace("_", "-") + "-test"]
        assert f'"ps3", "{task}"' in cell.source and cell.metadata.nbgrader.points == points_of
    assert sum(cell.points for cell in graded) == 60


@pytest.mark.slow
@pytest.mark.parametrize("deal", DEALS)
def test_claims(deal):
    """The dealt notebook's claim gets all; a wrong one loses what is wrong in it."""
    dealt = deal_notebook(nbformat.from_dict(NOTEBOOK), deal)
    source = next(cell.source for cell in dealt.cells if cell.id == "claim")
    claim = run(source)["claim"]
    for attribute in ("Wearing_Hat", "Smiling"):
        right = ps3_cases.claim(attribute, deal)
        assert attribute != "Wearing_Hat" or claim == right
        assert points({"claim": right}, TASKS["claim"], deal) == 4
        no = "nearer" if right["verdict"] == "farther" else "farther"
        lucky = int(ps3_cases.measured(attribute, deal)[0].mean(dim=1).argmin())
        wrong = {
            "another amount": {"amount": ps3_cases.AMOUNTS[lucky]},
            "a larger gain": {"gain": right["gain"] + 0.1},
            "all the faces": {"faces": 300},
            "interval of the faces": {"low": right["gain"] - 1, "high": right["gain"] + 1},
            "a verdict that the interval denies": {"verdict": no},
            "another attribute's numbers": {"attribute": "Pale_Skin"},
        }
        for name, change in wrong.items():
            assert points({"claim": right | change}, TASKS["claim"], deal) < 4, name
    if deal == DEALS[0]:
        assert dealt == NOTEBOOK, "the repository's notebook is not the public deal's"


@pytest.mark.slow
def test_the_notebook_runs_and_its_expected_pictures_are_what_comes_out():
    from nbclient import NotebookClient

    notebook = nbformat.from_dict(NOTEBOOK)
    drawn = {"parts": 0.02, "gains": 0.02, "luck": 0.01, "readers": 0.006, "coins": 0.02, "p": 1e-3}
    for name, slack in drawn.items():
        found = "p_of" if name == "p" else name
        test = (
            f"for key, told in expected_{name}.items():\n"
            f"    off = torch.as_tensor(told) - torch.as_tensor({found}[key])\n"
            f"    assert off.abs().max() <= {slack}, (key, told, {found}[key])"
        )
        notebook.cells.append(nbformat.v4.new_code_cell(test))
    NotebookClient(notebook, timeout=300).execute()


@pytest.mark.slow
def test_the_three_expected_claims():
    told = run(CELLS["claim-picture"].source.partition("\n")[0])["expected_claim"]
    for attribute, ends in told.items():
        claim = ps3_cases.claim(attribute, Deal())
        assert (claim["low"], claim["high"]) == pytest.approx(ends, abs=0.02)
