"""The classroom, from a new course to graded notebooks, with the real nbgrader and a tiny problem set."""

import copy
import csv
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from dfcvae_classroom import cells, collect, export, harmless, release, sandbox, tool
from dfcvae_classroom.command import main
from dfcvae_classroom.course import Course, new
from dfcvae_classroom.grade import grade
from dfcvae_classroom.restore import restore, restore_file

from dfcvae.course import grading

FIXTURE = Path(__file__).parent / "fixture"
SET = "ps0_mean"
SHORT = sandbox.Limits(cell=4, task=4, whole=120)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Course:
    course = new(tmp_path_factory.mktemp("classroom") / "course", FIXTURE)
    release.release(course)
    return course


@pytest.fixture(scope="module")
def released(course):
    return cells.read(course.released(SET))


@pytest.fixture(scope="module")
def solutions(course) -> dict[str, str]:
    source = cells.read(course.source(SET))
    return {cells.grade_id(cell): cell.source for cell in cells.answers(source)}


def answered(released, answers: dict[str, str]):
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    return notebook


def as_submitted(notebook) -> dict:
    return json.loads(nbformat.writes(notebook))


def strip(notebook, ids: bool = True):
    """As a tool leaves it that knows no cell metadata, and perhaps no ids."""
    notebook = as_submitted(notebook)
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        if ids:
            del cell["id"]
    return notebook


def hand_in(folder: Path, student: str, notebook) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{student}_{SET}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


# A new course


