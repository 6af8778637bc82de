"""Badges that follow a fork: Colab badges and set-up cells, made from the one address in pyproject.toml.

``[tool.dfcvae]`` in pyproject.toml holds the repository, "owner/name", and its branch. What names them in the
notebooks and in the README is rewritten from there. Only the standard library is used here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

COLAB = "https://colab.research.google.com"
START = "from dfcvae.course.setup import start"  # the line by which a set-up cell is known
FIRST = "notebooks/00_start_here.ipynb"

# GitHub's names. An owner's: letters, digits and single hyphens, and after "_" the code of a company.
OWNER = re.compile(r"(?=.{1,39}$)[A-Za-z0-9]+(-[A-Za-z0-9]+)*(_[A-Za-z0-9]+)?")
NAME = re.compile(r"(?!\.{1,2}$)(?!.*\.git$)[A-Za-z0-9._-]{1,100}")
NO_BRANCH = re.compile(r"^$|^[-/]|[/.]$|^@$|\.\.|//|@\{|(^|/)\.|\.lock(/|$)|[\s\x00-\x1f\x7f~^:?*\[\\\"']")

NOTICE = (
    '*Colab: an "Open in Colab" badge appears here once the course has a public address (`dfcvae badges` '
    "will write it). There, save a copy first: File → Save a copy in Drive.*"
)
SAVE = "*In Colab, save a copy first: File → Save a copy in Drive.*"
STAYS = "It installs nothing and mounts nothing:"
INSTALLS = (
    "It installs the course's package where that is missing, leaves the torch, torchvision and numpy that "
    "are there as they are, and mounts nothing:"
)

# Without an address: a name that nobody has claimed could be anybody's tomorrow, so nothing is installed.
REFUSES = """\
import importlib.util

if importlib.util.find_spec("dfcvae") is None:
    raise ModuleNotFoundError(
        "dfcvae is not installed for this kernel: open a terminal in the course's folder (with "
        'pyproject.toml), run  pip install -e ".[lab]"  there, and restart the kernel.'
    )
from dfcvae.course.setup import start

here = start()"""

# What is here is asked for in the very version that is here: pip then has nothing to replace, and where the
# package needs something newer, pip stops instead. (With --no-deps we would have to list the needs of our
# needs by hand.) No extra is named: "lab" holds JupyterLab, which has no business in Colab.
FETCHES = """\
from importlib import metadata, util

if util.find_spec("dfcvae") is None:  # the torch, torchvision and numpy that are here stay as they are
    kept = [f"{p}=={metadata.version(p)}" for p in ("torch", "torchvision", "numpy") if util.find_spec(p)]
    new = "matplotlib ipywidgets scikit-learn ARCHIVE"
    get_ipython().run_line_magic("pip", f"install -q {' '.join(kept)} {new}")
    assert util.find_spec("dfcvae"), "pip failed, see above. No network? Turn it on and run this cell again."
from dfcvae.course.setup import start

here = start()"""

SECTION = re.compile(r"(?ms)^\[tool\.dfcvae\]\n(.*?)(?=^\[|\Z)")
README_BADGE = re.compile(r"(?s)(<!-- colab -->\n).*?(<!-- /colab -->)")
LINK = re.compile(re.escape(COLAB) + r"/github/[^/\s]+/[^/\s]+/blob/\S+?/(notebooks/[^\s)\"'#?]+\.ipynb)")
POINTS = re.compile(
    r"github(?:\.com)?/([^/\s]+/[^/\s]+)/(?:blob|archive/refs/heads)/(\S+?)(?:/notebooks/|\.zip)"
)


@dataclass(frozen=True)
class Address:
    """Where the course is published. repository: "owner/name", or "" while it is nowhere.

    Raises ValueError for what GitHub would not take as the name of an owner, a repository or a branch.
    """

    repository: str = ""
    branch: str = "main"

    def __post_init__(self) -> None:
        owner, slash, name = self.repository.partition("/")
        if self.repository and not (slash and OWNER.fullmatch(owner) and NAME.fullmatch(name)):
            raise ValueError(
                f"{self.repository!r} is no name of a GitHub repository: expected OWNER/NAME, without "
                "https:// and .git, as in hou/dfcvae."
            )
        if NO_BRANCH.search(self.branch):
            raise ValueError(f"{self.branch!r} is no name of a git branch: expected one such as main.")

    def colab(self, path: str) -> str:
        """The page that opens the notebook at that path of the repository in Colab."""
        return f"{COLAB}/github/{self.repository}/blob/{quote(self.branch)}/{path}"

    def badge(self, path: str, alt: str = "Open this notebook in Colab") -> str:
        return f"[![{alt}]({COLAB}/assets/colab-badge.svg)]({self.colab(path)})"

    def badge_line(self, path: str) -> str:
        """The first line of the notebook at that path."""
        return f"{self.badge(path)} {SAVE}" if self.repository else NOTICE

    @property
    def set_up(self) -> str:
        """The set-up cell: the same in every notebook."""
        if not self.repository:
            return REFUSES
        archive = f"https://github.com/{self.repository}/archive/refs/heads/{quote(self.branch)}.zip"
        return FETCHES.replace("ARCHIVE", archive)


def find_root(start: Path | None = None) -> Path:
    """The course's folder: this one or one above it. Raises FileNotFoundError outside of it."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        project = folder / "pyproject.toml"
        if project.is_file() and SECTION.search(project.read_text(encoding="utf-8")):
            return folder
    raise FileNotFoundError(
        f"no pyproject.toml with [tool.dfcvae] in {start} or above it: run this in the course's folder."
    )


