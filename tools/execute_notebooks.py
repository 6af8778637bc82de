"""Run the notebooks from top to bottom and store clean outputs: what the repository shows is what was run.

    python tools/execute_notebooks.py [notebooks/00_start_here.ipynb ...]

Each runs in an empty folder under DFCVAE_PROFILE (cpu unless set). Then progress bars, widgets, timings and
the machine's particulars are taken out. A cell that fails or warns stops it before anything is written.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: NotebookNode) -> None:
    """Run every cell in a folder that is removed afterwards. Raises CellExecutionError where one fails."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=3600, record_timing=False, resources=resources).execute()


def clean(notebook: NotebookNode) -> None:
    """Keep what belongs to the course. Raises ValueError for a warning, which a reader should not meet."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _belongs(output)]


def _belongs(output: NotebookNode) -> bool:
    if output.get("name") == "stderr":
        # A progress bar writes its line again and again, from carriage return to carriage return.
        rest = [line for line in output.text.splitlines() if line.strip() and "%|" not in line]
        if rest:
            raise ValueError(f"a cell wrote to stderr: {rest[0]!r}: mend the cause, then run this again.")
        return False
    return WIDGET not in output.get("data", {})


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the notebooks and store clean outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb")))
    os.environ.setdefault("DFCVAE_PROFILE", "cpu")
    for path in parser.parse_args().notebooks:
        start = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        execute(notebook)
        clean(notebook)
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        seconds, kilobytes = time.perf_counter() - start, path.stat().st_size // 1000
        print(f"{path.name}: {seconds:.0f} s under {os.environ['DFCVAE_PROFILE']}, {kilobytes:,} kB")


if __name__ == "__main__":
    main()
