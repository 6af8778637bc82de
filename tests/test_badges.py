"""Badges and set-up cells follow the address in pyproject.toml; the cell leaves the torch that is there.

The set-up cell runs in bare environments with the real pip; packages come from a folder, without a network.
"""

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import yaml
from badges import FIRST, SOURCES, STAYS, Address, follow, main, read_address

ROOT = Path(__file__).resolve().parent.parent
SCHOOL = Address("a-school/dfc-vae")
ARCHIVE = "https://github.com/a-school/dfc-vae/archive/refs/heads/main.zip"
SET = "ps1_vae/ps1_vae.ipynb"


@pytest.fixture
def course(tmp_path) -> Path:
    """A copy of what has badges, without an address."""
    root = tmp_path / "course"
    for name in ("pyproject.toml", FIRST, f"notebooks/assignments/{SET}", f"{SOURCES}/{SET}"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "README.md").write_text("# Course\n\n<!-- colab -->\n<!-- /colab -->\n", encoding="utf-8")
    follow(root, Address())
    return root


def contents(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in root.rglob("*.*")}


def notebooks(root: Path) -> dict[str, dict]:
    return {name: json.loads(text) for name, text in contents(root).items() if name.endswith(".ipynb")}


def test_every_notebook_opens_with_its_badge_and_has_the_one_set_up_cell(course):
    before = notebooks(course)
    assert len(follow(course, SCHOOL)) == 5
    for name, notebook in notebooks(course).items():
        published = f"notebooks/assignments/{SET}" if SOURCES in name else name
        badge, save = notebook["cells"][0]["source"][0].split(") *")
        assert badge.startswith("[![Open this notebook in Colab](https://colab.research.google.com/assets/")
        assert badge.endswith(
            f"](https://colab.research.google.com/github/a-school/dfc-vae/blob/main/{published}"
        )
        assert "save a copy first" in save and STAYS not in json.dumps(notebook)
        sources = ["".join(cell["source"]) for cell in notebook["cells"]]
        assert [source for source in sources if "dfcvae.course.setup" in source] == [SCHOOL.set_up]
        moved = [
            (old, new)
            for old, new in zip(before[name]["cells"], notebook["cells"], strict=True)
            if old != new
        ]
        assert len(moved) <= 3 and all(old | {"source": 0} == new | {"source": 0} for old, new in moved)
    readme = (course / "README.md").read_text()
    # Alone on its line: Markdown takes the line of a comment as HTML. And the picture is described.
    assert re.search(rf"(?m)^\[!\[[^]]{{40,}}\]\(.*/github/a-school/dfc-vae/blob/main/{FIRST}\)$", readme)


def test_there_and_back_and_by_a_detour_gives_the_same_files(course):
    before, twice = contents(course), Address("student_uni/My.Fork", "work/in-class")
    follow(course, SCHOOL)
    assert follow(course, SCHOOL) == []
    follow(course, twice)
    assert read_address(course) == twice
    text = "".join(contents(course).values())
    assert "a-school" not in text and f"/student_uni/My.Fork/blob/work/in-class/{FIRST}" in text
    assert "github.com/student_uni/My.Fork/archive/refs/heads/work/in-class.zip" in text
    follow(course, Address())
    assert contents(course) == before


def test_check_changes_nothing_and_names_what_points_elsewhere(course, capsys):
    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(list(arguments), course)
        return end.value.code

    assert run("--check") == 0 and run("--repo", "a-school/dfc-vae") == 0 and run("--check") == 0
    before, _ = contents(course), capsys.readouterr()
    assert run("--check", "--repo", "other/course", "--branch", "b") == 1
    assert contents(course) == before
    assert set(capsys.readouterr().out.split()) == {*notebooks(course), "README.md", "pyproject.toml"}
    for old, new in (("/github/a-school", "/github/old"), ("'.join(kept)", "'.join([])")):
        (course / FIRST).write_text(before[FIRST].replace(old, new), "utf-8")
        assert run("--check") == 1 and capsys.readouterr().out.split() == [FIRST]
    (course / FIRST).write_text("<<<<<<< HEAD")
    assert f"{FIRST} is no notebook" in run()


