"""What a notebook builds by hand, pulled out of it by name."""

import ast
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def definitions(notebook: str, **around: Any) -> dict[str, Any]:
    """The functions and classes of a notebook by name, each defined with nothing but ``around`` about it."""
    found = dict(around)
    for cell in nbformat.read(NOTEBOOKS / notebook, as_version=4).cells:
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    node.decorator_list = []
                    exec(compile(ast.Module([node], []), notebook, "exec"), found)
    return found
