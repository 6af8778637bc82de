"""Commands that have moved out of ``dfcvae``, and go on working for one release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MOVED = {"badges": "python tools/badges.py", "classroom": "dfcvae-classroom"}


def run_moved(command: str, *arguments: str) -> int:
    """Run the command where it is now, and say where that is. Returns its exit status."""
    print(f"dfcvae: `dfcvae {command}` is now  {MOVED[command]}", file=sys.stderr)
    program = ["-m", "dfcvae_classroom"]
    if command == "badges":
        tools = [folder / "tools" / "badges.py" for folder in (Path.cwd(), *Path.cwd().parents)]
        program = [str(next((tool for tool in tools if tool.is_file()), tools[0]))]
    return subprocess.run([sys.executable, *program, *arguments]).returncode
