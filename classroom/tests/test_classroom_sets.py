"""The committed problem sets in the classroom: two courses of different secrets, and a class of thirty."""

import copy
import importlib
import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="nbgrader grades the problem sets: pip install dfcvae[teach]")

from dfcvae_classroom import cells, release, table
from dfcvae_classroom.course import ASSIGNMENTS, Course, new
from dfcvae_classroom.grade import grade

SETS = sorted(path.parent.name for path in (ASSIGNMENTS / "source").glob("*/*.ipynb"))
CLASS = 30
pytestmark = pytest.mark.skipif(not SETS, reason="no problem sets are here")


def source(course: Course, name: str):
    return cells.read(course.folder / "source" / name / f"{name}.ipynb")


def solved(course: Course, name: str):
    """The release with the solutions of the course's own source in it."""
    answers = {cells.grade_id(cell): cell.source for cell in cells.answers(source(course, name))}
    notebook = copy.deepcopy(cells.read(course.released(name)))
    for cell in notebook.cells:
        cell.source = answers.get(cells.grade_id(cell), cell.source)
    return notebook


def record(course: Course, student: str, name: str) -> dict:
    return json.loads((course.folder / "sandboxed" / student / f"{name}.json").read_text(encoding="utf-8"))


def test_the_table_of_the_teaching_page_follows_the_notebooks():
    assert "up to date" in table.write(check=True)


@pytest.mark.parametrize("name", SETS)
def test_the_release_follows_its_source(name):
    teachers = cells.read(ASSIGNMENTS / "source" / name / f"{name}.ipynb")
    students = cells.read(ASSIGNMENTS / "release" / name / f"{name}.ipynb")
    assert [cell.id for cell in students.cells] == [cell.id for cell in teachers.cells]
    for old, now in zip(teachers.cells, students.cells, strict=True):
        assert cells.is_answer(old) or old.source == now.source, f"{name}: {old.id} differs: release it again"
        if "yours" in now.metadata.get("tags", []):  # it shows what the model answers found
            assert old.outputs and not now.outputs, f"{name}: {old.id} gives the model answer's figure away"
    assert release.leaked(teachers, students) == []


@pytest.mark.slow
def test_releasing_again_changes_nothing():
    release.public(check=True)


@pytest.mark.slow
@pytest.mark.parametrize("secret", ["a" * 32, "b" * 32])
def test_solutions_get_all_points_and_stubs_none_in_any_course(secret, tmp_path):
    course = new(tmp_path / "course", ASSIGNMENTS, secret)
    release.release(course)
    for name in SETS:
        for student, notebook in (
            ("solved", solved(course, name)),
            ("stub", cells.read(course.released(name))),
        ):
            target = tmp_path / "in" / student / name / f"{name}.ipynb"
            target.parent.mkdir(parents=True)
            nbformat.write(notebook, target)
    grade(course, tmp_path / "in")
    for name in SETS:
        worth = {test.grade_id: test.points for test in cells.tests(cells.read(course.released(name)))}
        found = record(course, "solved", name)
        assert found["points"] == worth, f"{name}: {found['notes']} {found['fooling']}"
        assert found["fooling"] == found["notes"] == []
        assert set(record(course, "stub", name)["points"].values()) == {0.0}, name


def wrong_answers(course: Course, name: str):
    """(task, notebook): the solution with one wrong answer in it."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        wrong = importlib.import_module(f"answers.{name.partition('_')[0]}").WRONG
    finally:
        sys.path.pop(0)
    for task, answers in wrong.items():
        for text in answers.values():
            notebook = solved(course, name)
            last = None
            for cell in notebook.cells:
                if cell.cell_type == "code" and cells.is_answer(cell):
                    last = cell
                if cells.is_test(cell) and f'"{task}"' in cell.source:
                    last.source = text
            yield task, notebook


@pytest.mark.slow
def test_a_class_of_thirty(tmp_path, capsys):
    name = SETS[0]
    course = new(tmp_path / "course", ASSIGNMENTS)
    release.release(course)
    tasks = {}
    for number, (task, notebook) in enumerate(islice(cycle(wrong_answers(course, name)), CLASS)):
        tasks[f"student{number:02}"] = task
        target = tmp_path / "in" / f"student{number:02}_{name}.ipynb"
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)
    start = time.perf_counter()
    grade(course, tmp_path / "in")
    with capsys.disabled():
        print(f"\na class of {CLASS} on {name}: {time.perf_counter() - start:.0f} s")
    tests = list(cells.tests(cells.read(course.released(name))))
    for student, task in tasks.items():
        points = record(course, student, name)["points"]
        for test in tests:
            if test.task == task:
                assert points[test.grade_id] < test.points, f"{student}: a wrong answer to {task}"
