"""Each case in a process of its own, forked from one that has torch loaded, with limits of time and memory.

A case makes a bad input in ``folder/in`` and gives it to the package as a user would. What may come of it: an
answer of the right size and type, or one line that begins "dfcvae: ". A traceback, a silence that lasts, a
file outside the case's folder, a wrong number where there is a checksum: each is a failure.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SECONDS, MEMORY = 30, 2 << 30  # of a case; memory beyond what the forked process has
BAR = re.compile(r"\d+%\||\d+(\.\d+)?[kM]?(img|B)? \[|\dimg/s|\d+it ")
LONGEST = 1600
MOST_LINES = 12  # notes beside a result


@dataclass
class Case:
    """One bad input: what was done to it, whether a reader gets past its header, and how it is used.

    use: the exit status of the command. check: called after a status of 0; says what is wrong with what was
    read, or "".
    """

    what: str
    use: Callable[[], int]
    check: Callable[[], str] = lambda: ""
    past: bool = False


@dataclass
class Outcome:
    kind: str
    number: int
    what: str = ""
    past: bool = False
    status: int | None = None
    lines: list[str] = field(default_factory=list)
    failure: str = ""
    seconds: float = 0.0


def run(kind: str, make: Callable[[random.Random, Path], Case], number: int, folder: Path) -> Outcome:
    """Make case ``number`` of a kind in a fresh folder and see what comes of it."""
    here = folder / f"{kind}-{number}"
    for name in ("in", "out", "cache"):
        (here / name).mkdir(parents=True)
    before = _outside(folder, here)
    began = time.monotonic()
    child = os.fork()
    if not child:
        _child(kind, make, number, here)
    ended = _wait(child, began + SECONDS)
    outcome = Outcome(kind, number, seconds=time.monotonic() - began)
    report = here / "report.json"
    told = json.loads(report.read_text()) if report.is_file() else {}
    outcome.what, outcome.past = told.get("what", ""), told.get("past", False)
    outcome.status = told.get("status")
    text = (here / "stderr").read_text(errors="replace") if (here / "stderr").is_file() else ""
    outcome.lines = [line for line in re.split(r"[\r\n]+", text) if line.strip() and not BAR.search(line)]
    outcome.failure = _failure(ended, told, outcome, text)
    if _outside(folder, here) != before:
        outcome.failure = f"wrote outside its folder: {_outside(folder, here) ^ before}"
    shutil.rmtree(here, ignore_errors=True)
    return outcome


def _outside(folder: Path, here: Path) -> frozenset[str]:
    """What lies beside the folder of the case, and what lies in it beside the places for it."""
    beside = {str(path) for path in folder.iterdir() if path != here}
    own = {"in", "out", "cache", "stderr", "stdout", "report.json"}
    return frozenset(beside | {path.name for path in here.iterdir() if path.name not in own})


def _wait(child: int, until: float) -> int | None:
    """The child's exit, or None where it had to be ended."""
    while time.monotonic() < until:
        pid, ended = os.waitpid(child, os.WNOHANG)
        if pid:
            return ended
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _failure(ended: int | None, told: dict, outcome: Outcome, text: str) -> str:
    if ended is None:
        return f"hung for {SECONDS} seconds"
    if ended or "status" not in told:
        last = text.strip().splitlines()[-1:] or ["nothing said"]
        return f"ended with {ended}: {told.get('raised') or last[0]}"
    if "Traceback" in text:
        return "traceback"
    strange = [line for line in outcome.lines if not line.startswith("dfcvae: ") or len(line) > LONGEST]
    if strange:
        return f"said {strange[0][:200]!r}"
    if outcome.status == 0:
        return told["complaint"] or ("flood of notes" if len(outcome.lines) > MOST_LINES else "")
    if len(outcome.lines) - told["notes"] != 1:
        return f"{len(outcome.lines)} lines for one failure"
    unclear = re.search(r"Errno|<class|object at 0x|weights_only", outcome.lines[-1])
    if unclear or len(outcome.lines[-1].split()) < 5:
        return "the line is unclear"
    return ""


def _child(kind: str, make: Callable, number: int, here: Path) -> None:
    """Never returns."""
    told: dict = {}
    try:
        os.chdir(here / "in")
        os.environ["DFCVAE_CACHE"] = str(here / "cache")
        for name, standard in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(here / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), standard)
            # Whoever forked this may have put something else in their place, as pytest does.
            setattr(sys, name, open(standard, "w", buffering=1, encoding="utf-8", closefd=False))
        _limit()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is said while the input is made
            case = make(random.Random(f"{kind} {number}"), here)
        told |= {"what": case.what, "past": case.past, "notes": 0}
        (here / "report.json").write_text(json.dumps(told))
        status = case.use()
        sys.stdout.flush()
        sys.stderr.flush()
        told["notes"] = _notes(here / "stderr", status)
        told |= {"complaint": case.check() if status == 0 else "", "status": status}
        (here / "report.json").write_text(json.dumps(told))
        os._exit(0)
    except BaseException as error:
        import traceback

        told["raised"] = f"{type(error).__name__}: {error}"[:300]
        (here / "report.json").write_text(json.dumps(told))
        traceback.print_exc()
        os._exit(3)


def _notes(stderr: Path, status: int) -> int:
    """Notes may stand before a failure (a file passed over); its own line is the last."""
    lines = [line for line in re.split(r"[\r\n]+", stderr.read_text(errors="replace")) if line.strip()]
    lines = [line for line in lines if not BAR.search(line)]
    return max(0, len(lines) - 1) if status and all(line.startswith("dfcvae: ") for line in lines) else 0


def _limit() -> None:
    used = int(re.search(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