def test_a_new_course_keeps_its_secret_and_deals_by_it(course, released):
    secret = course.folder / "secret"
    assert re.fullmatch(r"[0-9a-f]{32}\n", secret.read_text())
    assert os.name == "nt" or secret.stat().st_mode & 0o777 == 0o600
    assert "secret" in (course.folder / ".gitignore").read_text().split()
    assert f"CONSTANT = {course.deal.random('ps0').randint(10, 99)}" in released.cells[1].source


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("new .", "is not empty"),
        ("release .", "no course folder: make one with dfcvae-classroom new"),
        ("release . --check", "--check is of the repository's own release"),
        ("release", "no checkout of the course"),
        ("table --check", "no checkout of the course"),
        ("grade .", "give the course first, dfcvae-classroom grade COURSE --submitted ."),
        ("grade nowhere", "no course folder"),
        ("grade course", "not released yet: ps0_mean: run dfcvae-classroom release"),
        ("restore x.ipynb --course .", "no course folder"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(arguments, told, tmp_path, monkeypatch, capsys):
    (tmp_path / "course").mkdir()
    new(tmp_path / "course", FIXTURE)
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 1
    said = capsys.readouterr().err
    assert said.startswith("dfcvae-classroom: ") and told in said and said.count("\n") == 1


@pytest.mark.parametrize("what", ["folder", "folder beside", "course and folder"])
def test_grade_takes_the_course_or_the_notebooks(what, course, tmp_path, monkeypatch, capsys):
    """An empty folder of notebooks says which course and which notebooks were taken."""
    handed_in = (tmp_path if what == "folder beside" else course.folder) / "handed in"
    handed_in.mkdir()
    monkeypatch.chdir(course.folder)
    given = [course.folder, "--submitted", handed_in] if what == "course and folder" else [handed_in]
    assert main(["grade", *map(str, given)]) == 1
    assert f"{handed_in} has no notebook" in capsys.readouterr().err
    handed_in.rmdir()


# The release


def test_the_release_has_no_solution_and_no_hidden_test(course, released):
    text = course.released(SET).read_text(encoding="utf-8")
    hidden = (FIXTURE / "hidden" / "ps0.py").read_text(encoding="utf-8")
    for secret in ("log_var.exp()", "x.square()", "never negative", "MARK SCHEME", "BEGIN SOLUTION"):
        assert secret not in text
    assert not [line for line in hidden.splitlines() if "yield" in line and line.strip() in text]
    assert text.count("raise NotImplementedError") == 2 and text.count("YOUR ANSWER HERE") == 1


def test_the_release_keeps_the_pictures_to_expect(released):
    pictures = [cell.id for cell in released.cells if cell.cell_type == "code" and cell.outputs]
    assert pictures == ["mean-square-picture"]


@pytest.mark.parametrize("leak", ["    terms = mu.square() + log_var.exp() - 1 - log_var", "MARK SCHEME"])
def test_a_leak_is_found(course, released, leak):
    source = cells.read(course.source(SET))
    assert release.leaked(source, released) == []
    leaky = copy.deepcopy(released)
    leaky.cells[0].source += "\n" + leak
    assert release.leaked(source, leaky)


def test_points_of_notebook_and_hidden_tests_must_agree(course):
    source = cells.read(course.source(SET))
    next(filter(cells.is_test, source.cells)).metadata.nbgrader.points = 5
    with pytest.raises(ValueError, match="5 points and its hidden tests give 4"):
        release.check_points(course, source)


@pytest.mark.slow
def test_nbgrader_validates_the_source_and_runs_its_cells(course, tmp_path):
    command = [sys.executable, "-m", "nbgrader", "validate", str(course.source(SET))]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "Success! Your notebook passes all the tests." in said  # its exit status is 0 in either case


# Restoring


@pytest.mark.parametrize("ids", [False, True], ids=["metadata lost", "ids lost too"])
def test_a_stripped_notebook_is_put_back(released, solutions, ids):
    theirs = answered(released, solutions)
    restored = restore(released, strip(theirs, ids))
    assert restored.lost == [] and restored.notes == []
    assert [(c.id, c.source, c.metadata) for c in restored.notebook.cells] == [
        (c.id, c.source, c.metadata) for c in theirs.cells
    ]


def test_colab_keeps_ids_in_the_metadata(released, solutions):
    theirs = strip(answered(released, solutions))
    for cell, original in zip(theirs["cells"], released.cells, strict=True):
        cell["metadata"] = {"id": original.id}
    restored = restore(released, theirs)
    assert restored.by_rule["cell id"] == len(released.cells)


def test_own_cells_keep_their_place(released, solutions):
    theirs = answered(released, solutions)
    theirs.cells.insert(3, nbformat.v4.new_code_cell("helper = 1"))
    restored = restore(released, as_submitted(theirs))
    assert [cell.source for cell in restored.notebook.cells] == [cell.source for cell in theirs.cells]
    assert restored.notebook.cells[3].id == "own-1"


@pytest.mark.parametrize("ids", [False, True], ids=["metadata lost", "ids lost too"])
def test_predictions_are_kept(released, ids):
    asked = copy.deepcopy(released)
    asked.cells.insert(2, nbformat.v4.new_code_cell("low, high = None, None  # nats", id="prediction"))
    asked.cells.insert(2, nbformat.v4.new_code_cell("step = 0.5", id="given"))
    theirs = copy.deepcopy(asked)
    theirs.cells[2].source, theirs.cells[3].source = "step = 100", "low, high = 3, 40"
    restored = restore(asked, strip(theirs, ids)).notebook
    assert [c.source for c in restored.cells if "low" in c.source] == ["low, high = 3, 40"]
    assert ids or restored.cells[2].source == "step = 0.5"


def test_an_answer_among_other_cells_is_not_taken_for_none(released, solutions):
    theirs = strip(answered(released, solutions | {"kl": "divergence = lambda mu, log_var: 0"}))
    theirs["cells"] = theirs["cells"][::-1]
    assert restore(released, theirs).lost == ["kl", "why"]


def test_a_deleted_cell_is_reported(released, solutions):
    theirs = answered(released, solutions)
    theirs.cells = [cell for cell in theirs.cells if cell.id not in ("kl", "mean-square-test")]
    restored = restore(released, as_submitted(theirs))
    assert restored.lost == []
    assert [note for note in restored.notes if "kl is missing" in note]
    assert [note for note in restored.notes if "mean-square-test was missing" in note]
    assert [cell.id for cell in restored.notebook.cells] == [cell.id for cell in released.cells]


def test_the_command_restores_a_file_and_keeps_the_original(released, solutions, tmp_path):
    path = tmp_path / "somebody's.ipynb"
    stripped = json.dumps(strip(answered(released, solutions)))
    path.write_text(stripped, encoding="utf-8")
    lines, whole = restore_file(path, {SET: released})
    assert whole and (tmp_path / "somebody's.ipynb.before").read_text(encoding="utf-8") == stripped
    assert sum(map(cells.is_test, cells.read(path).cells)) == 2
    path.write_text('{"cells": []}', encoding="utf-8")
    assert restore_file(path, {SET: released})[1] is False


# Whose notebook it is


@pytest.mark.parametrize(
    ("name", "student"),
    [
        (f"ada/{SET}/{SET}.ipynb", "ada"),
        (f"ada/{SET}/Copy of {SET} (1).ipynb", "ada"),
        (f"Ada Lovelace_412_assignsubmission_file_/{SET}.ipynb", "Ada-Lovelace"),
        (f"Ada Lovelace_412_assignsubmission_file_{SET}.ipynb", "Ada-Lovelace"),
        ("ada/homework.ipynb", "ada"),
        (f"ada_{SET}.ipynb", "ada"),
        (f"Copy of ada_{SET} (2).ipynb", "ada"),
        (f"{SET}_ada.ipynb", "ada"),
        (f"lovelaceada_77_8812_{SET}.ipynb", "grace"),
        (f"submissions/hopper_LATE_78_8813_{SET}-2.ipynb", "hopper"),
        (f"mallory_90_9001_x_77_{SET}.ipynb", "mallory"),
        (f"Mallory_5_assignsubmission_file_/77_{SET}.ipynb", "Mallory"),
        (f"Mallory_5_assignsubmission_file_/grace_6_assignsubmission_file_/{SET}.ipynb", "Mallory"),
        (f"mallory_90_9001_work.zip/grace_77_8812_{SET}.ipynb", "mallory"),
        (f"Ju\u0308rgen Groß_{SET}.ipynb", "Jürgen-Groß"),
        (f"{SET}.ipynb", None),
        (f"{SET} (1).ipynb", None),
        (f"Copy of {SET}.ipynb", None),
    ],
)
def test_whose_notebook_it_is(released, tmp_path, name, student):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(released, path)
    ids = {"grace": {"student": "grace", "canvas_id": "77", "moodle_id": ""}}
    collected = collect.collect(tmp_path, {SET: released}, ids)
    assert [one.student for one in collected.submissions] == ([student] if student else [])
    assert bool(collected.told) == (student is None)


def test_archives_are_unpacked_and_other_files_named(released, tmp_path):
    text = nbformat.writes(released)
    (tmp_path / "in" / "Eve_9_assignsubmission_file_").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "in" / "submissions.zip", "w") as archive:
        archive.writestr(f"ada_77_8812_{SET}.ipynb", text)
        archive.writestr(f"Bob Ångström_500_assignsubmission_file/{SET}.ipynb", text)
        archive.writestr(f"../../escaped_{SET}.ipynb", text)
    with zipfile.ZipFile(tmp_path / "in" / "Eve_9_assignsubmission_file_" / "work.zip", "w") as archive:
        archive.writestr(f"{SET}.ipynb", text)
    (tmp_path / "in" / f"cleo_{SET}.ipynb.txt").write_text(text)
    (tmp_path / "in" / "broken.zip").write_bytes(b"PK")
    collected = collect.collect(tmp_path / "in", {SET: released}, {}, tmp_path / "unpacked")
    found = {one.student: one.canvas_id for one in collected.submissions}
    assert found == {"ada": "77", "Bob-Ångström": "", "Eve": "", "escaped": ""}
    assert not list(tmp_path.glob("escaped*"))
    assert sorted(re.findall(r"cleo_\S+txt|broken.zip", " ".join(collected.told)))


