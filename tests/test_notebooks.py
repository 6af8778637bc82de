"""The notebooks run from top to bottom, solutions included, and look as the course promises."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_rules import CHECK, CHECKED, LINES, MEGABYTE, RULES, with_solutions

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@each_notebook
def test_notebook_keeps_the_rule(path, rule):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert rule(notebook) == []


def nbval(notebook: NotebookNode, folder: Path, profile: str = "smoke") -> subprocess.CompletedProcess:
    """Run it in a folder of its own, with its solutions copied in; the network leads nowhere."""
    nbformat.write(with_solutions(notebook), folder / "notebook.ipynb")
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    surroundings = os.environ | nowhere | {"DFCVAE_PROFILE": profile, "PYTHONPATH": str(ROOT)}
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "-q", "notebook.ipynb"]
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True)


@each_notebook
def test_notebook_runs_offline_from_an_empty_folder(path, tmp_path):
    done = nbval(nbformat.read(path, as_version=4), tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.cpu
@each_notebook
def test_notebook_holds_its_claims_in_the_cpu_profile(path, tmp_path):
    done = nbval(nbformat.read(path, as_version=4), tmp_path, "cpu")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_wrong_solution_and_a_changed_fact_are_noticed(tmp_path):
    """The run of the notebooks would see both: else it would prove nothing."""
    wrong = new_markdown_cell("<details>\n\n```python\nassert 1 == 2\n```\n</details>")
    fact = new_code_cell(f"{CHECK}\nprint(2)", outputs=[new_output("stream", text="1\n")], execution_count=1)
    assert "2 failed" in nbval(new_notebook(cells=[wrong, fact]), tmp_path).stdout


# Each rule rejects a notebook that breaks it, and takes the one that the others are made from.


OPENING = """# 00 · Good

**In one sentence:** a claim.

**After this notebook** you
- can do it.

**You need** little.

**Time:** an hour; 2 minutes on a CPU. (A Colab T4 has not been timed yet.)

| | section | minutes |
| --- | --- | ---: |
| 1 | The end | 30 |"""
NOTATION = "alpha weighs the KL and beta the features, the reverse of the beta-VAE"
IMAGE = '<img src="data:image/png;base64,AAAA" alt="A figure that shows a thing">'
SOLUTION = "<details><summary>Solution</summary>\n\n```python\nassert True\n```\n</details>"
CLOSE = "## 1 · The end\n\n" + " ".join(f"**{part}**" for part in rules.CLOSE)


def good_notebook() -> NotebookNode:
    def printing(text: str) -> list[NotebookNode]:
        return [new_output("stream", text=text)]

    code = [
        new_code_cell("here = start()", outputs=printing("profile       cpu: 8,000")),
        new_code_cell("figure", outputs=[new_output("execute_result", {"text/html": IMAGE})]),
        new_code_cell("guess = None\nvotes = {1: None}"),
        new_code_cell("torch.testing.assert_close(guess, votes)"),
        *(new_code_cell(f"{CHECK}\nprint(1)", outputs=printing("1")) for _ in range(CHECKED)),
    ]
    for number, cell in enumerate(code, 1):
        cell.execution_count = number
    text = [new_markdown_cell(t) for t in (OPENING, f"Notation: {NOTATION}.", SOLUTION * 3, CLOSE)]
    return new_notebook(cells=text[:1] + code + text[1:], metadata={"language_info": {"name": "python"}})


def stored(kind: str = "stream", data: dict[str, str] | None = None, **values: str) -> dict:
    return {"outputs": [new_output(kind, data, **values) if data else new_output(kind, **values)]}


SETUP, FIGURE, FIRST_CHECK = 1, 2, 5
REPLACED = [  # text that all rules but one do not miss
    (rules.opening, "# 00 · Good", "# Good"),
    (rules.opening, "**In one sentence:** a claim.", ""),
    (rules.opening, "**After this notebook** you", "**Aims**"),
    (rules.opening, "**You need** little.", "**Time:** on a CPU and a T4.\n\n**You need** little."),
    (rules.opening, "on a CPU", ""),
    (rules.opening, "| | section | minutes |", "| | section | time |"),
    (rules.contents, "| 1 | The end | 30 |", ""),
    (rules.contents, "| 1 | The end | 30 |", "| 1 | An end | 30 |"),
    (rules.contents, "| 30 |", "| 90 |"),
    (rules.contents, "| 30 |", "| 3 |"),
    (rules.notation, NOTATION, "the loss is alpha KL"),
    (rules.notation, "alpha weighs the KL", "alpha weighs the features"),
    (rules.notation, ", the reverse of the beta-VAE", ""),
    (rules.predictions, "votes = {1: None}", "votes = {}"),
    (rules.predictions, "(guess, votes)", "(guess)"),
    (rules.proof, "assert_close", "close"),
    (rules.exercises, "assert True", "print(1)"),
    (rules.code, "figure", "x = 1\n" * (LINES + 1)),
    (rules.code, "figure", "drive.mount('drive')"),
    (rules.closing, "**Questions**", ""),
    (rules.closing, "**Questions** **References**", "**References** **Questions**"),
    (rules.images, "## 1", "![](x.png)\n\n## 1"),
    (rules.checks, CHECK, "#"),
]
UPDATED = [
    (rules.order, FIGURE, {"execution_count": 9}),
    (rules.order, FIGURE, {"execution_count": None}),
    (rules.noise, FIGURE, stored("error", ename="ValueError", evalue="", traceback=[])),
    (rules.noise, FIGURE, stored(name="stderr", text="hm")),
    (rules.noise, FIGURE, stored(text="FutureWarning: hm")),
    (rules.noise, FIGURE, stored(text=" 50%|#####     | 5/10")),
    (rules.noise, FIGURE, stored(text="20.0 it/s")),
    (rules.profile, SETUP, stored(text="profile       smoke: 512")),
    (rules.leftovers, FIGURE, stored("display_data", {"application/vnd.jupyter.widget-view+json": ""})),
    (rules.leftovers, FIGURE, {"metadata": {"execution": {"iopub.execute_input": "2026"}}}),
    (rules.size, FIGURE, stored(text="x" * MEGABYTE)),
    (rules.images, FIGURE, stored("display_data", {"image/png": "AAAA"})),
    (rules.images, FIGURE, stored("display_data", {"text/html": "<img src='x'>"})),
    (rules.images, FIGURE, stored("display_data", {"text/html": '<img src="x" alt="figure">'})),
    (rules.checks, FIRST_CHECK, {"outputs": []}),
]


def test_a_good_notebook_keeps_every_rule_and_every_rule_has_a_break():
    assert {rule.__name__: rule(good_notebook()) for rule in RULES if rule(good_notebook())} == {}
    assert {rule for rule, *_ in REPLACED + UPDATED} == set(RULES)


@pytest.mark.parametrize(("rule", "old", "new"), REPLACED)
def test_a_rule_rejects_another_text(rule, old, new):
    notebook = good_notebook()
    assert any(old in cell.source for cell in notebook.cells)
    for cell in notebook.cells:
        cell.source = cell.source.replace(old, new)
    assert rule(notebook)


@pytest.mark.parametrize(("rule", "index", "values"), UPDATED)
def test_a_rule_rejects_what_is_stored(rule, index, values):
    notebook = good_notebook()
    notebook.cells[index].update(nbformat.from_dict(values))
    assert rule(notebook)
