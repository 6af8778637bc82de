"""Badges and set-up cells follow the address in pyproject.toml, and nothing else in a page moves."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from badges import COLAB, FIRST, STAYS, Address, follow, read_address

from dfcvae.cli import main

ROOT = Path(__file__).resolve().parent.parent
SCHOOL = Address("a-school/dfc-vae")
MARKERS = "\n<!-- colab -->\n<!-- /colab -->\n"


@pytest.fixture
def course(tmp_path) -> Path:
    """A copy of what has badges, without an address, and with an assignment."""
    root = tmp_path / "course"
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns("runs", ".*"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "README.md").write_text(f"# Course\n{MARKERS}", encoding="utf-8")
    follow(root, Address())
    assignment = root / "notebooks" / "assignments" / "source" / "ps1" / "kl.ipynb"
    assignment.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / FIRST, assignment)
    return root


def notebooks(root: Path) -> dict[str, dict]:
    paths = sorted((root / "notebooks").rglob("*.ipynb"))
    return {path.relative_to(root).as_posix(): json.loads(path.read_text("utf-8")) for path in paths}


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.*")}


def set_ups(notebook: dict) -> list[str]:
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [source for source in cells if "dfcvae.course.setup" in source]


def test_every_notebook_opens_with_its_own_badge_and_has_the_one_set_up_cell(course):
    follow(course, SCHOOL)
    found = notebooks(course)
    assert "notebooks/assignments/source/ps1/kl.ipynb" in found
    for name, notebook in found.items():
        link = f"https://colab.research.google.com/github/a-school/dfc-vae/blob/main/{name}"
        badge, save = notebook["cells"][0]["source"][0].split(") *")
        assert badge.startswith("[![Open this notebook in Colab](https://colab.research.google.com/assets/")
        assert badge.endswith(f"]({link}")
        assert "save a copy first" in save
        assert set_ups(notebook) == [SCHOOL.set_up]
        text = json.dumps(notebook)
        assert "It installs the course's package where that is missing" in text
        assert STAYS not in text


def test_the_readme_links_the_first_notebook(course):
    readme = course / "README.md"
    follow(course, SCHOOL)
    link = f"](https://colab.research.google.com/github/a-school/dfc-vae/blob/main/{FIRST})"
    # Alone on its line: Markdown takes the line of a comment as HTML. And the picture is described.
    assert [line.startswith("[![") for line in readme.read_text().splitlines() if line.endswith(link)] == [
        True
    ]
    assert len(readme.read_text().split("![")[1].split("]")[0]) > 40
    follow(course, Address())
    assert readme.read_text() == f"# Course\n{MARKERS}"


def test_the_repositorys_readme_has_a_place_for_the_badge():
    assert (ROOT / "README.md").read_text("utf-8").count("<!-- colab -->") == 1
    assert (ROOT / "README.md").read_text("utf-8").count("<!-- /colab -->") == 1


def test_there_and_back_gives_the_same_bytes(course):
    before = contents(course)
    assert follow(course, SCHOOL) != []
    assert follow(course, SCHOOL) == []
    follow(course, Address())
    assert contents(course) == before


def test_nothing_else_in_a_notebook_moves(course):
    path = course / FIRST
    notebook = json.loads(path.read_text("utf-8"))
    notebook["cells"][3]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1e-05 é \u2028"}]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
    before = notebooks(course)
    follow(course, SCHOOL)
    for name, notebook in notebooks(course).items():
        changed = [
            index
            for index, (old, new) in enumerate(zip(before[name]["cells"], notebook["cells"], strict=True))
            if json.dumps(old) != json.dumps(new)
        ]
        set_up = next(i for i, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code")
        assert set(changed) <= {0, set_up - 1, set_up}
        for old, new in zip(before[name]["cells"], notebook["cells"], strict=True):
            assert json.dumps(old | {"source": ""}) == json.dumps(new | {"source": ""})


def test_a_fork_of_a_fork(course):
    once, twice = Address("university/dfc-vae", "2027"), Address("student_uni/My.Fork", "work/in-class")
    follow(course, once)
    follow(course, twice)
    assert read_address(course) == twice
    text = "".join((course / name).read_text("utf-8") for name in [*notebooks(course), "README.md"])
    assert "university" not in text
    assert f"/github/student_uni/My.Fork/blob/work/in-class/{FIRST}" in text
    assert "https://github.com/student_uni/My.Fork/archive/refs/heads/work/in-class.zip" in text
    direct = contents(course)
    follow(course, Address())
    follow(course, twice)
    assert contents(course) == direct


def test_links_to_other_notebooks_of_the_course_follow_and_foreign_ones_stay(course):
    path = course / "notebooks" / "more.ipynb"
    foreign = f"[theirs]({COLAB}/github/them/course/blob/main/notebooks/their_own.ipynb)"
    ours = f"see [00]({COLAB}/github/old/course/blob/a/b/{FIRST})"
    cells = [nbformat.v4.new_markdown_cell(text) for text in ("# More", f"{foreign}, {ours}")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert (
        follow(course, SCHOOL, check=True)[-1]
        == "notebooks/more.ipynb: the text points at them/course (main)"
    )
    follow(course, SCHOOL)
    text = nbformat.read(path, as_version=4).cells[1].source
    assert foreign in text
    assert f"{COLAB}/github/a-school/dfc-vae/blob/main/{FIRST}" in text


def test_notebooks_without_badge_and_copies_of_an_editor_are_left_alone(course):
    scratch = course / "notebooks" / "scratch.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), scratch)
    saved = course / "notebooks" / ".ipynb_checkpoints" / "00_start_here-checkpoint.ipynb"
    saved.parent.mkdir()
    shutil.copy(course / FIRST, saved)
    before = scratch.read_bytes(), saved.read_bytes()
    follow(course, SCHOOL)
    assert (scratch.read_bytes(), saved.read_bytes()) == before


def test_the_layout_of_the_file_stays(course):
    path = course / FIRST
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])  # as some editors write it
    path.write_text(json.dumps(notebook, indent=4), "utf-8", newline="\r\n")
    follow(course, SCHOOL)
    written = path.read_bytes()
    assert written.startswith(b'{\r\n    "cells"') and written.endswith(b"}")
    assert isinstance(json.loads(written)["cells"][0]["source"], str)


def test_check_changes_nothing_and_names_what_points_elsewhere(course, monkeypatch, capsys):
    monkeypatch.chdir(course / "notebooks")
    assert main(["badges", "--check"]) == 0
    assert main(["badges", "--repo", "a-school/dfc-vae"]) == 0
    assert main(["badges", "--check"]) == 0
    before, _ = contents(course), capsys.readouterr()
    assert main(["badges", "--check", "--repo", "other/course", "--branch", "b"]) == 1
    printed = capsys.readouterr()
    assert contents(course) == before
    assert "pyproject.toml: another address" in printed.out
    assert "README.md: a badge or link points at a-school/dfc-vae (main)" in printed.out
    for name in notebooks(course):
        assert f"{name}: the badge points at a-school/dfc-vae (main)" in printed.out
        assert f"{name}: the set-up cell points at a-school/dfc-vae (main)" in printed.out
    assert "other/course (b)" in printed.err and "Traceback" not in printed.err


@pytest.mark.parametrize("part", ["badge", "set-up cell"])
def test_check_finds_the_one_that_was_forgotten(course, part, monkeypatch, capsys):
    follow(course, SCHOOL)
    path = course / "notebooks" / "assignments" / "source" / "ps1" / "kl.ipynb"
    old, new = {"badge": ("/github/a-school", "/github/old"), "set-up cell": ("'.join(kept)", "'.join([])")}[
        part
    ]
    assert old in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    monkeypatch.chdir(course)
    assert main(["badges", "--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"notebooks/assignments/source/ps1/kl.ipynb: the {part} points at "
        + ("old/dfc-vae (main)" if part == "badge" else "a-school/dfc-vae (main)")
    ]


@pytest.mark.parametrize(
    "repository",
    ["", "name", "a/b/c", "https://github.com/a/b", "-a/b", "a-/b", "a--b/c", "a b/c", "a/b c", "a/b.git",
     "a/..", "a/.", "/b", "a/", "a" * 40 + "/b", "a/" + "b" * 101, "a'/b", 'a/"b', "a/b\n", "ä/b", "a/b;rm"],
)  # fmt: skip
def test_what_is_no_repository_is_refused_in_one_sentence(course, repository, monkeypatch, capsys):
    monkeypatch.chdir(course)
    before = contents(course)
    assert main(["badges", f"--repo={repository}"]) == 1
    error = capsys.readouterr().err
    assert "expected OWNER/NAME" in error and error.count("\n") == 1
    assert contents(course) == before


@pytest.mark.parametrize(
    "branch", ["", "-b", "/b", "b/", "b.", "a..b", "a b", "a~1", "a^", "a:b", "a?", "*", "[", "a\\b", "@",
               "@{u}", ".b", "a/.b", "b.lock", "a//b", "a'b", 'a"b', "b\n"],
)  # fmt: skip
def test_what_is_no_branch_is_refused_in_one_sentence(course, branch, monkeypatch, capsys):
    monkeypatch.chdir(course)
    assert main(["badges", "--repo", "a/b", f"--branch={branch}"]) == 1
    error = capsys.readouterr().err
    assert "is no name of a git branch" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "branch", ["main", "2027", "feature/x", "a.b_c", "spring+summer", "100%", "é", "{x}", "#1"]
)
def test_any_branch_of_git_gives_a_link_and_a_cell_that_can_be_run(branch):
    address = Address("A1/b.c_d-e", branch)
    ast.parse(address.set_up)
    assert address.badge(FIRST).isascii() and " " not in address.colab(FIRST)
    assert len(address.set_up.splitlines()) <= 10


def test_outside_of_the_course_and_without_an_address(tmp_path, course, monkeypatch, capsys):
    monkeypatch.chdir(course)
    assert main(["badges", "--branch", "b"]) == 1
    assert "--repo OWNER/NAME" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["badges"]) == 1
    assert "run this in the course's folder" in capsys.readouterr().err


def test_a_file_that_is_no_notebook_is_named(course, monkeypatch, capsys):
    (course / "notebooks" / "broken.ipynb").write_text("<<<<<<< HEAD")
    monkeypatch.chdir(course)
    assert main(["badges"]) == 1
    assert "notebooks/broken.ipynb is no notebook" in capsys.readouterr().err


def test_the_repository_agrees_with_its_own_address():
    assert follow(ROOT, read_address(ROOT), check=True) == []


def test_the_templates_are_as_the_notebooks_have_them():
    for address in (Address(), SCHOOL):
        lines = address.set_up.splitlines()
        assert len(lines) <= 10 and max(map(len, lines)) <= 110
        assert lines[-3:] == ["from dfcvae.course.setup import start", "", "here = start()"]
        assert "drive" not in address.set_up


def test_long_names_pass_the_linter(tmp_path):
    path = tmp_path / "cell.ipynb"
    address = Address("a" * 39 + "/" + "b" * 100, "c" * 60)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(address.set_up)]), path)
    for task in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *task, "--config", ROOT / "pyproject.toml", path]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# The workflows.


def workflow(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text("utf-8"))


def test_the_workflow_follows_pushes_to_the_default_branch_and_never_a_pull_request():
    follow_it = workflow("badges.yml")
    assert set(follow_it[True]) == {"push", "workflow_dispatch"}  # YAML reads "on" as true
    (job,) = follow_it["jobs"].values()
    assert "default_branch" in job["if"]
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    assert 'dfcvae badges --repo "$GITHUB_REPOSITORY" --branch "$GITHUB_REF_NAME"' in commands
    assert "${{" not in commands  # names reach the shell through the environment, where they are only text
    assert follow_it["permissions"] == {"contents": "write"}


def test_the_tests_workflow_checks_where_there_is_an_address():
    (step,) = [s for s in workflow("tests.yml")["jobs"]["pytest"]["steps"] if "badges" in s.get("run", "")]
    assert "dfcvae badges --check" in step["run"] and "grep" in step["run"]
