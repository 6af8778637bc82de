"""What a sandboxed process sees of this machine: the system's files to read, no network, a home in memory.

bubblewrap (``bwrap``) does it. Where there is none, student code runs as whoever grades, and only time and
memory are limited.
"""

from __future__ import annotations

import functools
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import dfcvae
import dfcvae_classroom

PACKAGES = [Path(package.__file__).resolve().parent for package in (dfcvae, dfcvae_classroom)]
SOLUTIONS = PACKAGES[1] / "sources"
SYSTEM = [os.sep + name for name in "usr bin sbin lib lib32 lib64 libx32 etc opt nix gnu sys".split()]
KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


def command(program: Sequence[str], home: Path, hidden: Sequence[Path] = ()) -> list[str]:
    """``program`` in a room of its own, where this machine allows it.

    home: an empty folder, the only one that it can write. hidden: folders that it must not read.
    """
    return list(program) if hindrance() else _in_room(program, home, hidden)


@functools.cache
def hindrance() -> str:
    """Why a process cannot be shut off on this machine; nothing where it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed" if sys.platform == "linux" else "bubblewrap is for Linux alone"
    with tempfile.TemporaryDirectory() as folder:
        trial = _in_room([sys.executable, "-c", "import dfcvae_classroom"], Path(folder))
        done = subprocess.run(
            trial, capture_output=True, text=True, env=surroundings(Path(folder)), check=False
        )
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return said[-1] if done.returncode else ""


def _in_room(program: Sequence[str], home: Path, hidden: Sequence[Path] = ()) -> list[str]:
    mounts = {}
    for folder in _needed():
        link = folder in SYSTEM and os.path.islink(folder)  # /bin is usr/bin nearly everywhere
        mounts[folder] = ["--symlink", os.readlink(folder)] if link else ["--ro-bind", folder]
    mounts |= {str(folder): _memory(2**20) for folder in (*hidden, SOLUTIONS)}
    mounts |= {"/proc": ["--proc"], "/dev": ["--dev"], "/dev/shm": _memory(64 * 2**20)}
    mounts[str(home)] = _memory(512 * 2**20)
    # Outer folders first: a Python inside of what is hidden stays, and so does what is hidden in a Python.
    ordered = sorted(mounts.items(), key=lambda mount: len(Path(mount[0]).parts))
    room = "bwrap --unshare-all --die-with-parent --as-pid-1 --cap-drop ALL".split()
    room += [part for folder, how in ordered for part in (*how, folder)]
    return [*room, "--remount-ro", "/", "--remount-ro", "/dev", "--chdir", str(home), *program]


def _memory(most: int) -> list[str]:
    return ["--size", str(most), "--tmpfs"]


def _needed() -> list[str]:
    """The system's folders, and those of this Python and of its packages."""
    own = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages(), site.getusersitepackages()]
    own += [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]
    own += [os.path.realpath(path) for path in own] + [str(path) for path in PACKAGES]
    needed = [path for path in SYSTEM if os.path.exists(path)]
    return needed + [path for path in map(os.path.abspath, own) if path != os.sep and os.path.isdir(path)]


def surroundings(home: Path) -> dict[str, str]:
    """The environment: its own home, one thread, no display, no accelerator, the smallest profile."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    homes = dict.fromkeys("HOME USERPROFILE TMPDIR TEMP IPYTHONDIR MPLCONFIGDIR".split(), str(home))
    return (
        kept
        | homes
        | {
            "DFCVAE_CACHE": str(home / "cache"),
            "DFCVAE_PROFILE": "smoke",
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": os.pathsep.join(str(package.parent) for package in PACKAGES),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONIOENCODING": "utf-8",
        }
    )