def test_a_folder_of_a_class_is_no_student(released, tmp_path):
    (tmp_path / "week 3").mkdir()
    names = {"ada", "bob", "cleo", "dan"}
    for name in names:
        nbformat.write(released, tmp_path / "week 3" / f"{name}_{SET}.ipynb")
    collected = collect.collect(tmp_path, {SET: released}, {})
    assert {one.student for one in collected.submissions} == names


def test_a_notebook_of_the_old_format_is_read(released, solutions, tmp_path):
    theirs = answered(released, solutions)
    for cell in theirs.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    path = tmp_path / f"ada_{SET}.ipynb"
    path.write_text(json.dumps(nbformat.convert(copy.deepcopy(theirs), 3)), encoding="utf-8")
    restored = restore(released, cells.read_submitted(path))
    assert restored.lost == []
    assert {c.id: c.source for c in cells.answers(restored.notebook)} == {
        c.id: c.source for c in cells.answers(theirs)
    }


def test_students_are_added_to_the_ids(tmp_path):
    (tmp_path / "ids.csv").write_text("student,section,canvas_id,moodle_id\nAda B,1,5,x", encoding="utf-8")
    course = Course(tmp_path)
    course.add_students({"Ada-B": "", "bob": "77"})
    course.add_students({"bob": "", "Ada-B": "6"})
    assert {name: row["canvas_id"] for name, row in course.ids().items()} == {"Ada-B": "5", "bob": "77"}
    assert course.ids()["Ada-B"]["section"] == "1"


