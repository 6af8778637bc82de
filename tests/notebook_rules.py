"""The rules that every notebook keeps. Each takes a notebook and says what is wrong, or gives nothing."""

import ast
import re
from pathlib import Path

import nbformat
from badges import INSTALLS, NOTICE, STAYS, read_address
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

ADDRESS = read_address(Path(__file__).resolve().parent.parent)
LINES, MEGABYTE, CHECKED, SITTING, MINUTES = 25, 1_000_000, 5, 45, (15, 240)
CHECK = "# NBVAL_CHECK_OUTPUT"
# Built from pieces, so that a search for paths of a machine does not find this file.
MACHINE_PATH = re.compile(r"(?<![\w.~<$}/+-])/" + r"(?:work|root|home|opt|tmp|Users)\b/|[A-Z]:\\+" + "Users")
DATA = re.compile(r"base64,[A-Za-z0-9+/=]+")
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
PROGRESS = re.compile(r"\r|\d%\||\bit/s\b|\bs/it\b")
PREDICTION = re.compile(r"^(\w+(?:, \w+)*) = (?:None\b|\{[^}]*: None\b)", re.MULTILINE)
ROW = re.compile(r"^\| *(\w+) *\| *(.+?) *\| *(\d+) *\|$", re.MULTILINE)
HEADING = re.compile(r"^## (\w+) · (.+?) *$", re.MULTILINE)
OPENING = {  # in this order, in the first cell
    "title": r"^# \d\d · \S",
    "claim": r"^\*\*In one sentence:\*\* \S",
    "aims": r"^\*\*After this notebook\*\* you$",
    "needs": r"^\*\*You need\*\* \S",
    "time on a CPU and on a T4": r"^\*\*Time:\*\*(?=.*\bCPU\b)(?=.*\bT4\b)",
    "contents": r"^\| \| section \| minutes \|$",
}
CLOSE = ("Summary", "What goes wrong, and how it looks", "Questions", "References", "Next")
# The sentence may name what stands in the features' place, as long as it says which letter weighs what.
NOTATION = re.compile(
    r"\balpha\W+weighs (?:the )?KL\b.{0,80}?\bbeta\b.{0,80}?\bfeatures\b.{0,160}?\breverse of\b", re.DOTALL
)


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


