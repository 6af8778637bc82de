"""One deck of slides a notebook: its claim, its sections, its figures with the words that read them.

    python tools/slides.py [--out slides] [notebooks/01_plain_vae.ipynb ...]

Code stays in the notebooks. Every figure keeps its alt text and gets a heading, the page its language. The
decks load reveal.js from the address in --reveal: give a folder with a copy for a room without a network.
Without it a deck reads as one long page; formulas need MathJax, which nbconvert takes from the network.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
REVEAL = "https://unpkg.com/reveal.js@4.6.1"
IMAGE = re.compile(r"<img\b[^>]*>")
HEADING = re.compile(r"^#{2,3} (?:[\w.]+ · )?(.+?) *$", re.MULTILINE)
CLAIM = re.compile(r"^\*\*In one sentence:\*\* (.+?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)
LONGEST = 320  # characters of a paragraph that a slide can carry


def deck(notebook: NotebookNode) -> NotebookNode:
    """The slides as a notebook: title and claim, then a slide a figure under its section's heading.

    Raises ValueError for a figure without alt text.
    """
    opening = notebook.cells[0].source
    claim = CLAIM.search(opening)
    heading = TITLE.search(opening)[1]
    sentence = claim[1] if claim else ""
    slides = [_slide(f"# {heading}\n\n{sentence[:1].upper()}{sentence[1:]}")]
    figures = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            headings = HEADING.findall(FOLDED.sub("", cell.source))
            heading = headings[-1] if headings else heading
        for figure in _figures(cell):
            figures.append((heading, f"{figure}\n\n{_reading(notebook.cells[number + 1 :])}"))
    slides += [_slide(f"## {name}\n\n{text}") for name, text in _apart(figures)]
    return new_notebook(cells=slides, metadata=notebook.metadata)


def _apart(slides: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Numbers in headings that several slides share: a list of slides, read aloud, tells them apart."""
    shared, seen = Counter(heading for heading, _ in slides), Counter()
    named = []
    for heading, text in slides:
        seen[heading] += 1
        count = f" ({seen[heading]} of {shared[heading]})" if shared[heading] > 1 else ""
        named.append((heading + count, text))
    return named


def _slide(text: str) -> NotebookNode:
    return new_markdown_cell(text.strip(), metadata={"slideshow": {"slide_type": "slide"}})


def _figures(cell: NotebookNode) -> list[str]:
    found = [tag for out in cell.get("outputs", []) for tag in IMAGE.findall(_html(out))]
    for tag in found:
        if not re.search(r'\balt="[^"]{10,}"', tag):
            raise ValueError(f"a figure of cell {cell.id} has no alt text: {tag[:60]}")
    return found


def _html(output: NotebookNode) -> str:
    return "".join(output.get("data", {}).get("text/html", ""))


def _reading(following: list[NotebookNode]) -> str:
    """The first paragraph after a figure, where the notebook says what is to be seen in it."""
    if not following or following[0].cell_type != "markdown":
        return ""
    text = FOLDED.sub("", following[0].source)
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    prose = [part for part in paragraphs if not part.startswith(("#", "|", "```", "$$", "<", "- ", "!["))]
    if not prose:
        return ""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z*])", prose[0].replace("\n", " "))
    kept = sentences[0]
    for sentence in sentences[1:]:
        if len(kept) + len(sentence) > LONGEST:
            break
        kept += " " + sentence
    return kept


def page(slides: NotebookNode, reveal: str) -> str:
    """A deck as HTML, with a language and a title for who listens to it."""
    title = TITLE.search(slides.cells[0].source)[1]
    exporter = SlidesExporter(reveal_url_prefix=reveal, reveal_theme="white", reveal_transition="none")
    body, _ = exporter.from_notebook_node(slides, {"metadata": {"name": title}})
    body = re.sub(r"<html(?![^>]*\blang=)", '<html lang="en"', body, count=1)
    # A figure fits beside its words; letters and pauses follow what the reader's system asks for.
    style = "<style>.reveal img{max-height:55vh;width:auto}.reveal p{font-size:70%}</style>"
    return body.replace("</head>", style + "</head>", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Export one deck of slides a notebook.")
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb")))
    parser.add_argument("--out", type=Path, default=Path("slides"))
    parser.add_argument("--reveal", default=REVEAL, help="where reveal.js is: an address or a folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.notebooks:
        slides = deck(nbformat.read(path, as_version=4))
        target = options.out / f"{path.stem}.slides.html"
        target.write_text(page(slides, options.reveal), encoding="utf-8")
        print(f"{target}: {len(slides.cells)} slides")


if __name__ == "__main__":
    main()
