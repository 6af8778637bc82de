"""What a sandboxed process sees of this machine: the system's files to read, no network, a home in memory."""

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

from dfcvae_classroom.course import ROOT

# Makes a root in memory with the folders named before the first "--", hides in it what is named before the
# second, and moves into it. Nothing of it can be written but the home. The last line gives up the rights of
# this namespace's root: with them, a student's code could undo all of it. 90: this machine does not allow it.
ROOM = """
new=$HOME/root
mkdir "$new" && mount -t tmpfs -o size=16m none "$new" || exit 90
while [ "$1" != -- ]; do
    mkdir -p "$new$(dirname "$1")"
    if [ -L "$1" ]; then cp -P "$1" "$new$1"
    elif [ -d "$1" ]; then mkdir -p "$new$1" && mount --rbind "$1" "$new$1" || exit 90
    elif [ -e "$1" ]; then : > "$new$1" && mount --bind "$1" "$new$1" || exit 90; fi
    shift
done
shift
while [ "$1" != -- ]; do
    if [ -d "$new$1" ]; then mount -t tmpfs -o size=1m none "$new$1" || exit 90
    elif [ -e "$new$1" ]; then mount --bind /dev/null "$new$1" || exit 90; fi
    shift
done
shift
while read -r _ _ _ _ at _; do
    at=$(printf %b "$at")
    case "$at" in
        "$new"/sys/*) mount -o remount,bind,ro "$at" ;;
        "$new"/*) mount -o remount,bind,ro "$at" || exit 90 ;;
    esac
done < /proc/self/mountinfo
mkdir -p "$new/proc" "$new/tmp" "$new/dev/shm" "$new$HOME" || exit 90
mount -t proc none "$new/proc" || mount --rbind /proc "$new/proc" || exit 90
mount -t tmpfs -o size=64m none "$new/dev/shm" || exit 90
mount -t tmpfs -o size=512m none "$new$HOME" || exit 90
cd "$new" && pivot_root . . && umount -l . && mount -o remount,bind,ro / && cd "$HOME" || exit 90
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""
ALONE = ("unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")
SYSTEM = [
    os.sep + name
    for name in "usr bin sbin lib lib32 lib64 libx32 etc opt nix gnu sys "
    "dev/null dev/zero dev/full dev/random dev/urandom".split()
]
KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


def command(program: Sequence[str], hide: Sequence[Path] = ()) -> list[str]:
    """``program`` in a room of its own, where this machine allows it. hide: what it must not read there."""
    return _in_room(program, hide) if isolated() else list(program)


def isolated() -> bool:
    """Whether this machine lets us take the network and the disk away (Linux with user namespaces)."""
    return not hindrance()


@functools.cache
def hindrance() -> str:
    """Why a process cannot be shut off on this machine; nothing where it can."""
    missing = [
        name for name in (ALONE[0], "setpriv", "pivot_root") if shutil.which(name, path=_path()) is None
    ]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    with tempfile.TemporaryDirectory() as folder:
        trial = _in_room([sys.executable, "-c", "import dfcvae.course"])
        done = subprocess.run(trial, capture_output=True, text=True, env=surroundings(folder), check=False)
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return said[0] if done.returncode else ""


def _in_room(program: Sequence[str], hide: Sequence[Path] = ()) -> list[str]:
    hidden = [str(path) for path in hide]
    return [*ALONE, "sh", "-c", ROOM, "sandbox", *_needed(), "--", *hidden, "--", *program]


def _needed() -> list[str]:
    """The system's folders, and those of this Python, its packages and ours."""
    own = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages(), site.getusersitepackages()]
    own += [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]
    own += [os.path.realpath(path) for path in own] + [str(ROOT / "dfcvae")]
    needed = [path for path in SYSTEM if os.path.exists(path)]
    for path in sorted(map(os.path.abspath, own), key=len):
        known = any(Path(path).is_relative_to(other) for other in needed)
        if path != os.sep and os.path.isdir(path) and not known:
            needed.append(path)
    return needed


def _path() -> str:
    """Where programs are; /sbin is not on everybody's."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def surroundings(home: str) -> dict[str, str]:
    """The environment: its own home, one thread, no display, no accelerator, the smallest profile."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "PATH": _path(),
        "HOME": home,
        "USERPROFILE": home,
        "TMPDIR": home,
        "TEMP": home,
        "IPYTHONDIR": home,
        "MPLCONFIGDIR": home,
        "DFCVAE_CACHE": str(Path(home) / "cache"),
        "DFCVAE_PROFILE": "smoke",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }
