"""What students wrote and what their code showed, without anything that a browser would run.

nbgrader's formgrader shows both on the address of your Jupyter server: a script there could do what you can.
"""

from __future__ import annotations

import re

import bleach
from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer
from nbformat import NotebookNode

from dfcvae_classroom import cells

KINDS = frozenset("text/plain text/latex text/html image/png image/jpeg image/gif".split())
FIGURES = "img figure figcaption div span p pre br hr h1 h2 h3 h4 sub sup"
TAGS = bleach.ALLOWED_TAGS | {*FIGURES.split(), *"table caption thead tbody tr th td".split()}
ATTRIBUTES = {
    "*": ["class", "title", "role", "aria-label", "style", "colspan", "rowspan", "scope"],
    "img": ["src", "alt", "width", "height"],
    "a": ["href"],
}
PROTOCOLS = frozenset({"data", "http", "https"})
STYLES = ALLOWED_CSS_PROPERTIES | {*"max-width margin padding border display image-rendering gap".split()}
MARKUP = re.compile(r"<(?=[A-Za-z/!?])")


def html(text: str) -> str:
    css = CSSSanitizer(STYLES)
    return bleach.clean(text, TAGS, ATTRIBUTES, PROTOCOLS, strip=True, css_sanitizer=css)


def outputs(shown: list[dict]) -> list[dict]:
    """Outputs of a cell with safe kinds of data only, and their HTML cleaned."""
    return [output | {"data": _data(output["data"])} if "data" in output else output for output in shown]


def _data(data: dict[str, str]) -> dict[str, str]:
    return {kind: html(text) if kind == "text/html" else text for kind, text in data.items() if kind in KINDS}


def disarm(cell: NotebookNode) -> None:
    """Put a space after each "<" of a student's text that would begin HTML: "a <b" reads the same."""
    if cell.cell_type != "code" and (cells.is_answer(cell) or cell.id.startswith("own-")):
        cell.source = MARKUP.sub("< ", cell.source)
