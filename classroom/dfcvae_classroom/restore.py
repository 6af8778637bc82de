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
    match, by_rule, notes = _match(release, submitted["cells"])
    found = {index: number for number, index in match.items()}  # submitted index -> release index
    lost, deleted = _missing_answers(release, submitted["cells"], match)
    notes += [
        f"the answer cell {name} is missing, and no other cell could be it: it counts as not answered"
        for name in deleted
    ]
    notes += _changes(release, submitted["cells"], match)
    merged, own = [], 0
    following = _own_cells(len(release.cells), submitted["cells"], found)
    for number in range(-1, len(release.cells)):
        if number >= 0:
            merged.append(_put_back(release.cells[number], submitted["cells"], match.get(number)))
        for index in following.get(number, ()):
            own += 1
            merged.append(_own_cell(submitted["cells"][index], f"own-{own}"))
    notebook = copy.copy(release)
    notebook.cells = merged
    return Restored(notebook, notes, by_rule, lost)


def _match(release: NotebookNode, submitted: list[Cell]) -> tuple[dict[int, int], dict[str, int], list[str]]:
    """release index -> submitted index; how many by each rule; what was found twice."""
    match: dict[int, int] = {}
    by_rule, notes, free = dict.fromkeys(RULES, 0), [], set(range(len(submitted)))

    def take(rule: str, number: int, index: int) -> None:
        match[number] = index
        free.discard(index)
        by_rule[rule] += 1

    for rule, key in ((RULES[0], cells.grade_id), (RULES[1], _id), (RULES[2], _plain)):
        wanted = {key(cell): n for n, cell in reversed(list(enumerate(release.cells))) if key(cell)}
        for index in sorted(free, reverse=True):  # of copies the last, as nbgrader does
            number = wanted.get(key(submitted[index]))
            if number is None:
                continue
            if number not in match:
                take(rule, number, index)
            elif rule == RULES[0] and cells.is_answer(release.cells[number]):
                notes.append(
                    f"there are several cells {cells.grade_id(release.cells[number])}: the last counts"
                )
    _match_by_names(release, submitted, match, free, take)
    _match_by_place(release, submitted, match, free, take)
    return match, by_rule, notes


def _id(cell: Cell) -> str | None:
    return cell.get("id") or cell.get("metadata", {}).get("id")  # Colab moves it into the metadata


def _plain(cell: Cell) -> tuple[str, str] | None:
    """Type and text without white space; nothing for answers (a stub says YOUR ANSWER HERE many times)."""
    source = "".join(cells.text(cell).split())
    return (cell["cell_type"], source) if source and not cells.is_answer(cell) else None


def _match_by_names(release: NotebookNode, submitted: list[Cell], match: dict, free: set, take) -> None:
    for number, cell in enumerate(release.cells):
        open_cell = cells.is_answer(cell) or cells.is_prediction(cell)
        if number in match or cell.cell_type != "code" or not open_cell:
            continue
        wanted = cells.names(cell.source)
        fits = [i for i in sorted(free) if wanted and wanted <= cells.names(cells.text(submitted[i]))]
        if len(fits) == 1:
            take(RULES[3], number, fits[0])


def _match_by_place(release: NotebookNode, submitted: list[Cell], match: dict, free: set, take) -> None:
    """One unmatched answer and one unmatched cell of its type between the same two matched cells."""
    for number in [n for n, cell in enumerate(release.cells) if n not in match and cells.is_answer(cell)]:
        before = max((n for n in match if n < number), default=None)
        after = min((n for n in match if n > number), default=None)
        kind = release.cells[number].cell_type
        rivals = [
            n
            for n in range(-1 if before is None else before, len(release.cells) if after is None else after)
            if n >= 0 and n not in match and cells.is_answer(release.cells[n]) and n != number
        ]
        low = -1 if before is None else match[before]
        high = len(submitted) if after is None else match[after]
        fits = [i for i in sorted(free) if low < i < high and _could_be(submitted[i], kind)]
        rivals = [n for n in rivals if release.cells[n].cell_type == kind]
        if len(fits) == 1 and not rivals:
            take(RULES[4], number, fits[0])


def _could_be(cell: Cell, kind: str) -> bool:
    return cell["cell_type"] == kind and bool(cells.text(cell).strip())


def _missing_answers(
    release: NotebookNode, submitted: list[Cell], match: dict
) -> tuple[list[str], list[str]]:
    """Answers without a cell: those that one of the left-over cells could be, and those that none could."""
    left = [submitted[i] for i in set(range(len(submitted))) - set(match.values())]
    missing = [cell for n, cell in enumerate(release.cells) if n not in match and cells.is_answer(cell)]
    every = len(missing) == len(cells.answers(release))
    lost = [
        cells.grade_id(cell)
        for cell in missing
        if every or any(_could_be(own, cell.cell_type) for own in left)
    ]
    return lost, [cells.grade_id(cell) for cell in missing if cells.grade_id(cell) not in lost]


def _changes(release: NotebookNode, submitted: list[Cell], match: dict) -> list[str]:
    notes = []
    for number, cell in enumerate(release.cells):
        if not cells.is_test(cell):
            continue
        if number not in match:
            notes.append(f"the test cell {cells.grade_id(cell)} was missing and was put back")
        elif _plain(cell) != _plain(submitted[match[number]]):
            notes.append(f"the test cell {cells.grade_id(cell)} had been edited and was put back")
    return notes


def _own_cells(count: int, submitted: list[Cell], found: dict[int, int]) -> dict[int, list[int]]:
    """Release index -> the student's own cells that stand after it; -1: before everything."""
    following: dict[int, list[int]] = {}
    last = -1
    for index in range(len(submitted)):
        last = found.get(index, last)
        if index not in found:
            following.setdefault(min(last, count - 1), []).append(index)
    return following


def _put_back(cell: NotebookNode, submitted: list[Cell], index: int | None) -> NotebookNode:
    cell = copy.deepcopy(cell)
    if index is None:
        return cell
    theirs = submitted[index]
    if cells.is_answer(cell) or cells.is_prediction(cell):
        cell.source = cells.text(theirs)
    if cell.cell_type == "code" and theirs["cell_type"] == "code":
        cell.outputs = nbformat.from_dict(theirs.get("outputs", []))
        cell.execution_count = theirs.get("execution_count")
    return cell


def _own_cell(theirs: Cell, name: str) -> NotebookNode:
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    cell = make.get(theirs["cell_type"], nbformat.v4.new_raw_cell)(cells.text(theirs))
    cell.id = name
    if cell.cell_type == "code":
        cell.outputs = nbformat.from_dict(theirs.get("outputs", []))
    return cell


def tell_set(releases: dict[str, NotebookNode], submitted: Cell) -> str | None:
    """Which set a notebook belongs to, by its cells; None where it shares fewer than three with each."""
    shared = {name: len(_match(release, submitted["cells"])[0]) for name, release in releases.items()}
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
