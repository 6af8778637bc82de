"""Commands that have moved out of ``dfcvae``, and go on working for one release."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def badges(arguments: Sequence[str]) -> int:
    print("dfcvae: `dfcvae badges` is now  python tools/badges.py", file=sys.stderr)
    for folder in (here := Path.cwd(), *here.parents):
        if (tool := folder / "tools" / "badges.py").is_file():
            return subprocess.run([sys.executable, str(tool), *arguments]).returncode
    raise FileNotFoundError("no tools/badges.py here or above: run this in the course's folder.")


def classroom(arguments: Sequence[str]) -> int:
    print("dfcvae: `dfcvae classroom` is now  dfcvae-classroom", file=sys.stderr)
    if importlib.util.find_spec("dfcvae_classroom") is None:
        raise FileNotFoundError("it is not installed: pip install ./classroom  in the course's folder.")
    return subprocess.run([sys.executable, "-m", "dfcvae_classroom", *arguments]).returncode
