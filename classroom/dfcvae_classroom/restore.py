"""Put a student's work back into the release: lost grading metadata, lost cells, edited tests.

A submission is matched cell by cell with what was released: by nbgrader's own metadata, by cell id (which
Colab keeps where it drops the metadata), by an unchanged text, by the names that the code defines, by its
place. What matches nothing is said; an answer that could not be told from the student's own cells is never
taken for none.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dfcvae_classroom import cells
from dfcvae_classroom.cells import Cell

RULES = ("metadata", "cell id", "same text", "names in the code", "place")


@dataclass
class Restored:
    """notebook: the release with the student's work in it. notes: what was done, in sentences.

    by_rule: how many cells each rule found. lost: answers that may be among the student's own cells, by
    grade_id: while there are any, the notebook must not be graded.
    """

    notebook: NotebookNode
    notes: list[str] = field(default_factory=list)
    by_rule: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def restore(release: NotebookNode, submitted: Cell) -> Restored:
    """The student's answers and own cells in the release's frame; see ``Restored``."""
    found = _Match(release, submitted["cells"])
    lost, notes = found.missing_answers()
    notebook = copy.copy(release)
    notebook.cells = found.merged()
    return Restored(notebook, found.notes + notes + found.changes(), found.by_rule, lost)


class _Match:
    """Which cell of a submission is which of the release. to: release index -> submitted index."""

    def __init__(self, release: NotebookNode, submitted: list[Cell]) -> None:
        self.released, self.submitted = release.cells, submitted
        self.to: dict[int, int] = {}
        self.by_rule, self.notes = dict.fromkeys(RULES, 0), []
        self._free = set(range(len(submitted)))
        for rule, key in ((RULES[0], cells.grade_id), (RULES[1], _id), (RULES[2], _plain)):
            self._by_key(rule, key)
        self._by_names()
        self._by_place()

    def _take(self, rule: str, number: int, index: int) -> None:
        self.to[number] = index
        self._free.discard(index)
        self.by_rule[rule] += 1

    def _by_key(self, rule: str, key) -> None:
        wanted = {key(cell): n for n, cell in reversed(list(enumerate(self.released))) if key(cell)}
        for index in sorted(self._free, reverse=True):  # of copies the last, as nbgrader does
            number = wanted.get(key(self.submitted[index]))
            if number is None:
                continue
            if number not in self.to:
                self._take(rule, number, index)
            elif rule == RULES[0] and cells.is_answer(self.released[number]):
                name = cells.grade_id(self.released[number])
                self.notes.append(f"there are several cells {name}: the last counts")

    def _by_names(self) -> None:
        for number, cell in enumerate(self.released):
            if number in self.to or cell.cell_type != "code" or not _is_open(cell):
                continue
            wanted = cells.names(cell.source)
            defined = {i: cells.names(cells.text(self.submitted[i])) for i in self._free}
            fits = [i for i, names in defined.items() if wanted and wanted <= names]
            if len(fits) == 1:
                self._take(RULES[3], number, fits[0])

    def _by_place(self) -> None:
        """One unmatched answer and one unmatched cell of its type between the same two matched cells."""
        for number in self._unanswered():
            before = max((n for n in self.to if n < number), default=-1)
            after = min((n for n in self.to if n > number), default=len(self.released))
            low, high = self.to.get(before, -1), self.to.get(after, len(self.submitted))
            kind = self.released[number].cell_type
            fits = [i for i in self._free if low < i < high and _could_be(self.submitted[i], kind)]
            rivals = [
                n for n in self._unanswered() if before < n < after and self.released[n].cell_type == kind
            ]
            if len(fits) == 1 and rivals == [number]:
                self._take(RULES[4], number, fits[0])

    def _unanswered(self) -> list[int]:
        return [n for n, cell in enumerate(self.released) if n not in self.to and cells.is_answer(cell)]

    def missing_answers(self) -> tuple[list[str], list[str]]:
        """Answers without a cell that one left over could be; a note for each that none could be."""
        missing = [self.released[n] for n in self._unanswered()]
        left = [self.submitted[i] for i in self._free]
        every = len(missing) == sum(map(cells.is_answer, self.released))
        lost = [
            cells.grade_id(cell)
            for cell in missing
            if every or any(_could_be(own, cell.cell_type) for own in left)
        ]
        return lost, [
            f"the answer cell {name} is missing, and no other cell could be it: it counts as not answered"
            for name in map(cells.grade_id, missing)
            if name not in lost
        ]

    def changes(self) -> list[str]:
        notes = []
        for number, cell in enumerate(self.released):
            if cells.is_test(cell) and number not in self.to:
                notes.append(f"the test cell {cells.grade_id(cell)} was missing and was put back")
            elif cells.is_test(cell) and _plain(cell) != _plain(self.submitted[self.to[number]]):
                notes.append(f"the test cell {cells.grade_id(cell)} had been edited and was put back")
        return notes

    def merged(self) -> list[NotebookNode]:
        """The release's cells with the answers in them, and behind each the student's own that followed."""
        place = {index: number for number, index in self.to.items()}
        following: dict[int, list[Cell]] = {}
        last = -1
        for index, cell in enumerate(self.submitted):
            last = place.get(index, last)
            if index not in place:
                following.setdefault(last, []).append(cell)
        merged, own = [], 0
        for number in range(-1, len(self.released)):
            if number >= 0:
                merged.append(self._put_back(number))
            for cell in following.get(number, ()):
                own += 1
                merged.append(_own_cell(cell, f"own-{own}"))
        return merged

    def _put_back(self, number: int) -> NotebookNode:
        cell = copy.deepcopy(self.released[number])
        if number in self.to:
            theirs = self.submitted[self.to[number]]
            if _is_open(cell):
                cell.source = cells.text(theirs)
            if cell.cell_type == theirs["cell_type"] == "code":
                cell.outputs = nbformat.from_dict(theirs.get("outputs", []))
                cell.execution_count = theirs.get("execution_count")
        return cell


def _is_open(cell: Cell) -> bool:
    """Whether a student writes in it, for points or to predict."""
    return cells.is_answer(cell) or cells.is_prediction(cell)


def _id(cell: Cell) -> str | None:
    return cell.get("id") or cell.get("metadata", {}).get("id")  # Colab moves it into the metadata


def _plain(cell: Cell) -> tuple[str, str] | None:
    """Type and text without white space; nothing for answers (a stub says YOUR ANSWER HERE many times)."""
    source = "".join(cells.text(cell).split())
    return (cell["cell_type"], source) if source and not cells.is_answer(cell) else None


def _could_be(cell: Cell, kind: str) -> bool:
    return cell["cell_type"] == kind and bool(cells.text(cell).strip())


def _own_cell(theirs: Cell, name: str) -> NotebookNode:
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    cell = make.get(theirs["cell_type"], nbformat.v4.new_raw_cell)(cells.text(theirs), id=name)
    if cell.cell_type == "code":
        cell.outputs = nbformat.from_dict(theirs.get("outputs", []))
    return cell


def tell_set(releases: dict[str, NotebookNode], submitted: Cell) -> str | None:
    """Which set a notebook belongs to, by its cells; None where it shares fewer than three with each."""
    shared = {name: len(_Match(release, submitted["cells"]).to) for name, release in releases.items()}
    best = max(shared, key=shared.get, default=None)
    return best if best is not None and shared[best] >= 3 else None


def restore_file(path: Path, releases: dict[str, NotebookNode]) -> tuple[list[str], bool]:
    """Rewrite a student's notebook with its metadata back; the file as it was stays beside it.

    Returns what to tell, and whether all answers were found: where not, the file is left alone.
    """
    submitted = cells.read_submitted(path)
    name = tell_set(releases, submitted)
    if name is None:
        return [f"{path.name}: belongs to none of the sets {', '.join(releases)}: left as it is"], False
    restored = restore(releases[name], submitted)
    lines = [f"{path.name}: {name}; " + found_by(restored)] + [f"  {note}" for note in restored.notes]
    if restored.lost:
        return [
            *lines,
            f"  could not tell which cells answer {', '.join(restored.lost)}: left as it is. Copy these "
            "answers into a fresh copy of the release by hand",
        ], False
    shutil.copy2(path, path.with_name(path.name + ".before"))
    nbformat.write(restored.notebook, path)
    return [*lines, f"  written; the file as it was is {path.name}.before"], True


def found_by(restored: Restored) -> str:
    return "cells found by " + ", ".join(f"{rule}: {n}" for rule, n in restored.by_rule.items() if n)
