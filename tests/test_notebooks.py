"""The notebooks run from top to bottom, solutions included, and look as the course promises."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest
from badges import INSTALLS, STAYS
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_rules import CHECK, CHECKED, LINES, MEGABYTE, RULES, with_solutions

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rule(path, rule):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert rule(notebook) == []


def run_notebook(path: Path, folder: Path, profile: str) -> None:
    """In a folder of its own, under nbval, with its solutions copied in; the network leads nowhere."""
    nbformat.write(with_solutions(nbformat.read(path, as_version=4)), folder / path.name)
    nowhere = "http://127.0.0.1:9"
    surroundings = os.environ | {
        "DFCVAE_PROFILE": profile,
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "PYTHONPATH": str(ROOT),
    }
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600"]
    command = [sys.executable, "-m", "pytest", *nbval, "-p", "no:cacheprovider", "-q", path.name]
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_offline_from_an_empty_folder(path, tmp_path):
    run_notebook(path, tmp_path, "smoke")


@pytest.mark.cpu
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_holds_its_claims_in_the_cpu_profile(path, tmp_path):
    run_notebook(path, tmp_path, "cpu")


# Each rule rejects a notebook that breaks it, and takes the one that the others are made from.


OPENING = f"""{rules.ADDRESS.badge_line("notebooks/00_good.ipynb")}

# 00 · Good

**In one sentence:** a claim.

**After this notebook** you
- can do it.

**You need** little.

**Time:** an hour; 2 minutes on a CPU. (A Colab T4 has not been timed yet.)

