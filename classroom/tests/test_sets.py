"""The problem sets as a class gets them: their release, courses of two secrets, a class of thirty, wheels."""

import copy
import json
import os
import shutil
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import nbformat
import pytest
from dfcvae_classroom import cells, release, table
from dfcvae_classroom.course import SOURCES, Course, new
from dfcvae_classroom.grade import grade
from problem_sets import ProblemSet

REPOSITORY = Path(__file__).resolve().parents[2]
SETS = sorted(path.stem for path in SOURCES.glob("*/*.ipynb"))
CLASS = 30


def solved(course: Course, name: str):
    """The release with the solutions of the course's own source in it."""
    answers = {cells.grade_id(cell): cell.source for cell in cells.answers(cells.read(course.source(name)))}
    notebook = copy.deepcopy(cells.read(course.released(name)))
    for cell in notebook.cells:
        cell.source = answers.get(cells.grade_id(cell), cell.source)
    return notebook


def hand_in(folder: Path, student: str, name: str, notebook) -> None:
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / f"{student}_{name}.ipynb")


def record(folder: Path, student: str, name: str) -> dict:
    return json.loads((folder / "sandboxed" / student / f"{name}.json").read_text(encoding="utf-8"))


def worth(released: Path) -> dict[str, float]:
    return {test.grade_id: test.points for test in cells.tests(cells.read(released))}


def test_the_table_of_the_teaching_page_follows_the_notebooks():
    assert "up to date" in table.write(REPOSITORY, check=True)


@pytest.mark.parametrize("name", SETS)
def test_the_release_follows_its_source(name):
    teachers = cells.read(SOURCES / name / f"{name}.ipynb")
    students = cells.read(REPOSITORY / "notebooks" / "assignments" / name / f"{name}.ipynb")
    assert [cell.id for cell in students.cells] == [cell.id for cell in teachers.cells]
    for old, now in zip(teachers.cells, students.cells, strict=True):
        assert cells.is_answer(old) or old.source == now.source, f"{name}: {old.id} differs: release it again"
        if "yours" in now.metadata.get("tags", []):  # it shows what the model answers found
            assert old.outputs and not now.outputs, f"{name}: {old.id} gives the model answer's figure away"
    assert release.leaked(teachers, students) == []


@pytest.mark.parametrize("name", SETS)
def test_a_source_asks_for_what_is_tested_and_describes_what_it_shows(name):
    notebook = cells.read(SOURCES / name / f"{name}.ipynb")
    module = name.partition("_")[0]
    tasks = __import__(f"dfcvae_classroom.grading.{module}", fromlist=["TASKS"]).TASKS
    assert {test.task: test.points for test in cells.tests(notebook)} == {
        task: tasks[task].points for task in tasks
    }
    assert {test.module for test in cells.tests(notebook)} == {module}
    assert all(cells.grade_id(cell) in (None, cell.id) for cell in notebook.cells)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]
    assert "![](attachment:" not in "".join(cell.source for cell in notebook.cells)


@pytest.mark.slow
def test_releasing_again_changes_nothing():
    release.publish(REPOSITORY, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("secret", ["a" * 32, "b" * 32])
def test_solutions_get_all_points_and_stubs_none_in_any_course(secret, tmp_path):
    course = new(tmp_path / "course", secret=secret)
    release.release(course)
    for name in SETS:
        hand_in(tmp_path / "in", "solved", name, solved(course, name))
        hand_in(tmp_path / "in", "stub", name, cells.read(course.released(name)))
    grade(course, tmp_path / "in")
    for name in SETS:
        found = record(course.folder, "solved", name)
        assert found["points"] == worth(course.released(name)), f"{name}: {found['notes']} {found['fooling']}"
        assert found["fooling"] == found["notes"] == []
        assert set(record(course.folder, "stub", name)["points"].values()) == {0.0}, name


def wrong_notebooks(course: Course, name: str):
    """(task, notebook): the solution with one wrong answer in it."""
    one = ProblemSet(name.partition("_")[0])
    for task, answers in one.wrong.items():
        for how in answers:
            notebook = solved(course, name)
            for cell in notebook.cells:
                if cell.cell_type == "code" and cells.is_answer(cell):
                    last = cell
                if cells.is_test(cell) and f'"{task}"' in cell.source:
                    last.source = one.wrong_answer(task, how)
            yield task, notebook


@pytest.mark.slow
def test_a_class_of_thirty(tmp_path):
    name, tasks = SETS[0], {}
    course = new(tmp_path / "course")
    release.release(course)
    for number, (task, notebook) in enumerate(islice(cycle(wrong_notebooks(course, name)), CLASS)):
        tasks[f"student{number:02}"] = task
        hand_in(tmp_path / "in", f"student{number:02}", name, notebook)
    grade(course, tmp_path / "in")
    ids = {test.task: test.grade_id for test in cells.tests(cells.read(course.released(name)))}
    for student, task in tasks.items():
        points = record(course.folder, student, name)["points"]
        assert points[ids[task]] < worth(course.released(name))[ids[task]], f"{student}: a wrong {task}"


@pytest.mark.slow
def test_from_wheels_in_any_folder(tmp_path):
    """What is installed makes a course, releases it and grades it, without the repository."""
    checkout, site, elsewhere = (tmp_path / name for name in ("checkout", "site", "elsewhere"))
    checkout.mkdir(), elsewhere.mkdir()
    for part in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT", "dfcvae", "classroom"):
        (shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copy)(REPOSITORY / part, checkout / part)
    pip, wheels = [sys.executable, "-m", "pip", "-q"], tmp_path / "wheels"
    build = [
        *pip,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        wheels,
        checkout,
        checkout / "classroom",
    ]
    subprocess.run(build, check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", site, *wheels.glob("*.whl")], check=True)
    shutil.rmtree(checkout)

    def command(*arguments: str) -> None:
        around = os.environ | {"PYTHONPATH": str(site)}
        subprocess.run(
            [sys.executable, "-m", "dfcvae_classroom", *arguments], cwd=elsewhere, env=around, check=True
        )

    command("new", "course")
    command("release", "course")
    course, name = Course.open(elsewhere / "course"), SETS[0]
    hand_in(elsewhere / "in", "ada", name, solved(course, name))
    command("grade", "course", "--submitted", "in")
    assert record(course.folder, "ada", name)["points"] == worth(course.released(name))
    notebook = next((elsewhere / "in").glob("*.ipynb"))
    command("restore", str(notebook), "--course", "course")
    assert notebook.with_name(notebook.name + ".before").is_file()
