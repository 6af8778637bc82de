"""Objectives, minutes and points of the problem sets, from their notebooks, for docs/teaching.md."""

from __future__ import annotations

import re
from pathlib import Path

from nbformat import NotebookNode

from dfcvae_classroom import cells

PLACE = re.compile(r"(?s)(<!-- table -->\n).*?(<!-- /table -->)")
HEADING = re.compile(r"^#{2,3} (.+?)(?: · (\d+(?:\.\d+)?) points?)?(?: · (\d+) minutes?\b.*)?$", re.MULTILINE)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
OBJECTIVES = re.compile(
    r"(?m)^(?:\*\*After this set\*\*|[*#\s]*Objectives\b)[^\n]*\n+((?:[-*] .+\n(?:  .+\n)*)+)"
)
BULLET = re.compile(r"^[-*] ((?:.+\n?)(?:  .+\n?)*)", re.MULTILINE)


def write(repository: Path, check: bool = False) -> str:
    """Put the table into docs/teaching.md, or (check) raise ValueError where it is not; returns what to tell.

    Raises ValueError where a set's headings and points differ, too.
    """
    page = repository / "docs" / "teaching.md"
    sources = sorted((repository / "classroom" / "dfcvae_classroom" / "sources").glob("*/*.ipynb"))
    table = "\n".join(_section(path.stem, cells.read(path)) for path in sources)
    old = page.read_text(encoding="utf-8")
    new = PLACE.sub(lambda place: f"{place[1]}\n{table}\n{place[2]}", old)
    if new == old:
        return f"{page.name}: up to date"
    if check:
        raise ValueError(f"the table in {page} is out of date: run  dfcvae-classroom table")
    page.write_text(new, encoding="utf-8")
    return f"{page.name}: written"


def _section(name: str, notebook: NotebookNode) -> str:
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown") + "\n"
    rows = [row for row in HEADING.findall(text) if row[1] or row[2]]
    told, total = sum(float(points or 0) for _, points, _ in rows), cells.points(notebook)
    if told != total:
        raise ValueError(
            f"{name}: the headings give {told:g} points and the cells {total:g}: a heading reads "
            "'### Task 1 · What · 6 points · 15 minutes', with all points of the task, text included."
        )
    minutes = sum(int(minutes or 0) for _, _, minutes in rows)
    lines = [f"### {TITLE.search(text)[1]} (`{name}`): {total:g} points, {minutes} minutes", ""]
    objectives = OBJECTIVES.search(text)
    for bullet in BULLET.findall(objectives[1]) if objectives else []:
        lines.append("- " + " ".join(bullet.split()).rstrip(",.;"))
    lines += ["", "| task | points | minutes |", "| --- | ---: | ---: |"]
    lines += [f"| {what} | {points} | {minutes} |" for what, points, minutes in rows]
    return "\n".join(lines) + "\n"