| | section | minutes |
| --- | --- | ---: |
| 1 | Set up | 1 |
| 2 | The end | 30 |"""
SET_UP = f"## 1 · Set up\n\nOne cell. {INSTALLS if rules.ADDRESS.repository else STAYS} it looks around."
NOTATION = "alpha weighs the KL and beta the features, the reverse of the beta-VAE"


def good_notebook() -> NotebookNode:
    image = '<img src="data:image/png;base64,AAAA" alt="A figure that shows a thing">'
    check = f"{CHECK}\nprint(vae.latent_dim)"
    solution = "<details><summary>Solution</summary>\n\n```python\nassert True\n```\n</details>"
    close = "## 2 · The end\n\n" + " ".join(f"**{part}**" for part in rules.CLOSE)
    code = [
        new_code_cell(rules.ADDRESS.set_up, outputs=[new_output("stream", text="profile       cpu: 8,000")]),
        new_code_cell("figure", outputs=[new_output("execute_result", {"text/html": image})]),
        new_code_cell("guess = None\nvotes = {1: None}"),
        new_code_cell("import dfcvae\n\nvae = dfcvae.VAE()\ntorch.testing.assert_close(vae, guess, votes)"),
        *(new_code_cell(check, outputs=[new_output("stream", text="1")]) for _ in range(CHECKED)),
    ]
    for number, cell in enumerate(code, 1):
        cell.execution_count = number
    text = [new_markdown_cell(t) for t in (OPENING, SET_UP, f"Notation: {NOTATION}.", solution * 3, close)]
    return new_notebook(cells=text[:2] + code + text[2:], metadata={"language_info": {"name": "python"}})


TITLE, SETUP, FIGURE, GUESS, PROOF, FIRST_CHECK, EXPLAINED, SOLUTIONS, END = 0, 2, 3, 4, 5, 6, -3, -2, -1


def _set(index: int, **values) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[index].update(values)


def _put(index: int, output: NotebookNode) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[index].update(outputs=[output])


def _replace(index: int, old: str, new: str) -> Callable[[NotebookNode], None]:
    def replace(notebook: NotebookNode) -> None:
        assert old in notebook.cells[index].source
        notebook.cells[index].source = notebook.cells[index].source.replace(old, new)

    return replace


HOME = "/" + "home/somebody/course"
BREAKS = {
    rules.wrong_badge: [_set(TITLE, source=OPENING.partition("\n")[2]), _set(TITLE, source="\n" + OPENING)],
    rules.incomplete_opening: [
        _replace(TITLE, "# 00 · Good", "# Good"),
        _replace(TITLE, "**In one sentence:** a claim.", ""),
        _replace(TITLE, "**After this notebook** you", "**Aims**"),
        _replace(TITLE, "**You need** little.", "**Time:** on a CPU and a T4.\n\n**You need** little."),
        _replace(TITLE, "**You need**", "You need"),
        _replace(TITLE, "on a CPU", ""),
        _replace(TITLE, "T4", "GPU"),
        _replace(TITLE, "| | section | minutes |", "| | section | time |"),
    ],
    rules.wrong_contents: [
        _replace(TITLE, "The end", "An end"),
        _replace(TITLE, "| 2 | The end | 30 |", ""),
        _replace(END, "## 2 · The end", "## 2 · The end\n\n## 3 · More"),
        _replace(TITLE, "| 30 |", "| 90 |"),
        _replace(TITLE, "| 30 |", "| 0 |"),
        _replace(TITLE, "| 30 |", "| 3 |"),
        _replace(TITLE, "| 30 |", "| some |"),
    ],
    rules.another_set_up: [
        _replace(SETUP, "here = start()", "here = start()\nx = 1"),
        _set(SETUP, source="import torch"),
        _replace(1, SET_UP, "## 1 · Set up"),
    ],
    rules.unasked_drive: [_set(FIGURE, source="from google.colab import drive\n\ndrive.mount('drive')")],
    rules.unexplained_notation: [
        _replace(EXPLAINED, NOTATION, "the loss is alpha KL"),
        _replace(EXPLAINED, NOTATION, "$\\beta$ times the features"),
        _replace(EXPLAINED, "alpha weighs the KL", "alpha weighs the features"),
        _replace(EXPLAINED, ", the reverse of the beta-VAE", ""),
    ],
    rules.few_predictions: [_set(GUESS, source="guess = None"), _replace(PROOF, ", votes", "")],
    rules.unproved: [_replace(PROOF, "torch.testing.assert_close(vae, guess, votes)", "guess, votes")],
    rules.unordered: [_set(FIGURE, execution_count=9), _set(FIGURE, execution_count=None)],
    rules.without_ids: [
        lambda notebook: notebook.cells[1].pop("id"),
        lambda notebook: notebook.cells[1].update(id=notebook.cells[0].id),
    ],
    rules.failed: [_put(FIGURE, new_output("error", ename="ValueError", evalue="", traceback=[]))],
    rules.complaints: [
        _put(FIGURE, new_output("stream", name="stderr", text="hm")),
        _put(FIGURE, new_output("stream", text="FutureWarning: hm")),
    ],
    rules.progress_bars: [
        _put(FIGURE, new_output("stream", text=" 50%|#####     | 5/10")),
        _put(FIGURE, new_output("stream", text="5/10\r6/10")),
        _put(FIGURE, new_output("stream", text="20.0 it/s")),
    ],
    rules.another_profile: [
        _put(SETUP, new_output("stream", text="profile       smoke: 512")),
        _set(SETUP, outputs=[]),
    ],
    rules.widgets: [
        _put(FIGURE, new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})),
        lambda notebook: notebook.metadata.update(widgets={}),
    ],
    rules.machine_paths: [
        _put(FIGURE, new_output("stream", text=HOME)),
        _set(FIGURE, source=f"open('{HOME}')"),
    ],
    rules.traces_of_a_machine: [
        lambda notebook: notebook.cells[1].metadata.update(execution={"iopub.execute_input": "2026"}),
        lambda notebook: notebook.metadata.language_info.update(version="3.11.7"),
    ],
    rules.too_large: [_put(FIGURE, new_output("stream", text="x" * MEGABYTE))],
    rules.long_cells: [_set(FIGURE, source="x = 1\n" * (LINES + 1))],
    rules.undescribed_images: [
        _put(FIGURE, new_output("display_data", {"image/png": "AAAA"})),
        _put(FIGURE, new_output("display_data", {"text/html": "<img src='x'>"})),
        _put(FIGURE, new_output("display_data", {"text/html": '<img src="x" alt="figure">'})),
        _set(END, source=good_notebook().cells[END].source + "![](x.png)"),
    ],
    rules.few_checks: [
        _set(FIRST_CHECK, source="print(vae)"),
        _set(FIRST_CHECK, outputs=[]),
        _set(FIRST_CHECK, source=f"{CHECK}\nprint(1 + 1)"),
    ],
    rules.few_exercises: [_replace(SOLUTIONS, "assert True", "print(1)"), _replace(SOLUTIONS, "```", "")],
    rules.incomplete_close: [
        _replace(END, "**Questions**", ""),
        _replace(
            END,
            "**Summary** **What goes wrong, and how it looks**",
            "**What goes wrong, and how it looks** **Summary**",
        ),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_rejects_what_breaks_it_and_takes_the_rest(rule):
    assert rule(good_notebook()) == []
    for break_it in BREAKS[rule]:
        notebook = good_notebook()
        break_it(notebook)
        assert rule(notebook), f"{rule.__name__} does not see the break"


def test_a_wrong_solution_and_a_changed_fact_are_noticed(tmp_path):
    """The run of the notebooks would see both: else it would prove nothing."""
    wrong = new_markdown_cell("<details>\n\n```python\nassert 1 == 2\n```\n</details>")
    fact = new_code_cell(f"{CHECK}\nprint(2)", outputs=[new_output("stream", text="1\n")], execution_count=1)
    nbformat.write(with_solutions(new_notebook(cells=[wrong, fact])), tmp_path / "broken.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "broken.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "2 failed" in done.stdout
