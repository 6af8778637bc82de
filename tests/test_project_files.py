"""The files around the package agree: one version, one list of requirements, the same two commands."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it where the standard library has no parser

ROOT = Path(__file__).resolve().parent.parent
LAB_COMMAND = (
    'python3 -m venv .venv && .venv/bin/pip install -e ".[lab]"  '
    "&& .venv/bin/jupyter lab notebooks/00_start_here.ipynb"
)
TEST_COMMAND = 'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest'

# Built from pieces, so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.~<$}/-])/" + r"(?:work|root|home|opt|tmp|Users)\b|[A-Z]:\\+" + r"Users\\")
REGISTRY_HOST = re.compile(r"\b(?:pypi|pythonhosted|anaconda|jfrog)" + r"\.\w")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pyproject() -> dict:
    return tomllib.loads(read("pyproject.toml"))


def requirements(pyproject: dict, extra: str | None = None) -> list[Requirement]:
    """What pip would install for the extra, with references of the project to itself followed."""
    project = pyproject["project"]
    lines = list(project["dependencies"]) + (project["optional-dependencies"][extra] if extra else [])
    found = []
    for requirement in map(Requirement, lines):
        if requirement.name == project["name"]:
            for other in requirement.extras:
                found += requirements(pyproject, other)
        else:
            found.append(requirement)
    return found


def tracked_files() -> list[Path]:
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout, so nothing says which files are tracked")
    paths = [ROOT / name for name in listing.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def lines_of_text(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def test_conda_installs_what_pyproject_lists(pyproject):
    environment = yaml.safe_load(read("environment.yml"))
    python, pip, through_pip = environment["dependencies"]
    assert environment["name"] == pyproject["project"]["name"]
    assert python == "python" + pyproject["project"]["requires-python"]
    assert pip == "pip"
    # The list itself stands in pyproject.toml alone: whatever is added to the extra, conda users get too.
    assert through_pip == {"pip": ["-e .[lab]"]}
    assert "lab" in pyproject["project"]["optional-dependencies"]


def test_extras_build_on_lab(pyproject):
    names = {extra: {r.name for r in requirements(pyproject, extra)} for extra in ("lab", "test", "teach")}
    assert names["lab"] < names["test"]
    assert names["lab"] < names["teach"]


def test_constraints_pin_every_requirement_within_its_range(pyproject):
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    for requirement in requirements(pyproject, "test"):
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"constraints.txt does not pin {requirement.name}"
        assert pinned in requirement.specifier, f"{pinned} is outside of {requirement}"


def test_ranges_leave_room_for_the_torch_that_is_there(pyproject):
    for requirement in requirements(pyproject):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators <= {">="}, f"{requirement} would replace a newer {requirement.name}"


def test_readme_gives_the_two_commands():
    fences = re.findall(r"^```\w*\n(.*?)^```\n", read("README.md"), flags=re.DOTALL | re.MULTILINE)
    assert f"{LAB_COMMAND}\n{TEST_COMMAND}\n" in fences
    assert any(fence.startswith("conda env create") for fence in fences)
    assert r".venv\Scripts\python -m pytest" in read("README.md")


def test_ci_runs_the_readmes_command():
    assert f"({TEST_COMMAND})" in read(".ci/run").splitlines()


def test_relative_links_lead_somewhere():
    for page in [path for path in tracked_files() if path.suffix == ".md"]:
        targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        local = [t.split("#")[0] for t in targets if not re.match(r"[a-z]+:", t) and not t.startswith("#")]
        missing = [target for target in local if not (page.parent / target).exists()]
        assert not missing, f"{page.relative_to(ROOT)} links to {missing}, which are not there"


def test_pictures_of_the_readme_have_a_description():
    for description in re.findall(r"!\[(.*?)\]\(", read("README.md"), flags=re.DOTALL):
        assert len(description) > 40, f"too short to stand for the picture: {description!r}"


def test_one_version_everywhere(pyproject):
    import dfcvae

    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dfcvae.__version__"}
    assert yaml.safe_load(read("CITATION.cff"))["version"] == dfcvae.__version__
    assert f"\n## {dfcvae.__version__} (" in read("CHANGELOG.md")


def test_citation_names_the_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors", "version"} <= citation.keys()
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Hou", "Shen", "Sun", "Qiu"]
    assert paper["url"].endswith("1610.00291")


def test_pretrained_files_are_installed_with_the_package(pyproject):
    patterns = pyproject["tool"]["setuptools"]["package-data"]["dfcvae"]
    package = ROOT / "dfcvae"
    shipped = [path for path in tracked_files() if package in path.parents and path.suffix != ".py"]
    assert any(path.suffix == ".safetensors" for path in shipped), "the mini VGG is not tracked"
    for path in shipped:
        name = path.relative_to(package).as_posix()
        covered = any(fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns)
        assert covered, f"dfcvae/{name} is tracked, but no pattern of package-data takes it along"


def test_photographs_and_runs_are_ignored():
    ignored = ["data/celeba/000001.jpg", "runs/compare/pixel/checkpoint.pt", ".venv/bin/python"]
    tracked_files()  # skips where git cannot answer
    command = ["git", "-c", "safe.directory=*", "check-ignore", "--no-index", *ignored, "data/README.md"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.stdout.split() == ignored


@pytest.mark.parametrize(
    ("pattern", "bad", "good"),
    [
        (MACHINE_PATH, ["('/" + "home/a')", "cd /" + "work", "C:\\" + "Users\\a"], ["a/home/b", "/worker"]),
        (REGISTRY_HOST, ["https://py" + "pi.example/", "repo.ana" + "conda.com"], ["pypi", "conda-forge"]),
    ],
)
def test_patterns_find_what_they_should(pattern, bad, good):
    assert all(pattern.search(text) for text in bad)
    assert not any(pattern.search(text) for text in good)


def test_no_path_of_a_machine_and_no_registry_host():
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        for number, line in enumerate(lines_of_text(path), 1)
        if MACHINE_PATH.search(line) or REGISTRY_HOST.search(line)
    ]
    assert not found, "\n".join(found)
