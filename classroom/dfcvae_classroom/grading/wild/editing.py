"""The program's text with faults in it, and what such a text defines."""

from __future__ import annotations

import inspect
from random import Random
from typing import Any

from dfcvae_classroom.grading import Deal
from dfcvae_classroom.grading.wild import program
from dfcvae_classroom.grading.wild.faults import FAULTS, Edit

DEALT = 5  # faults of a course
WHOLE = inspect.getsource(program)


def dealt(deal: Deal) -> list[str]:
    """The five faults of a course, in the order of the promises."""
    drawn = deal.random("ps4", "faults").sample(list(FAULTS), DEALT)
    return [name for name in FAULTS if name in drawn]


def text(*edits: Edit) -> str:
    """The program with the edits in it. KeyError where a piece that is to be changed is not there once."""
    found = WHOLE
    for old, new in (pair for edit in edits for pair in edit.items()):
        if found.count(old) != 1:
            raise KeyError(old)
        found = found.replace(old, new)
    return found


def build(source: str) -> dict[str, Any]:
    """What a text of the program defines, in a name space of its own."""
    namespace: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, "program", "exec"), namespace)
    return namespace


def rewritten(dealt: Random, *edits: Edit) -> str:
    """A program with these edits whose other parts are written in one of their right ways, as drawn.

    So that nobody knows a program by its text: what remains to tell them apart is what they do.
    """
    edits = list(edits)
    for fault in FAULTS.values():
        way = dealt.choice(({}, *fault.right))
        try:
            text(*edits, way)
        except KeyError:  # the piece has been edited already
            continue
        edits.append(way)
    return text(*edits)
