"""The set-up cell at work in bare environments, with the real pip: what it installs, and what it leaves.

Packages come from a folder, so that no network is needed; the last test asks one, and is skipped without.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from badges import Address

ROOT = Path(__file__).resolve().parent.parent
SCHOOL = Address("a-school/dfc-vae")
ARCHIVE = "https://github.com/a-school/dfc-vae/archive/refs/heads/main.zip"
NEEDS = tuple(re.findall(r'(?m)^    "(torch[^"]*|numpy)",$', (ROOT / "pyproject.toml").read_text("utf-8")))
OLDEST = dict(need.split(">=") for need in NEEDS if ">=" in need)  # of the ranges
NEWEST = "99.0"
THERE = {"torch": "2.6.0+cu124", "numpy": "1.26.4"}  # no torchvision: nothing to keep
HOST = """\
import subprocess, sys
class Shell:
    def run_line_magic(self, magic, line):
        assert magic == "pip"
        print("pip", line)
        sys.stdout.flush()
        subprocess.run(f'"{PIP}" -m pip --python "{sys.executable}" {line}', shell=True)
get_ipython = Shell
"""


def wheel(
    folder: Path, name: str, version: str, needs: tuple[str, ...] = (), files: dict | None = None
) -> Path:
    """The smallest package that pip installs."""
    info, path = f"{name}-{version}.dist-info", folder / f"{name}-{version}-py3-none-any.whl"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = (files or {f"{name}/__init__.py": f"__version__ = {version!r}\n"}) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
    return path


def environment(folder: Path) -> tuple[Path, Path]:
    """A virtual environment with nothing in it: its Python, and where its packages go."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.rglob("site-packages")
    return next(p for p in (folder / "bin/python", folder / "Scripts/python.exe") if p.exists()), packages


def versions(packages: Path) -> dict[str, str]:
    names = (path.name.removesuffix(".dist-info").split("-") for path in packages.glob("*.dist-info"))
    return {name: version for name, version in names}


def run_cell(python: Path, cell: str, folder: Path, **pip: str) -> subprocess.CompletedProcess:
    """The cell as a notebook's kernel runs it; pip: what PIP_... says, in place of what it says here."""
    unlike = ("PIP_", "PYTHON") if pip else ("PYTHON",)
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(unlike)}
    surroundings |= {f"PIP_{key}": value for key, value in pip.items()}
    script = HOST.replace("{PIP}", sys.executable) + cell
    return subprocess.run(
        [python, "-c", script], cwd=folder, env=surroundings, capture_output=True, text=True
    )


@pytest.fixture
def bare(tmp_path, request):
    """A function that runs a set-up cell in an environment with a torch of its own; pip finds newer ones."""
    python, packages = environment(tmp_path / "bare")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("torch", "numpy", "torchvision"):
        wheel(shelf, name, NEWEST)
    for name in ("torchmetrics", "matplotlib", "ipywidgets", "scikit_learn"):
        wheel(shelf, name, "1.0", needs=("numpy>1.2",))
    for name, version in getattr(request, "param", THERE).items():
        zipfile.ZipFile(io.BytesIO(wheel(tmp_path, name, version).read_bytes())).extractall(packages)

    def run(needs: tuple[str, ...] = (*NEEDS, "torchmetrics"), cell: str = SCHOOL.set_up, source: str = ""):
        code = {"dfcvae/__init__.py": "", "dfcvae/course/__init__.py": ""}
        code["dfcvae/course/setup.py"] = "def start():\n    print('started')\n    return 'here'\n"
        package = wheel(tmp_path, "dfcvae", "0.1.0", needs, code).as_uri()
        settings = {"NO_INDEX": "1", "FIND_LINKS": str(shelf), "CONFIG_FILE": os.devnull, "RETRIES": "0"}
        done = run_cell(python, cell.replace(ARCHIVE, source or package), tmp_path, **settings)
        return done, versions(packages)

    return run


def test_what_is_missing_is_installed_and_the_torch_that_is_there_stays(bare):
    done, there = bare()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "started"
    assert there["torch"] == "2.6.0+cu124" and there["numpy"] == "1.26.4"
    assert there["torchvision"] == NEWEST  # was not there, so there was nothing to leave alone
    assert {"dfcvae", "torchmetrics", "matplotlib", "ipywidgets", "scikit_learn"} <= set(there)
    again, _ = bare()
    assert again.stdout == "started\n"  # pip is not even asked


