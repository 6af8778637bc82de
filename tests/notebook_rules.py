"""The rules that every notebook keeps. Each takes a notebook and says what is wrong, or gives nothing.

Badges and set-up cells are held by test_badges.py, paths of a machine by test_project_files.py, and that the
checks notice broken functions of the package by test_mutations.py.
"""

import re
from collections.abc import Iterator

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

LINES, MEGABYTE, CHECKED, SITTING, MINUTES = 25, 1_000_000, 5, 45, (15, 240)
CHECK = "# NBVAL_CHECK_OUTPUT"
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
NOISE = re.compile(r"\w*Warning: |\r|\d%\||\bit/s\b|\bs/it\b")  # warnings and progress bars
PREDICTION = re.compile(r"^(\w+(?:, \w+)*) = (?:None\b|\{[^}]*: None\b)", re.MULTILINE)
ROW = re.compile(r"^\| *(\w+) *\| *(.+?) *\| *(\d+) *\|$", re.MULTILINE)
HEADING = re.compile(r"^## (\w+) · (.+?) *$", re.MULTILINE)
IMAGE = re.compile(r"<img\b[^>]*>|!\[.*?\]\(")
ALT = re.compile(r'\balt="([^"]*)"|!\[(.*?)\]')
OPENING = (  # in this order, in the first cell
    r"^# \d\d · \S",
    r"^\*\*In one sentence:\*\* \S",
    r"^\*\*After this notebook\*\* you$",
    r"^\*\*You need\*\* \S",
    r"^\*\*Time:\*\*(?=.*\bCPU\b)(?=.*\bT4\b)",
    r"^\| \| section \| minutes \|$",
)
CLOSE = ("Summary", "What goes wrong, and how it looks", "Questions", "References", "Next")
# The sentence may name what stands in the features' place, as long as it says which letter weighs what.
NOTATION = re.compile(
    r"\balpha\W+weighs (?:the )?KL\b.{0,80}?\bbeta\b.{0,80}?\bfeatures\b.{0,160}?\breverse of\b", re.DOTALL
)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def text_of(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def with_solutions(notebook: NotebookNode) -> NotebookNode:
    """The notebook as somebody runs it who copies every solution into a cell below it."""
    cells = []
    for cell in notebook.cells:
        found = SOLUTION.findall(cell.source) if cell.cell_type == "markdown" else []
        cells += [cell, *map(new_code_cell, found)]
    return new_notebook(cells=cells, metadata=notebook.metadata)


def _in_order(places: list[int], parts: tuple[str, ...]) -> list[str]:
    """Parts that are missing (place -1), or that all of them stand in another order."""
    missing = [part for part, place in zip(parts, places, strict=True) if place < 0]
    return missing or ([] if places == sorted(places) else [f"in another order: {parts}"])


# What is read.


def opening(notebook: NotebookNode) -> list[str]:
    found = [re.search(part, notebook.cells[0].source, re.MULTILINE) for part in OPENING]
    return _in_order([match.start() if match else -1 for match in found], OPENING)


def contents(notebook: NotebookNode) -> list[str]:
    """Rows that are no sections, sections that are no rows, a section for more than a sitting."""
    rows, headings = ROW.findall(notebook.cells[0].source), HEADING.findall(text_of(notebook))
    minutes = [int(row[2]) for row in rows]
    wrong = [] if [row[:2] for row in rows] == headings else [f"contents {rows}, headings {headings}"]
    wrong += [f"{row[1]} takes more than a sitting" for row in rows if not 0 < int(row[2]) <= SITTING]
    return wrong + ([] if MINUTES[0] <= sum(minutes) <= MINUTES[1] else [f"{sum(minutes)} minutes in all"])


def notation(notebook: NotebookNode) -> list[str]:
    text = text_of(notebook)
    weights = re.search(r"\b(?:alpha|beta)\b", text.replace("beta-VAE", ""))
    return ["alpha or beta, but not which weighs what"] if weights and not NOTATION.search(text) else []


def predictions(notebook: NotebookNode) -> list[str]:
    """Two at least that are asked for, `= None`, and read by a cell further down."""
    cells, read = code_cells(notebook), set()
    for i, cell in enumerate(cells):
        below = "\n".join(later.source for later in cells[i + 1 :])
        asked = [name for found in PREDICTION.findall(cell.source) for name in found.split(", ")]
        read |= {name for name in asked if re.search(rf"\b{name}\b(?! = )", below)}
    return [] if len(read) >= 2 else [f"predictions that are asked for and read: {sorted(read)}, expected 2"]


def proof(notebook: NotebookNode) -> list[str]:
    proofs = [cell for cell in code_cells(notebook) if "assert_close(" in cell.source]
    return [] if proofs else ["nothing made by hand is proved equal to the package's with assert_close"]


def exercises(notebook: NotebookNode) -> list[str]:
    tested = [text for text in SOLUTION.findall(text_of(notebook)) if "assert" in text]
    return [] if len(tested) >= 3 else [f"{len(tested)} exercises with a tested solution, expected 3"]


def code(notebook: NotebookNode) -> list[str]:
    long = [cell.id for cell in code_cells(notebook) if len(cell.source.splitlines()) > LINES]
    return long + [cell.id for cell in code_cells(notebook) if "drive.mount" in cell.source]


def closing(notebook: NotebookNode) -> list[str]:
    return _in_order([text_of(notebook).rfind(f"**{part}") for part in CLOSE], CLOSE)


# What is stored.


def order(notebook: NotebookNode) -> list[str]:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"cells were run in the order {counts}"]