def text_of(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def statements(cell: NotebookNode) -> list[ast.stmt]:
    """The cell's Python; the lines that speak to IPython are left out."""
    lines = [line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    return ast.parse("\n".join(lines)).body


def names(statement: ast.stmt) -> set[str]:
    found = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return found | {
        node.name for node in ast.walk(statement) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def uses_of_the_package(notebook: NotebookNode) -> list[NotebookNode]:
    """Cells that use dfcvae: by name, or through something that was made with it."""
    ours, found = {"dfcvae"}, []
    for cell in code_cells(notebook):
        used = False
        for statement in statements(cell):
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("dfcvae"):
                ours |= {alias.asname or alias.name for alias in statement.names}
            elif names(statement) & ours:
                used, ours = True, ours | _assigned(statement)
        if used:
            found.append(cell)
    return found


def _assigned(statement: ast.stmt) -> set[str]:
    stored = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {getattr(statement, "name", "")}


# Rules about what is read.


def wrong_badge(notebook: NotebookNode) -> list[str]:
    first = notebook.cells[0].source.partition("\n")[0] if notebook.cells else ""
    right = (
        ADDRESS.colab("notebooks/") in first and "save a copy" in first
        if ADDRESS.repository
        else first == NOTICE
    )
    return [] if right else ["the first line is no Colab badge for this repository: run `dfcvae badges`"]


def incomplete_opening(notebook: NotebookNode) -> list[str]:
    found = [re.search(part, notebook.cells[0].source, re.MULTILINE) for part in OPENING.values()]
    missing = [name for name, match in zip(OPENING, found, strict=True) if match is None]
    places = [match.start() for match in found if match]
    return missing or ([] if places == sorted(places) else ["the opening's parts stand in another order"])


def wrong_contents(notebook: NotebookNode) -> list[str]:
    """Rows that are no sections, sections that are no rows, a section for more than a sitting."""
    rows = ROW.findall(notebook.cells[0].source)
    headings = HEADING.findall(text_of(notebook))
    minutes = [int(row[2]) for row in rows]
    wrong = [] if [row[:2] for row in rows] == headings else [f"contents {rows}, headings {headings}"]
    wrong += [f"{row[1]} takes more than a sitting" for row in rows if not 0 < int(row[2]) <= SITTING]
    return wrong + ([] if MINUTES[0] <= sum(minutes) <= MINUTES[1] else [f"{sum(minutes)} minutes in all"])


def another_set_up(notebook: NotebookNode) -> list[str]:
    promise = INSTALLS if ADDRESS.repository else STAYS
    same = bool(code_cells(notebook)) and code_cells(notebook)[0].source == ADDRESS.set_up
    wrong = [] if same else ["the first code cell is not the set-up cell of all notebooks"]
    return wrong + ([] if promise in text_of(notebook) else [f"the text before it does not say: {promise}"])


def unasked_drive(notebook: NotebookNode) -> list[str]:
    return [
        cell.id
        for cell in code_cells(notebook)
        if re.search(r"^\S*drive\.mount\b", cell.source, re.MULTILINE)
    ]


def unexplained_notation(notebook: NotebookNode) -> list[str]:
    text = text_of(notebook)
    weights = re.search(r"\b(?:alpha|beta)\b", text.replace("beta-VAE", ""))
    return ["alpha or beta, but not which weighs what"] if weights and not NOTATION.search(text) else []


def few_predictions(notebook: NotebookNode) -> list[str]:
    """Two at least that are asked for, `= None`, and read by a cell further down."""
    cells, read = code_cells(notebook), set()
    for i, cell in enumerate(cells):
        asked = {name for found in PREDICTION.findall(cell.source) for name in found.split(", ")}
        below = "\n".join(later.source for later in cells[i + 1 :])
        read |= {name for name in asked if re.search(rf"\b{name}\b(?! = )", below)}
    return [] if len(read) >= 2 else [f"predictions that are asked for and read: {sorted(read)}, expected 2"]


def unproved(notebook: NotebookNode) -> list[str]:
    proofs = [cell for cell in code_cells(notebook) if "assert_close(" in cell.source]
    return [] if proofs else ["nothing made by hand is proved equal to the package's with assert_close"]


# Rules about what is stored.


def unordered(notebook: NotebookNode) -> list[str]:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"cells were run in the order {counts}"]


def without_ids(notebook: NotebookNode) -> list[str]:
    ids = [cell.get("id") for cell in notebook.cells]
    return [] if None not in ids and len(set(ids)) == len(ids) else ["cells without an id of their own"]


def failed(notebook: NotebookNode) -> list[str]:
    return [output.ename for output in outputs(notebook) if output.output_type == "error"]


def complaints(notebook: NotebookNode) -> list[str]:
    texts = [output.text for output in outputs(notebook) if output.get("name") == "stderr"]
    return texts + [o.text for o in outputs(notebook) if re.search(r"\w*Warning: ", o.get("text", ""))]


def progress_bars(notebook: NotebookNode) -> list[str]:
    return [output.text for output in outputs(notebook) if PROGRESS.search(output.get("text", ""))]


def another_profile(notebook: NotebookNode) -> list[str]:
    printed = "".join(o.get("text", "") for cell in code_cells(notebook)[:1] for o in cell.outputs)
    return [] if re.search(r"^profile +cpu:", printed, re.MULTILINE) else ["not stored under the cpu profile"]


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
    ours = uses_of_the_package(notebook)
    checked = [cell for cell in ours if cell.source.startswith(CHECK) and cell.outputs]
    return [] if len(checked) >= CHECKED else [f"{len(checked)} cells check the package, expected {CHECKED}"]


def few_exercises(notebook: NotebookNode) -> list[str]:
    tested = [text for cell in notebook.cells for text in solutions(cell) if "assert" in text]
    return [] if len(tested) >= 3 else [f"{len(tested)} exercises with a tested solution, expected 3"]


def incomplete_close(notebook: NotebookNode) -> list[str]:
    text = text_of(notebook)
    places = [text.rfind(f"**{part}") for part in CLOSE]
    missing = [f"no {part}" for part, place in zip(CLOSE, places, strict=True) if place < 0]
    return missing or ([] if places == sorted(places) else ["the closing parts stand in another order"])


RULES = (
    wrong_badge,
    incomplete_opening,
    wrong_contents,
    another_set_up,
    unasked_drive,
    unexplained_notation,
    few_predictions,
    unproved,
    unordered,
    without_ids,
    failed,
    complaints,
    progress_bars,
    another_profile,
    widgets,
    machine_paths,
    traces_of_a_machine,
    too_large,
    long_cells,
    undescribed_images,
    few_checks,
    few_exercises,
    incomplete_close,
)
