"""Point Colab badges and set-up cells at one GitHub repository: the one that pyproject.toml names.

    python tools/badges.py --repo OWNER/NAME [--branch main]    write the address, and what follows from it
    python tools/badges.py --check                              change nothing; fail if one points elsewhere

Only the standard library is needed. Whoever forks the course needs this one command.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
COLAB = "https://colab.research.google.com"
START = "from dfcvae.course.setup import start"  # the line by which a set-up cell is known
SOURCES = "classroom/dfcvae_classroom/sources"
FIRST = "notebooks/00_start_here.ipynb"
NOTEBOOKS = ("notebooks/*.ipynb", "notebooks/assignments/*/*.ipynb", f"{SOURCES}/*/*.ipynb")

# GitHub's names. An owner's: letters, digits and single hyphens, and after "_" the code of a company.
REPOSITORY = re.compile(
    r"(?=[^/]{1,39}/)[A-Za-z0-9]+(-[A-Za-z0-9]+)*(_[A-Za-z0-9]+)?/(?!\.{1,2}$)(?!.*\.git$)[A-Za-z0-9._-]{1,100}"
)
NO_BRANCH = re.compile(r"^$|^[-/]|[/.]$|^@$|\.\.|//|@\{|(^|/)\.|\.lock(/|$)|[\s\x00-\x1f\x7f~^:?*\[\\\"']")

NOTICE = (
    '*Colab: an "Open in Colab" badge appears here once the course has a public address (`tools/badges.py` '
    "writes it). There, save a copy first: File → Save a copy in Drive.*"
)
SAVE = "*In Colab, save a copy first: File → Save a copy in Drive.*"
STAYS = "It installs nothing and mounts nothing:"
INSTALLS = (
    "It installs the course's package where that is missing, leaves the torch, torchvision and numpy that "
    "are there as they are, and mounts nothing:"
)

# Without an address nothing is installed: a name that nobody has claimed could be anybody's tomorrow.
REFUSES = """\
import importlib.util

if importlib.util.find_spec("dfcvae") is None:
    raise ModuleNotFoundError(
        "dfcvae is not installed for this kernel: open a terminal in the course's folder (with "
        'pyproject.toml), run  pip install -e ".[lab]"  there, and restart the kernel.'
    )
from dfcvae.course.setup import start

here = start()"""

# What is here is asked for in the very version that is here: pip then has nothing to replace, and stops where
# the package needs something newer. No extra is named: "lab" holds JupyterLab, which Colab does not need.
FETCHES = """\
from importlib import metadata, util

if util.find_spec("dfcvae") is None:  # the torch, torchvision and numpy that are here stay as they are
    kept = [f"{p}=={metadata.version(p)}" for p in ("torch", "torchvision", "numpy") if util.find_spec(p)]
    new = "matplotlib ipywidgets scikit-learn ARCHIVE"
    get_ipython().run_line_magic("pip", f"install -q {' '.join(kept)} {new}")
    assert util.find_spec("dfcvae"), "pip failed, see above. No network? Turn it on and run this cell again."
from dfcvae.course.setup import start

here = start()"""

KEYS = re.compile(r'(?m)^(repository|branch) = "(.*)"$')
README_BADGE = re.compile(r"(?s)(?<=<!-- colab -->\n).*?(?=<!-- /colab -->)")
BADGE = re.compile(r"^(?:\*Colab:|\[!\[.*?" + re.escape(COLAB) + r").*$", re.MULTILINE)


@dataclass(frozen=True)
class Address:
    """Where the course is published. repository: "owner/name", or "" while it is nowhere.

    Raises ValueError for what GitHub would not take as the name of an owner, a repository or a branch.
    """

    repository: str = ""
    branch: str = "main"

    def __post_init__(self) -> None:
        if self.repository and not REPOSITORY.fullmatch(self.repository):
            raise ValueError(f"{self.repository!r} is no GitHub repository: expected OWNER/NAME.")
        if NO_BRANCH.search(self.branch):
            raise ValueError(f"{self.branch!r} is no name of a git branch: expected one such as main.")

    def colab(self, path: str) -> str:
        """The page that opens the notebook at that path of the repository in Colab."""
        return f"{COLAB}/github/{self.repository}/blob/{quote(self.branch)}/{quote(path)}"

    def badge(self, path: str, alt: str = "Open this notebook in Colab") -> str:
        return f"[![{alt}]({COLAB}/assets/colab-badge.svg)]({self.colab(path)})"

    def badge_line(self, path: str) -> str:
        """The first line of the notebook at that path."""
        return f"{self.badge(path)} {SAVE}" if self.repository else NOTICE

    @property
    def set_up(self) -> str:
        """The set-up cell: the same in every notebook."""
        archive = f"https://github.com/{self.repository}/archive/refs/heads/{quote(self.branch)}.zip"
        return FETCHES.replace("ARCHIVE", archive) if self.repository else REFUSES


def read_address(root: Path = ROOT) -> Address:
    """The address that stands in pyproject.toml."""
    return Address(**dict(KEYS.findall((root / "pyproject.toml").read_text("utf-8"))))


def follow(root: Path, address: Address, check: bool = False) -> list[str]:
    """Point all files at the address, or with ``check`` none. Returns those that pointed elsewhere."""
    found = []
    notebooks = [path for pattern in NOTEBOOKS for path in sorted(root.glob(pattern))]
    for path in [root / "pyproject.toml", root / "README.md", *notebooks]:
        name, text = path.relative_to(root).as_posix(), path.read_text("utf-8")
        try:
            new = _rewritten(name, text, address)
        except (ValueError, LookupError) as error:
            raise ValueError(f"{name} is no notebook ({error}): mend it, or take it away.") from None
        if new != text:
            found.append(name)
            if not check:
                path.write_text(new, "utf-8", newline="\n")
    return found


def _rewritten(name: str, text: str, address: Address) -> str:
    """A file's text as it should be."""
    if name == "pyproject.toml":
        return KEYS.sub(lambda key: f'{key[1]} = "{getattr(address, key[1])}"', text)
    if name == "README.md":
        badge = address.badge(FIRST, "Open the first notebook, 00 Start here, in Google Colab") + "\n"
        return README_BADGE.sub(badge if address.repository else "", text)
    notebook = json.loads(text)
    published = name.replace(SOURCES, "notebooks/assignments")  # where a problem set is released
    for number, cell in enumerate(notebook["cells"]):
        source = new = "".join(cell["source"])
        if cell["cell_type"] == "code" and START in source:
            new = address.set_up
        elif cell["cell_type"] == "markdown":
            new = new.replace(STAYS, INSTALLS) if address.repository else new.replace(INSTALLS, STAYS)
            new = BADGE.sub(address.badge_line(published), new) if number == 0 else new
        if new != source:
            cell["source"] = new.splitlines(keepends=True)
    if notebook == json.loads(text):
        return text
    indent = len(text[2:]) - len(text[2:].lstrip(" "))  # as it was, so that a diff shows these lines alone
    return json.dumps(notebook, indent=indent, ensure_ascii=False) + "\n" * text.endswith("\n")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    written = read_address(root)
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--repo", default=written.repository)
    parser.add_argument("--branch", default=written.branch)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    try:
        found = follow(root, Address(options.repo, options.branch), options.check)
    except ValueError as error:
        sys.exit(str(error))
    print("\n".join(found) or "nothing to change")
    sys.exit(options.check and bool(found))


if __name__ == "__main__":
    main()
