"""What a course's secret changes in the notebook of problem set 3: faces, and answers' numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dfcvae_classroom.grading import Deal, ps3_cases

if TYPE_CHECKING:
    from nbformat import NotebookNode

SEEDS_LINE = re.compile(r"^LEARNING, CHOOSING, MEASURING = .*$", re.MULTILINE)
CLAIM_LINE = re.compile(r"^\*\*Claim\.\*\* .*$", re.MULTILINE)
EXAMPLE = "Wearing_Hat"  # the attribute of the model answer


def deal_notebook(notebook: NotebookNode, deal: Deal) -> NotebookNode:
    """The set with the deal's faces, and with the model answers' numbers for them."""
    dealt, claim = ps3_cases.seeds(deal), ps3_cases.claim(EXAMPLE, deal)
    for cell in notebook.cells:
        cell.source = SEEDS_LINE.sub("LEARNING, CHOOSING, MEASURING = {}, {}, {}".format(*dealt), cell.source)
        if cell.get("id") == "claim":
            for key, value in claim.items():
                written = f'"{value}"' if isinstance(value, str) else value
                cell.source = re.sub(rf'"{key}": .*,', f'"{key}": {written},', cell.source)
        cell.source = CLAIM_LINE.sub(sentence(claim), cell.source)
    return notebook


def sentence(claim: Mapping[str, Any]) -> str:
    """The model claim in words: what a student is to write with numbers of their own."""
    ends = {
        "nearer": "brings a face nearer to its true picture than leaving the code alone",
        "farther": "takes a face farther from its true picture than leaving the code alone",
        "undecided": "neither helps nor harms as far as these faces can tell",
    }
    return (
        f"**Claim.** For drawn faces and this one VAE-123, adding {claim['amount']:g} times the vector of "
        f"`{claim['attribute']}` {ends[claim['verdict']]}: {claim['gain']:+.2f} dB on average "
        f"(95 %: {claim['low']:+.2f} to {claim['high']:+.2f}; {claim['faces']} faces that had no part in the "
        "vector or in the choice of the amount)."
    )
