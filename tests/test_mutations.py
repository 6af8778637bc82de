"""Every check of a notebook is held against broken functions; docs/mutations.md says how it noticed."""

import re
from pathlib import Path

import mutate_checks as script
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
TABLE_FILE = ROOT / "docs" / "mutations.md"  # of the notebooks that were held against mutants so far
TABLE = TABLE_FILE.read_text(encoding="utf-8") if TABLE_FILE.is_file() else ""
NOTEBOOKS = {name: ROOT / "notebooks" / f"{name}.ipynb" for name in re.findall(r"(?m)^## (\w+)$", TABLE)}
CHECKED = 5


def rows(notebook: str) -> list[list[str]]:
    section = re.search(rf"(?ms)^## {notebook}\n(.*?)(?=^## |\Z)", TABLE)
    lines = section[1].strip().splitlines()[2:] if section else []
    return [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_check_has_mutants_and_the_table_tells_of_each(notebook):
    cells = nbformat.read(NOTEBOOKS[notebook], as_version=4).cells
    checks = [cell.id for cell in cells if cell.source.startswith(script.CHECK)]
    listed = script.MUTANTS.get(notebook, {})
    assert list(listed) == checks, "the checks of the notebook, in its order"
    assert sum(isinstance(mutants, list) for mutants in listed.values()) >= CHECKED
    expected = []
    for check, mutants in listed.items():
        if isinstance(mutants, str):
            expected.append([check, "none", mutants])
        else:
            expected += [[check, f"`{mutant.target}`", mutant.how] for mutant in mutants]
    assert [row[:3] for row in rows(notebook)] == expected, "run tools/mutate_checks.py again"
    assert all(row[3] and "not noticed" not in row[3] for row in rows(notebook))


def test_every_mutant_breaks_something_that_is_there():
    for listed in script.MUTANTS.values():
        for mutant in [m for mutants in listed.values() if isinstance(mutants, list) for m in mutants]:
            assert mutant.target.startswith("dfcvae.")
            found = script.find(mutant.target)[2]
            assert callable(found) or isinstance(found, property)


def test_a_broken_function_is_broken_under_every_name_and_mended_again(monkeypatch):
    import dfcvae
    import dfcvae.evaluation
    import dfcvae.vae

    sound = dfcvae.kl_divergence
    mutant = script.Mutant("dfcvae.vae:kl_divergence", "", lambda f: lambda mu, log_var: "broken")
    monkeypatch.setitem(script.MUTANTS, "notebook", {"kl": [mutant]})
    script.break_function("notebook", "kl", 0)
    broken = {dfcvae.kl_divergence, dfcvae.vae.kl_divergence, dfcvae.evaluation.kl_divergence}
    script.mend()
    (function,) = broken
    assert function(0, 0) == "broken"
    assert {dfcvae.kl_divergence, dfcvae.vae.kl_divergence, dfcvae.evaluation.kl_divergence} == {sound}


def test_a_check_that_does_not_look_is_found_out(tmp_path, monkeypatch):
    """The script itself, on a notebook of three checks: one looks, one fails, one only seems to look."""
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    loss = "dfcvae.kl_divergence(torch.ones(1, 1), torch.zeros(1, 1))"
    sources = {
        "looks": f"print(f'{{{loss}:.1f}}')",
        "fails": f"assert {loss} == 0.5\nprint('equal')",
        "sleeps": f"print({loss} > 0)",
    }
    shown = {"looks": "0.5", "fails": "equal", "sleeps": "tensor(True)"}
    cells = [new_code_cell("import torch\n\nimport dfcvae", id="imports")]
    for name, source in sources.items():
        output = new_output("stream", text=shown[name] + "\n")
        cells.append(new_code_cell(f"{script.CHECK}\n{source}", id=name, outputs=[output]))
    nbformat.write(new_notebook(cells=cells), tmp_path / "three.ipynb")
    kernel_side = "import mutants\nfrom mutants import Mutant, result\n"
    kernel_side += "twice = Mutant('dfcvae.vae:kl_divergence', 'twice', result(lambda kl: 2 * kl))\n"
    kernel_side += "mutants.MUTANTS['three'] = {name: [twice] for name in ('looks', 'fails', 'sleeps')}\n"
    cells.insert(0, new_code_cell(kernel_side, id="mutants"))
    nbformat.write(new_notebook(cells=cells), tmp_path / "three.ipynb")
    twice = script.Mutant("dfcvae.vae:kl_divergence", "twice", lambda f: f)
    monkeypatch.setitem(script.MUTANTS, "three", {name: [twice] for name in sources})
    noticed = {row[0]: row[3] for row in script.mutate(tmp_path / "three.ipynb")}
    assert noticed == {"looks": "`1.0` for `0.5`", "fails": "fails: AssertionError", "sleeps": ""}


def test_the_table_keeps_the_notebooks_that_were_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "TABLE", tmp_path / "mutations.md")
    script.write_table({"b": [("x", "`f`", "how", "seen")]})
    script.write_table({"a": [("y", "`g`", "how", "")]})
    text = (tmp_path / "mutations.md").read_text(encoding="utf-8")
    assert text.index("## a") < text.index("## b")
    assert "| y | `g` | how | **not noticed** |" in text and "| x | `f` | how | seen |" in text