@pytest.mark.parametrize(
    "repository",
    ["name", "a/b/c", "https://github.com/a/b", "-a/b", "a-/b", "a--b/c", "a b/c", "a/b c", "a/b.git", "a/..",
     "a/.", "/b", "a/", "a" * 40 + "/b", "a/" + "b" * 101, "a'/b", 'a/"b', "a/b\n", "ä/b", "a/b;rm"],
)  # fmt: skip
def test_what_is_no_repository_is_refused(repository):
    with pytest.raises(ValueError, match="expected OWNER/NAME"):
        Address(repository)


@pytest.mark.parametrize(
    "branch", ["", "-b", "/b", "b/", "b.", "a..b", "a b", "a~1", "a^", "a:b", "a?", "*", "[", "a\\b", "@",
               "@{u}", ".b", "a/.b", "b.lock", "a//b", "a'b", 'a"b', "b\n"],
)  # fmt: skip
def test_what_is_no_branch_is_refused(branch):
    with pytest.raises(ValueError, match="is no name of a git branch"):
        Address("a/b", branch)


@pytest.mark.parametrize("branch", ["main", "feature/x", "a.b_c", "spring+summer", "100%", "é", "{x}", "#1"])
def test_any_branch_of_git_gives_a_link_and_a_cell_that_can_be_run(branch):
    address = Address("A1/b.c_d-e", branch)
    ast.parse(address.set_up)
    assert address.badge(FIRST).isascii() and " " not in address.colab(FIRST)


def test_the_set_up_cell_is_short_and_passes_the_linter_even_for_long_names(tmp_path):
    long = Address("a" * 39 + "/" + "b" * 100, "c" * 60)
    cells = [nbformat.v4.new_code_cell(address.set_up) for address in (Address(), SCHOOL, long)]
    assert all(len(cell.source.splitlines()) <= 10 and "drive" not in cell.source for cell in cells)
    for number, cell in enumerate(cells):
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{number}.ipynb")
    for task in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *task, "--config", ROOT / "pyproject.toml", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_repository_agrees_with_its_own_address_and_its_workflows_use_the_tool():
    assert follow(ROOT, read_address(ROOT), check=True) == []
    assert "<!-- colab -->\n" in (ROOT / "README.md").read_text("utf-8")
    workflows = ROOT / ".github" / "workflows"
    follow_it = yaml.safe_load((workflows / "badges.yml").read_text("utf-8"))
    assert set(follow_it[True]) == {"push", "workflow_dispatch"}  # YAML reads "on" as true: no pull request
    (job,) = follow_it["jobs"].values()
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    assert 'tools/badges.py --repo "$GITHUB_REPOSITORY" --branch "$GITHUB_REF_NAME"' in commands
    assert "${{" not in commands  # names reach the shell through the environment, where they are only text
    assert "tools/badges.py --check" in (workflows / "tests.yml").read_text("utf-8")


# The set-up cell at work.

NEEDS = tuple(re.findall(r'(?m)^    "(torch[^"]*|numpy)",$', (ROOT / "pyproject.toml").read_text("utf-8")))
OLDEST = dict(need.split(">=") for need in NEEDS if ">=" in need)  # of the ranges
NEWEST = "99.0"
THERE = {"torch": "2.6.0+cu124", "numpy": "1.26.4"}  # no torchvision: nothing to keep
HOST = """\
import subprocess, sys
class Shell:
    def run_line_magic(self, magic, line):
        assert magic == "pip"
        sys.stdout.flush()
        subprocess.run(f'"{PIP}" -m pip --python "{sys.executable}" {line}', shell=True)
get_ipython = Shell
"""


