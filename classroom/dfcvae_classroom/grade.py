"""``dfcvae-classroom grade``: from a folder of notebooks to feedback pages, tables and a report."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dfcvae.device import available_threads
from dfcvae_classroom import cells, guard, isolation, record, sandbox, tool
from dfcvae_classroom.collect import Submission, collect
from dfcvae_classroom.course import Course
from dfcvae_classroom.export import export
from dfcvae_classroom.restore import found_by, restore

LOUD = re.compile("NO SANDBOX|NOT GRADED|TAMPERING|passed over|by hand|was stopped|took too|ran out|ended")


def grade(
    course: Course,
    submitted: Path | None = None,
    limits: sandbox.Limits | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Grade what is new in the folder (``submitted/`` of the course unless given); returns the report.

    A submission that was graded before and did not change keeps its points, so that the command can be given
    again, after marking by hand or when late work came. Raises ValueError where the sets are not released.
    """
    start = time.monotonic()
    releases = course.release_notebooks()
    folder = Path(submitted).resolve() if submitted else course.folder / "submitted"
    unpacked = course.folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    collected = collect(folder, releases, course.ids(), unpacked)
    course.add_students({one.student: one.canvas_id for one in collected.submissions})
    lines = []
    if isolation.hindrance():
        lines.append(
            f"NO SANDBOX ({isolation.hindrance()}): students' code runs as you, with limits of time and "
            "memory only, and can read and write what you can. Install bubblewrap, or use a virtual machine."
        )
        say(lines[-1])
    lines += collected.told
    jobs = [job for one in collected.submissions if (job := _prepare(course, releases, one, lines))]

    def sandboxed(job: tuple[Submission, NotebookNode]) -> None:
        one, notebook = job
        found = _run(course, releases[one.problem_set], one, notebook, [course.folder, folder], limits)
        points = sum(found["points"].values())
        say(f"{one.student}, {one.problem_set}: {points:g} points, {found['seconds']:.0f} s")

    with ThreadPoolExecutor(max(1, available_threads())) as pool:
        list(pool.map(sandboxed, jobs))
    lines += _with_nbgrader(course, collected.submissions, {one for one, _ in jobs})
    scores, most, more = _gradebook(course, collected.submissions)
    lines += more + export(course, scores, most)
    lines.append(
        f"{len(jobs)} of {len(collected.submissions)} graded anew in {time.monotonic() - start:.0f} s"
    )
    report = course.folder / "reports" / "report.txt"
    lines.sort(key=lambda line: not LOUD.search(line))  # what needs somebody's eyes comes first
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for line in lines:
        say(line)
    return report


def _prepare(
    course: Course, releases: dict[str, NotebookNode], one: Submission, lines: list[str]
) -> tuple[Submission, NotebookNode] | None:
    """Restore the notebook into ``submitted/``; None where it must not be graded or was, unchanged."""
    restored = restore(releases[one.problem_set], cells.read_submitted(one.path))
    about = f"{one.student}, {one.problem_set}"
    lines.append(f"{about}: {one.path.name}, student found by {one.rule}; {found_by(restored)}")
    lines += [f"{about}: {note}" for note in restored.notes]
    if restored.lost:
        lines.append(
            f"{about}: NOT GRADED: could not tell which cells answer {', '.join(restored.lost)}: copy them "
            "into a fresh copy of the release by hand, and grade again"
        )
        return None
    for cell in restored.notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    target = record.submission(course.folder, one.student, one.problem_set)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(restored.notebook, target)
    known = record.load(course.folder, one.student, one.problem_set)
    return None if known else (one, restored.notebook)


def _run(
    course: Course,
    release: NotebookNode,
    one: Submission,
    notebook: NotebookNode,
    hidden: list[Path],
    limits: sandbox.Limits | None,
) -> dict:
    graded = list(cells.tests(release))
    work = sandbox.Work(
        cells=[(c.id, c.source) for c in notebook.cells if c.cell_type == "code" and not cells.is_test(c)],
        tasks=[(test.module, test.task) for test in graded],
        hidden={test.module: course.hidden_source(test.module) for test in graded},
        secret=course.deal.secret,
    )
    result = sandbox.run(work, hidden, limits)
    given = {c.source for c in release.cells}
    theirs = "\n".join(c.source for c in notebook.cells if c.cell_type == "code" and c.source not in given)
    found = {
        "digest": cells.digest(notebook),
        "points": {test.grade_id: result.points[f"{test.module}.{test.task}"] for test in graded},
        "outputs": result.outputs,
        "notes": result.notes,
        "fooling": result.fooling,
        "suspicious": guard.suspicious(theirs),
        "seconds": round(result.seconds, 1),
        "log": result.log,
    }
    record.save(course.folder, one.student, one.problem_set, found)
    return found


def _with_nbgrader(course: Course, submissions: list[Submission], fresh: set[Submission]) -> list[str]:
    """Autograde what is fresh, and write all feedback; nbgrader takes the points from the record."""
    graded = [one for one in submissions if record.load(course.folder, one.student, one.problem_set)]
    everybody = {path.name for path in (course.folder / "submitted").iterdir() if path.is_dir()}
    for name in sorted({one.problem_set for one in graded}):
        # Who has no folder in autograded: somebody stopped the command between the sandbox and nbgrader.
        done = course.folder / "autograded"
        due = {
            one.student
            for one in graded
            if one.problem_set == name and (one in fresh or not (done / one.student / name).is_dir())
        }
        if due:
            tool.autograde(course, name, sorted(everybody - due))
        tool.generate_feedback(course, name)
    return [f"feedback: {course.folder / 'feedback'}{os.sep}STUDENT{os.sep}SET"] if graded else []


def _gradebook(course: Course, submissions: list[Submission]) -> tuple[dict, dict, list[str]]:
    """(student -> set -> points, set -> possible points, what to look at). The sandbox's numbers stand."""
    scores: dict[str, dict[str, float]] = {}
    most: dict[str, float] = {}
    lines, waiting = [], 0
    with tool.gradebook(course) as book:
        for one in submissions:
            about = f"{one.student}, {one.problem_set}"
            found = record.load(course.folder, one.student, one.problem_set)
            if found is None:
                continue
            lines += [f"{about}: {note}" for note in found["notes"]]
            lines += [f"{about}: TAMPERING: {what}" for what in found["fooling"]]
            if found["suspicious"]:
                lines.append(f"{about}: look at it by hand, it uses {', '.join(found['suspicious'])}")
            handed_in = book.find_submission(one.problem_set, one.student)
            for mark in handed_in.notebooks[0].grades:
                points = found["points"].get(mark.name)
                if points is not None and mark.auto_score != points:
                    lines.append(
                        f"{about}: TAMPERING: {mark.name} had {mark.auto_score}, the sandbox found {points}"
                    )
                    mark.auto_score, mark.needs_manual_grade = points, False
                waiting += mark.needs_manual_grade
            book.db.commit()
            scores.setdefault(one.student, {})[one.problem_set] = handed_in.score
            most[one.problem_set] = handed_in.max_score
    if waiting:
        lines.append(
            f"{waiting} written answers wait to be marked: start  jupyter lab  in the course folder, open "
            "Nbgrader → Formgrader, then give this command again"
        )
    return scores, most, lines
