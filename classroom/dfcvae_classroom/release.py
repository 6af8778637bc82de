"""What students get: nbgrader's generate_assignment over the sources, searched for what must not be in it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

from nbformat import NotebookNode

from dfcvae_classroom import cells, tool
from dfcvae_classroom.course import SOURCES, Course, new
from dfcvae_classroom.grading import PUBLIC

NEVER = ("BEGIN SOLUTION", "END SOLUTION", "MARK SCHEME", "HIDDEN TESTS")
SOLUTION = re.compile(r"BEGIN SOLUTION.*?\n(.*?)^[^\n]*END SOLUTION", re.DOTALL | re.MULTILINE)
LONG = 16  # characters from which a line of a solution is one that nobody writes by chance


def release(course: Course) -> list[str]:
    """Write ``release/`` for every set of the course; returns a line for each.

    Raises ValueError where points and hidden tests disagree, nbgrader fails, or something would leak.
    """
    lines = []
    for name in course.sets:
        source = cells.read(course.source(name))
        check_points(course, source)
        tool.generate_assignment(course, name)
        released = cells.read(course.released(name))
        leaks = leaked(source, released)
        if leaks:
            shutil.rmtree(course.released(name).parent)
            raise ValueError(f"{name} was not released, since it would show: {'; '.join(leaks[:5])}")
        lines.append(f"{name}: {len(cells.answers(released))} answers, {cells.points(released):g} points")
    return lines


def check_points(course: Course, source: NotebookNode) -> None:
    """Raise ValueError where a test cell's points are not those of its hidden tests."""
    for test in cells.tests(source):
        tasks = course.hidden_tests(test.module).TASKS
        if test.task not in tasks:
            raise ValueError(f"{test.grade_id} asks for {test.task!r}: expected one of {', '.join(tasks)}.")
        if tasks[test.task].points != test.points:
            raise ValueError(
                f"{test.grade_id} says {test.points:g} points and its hidden tests give "
                f"{tasks[test.task].points:g}: make them the same."
            )


def leaked(source: NotebookNode, released: NotebookNode) -> list[str]:
    """Forbidden words, and lines of solutions, model answers and marking guides that the release has.

    A line that the source also gives away outside of them, such as ``optimizer.step()``, is no secret.
    """
    text = json.dumps(released, ensure_ascii=False)
    given = "\n".join(SOLUTION.sub("", cell.source) for cell in source.cells if not cells.is_written(cell))
    found = [word for word in NEVER if word in text]
    for cell in cells.answers(source):
        parts = [cell.source] if cells.is_written(cell) else SOLUTION.findall(cell.source)
        for line in map(str.strip, "\n".join(parts).splitlines()):
            if len(line) >= LONG and line not in given and json.dumps(line, ensure_ascii=False)[1:-1] in text:
                found.append(f"{cells.grade_id(cell)}: {line[:60]}")
    return found


def public(sources: Path = SOURCES) -> dict[str, str]:
    """set -> text of its notebook, as the variant is released that everybody can read in the repository."""
    with tempfile.TemporaryDirectory() as folder:
        course = new(Path(folder) / "public", sources, secret=PUBLIC)
        release(course)
        return {name: course.released(name).read_text(encoding="utf-8") for name in course.sets}


def publish(repository: Path, check: bool = False) -> list[str]:
    """Write the repository's own release from its sources, or (check) raise ValueError where it differs."""
    fresh = public(repository / "classroom" / "dfcvae_classroom" / "sources")
    targets = {name: repository / "notebooks" / "assignments" / name / f"{name}.ipynb" for name in fresh}
    stale = [name for name, text in fresh.items() if not _holds(targets[name], text)]
    if check and stale:
        raise ValueError(
            f"the release of {', '.join(stale)} differs from its source: run  dfcvae-classroom release  "
            "in the repository, and commit what it writes."
        )
    for name in stale:
        targets[name].parent.mkdir(parents=True, exist_ok=True)
        targets[name].write_text(fresh[name], encoding="utf-8")
    return [f"{name}: {'written' if name in stale else 'up to date'}" for name in fresh]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")) == json.loads(text)