@pytest.mark.slow
@pytest.mark.parametrize("bare", [{}], indirect=True)
def test_where_nothing_is_there_everything_comes(bare):
    done, there = bare()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "started"
    assert there["torch"] == there["torchvision"] == there["numpy"] == NEWEST


@pytest.mark.slow
@pytest.mark.parametrize(
    "bare", [OLDEST, dict.fromkeys(OLDEST, NEWEST)], indirect=True, ids=["oldest", "newest"]
)
def test_both_ends_of_the_range_stay(bare, request):
    done, there = bare()
    assert done.returncode == 0, done.stdout + done.stderr
    ours = request.node.callspec.params["bare"]
    assert {name: there[name] for name in ours} == ours and len(ours) == 2


@pytest.mark.slow
@pytest.mark.parametrize("bare", [{"torch": "2.3.1"}], indirect=True)
def test_a_torch_below_the_range_is_told_and_left_alone(bare):
    done, there = bare()
    assert done.returncode != 0 and there == {"torch": "2.3.1"}
    assert "Cannot install dfcvae==0.1.0 and torch==2.3.1" in done.stderr
    assert "pip failed, see above" in done.stderr


def test_set_up_stops_where_the_package_needs_a_newer_torch(bare):
    done, there = bare(("torch>=2.7",))
    assert done.returncode != 0 and "pip failed, see above" in done.stderr
    assert "Cannot install dfcvae==0.1.0 and torch==2.6.0+cu124" in done.stderr
    assert there == THERE


def test_without_pinning_pip_would_have_replaced_it(bare):
    """The test above proves something: the same cell without the pins does replace torch."""
    done, there = bare(("torch>=2.7",), SCHOOL.set_up.replace("{' '.join(kept)}", ""))
    assert done.returncode == 0, done.stdout + done.stderr
    assert there["torch"] == NEWEST


def test_without_a_network_the_cell_says_what_to_do(bare):
    done, there = bare(source="https://127.0.0.1:9/main.zip")
    assert done.returncode != 0 and "started" not in done.stdout
    assert done.stderr.splitlines()[-1].endswith("No network? Turn it on and run this cell again.")
    assert there == THERE


def test_without_an_address_set_up_asks_nobody_and_says_what_to_do(bare):
    done, there = bare((), Address().set_up)
    assert done.returncode != 0 and "pip" not in done.stdout
    assert 'pip install -e ".[lab]"' in done.stderr
    assert there == THERE


def lend(name: str, shelf: Path, lent: set[str]) -> None:
    """Links to this environment's package and to what it needs."""
    from packaging.requirements import Requirement

    lent.add(name)
    package = metadata.distribution(name)
    for top in {path.parts[0] for path in package.files} - {"..", "__pycache__"}:
        if not (shelf / top).exists():
            (shelf / top).symlink_to(Path(package.locate_file(top)))
    needs = [need for need in map(Requirement, package.requires or ()) if need.name not in lent]
    for need in needs:
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            lend(need.name, shelf, lent)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="links need rights that a user of Windows seldom has")
def test_the_real_package_from_an_index_beside_the_real_torch(tmp_path):
    """The real archive, built and installed by pip, beside this environment's own torch and numpy."""
    ask = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp_path / "asked", "filelock"]
    if subprocess.run(ask, capture_output=True).returncode:
        pytest.skip("no package index answers: a network is needed")
    python, packages = environment(tmp_path / "bare")
    # Beside the environment and not in it: whatever pip does there, it removes nothing of ours.
    lent, shelf = set(), tmp_path / "lent"
    shelf.mkdir()
    (packages / "lent.pth").write_text(str(shelf))
    for name in ("torch", "torchvision", "numpy"):
        lend(name, shelf, lent)
    ignored = shutil.ignore_patterns("__pycache__")
    course = shutil.copytree(ROOT / "dfcvae", tmp_path / "main/dfcvae", ignore=ignored).parent
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, course)
    archive = Path(shutil.make_archive(str(course), "zip", tmp_path, "main"))
    done = run_cell(python, SCHOOL.set_up.replace(ARCHIVE, archive.as_uri()), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"torch {metadata.version('torch')}" in done.stdout and "profile       smoke" in done.stdout
    there = set(versions(packages))
    assert {"dfcvae", "torchmetrics", "matplotlib", "ipywidgets", "scikit_learn"} <= there
    assert not there & {"torch", "torchvision", "numpy"}
