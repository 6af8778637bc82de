"""Break the function that a notebook's check is about, and see whether the check notices.

    python tools/mutate_checks.py [00_start_here ...]

A check is a cell that starts with # NBVAL_CHECK_OUTPUT: its stored output must come out again. Each notebook
in mutants/ is run once, in the smoke profile. At each of its checks, one mutant after the other breaks a
function of the package, in memory alone; the check is run again and must print something else, or fail. Then
the function is mended, and the check must print what it did before. The table is docs/mutations.md.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "mutations.md"
CHECK = "# NBVAL_CHECK_OUTPUT"


# In the notebook's kernel.


def find(target: str) -> tuple[object, str, Callable]:
    """The function's owner (a module or a class), its name there, and the function itself."""
    module, _, path = target.partition(":")
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return owner, name, vars(owner)[name]


def _swap(owner: object, name: str, old: Callable, new: Callable) -> None:
    """Put one function in another's place, wherever the package or the notebook has a name for it."""
    setattr(owner, name, new)
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] in ("dfcvae", "__main__") and module is not None:
            for other in [other for other, value in vars(module).items() if value is old]:
                setattr(module, other, new)


def break_function(notebook: str, cell: str, number: int) -> None:
    mutant = MUTANTS[notebook][cell][number]
    owner, name, sound = find(mutant.target)
    _broken.append((owner, name, mutant.wrap(sound), sound))
    _swap(owner, name, sound, _broken[-1][2])


def mend() -> None:
    _swap(*_broken.pop())


_broken: list[tuple[object, str, Callable, Callable]] = []


# Outside of it.


def printed(outputs: list) -> str:
    """What nbval compares of a check: its text."""
    texts = [
        o.text if o.output_type == "stream" else o.get("data", {}).get("text/plain", "") for o in outputs
    ]
    return "".join(texts).strip()


class Run:
    """A notebook in a kernel of its own, in an empty folder."""

    def __init__(self, path: Path, folder: str) -> None:
        import nbformat
        from nbclient import NotebookClient

        self.name, self.notebook = path.stem, nbformat.read(path, as_version=4)
        self.cells = {cell.id: cell for cell in self.notebook.cells if cell.cell_type == "code"}
        self.stored = {cell.id: printed(cell.outputs) for cell in self.cells.values()}
        self.client = NotebookClient(self.notebook, timeout=600, resources={"metadata": {"path": folder}})

    def say(self, code: str) -> None:
        from nbformat.v4 import new_code_cell

        self.client.execute_cell(new_code_cell(code), 0)

    def execute(self, *cells: str) -> str:
        """Run the cells. Returns what the last one prints."""
        for cell in cells:
            self.client.execute_cell(self.cells[cell], list(self.cells).index(cell))
        return printed(self.cells[cells[-1]].outputs)

    def sound(self, *cells: str) -> None:
        """Run the cells; the last is a check, and nothing is broken."""
        if self.execute(*cells) != self.stored[cells[-1]]:
            raise RuntimeError(f"{self.name}, {cells[-1]}: prints something else with nothing broken")

    def notices(self, cell: str, number: int, mutant: Mutant) -> str:
        """How the check notices the mutant, "" where it does not. Afterwards the notebook is sound again."""
        from nbclient.exceptions import CellExecutionError

        self.say(f"mutate_checks.break_function({self.name!r}, {cell!r}, {number})")
        if mutant.again:
            self.execute(*mutant.again)  # one that fails here would not count for the check: it stops us
        try:
            seen = self.execute(cell)
            noticed = "" if seen == self.stored[cell] else _difference(self.stored[cell], seen)
        except CellExecutionError as error:
            noticed = f"fails: {error.ename}"
        self.say("mutate_checks.mend()")
        self.sound(*mutant.again, cell)
        return noticed


def _difference(stored: str, seen: str) -> str:
    lines = zip((stored + "\n").splitlines(), (seen + "\n").splitlines(), strict=False)
    old, new = next(((a, b) for a, b in lines if a != b), (stored, seen))
    return f"`{' '.join(new.split())}` for `{' '.join(old.split())}`".replace("|", "\\|")


def mutate(path: Path) -> list[tuple[str, str, str, str]]:
    """Rows of the table: check, function, how it is broken, how the check notices ("" where it does not)."""
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = Run(path, folder)
        with run.client.setup_kernel():
            folders = [str(ROOT), str(ROOT / "tools")]
            run.say(f"import sys; sys.path[:0] = {folders!r}; import mutate_checks")
            for cell in run.cells:
                if not run.cells[cell].source.startswith(CHECK):
                    run.execute(cell)
                    continue
                run.sound(cell)
                mutants = MUTANTS[path.stem].get(cell, "no mutant has been written")
                if isinstance(mutants, str):
                    rows.append((cell, "none", mutants, "-"))
                    continue
                for number, mutant in enumerate(mutants):
                    noticed = run.notices(cell, number, mutant)
                    rows.append((cell, f"`{mutant.target}`", mutant.how, noticed))
                    print(f"{path.stem} {cell}: {mutant.how}: {noticed or 'NOT NOTICED'}", flush=True)
    return rows


HEAD = """# Do the checks of the notebooks check?

Made by `python tools/mutate_checks.py`, which breaks one function of the package at a time, in memory, and
runs the check again under `DFCVAE_PROFILE=smoke`. A check that prints the same with a broken function proves
nothing about it.
"""


def write_table(rows: dict[str, list[tuple[str, str, str, str]]]) -> None:
    """The table of all notebooks; the sections of those that were not run stay as they are."""
    text = TABLE.read_text(encoding="utf-8") if TABLE.exists() else ""
    sections = dict(re.findall(r"(?ms)^## (\S+)\n(.*?)(?=^## |\Z)", text))
    for name, found in rows.items():
        lines = [f"| {a} | {b} | {c} | {d or '**not noticed**'} |" for a, b, c, d in found]
        head = "| check | function | how it is broken | how the check notices |\n| --- | --- | --- | --- |\n"
        sections[name] = f"\n{head}" + "\n".join(lines) + "\n\n"
    body = "".join(f"## {name}\n{section.rstrip()}\n\n" for name, section in sorted(sections.items()))
    TABLE.write_text(f"{HEAD}\n{body.rstrip()}\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="See whether the notebooks' checks notice broken functions.")
    parser.add_argument("notebooks", nargs="*", default=sorted(MUTANTS), help="names without .ipynb")
    os.environ["DFCVAE_PROFILE"] = "smoke"
    rows = {name: mutate(ROOT / "notebooks" / f"{name}.ipynb") for name in parser.parse_args().notebooks}
    write_table(rows)
    missed = [f"{name}, {row[0]}: {row[2]}" for name, found in rows.items() for row in found if not row[3]]
    print("\n".join(f"not noticed: {line}" for line in missed) or "every mutant was noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
