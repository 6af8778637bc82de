"""Points as tables: what nbgrader, Canvas and Moodle read."""

from __future__ import annotations

import csv
from pathlib import Path

from dfcvae_classroom import tool
from dfcvae_classroom.course import Course

Scores = dict[str, dict[str, float]]  # student -> set -> points


def export(course: Course, scores: Scores, most: dict[str, float]) -> list[str]:
    """Write reports/grades.csv (nbgrader's), canvas.csv and a moodle_SET.csv a set; returns what to tell.

    most: the points of each set that was handed in. A student who is not in ids.csv is left out of the two
    tables that need an ID, and named.
    """
    reports = course.folder / "reports"
    reports.mkdir(exist_ok=True)
    tool.export(course, reports / "grades.csv")
    ids = course.ids()
    canvas(reports / "canvas.csv", scores, most, ids)
    for name in most:
        moodle(reports / f"moodle_{name}.csv", scores, name, ids)
    lines = [f"tables: {reports / 'grades.csv'}, canvas.csv, moodle_SET.csv"]
    for column, table in (("canvas_id", "canvas.csv"), ("moodle_id", "moodle_SET.csv")):
        unknown = [student for student in scores if not ids.get(student, {}).get(column)]
        if unknown:
            lines.append(f"without a {column} in ids.csv, so not in {table}: {', '.join(unknown)}")
    return lines


def canvas(path: Path, scores: Scores, most: dict[str, float], ids: dict) -> None:
    """Canvas's gradebook: its five first columns, a column an assignment, and a row of possible points."""
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *most]
    rows = [["    Points Possible", "", "", "", "", *(f"{points:g}" for points in most.values())]]
    for student, points in sorted(scores.items()):
        if ids.get(student, {}).get("canvas_id"):
            row = [student, ids[student]["canvas_id"], "", "", ids[student].get("section", "") or ""]
            rows.append(row + [_shown(points.get(name)) for name in most])
    _write(path, header, rows)


def moodle(path: Path, scores: Scores, name: str, ids: dict) -> None:
    """One set of those who handed it in: Moodle takes an empty field for "no grade", and would erase one."""
    rows = [
        [ids[student]["moodle_id"], f"{points[name]:g}"]
        for student, points in sorted(scores.items())
        if name in points and ids.get(student, {}).get("moodle_id")
    ]
    _write(path, ["ID number", name], rows)


def _shown(points: float | None) -> str:
    return "" if points is None else f"{points:g}"


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
