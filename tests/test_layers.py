"""Imports run downwards, from the command to the files, and types agree: pyproject.toml says how."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str) -> str:
    """What a tool says where it fails, "" where it does not."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_imports_run_downwards_and_never_to_the_classroom(tmp_path):
    """import-linter has no ``python -m``."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    assert run("-c", code, "--cache-dir", str(tmp_path)) == ""


@pytest.mark.slow
def test_types_agree(tmp_path):
    assert run("-m", "mypy", "--cache-dir", str(tmp_path)) == ""