def noise(notebook: NotebookNode) -> list[str]:
    """Errors, warnings, progress bars."""
    loud = [o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"]
    return loud + [o.text for o in outputs(notebook) if NOISE.search(o.get("text", ""))]


def profile(notebook: NotebookNode) -> list[str]:
    printed = "".join(o.get("text", "") for cell in code_cells(notebook)[:1] for o in cell.outputs)
    return [] if re.search(r"^profile +cpu:", printed, re.MULTILINE) else ["not stored under the cpu profile"]


def leftovers(notebook: NotebookNode) -> list[str]:
    """What tools/execute_notebooks.py takes out: widgets, timings, the version of Python."""
    found = [mime for output in outputs(notebook) for mime in output.get("data", {}) if "widget" in mime]
    found += [cell.id for cell in notebook.cells if "execution" in cell.metadata]
    found += sorted(set(notebook.metadata.get("language_info", {})) - {"name"})
    return found + sorted(set(notebook.metadata) - {"kernelspec", "language_info"})


def size(notebook: NotebookNode) -> list[str]:
    found = len(nbformat.writes(notebook).encode())
    return [] if found < MEGABYTE else [f"{found:,} bytes"]


def images(notebook: NotebookNode) -> list[str]:
    """Pictures in outputs and in text whose alt text is missing or too short to state a finding."""
    # JupyterLab shows an image/png without alt text.
    bare = [mime for o in outputs(notebook) for mime in o.get("data", {}) if mime.startswith("image/")]
    return bare + [tag[:60] for tag in _images(notebook) if not _stated(tag)]


def _images(notebook: NotebookNode) -> Iterator[str]:
    for html in [text_of(notebook), *(o.get("data", {}).get("text/html", "") for o in outputs(notebook))]:
        yield from IMAGE.findall(html)


def _stated(tag: str) -> bool:
    alt = ALT.search(tag)
    return alt is not None and len((alt[1] or alt[2] or "").split()) >= 5


def checks(notebook: NotebookNode) -> list[str]:
    checked = [cell for cell in code_cells(notebook) if cell.source.startswith(CHECK) and cell.outputs]
    return [] if len(checked) >= CHECKED else [f"{len(checked)} cells check their output, expected {CHECKED}"]


RULES = (
    *(opening, contents, notation, predictions, proof, exercises, code, closing),
    *(order, noise, profile, leftovers, size, images, checks),
)