def test_what_a_browser_would_run_is_taken_out():
    picture = '<img alt="a face" src="data:image/png;base64,AAAA" style="max-width:100%;">'
    shown = [
        {"output_type": "display_data", "data": {"text/html": f"<script>x()</script>{picture}"}},
        {"output_type": "display_data", "data": {"application/javascript": "x()", "text/plain": "y"}},
        {"output_type": "stream", "text": "<script>"},
    ]
    first, second, third = harmless.outputs(shown)
    assert picture in first["data"]["text/html"] and "<script" not in first["data"]["text/html"]
    assert "onerror" not in harmless.html('<img src="x" onerror="y()">')
    assert second["data"] == {"text/plain": "y"} and third == shown[2]
    cell = nbformat.v4.new_markdown_cell("if $a <b$ and 1 < 2 <script>x()</script>", id="own-1")
    harmless.disarm(cell)
    assert cell.source == "if $a < b$ and 1 < 2 < script>x()< /script>"


def test_a_notebook_may_name_its_student(released, tmp_path):
    theirs = copy.deepcopy(released)
    theirs.cells.insert(0, nbformat.v4.new_code_cell('student = "ada"'))
    nbformat.write(theirs, tmp_path / f"{SET}.ipynb")
    assert [one.student for one in collect.collect(tmp_path, {SET: released}, {}).submissions] == ["ada"]


def test_the_newest_of_two_counts(released, tmp_path):
    for number, name in enumerate((f"ada_{SET} (1).ipynb", f"ada_{SET}.ipynb")):
        nbformat.write(released, tmp_path / name)
        os.utime(tmp_path / name, (number, number))
    collected = collect.collect(tmp_path, {SET: released}, {})
    assert [one.path.name for one in collected.submissions] == [f"ada_{SET}.ipynb"]
    assert "passed over" in collected.told[0]


def test_what_is_no_notebook_is_named(released, tmp_path):
    (tmp_path / f"ada_{SET}.ipynb").write_text("<html>sign in", encoding="utf-8")
    assert "no notebook that can be read" in collect.collect(tmp_path, {SET: released}, {}).told[0]


# Tables


def test_tables_for_canvas_and_moodle(tmp_path):
    scores = {"ada": {"ps1": 7.5, "ps2": 3.0}, "bob": {"ps1": 1.0}}
    ids = {"ada": {"canvas_id": "11", "moodle_id": "a1"}, "bob": {"canvas_id": "12", "moodle_id": ""}}
    export.canvas(tmp_path / "c.csv", scores, {"ps1": 9, "ps2": 4}, ids)
    export.moodle(
        tmp_path / "m.csv", scores | {"eve": {"ps2": 2.0}}, "ps1", ids | {"eve": {"moodle_id": "e"}}
    )
    canvas, moodle = (list(csv.reader((tmp_path / f).open(newline=""))) for f in ("c.csv", "m.csv"))
    assert canvas[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "ps1", "ps2"]
    assert canvas[1] == ["    Points Possible", "", "", "", "", "9", "4"]
    assert [row[1:2] + row[5:] for row in canvas[2:]] == [["11", "7.5", "3"], ["12", "1", ""]]
    assert moodle == [["ID number", "ps1"], ["a1", "7.5"]]  # no empty field, which would erase a grade


