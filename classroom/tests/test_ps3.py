"""Problem set 3: what is dealt to its notebook, and its last task, the claim."""

import nbformat
import pytest
from dfcvae_classroom.grading import Deal, points, ps3_cases
from dfcvae_classroom.grading.ps3 import TASKS, deal_notebook
from problem_sets import DEALS, ProblemSet, defined

SET = ProblemSet("ps3")


@pytest.mark.parametrize(
    ("change", "names_it"),
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
    claim = defined(SET.solution("claim"))["claim"]
    SET.check.claim(claim)
    assert "looks right so far" in capsys.readouterr().out
    SET.check.claim(claim | change)
    assert names_it in capsys.readouterr().out


def test_the_public_notebook_holds_the_public_faces():
    seeds = "LEARNING, CHOOSING, MEASURING = {}, {}, {}".format(*ps3_cases.seeds(Deal()))
    assert seeds in SET.cells["faces"].source


@pytest.mark.slow
@pytest.mark.parametrize("deal", DEALS, ids=lambda deal: deal.secret)
def test_a_wrong_claim_loses_what_is_wrong_in_it(deal):
    dealt = deal_notebook(nbformat.from_dict(SET.notebook), deal)
    claim = defined(next(cell.source for cell in dealt.cells if cell.id == "claim"))["claim"]
    assert claim == ps3_cases.claim("Wearing_Hat", deal)
    assert deal != DEALS[0] or dealt == SET.notebook, "the repository's notebook is not the public deal's"
    for attribute in ("Wearing_Hat", "Smiling"):
        right = ps3_cases.claim(attribute, deal)
        assert points({"claim": right}, TASKS["claim"], deal) == 4
        lucky = int(ps3_cases.measured(attribute, deal)[0].mean(dim=1).argmin())
        for change in (
            {"amount": ps3_cases.AMOUNTS[lucky]},
            {"gain": right["gain"] + 0.1},
            {"faces": 300},
            {"low": right["gain"] - 1, "high": right["gain"] + 1},
            {"verdict": "nearer" if right["verdict"] == "farther" else "farther"},
            {"attribute": "Pale_Skin"},
        ):
            assert points({"claim": right | change}, TASKS["claim"], deal) < 4, change


@pytest.mark.slow
def test_the_notebook_runs_and_its_expected_pictures_are_what_comes_out():
    from nbclient import NotebookClient

    notebook = nbformat.from_dict(SET.notebook)
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
    told = defined(SET.cells["claim-picture"].source.partition("\n")[0])["expected_claim"]
    for attribute, ends in told.items():
        claim = ps3_cases.claim(attribute, Deal())
        assert (claim["low"], claim["high"]) == pytest.approx(ends, abs=0.02)
