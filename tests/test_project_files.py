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

import dfcvae

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


PROJECT = tomllib.loads(read("pyproject.toml"))


def requirements(extra: str | None = None) -> list[Requirement]:
    """What pip would install for the extra, with references of the project to itself followed."""
    project, found = PROJECT["project"], []
    for requirement in map(Requirement, project["optional-dependencies"][extra] if extra else ()):
        nested = requirement.extras if requirement.name == project["name"] else ()
        found += [inner for other in nested for inner in requirements(other)] or [requirement]
    return found + [Requirement(line) for line in project["dependencies"]]


def tracked_files() -> list[Path]:
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout, so nothing says which files are tracked")
    paths = [ROOT / name for name in listing.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_conda_installs_what_pyproject_lists():
    environment = yaml.safe_load(read("environment.yml"))
    # The list itself stands in pyproject.toml alone: whatever is added to the extra, conda users get too.
    python = "python" + PROJECT["project"]["requires-python"]
    assert environment["dependencies"] == [python, "pip", {"pip": ["-e .[lab]"]}]


def test_constraints_pin_every_requirement_within_its_range():
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    for requirement in requirements("test"):
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned and pinned in requirement.specifier, f"constraints.txt: {requirement}, {pinned}"


def test_ranges_leave_room_for_the_torch_that_is_there():
    for requirement in requirements():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators <= {">="}, f"{requirement} would replace a newer {requirement.name}"


def test_readme_and_ci_give_the_two_commands_and_describe_the_pictures():
    fences = re.findall(r"^```\w*\n(.*?)^```\n", read("README.md"), flags=re.DOTALL | re.MULTILINE)
    assert f"{LAB_COMMAND}\n{TEST_COMMAND}\n" in fences
    assert f"({TEST_COMMAND})" in read(".ci/run").splitlines()
    for description in re.findall(r"!\[(.*?)\]\(", read("README.md"), flags=re.DOTALL):
        assert len(description) > 40, f"too short to stand for the picture: {description!r}"


def test_relative_links_lead_somewhere():
    for page in [path for path in tracked_files() if path.suffix == ".md"]:
        targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        local = [t.split("#")[0] for t in targets if not re.match(r"[a-z]+:", t) and not t.startswith("#")]
        missing = [target for target in local if not (page.parent / target).exists()]
        assert not missing, f"{page.relative_to(ROOT)} links to {missing}, which are not there"


def test_one_version_everywhere():
    assert PROJECT["project"]["dynamic"] == ["version"]
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == dfcvae.__version__ and f"\n## {dfcvae.__version__}" in read("CHANGELOG.md")
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Hou", "Shen", "Sun", "Qiu"]


def test_files_beside_the_code_are_installed_with_it():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["dfcvae"]
    package = ROOT / "dfcvae"
    shipped = [path for path in tracked_files() if package in path.parents and path.suffix != ".py"]
    assert any(path.suffix == ".safetensors" for path in shipped), "the mini VGG is not tracked"
    for path in shipped:
        name = path.relative_to(package).as_posix()
        assert any(fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns), f"dfcvae/{name}"


def test_photographs_and_runs_are_ignored():
    ignored = ["data/celeba/000001.jpg", "runs/compare/pixel/checkpoint.pt", ".venv/bin/python"]
    tracked_files()  # skips where git cannot answer
    command = ["git", "-c", "safe.directory=*", "check-ignore", "--no-index", *ignored, "data/README.md"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split() == ignored


def test_no_path_of_a_machine_and_no_registry_host():
    assert MACHINE_PATH.search("('/" + "home/a')") and not MACHINE_PATH.search("a/home/b /worker")
    assert REGISTRY_HOST.search("repo.ana" + "conda.com") and not REGISTRY_HOST.search("pypi")
    for path in tracked_files():
        for number, line in enumerate(path.read_text("utf-8", errors="ignore").splitlines(), 1):
            if MACHINE_PATH.search(line) or REGISTRY_HOST.search(line):
                assert path.suffix in (".png", ".safetensors"), f"{path}:{number}: {line.strip()[:100]}"