# The round trip

NOISY = """import sys, warnings
from tqdm import tqdm

def kl(mu, log_var):
    print("here")
    print("there", file=sys.stderr)
    warnings.warn("watch out")
    for _ in tqdm(range(3)):
        pass
    return (mu ** 2 + log_var.exp() - 1 - log_var).sum() / 2 / len(mu)"""


@pytest.fixture(scope="module")
def graded(course, released, solutions, tmp_path_factory) -> str:
    """A class of four and one notebook that must be refused; returns the report."""
    folder = tmp_path_factory.mktemp("handed-in")
    hand_in(folder, "untouched", as_submitted(released))
    theirs = as_submitted(answered(released, solutions | {"kl": NOISY}))
    for cell in theirs["cells"]:
        if cell["id"] == "mean-square-test":
            cell["source"] = "1000"
    theirs["cells"] = [cell for cell in theirs["cells"] if cell["id"] != "kl-test"]
    hand_in(folder, "edited", theirs)
    hand_in(folder, "stripped", strip(answered(released, solutions)))
    called = "import dfcvae\n\nkl = dfcvae.kl_divergence"
    hand_in(folder, "called", as_submitted(answered(released, solutions | {"kl": called})))
    lost = strip(answered(released, {"kl": "a = 1", "mean-square": "b = 2"}))
    lost["cells"] = lost["cells"][::-1]
    hand_in(folder, "lost", lost)
    return grade(course, folder, SHORT, say=lambda line: None).read_text(encoding="utf-8")


def test_points_of_the_round_trip(graded, course):
    rows = list(csv.DictReader((course.folder / "reports" / "grades.csv").open(newline="")))
    assert {row["student_id"]: float(row["score"]) for row in rows} == {
        "untouched": 0,
        "edited": 7,
        "stripped": 7,
        "called": 4,
    }
    assert {row["max_score"] for row in rows} == {"9.0"}


def test_the_report_says_what_was_odd(graded):
    assert "edited, ps0_mean: the test cell mean-square-test had been edited" in graded
    assert "edited, ps0_mean: the test cell kl-test was missing" in graded
    assert "lost, ps0_mean: NOT GRADED: could not tell which cells answer" in graded
    assert "written answers wait to be marked" in graded
    assert "TAMPERING" not in graded


def test_feedback_has_points_and_no_hidden_test(graded, course):
    page = (course.folder / "feedback" / "called" / SET / f"{SET}.html").read_text(encoding="utf-8")
    assert "Score: 4.0 / 9.0" in re.sub(r"\s+", " ", page)
    assert "grading.award" in page or "award" in page
    for hidden in ("generator", "yield", course.deal.secret, "poisoned"):
        assert hidden not in page


def test_unchanged_notebooks_are_not_run_again_and_keep_marks_by_hand(graded, course):
    with tool.gradebook(course) as book:
        mark = book.find_grade("why", SET, SET, "stripped")
        mark.manual_score, mark.needs_manual_grade = 1.5, False
        book.db.commit()
    written = [*course.folder.glob("sandboxed/*/*"), *course.folder.glob("autograded/*/*/*.ipynb")]
    before = [path.stat().st_mtime_ns for path in written]
    (course.folder / "ids.csv").write_text("student,canvas_id,moodle_id\nstripped,5,\n", encoding="utf-8")
    report = grade(course, None, SHORT, say=lambda line: None).read_text(encoding="utf-8")
    assert "0 of 4 graded anew" in report
    assert len(before) == 8 and [path.stat().st_mtime_ns for path in written] == before
    assert "stripped,5,,,,8.5" in (course.folder / "reports" / "canvas.csv").read_text()


def test_nbgrader_alone_gives_no_points_in_silence(course, monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    assert grading.award("ps0", "kl", {}) is None
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(RuntimeError, match="dfcvae-classroom grade"):
        grading.award("ps0", "kl", {})