def read_address(root: Path) -> Address:
    """The address that stands in pyproject.toml."""
    section = SECTION.search((root / "pyproject.toml").read_text(encoding="utf-8"))[1]
    return Address(**dict(re.findall(r'(?m)^(repository|branch) *= *"(.*)"', section)))


def follow(root: Path, address: Address, check: bool = False) -> list[str]:
    """Point everything at the address; with ``check``, change nothing. Returns what pointed elsewhere."""
    found = []
    for path in _pages(root):
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        new, wrong = _rewritten(root, name, text, address)
        found += [f"{name}: {what}" for what in wrong]
        if new != text and not check:
            newline = "\r\n" if b"\r\n" in path.read_bytes() else "\n"
            path.write_text(new, encoding="utf-8", newline=newline)
    return found


def run(repository: str | None = None, branch: str | None = None, check: bool = False) -> None:
    """The command ``dfcvae badges``. Raises ValueError where ``check`` finds one that points elsewhere."""
    if repository == "":
        raise ValueError("--repo is empty: expected OWNER/NAME.")
    root = find_root()
    written = read_address(root)
    address = Address(
        written.repository if repository is None else repository, written.branch if branch is None else branch
    )
    if branch is not None and not address.repository:
        raise ValueError("a branch of which repository? Give --repo OWNER/NAME with it.")
    found = follow(root, address, check)
    print("\n".join(found) or "nothing to change", "", sep="\n", end="")
    if check and found:
        target = f"{address.repository} ({address.branch})" if address.repository else "no address yet"
        raise ValueError(f"{len(found)} of the above should say: {target}. `dfcvae badges` rewrites them.")


def _pages(root: Path) -> Iterator[Path]:
    yield root / "pyproject.toml"
    if (root / "README.md").exists():
        yield root / "README.md"
    for path in sorted((root / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            yield path


def _rewritten(root: Path, name: str, text: str, address: Address) -> tuple[str, list[str]]:
    """The page's text as it should be, and what was otherwise."""
    if name == "pyproject.toml":
        new = _project(text, address)
        return new, ["another address"] * (new != text)
    if name == "README.md":
        new = _links(root, text, address)
        badge = address.badge(FIRST, "Open the first notebook, 00 Start here, in Google Colab")
        inside = f"{badge}\n" if address.repository else ""
        new = README_BADGE.sub(lambda found: found[1] + inside + found[2], new)
        return new, ["a badge or link" + _whither(text)] * (new != text)
    return _notebook(root, name, text, address)


def _project(text: str, address: Address) -> str:
    section = SECTION.search(text)
    inside, unwritten = section[1], Address()
    for key in ("repository", "branch"):
        line = f'{key} = "{getattr(address, key)}"'
        inside, written = re.subn(rf"(?m)^{key} *=.*$", line, inside)
        if not written and getattr(address, key) != getattr(unwritten, key):
            inside = f"{line}\n{inside}"
    return text[: section.start(1)] + inside + text[section.end(1) :]


def _notebook(root: Path, name: str, text: str, address: Address) -> tuple[str, list[str]]:
    try:
        notebook = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is no notebook ({error}): mend it, or take it out of notebooks/.") from None
    wrong = []
    for number, cell in enumerate(notebook.get("cells", [])):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and START in source:
            new, what = address.set_up, "the set-up cell"
        elif cell["cell_type"] == "markdown":
            new, what = _text(root, name, source, address, number == 0), "the text"
            what = "the badge" if number == 0 else what
        else:
            continue
        if new != source:
            wrong.append(what + _whither(source))
            cell["source"] = new.splitlines(keepends=True) if isinstance(cell["source"], list) else new
    if not wrong:
        return text, []
    # As it was written, so that a diff shows these lines alone.
    indent = re.match(r"\{\r?\n( *)", text)
    escaped = text.isascii() and "\\u" in text
    new = json.dumps(notebook, indent=len(indent[1]) if indent else None, ensure_ascii=escaped)
    return new + "\n" * text.endswith("\n"), wrong


def _text(root: Path, name: str, source: str, address: Address, first: bool) -> str:
    """Markdown with its links, the badge line (of the first cell) and the promise of the set-up cell."""
    lines = _links(root, source, address).split("\n")
    if first:
        badge = address.badge_line(quote(name))
        lines = [badge if _is_badge(line) else line for line in lines]
    promises = (INSTALLS, STAYS) if not address.repository else (STAYS, INSTALLS)
    return "\n".join(lines).replace(*promises)


def _is_badge(line: str) -> bool:
    return line.startswith("*Colab:") or (line.startswith("[![") and COLAB in line)


def _links(root: Path, text: str, address: Address) -> str:
    """Links that open a notebook of this repository in Colab; another course's stay as they are."""
    if not address.repository:
        return text
    return LINK.sub(lambda link: address.colab(link[1]) if (root / link[1]).exists() else link[0], text)


def _whither(text: str) -> str:
    """Where a page or cell points now, in words."""
    named = POINTS.search(text)
    return f" points at {named[1]} ({named[2]})" if named else " differs"