def wheel(folder: Path, name: str, version: str, needs: tuple[str, ...] = (), files: dict | None = None):
    """The smallest package that pip installs."""
    info, path = f"{name}-{version}.dist-info", folder / f"{name}-{version}-py3-none-any.whl"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = (files or {f"{name}/__init__.py": ""}) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"]))
    return path


@pytest.fixture
def bare(tmp_path):
    """A function that runs a set-up cell in an environment with those packages; pip finds newer ones."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("torch", "numpy", "torchvision"):
        wheel(shelf, name, NEWEST)
    for name in ("torchmetrics", "matplotlib", "ipywidgets", "scikit_learn"):
        wheel(shelf, name, "1.0", needs=("numpy>1.2",))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    (packages,) = (tmp_path / "bare").rglob("site-packages")
    (python,) = [*(tmp_path / "bare").glob("bin/python"), *(tmp_path / "bare").glob("Scripts/python.exe")]
    code = {"dfcvae/__init__.py": "", "dfcvae/course/__init__.py": ""}
    code["dfcvae/course/setup.py"] = "def start():\n    print('started')\n"

    def run(there: dict = THERE, needs=(*NEEDS, "torchmetrics"), cell: str = SCHOOL.set_up, source: str = ""):
        for name, version in there.items():
            zipfile.ZipFile(io.BytesIO(wheel(tmp_path, name, version).read_bytes())).extractall(packages)
        cell = cell.replace(ARCHIVE, source or wheel(tmp_path, "dfcvae", "0.1.0", needs, code).as_uri())
        surroundings = {
            key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))
        }
        surroundings |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf), "PIP_CONFIG_FILE": os.devnull}
        command = [python, "-c", HOST.replace("{PIP}", sys.executable) + cell]
        surroundings["PIP_RETRIES"] = "0"
        done = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True)
        found = (path.name.removesuffix(".dist-info").split("-") for path in packages.glob("*.dist-info"))
        return done, {name: version for name, version in found}

    return run


def test_what_is_missing_is_installed_and_the_torch_that_is_there_stays(bare):
    done, there = bare()
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "started", done.stdout + done.stderr
    assert there.items() >= THERE.items() and there["torchvision"] == NEWEST  # it was not there
    assert {"dfcvae", "torchmetrics", "matplotlib", "ipywidgets", "scikit_learn"} <= set(there)
    again, _ = bare()
    assert again.stdout == "started\n"  # pip is not even asked


@pytest.mark.slow
@pytest.mark.parametrize(
    "there", [{}, OLDEST, dict.fromkeys(OLDEST, NEWEST)], ids=["none", "oldest", "newest"]
)
def test_nothing_and_both_ends_of_the_range(bare, there):
    done, found = bare(there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found.items() >= (there or {"torch": NEWEST, "numpy": NEWEST}).items()


@pytest.mark.parametrize(
    ("there", "needs"), [(THERE, ("torch>=2.7",)), ({"torch": "2.3.1"}, NEEDS)], ids=["newer", "too old"]
)
def test_set_up_stops_where_the_package_needs_a_newer_torch(bare, there, needs):
    done, found = bare(there, needs)
    assert done.returncode != 0 and "pip failed, see above" in done.stderr
    assert f"Cannot install dfcvae==0.1.0 and torch=={there['torch']}" in done.stderr
    assert found == there


def test_without_pinning_pip_would_have_replaced_it(bare):
    """The test above proves something: the same cell without the pins does replace torch."""
    done, found = bare(THERE, ("torch>=2.7",), SCHOOL.set_up.replace("{' '.join(kept)}", ""))
    assert done.returncode == 0 and found["torch"] == NEWEST, done.stdout + done.stderr


def test_without_a_network_or_an_address_the_cell_says_what_to_do(bare):
    done, found = bare(source="https://127.0.0.1:9/main.zip")
    assert done.returncode != 0 and found == THERE
    assert done.stderr.splitlines()[-1].endswith("No network? Turn it on and run this cell again.")
    done, found = bare(cell=Address().set_up)
    assert done.returncode != 0 and 'pip install -e ".[lab]"' in done.stderr and found == THERE
