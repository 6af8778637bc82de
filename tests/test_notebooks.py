"""The notebooks run from top to bottom, solutions included, and look as the course promises."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINES, MEGABYTE, CHECKED = 25, 1_000_000, 5
CHECK = "# NBVAL_CHECK_OUTPUT"
# Built from pieces, so that a search for paths of a machine does not find this file.
MACHINE_PATH = re.compile(r"(?<![\w.~<$}/+-])/" + r"(?:work|root|home|opt|tmp|Users)\b/|[A-Z]:\\+" + "Users")
DATA = re.compile(r"base64,[A-Za-z0-9+/=]+")
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def solutions(cell: NotebookNode) -> list[str]:
    return SOLUTION.findall(cell.source) if cell.cell_type == "markdown" else []


def with_solutions(notebook: NotebookNode) -> NotebookNode:
    """The notebook as somebody runs it who copies every solution into a cell below it."""
    cells = []
    for cell in notebook.cells:
        cells += [cell, *(new_code_cell(solution) for solution in solutions(cell))]
    return new_notebook(cells=cells, metadata=notebook.metadata)


# Rules: each says what is wrong, or gives nothing.


def unordered(notebook: NotebookNode) -> list[str]:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"cells were run in the order {counts}"]


def without_ids(notebook: NotebookNode) -> list[str]:
    ids = [cell.get("id") for cell in notebook.cells]
    return [] if None not in ids and len(set(ids)) == len(ids) else ["cells without an id of their own"]


def failed(notebook: NotebookNode) -> list[str]:
    return [output.ename for output in outputs(notebook) if output.output_type == "error"]


def complaints(notebook: NotebookNode) -> list[str]:
    return [output.text for output in outputs(notebook) if output.get("name") == "stderr"]


def widgets(notebook: NotebookNode) -> list[str]:
    views = [mime for output in outputs(notebook) for mime in output.get("data", {}) if "widget" in mime]
    return views + (["metadata.widgets"] if "widgets" in notebook.metadata else [])


def machine_paths(notebook: NotebookNode) -> list[str]:
    return MACHINE_PATH.findall(DATA.sub("", nbformat.writes(notebook)))


def traces_of_a_machine(notebook: NotebookNode) -> list[str]:
    timings = [cell.id for cell in notebook.cells if "execution" in cell.metadata]
    return timings + sorted(set(notebook.metadata.get("language_info", {})) - {"name"})


def too_large(notebook: NotebookNode) -> list[str]:
    size = len(nbformat.writes(notebook).encode())
    return [] if size < MEGABYTE else [f"{size:,} bytes"]


def long_cells(notebook: NotebookNode) -> list[str]:
    return [cell.id for cell in code_cells(notebook) if len(cell.source.splitlines()) > LINES]


def long_set_up(notebook: NotebookNode) -> list[str]:
    first = code_cells(notebook)[0].source.splitlines()
    return [] if len(first) <= 10 and "start" in first[-1] else ["the first cell is no set-up of ten lines"]


def undescribed_images(notebook: NotebookNode) -> list[str]:
    """Pictures in outputs and in text whose alt text is missing or too short to state a finding."""
    found = []
    for output in outputs(notebook):
        data = output.get("data", {})
        found += [mime for mime in data if mime.startswith("image/")]  # JupyterLab shows these without alt
        found += [tag[:40] for tag in re.findall(r"<img\b[^>]*>", data.get("text/html", "")) if not _alt(tag)]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += [text for text in re.findall(r"!\[(.*?)\]\(", cell.source) if len(text.split()) < 5]
            found += [tag for tag in re.findall(r"<img\b[^>]*>", cell.source) if not _alt(tag)]
    return found


def _alt(tag: str) -> bool:
    alt = re.search(r'\balt="([^"]*)"', tag)
    return alt is not None and len(alt[1].split()) >= 5


def few_checks(notebook: NotebookNode) -> list[str]:
    checked = [cell for cell in code_cells(notebook) if cell.source.startswith(CHECK) and cell.outputs]
    return [] if len(checked) >= CHECKED else [f"{len(checked)} cells with {CHECK}, expected {CHECKED}"]


def few_exercises(notebook: NotebookNode) -> list[str]:
    tested = [text for cell in notebook.cells for text in solutions(cell) if "assert" in text]
    return [] if len(tested) >= 3 else [f"{len(tested)} exercises with a tested solution, expected 3"]


def incomplete_close(notebook: NotebookNode) -> list[str]:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    parts = ("Summary", "What goes wrong, and how it looks", "Questions", "References", "Next")
    return [f"no {part}" for part in parts if f"**{part}" not in text]


RULES = (
    unordered,
    without_ids,
    failed,
    complaints,
    widgets,
    machine_paths,
    traces_of_a_machine,
    too_large,
    long_cells,
    long_set_up,
    undescribed_images,
    few_checks,
    few_exercises,
    incomplete_close,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rule(path, rule):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert rule(notebook) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_offline_from_an_empty_folder(path, tmp_path):
    """In a folder of its own, under nbval, with its solutions copied in; the network leads nowhere."""
    nbformat.write(with_solutions(nbformat.read(path, as_version=4)), tmp_path / path.name)
    nowhere = "http://127.0.0.1:9"
    surroundings = os.environ | {
        "DFCVAE_PROFILE": "smoke",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "PYTHONPATH": str(ROOT),
    }
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600"]
    command = [sys.executable, "-m", "pytest", *nbval, "-p", "no:cacheprovider", "-q", path.name]
    done = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


# Each rule rejects a notebook that breaks it, and takes the one that the others are made from.


def good_notebook() -> NotebookNode:
    image = '<img src="data:image/png;base64,AAAA" alt="A figure that shows a thing">'
    cells = [
        new_code_cell("from dfcvae.course.setup import start\nhere = start()"),
        new_code_cell("figure", outputs=[new_output("execute_result", {"text/html": image})]),
    ]
    cells += [new_code_cell(CHECK, outputs=[new_output("stream", text="1")]) for _ in range(CHECKED)]
    for number, cell in enumerate(cells, 1):
        cell.execution_count = number
    solution = "<details><summary>Solution</summary>\n\n```python\nassert True\n```\n</details>"
    close = "**Summary** **What goes wrong, and how it looks** **Questions** **References** **Next**"
    cells += [new_markdown_cell(text) for text in (solution, solution, solution, close)]
    return new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


def _set(index: int, **values) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[index].update(values)


def _put(index: int, output: NotebookNode) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[index].update(outputs=[output])


HOME = "/" + "home/somebody/course"
BREAKS = {
    unordered: [_set(1, execution_count=9), _set(1, execution_count=None)],
    without_ids: [
        lambda notebook: notebook.cells[1].pop("id"),
        lambda notebook: notebook.cells[1].update(id=notebook.cells[0].id),
    ],
    failed: [_put(1, new_output("error", ename="ValueError", evalue="", traceback=[]))],
    complaints: [_put(1, new_output("stream", name="stderr", text="FutureWarning"))],
    widgets: [
        _put(1, new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})),
        lambda notebook: notebook.metadata.update(widgets={}),
    ],
    machine_paths: [_put(1, new_output("stream", text=HOME)), _set(1, source=f"open('{HOME}')")],
    traces_of_a_machine: [
        lambda notebook: notebook.cells[1].metadata.update(execution={"iopub.execute_input": "2026"}),
        lambda notebook: notebook.metadata.language_info.update(version="3.11.7"),
    ],
    too_large: [_put(1, new_output("stream", text="x" * MEGABYTE))],
    long_cells: [_set(1, source="x = 1\n" * (LINES + 1))],
    long_set_up: [_set(0, source="x = 1\n" * 10 + "start()"), _set(0, source="import torch")],
    undescribed_images: [
        _put(1, new_output("display_data", {"image/png": "AAAA"})),
        _put(1, new_output("display_data", {"text/html": "<img src='x'>"})),
        _put(1, new_output("display_data", {"text/html": '<img src="x" alt="figure">'})),
        _set(-1, source=good_notebook().cells[-1].source + "![](x.png)"),
    ],
    few_checks: [_set(2, source="print(1)"), _set(2, outputs=[])],
    few_exercises: [_set(-2, source="<details>\n\n```python\nprint(1)\n```\n</details>")],
    incomplete_close: [_set(-1, source="**Summary**")],
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
