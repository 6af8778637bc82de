"""Run a submission and its hidden tests in a process of its own: no network, little time, little memory.

A cell or task that hangs or kills the process is left out, and the process started again for the others.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfcvae.course.classroom.course import ROOT

# Hides each path named before "--" from what runs after it, makes the disk read-only, and gives the working
# folder in memory back. 90: this machine does not allow it.
HIDING = """
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mount -t tmpfs -o size=1m none "$1" || exit 90
    elif [ -e "$1" ]; then mount --bind /dev/null "$1" || exit 90; fi
    shift
done
shift
mount -o remount,bind,ro / 2>/dev/null
mount -t tmpfs -o size=512m none "$HOME" && cd "$HOME" || exit 90
exec "$@"
"""
ALONE = ("unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")
START, WHOLE = "the start", "the notebook"
KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Limits:
    """Seconds of one cell, of one task's tests, of the whole; memory beyond what torch itself takes."""

    cell: float = 60
    task: float = 60
    whole: float = 300
    memory_mb: int = 4096
    threads: int = 1


@dataclass
class Work:
    """cells: (id, source) in order; tasks: (module, task); hidden: module -> own source or None; secret."""

    cells: list[tuple[str, str]]
    tasks: list[tuple[str, str]]
    hidden: dict[str, str | None]
    secret: str


@dataclass
class Result:
    """points: by "module.task"; outputs: by cell id; notes: what went wrong; fooling: tampering."""

    points: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, list] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fooling: list[str] = field(default_factory=list)
    seconds: float = 0.0
    log: str = ""


class _Stopped(Exception):
    """The process ended or hung in the step of that name."""


@functools.cache
def isolated() -> bool:
    """Whether this machine lets us take the network and the disk away (Linux with user namespaces)."""
    if shutil.which(ALONE[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [*ALONE, "sh", "-c", HIDING, "sandbox", "--", "true"]
        done = subprocess.run(command, capture_output=True, env={**_surroundings(folder)}, check=False)
    return done.returncode == 0


def run(work: Work, hidden_paths: Sequence[Path] = (), limits: Limits | None = None) -> Result:
    """What the cells show and the tasks are worth. hidden_paths: what student code must not read."""
    limits, result, start = limits or Limits(), Result(), time.monotonic()
    left_out: set[str] = set()
    tries = len(work.cells) + len(work.tasks) + 1
    for _ in range(tries):
        try:
            _once(work, left_out, hidden_paths, limits, result, start + limits.whole)
            break
        except _Stopped as stopped:
            step, why = stopped.args
            result.notes.append(f"{step} {why}")
            if step == START:
                raise ChildProcessError(
                    f"the sandbox does not start ({why}), so nothing was graded; its log ends: "
                    f"{result.log.strip()[-600:] or 'empty'}"
                ) from None
            if step == WHOLE or step in left_out:
                break
            left_out.add(step)
    for name, task in work.tasks:
        result.points.setdefault(f"{name}.{task}", 0.0)
    result.seconds = time.monotonic() - start
    return result


def _once(
    work: Work, left_out: set[str], hide: Sequence[Path], limits: Limits, result: Result, deadline: float
) -> None:
    """One process: all cells that are not left out, and the tasks without points yet."""
    tasks = [list(t) for t in work.tasks if ".".join(t) not in left_out | result.points.keys()]
    cells = [{"id": name, "source": source} for name, source in work.cells if name not in left_out]
    order = {"cells": cells, "hidden": work.hidden, "threads": limits.threads}
    order |= {"cell_seconds": limits.cell, "memory_mb": limits.memory_mb}
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="answers-", ignore_cleanup_errors=True) as folder:
        process = _Process(Path(folder), hide)
        try:
            process.send(order)
            for message in process.messages(START, deadline):
                if _take(message, result, None, process, limits) == "ran":
                    break
            process.send({"secret": work.secret, "token": token, "tasks": tasks, "task_seconds": limits.task})
            for message in process.messages("the tests", deadline):
                if _take(message, result, token, process, limits) == "done":
                    break
        finally:
            result.log = process.end()


def _take(message: dict, result: Result, token: str | None, process: _Process, limits: Limits) -> str:
    """Put one message into the result, and set how long the next may take."""
    if "begins" in message:
        process.step = str(message["begins"])
        process.patience = 1.5 * max(limits.cell, limits.task) + 10
    elif token is None and "cell" in message:
        result.outputs[str(message["cell"])] = message["outputs"]
        late = [o for o in message["outputs"] if o.get("ename") == "TimeUp"]
        if late:
            result.notes.append(f"{message['cell']} was stopped after {limits.cell:g} s")
    elif token is None and "ran" in message:
        return "ran"
    elif token is not None and message.get("token") == token:
        name = ".".join(message["task"])
        result.points[name] = float(message["points"])
        result.fooling += [f"{name}: {what}" for what in message["fooling"]]
        if message["late"]:
            result.notes.append(f"{name} was stopped after {limits.task:g} s")
    elif token is not None and message.get("done") == token:
        return "done"
    else:
        result.fooling.append(f"a result that is not ours came out of the sandbox: {str(message)[:80]}")
    return ""


class _Process:
    """The worker, and the lines that it sends."""

    def __init__(self, folder: Path, hide: Sequence[Path]) -> None:
        self.step, self.patience = START, 120.0
        self._lines: queue.Queue[str | None] = queue.Queue()
        command = [sys.executable, "-m", "dfcvae.course.classroom.worker"]
        if isolated():
            hidden = [str(path) for path in hide if path.exists()]
            command = [*ALONE, "sh", "-c", HIDING, "sandbox", *hidden, "--", *command]
        home = folder / "home"
        home.mkdir()
        self._log = open(folder / "log", "w+b")
        self._process = subprocess.Popen(
            command,
            cwd=home,
            env=_surroundings(str(home)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def end(self) -> str:
        """Kill it and what it started; returns what it wrote beside its results."""
        if hasattr(os, "killpg"):
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.kill()
        self._process.wait()
        with self._log:
            self._log.seek(0)
            return self._log.read(100_000).decode("utf-8", "replace")

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.decode("utf-8", "replace"))
        self._lines.put(None)

    def send(self, order: dict) -> None:
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it is dead, which reading from it will tell

    def messages(self, step: str, deadline: float) -> Iterator[dict]:
        """Lines as they come. Raises _Stopped with the step that did not end."""
        self.step, self.patience = step, 120.0
        while True:
            left = deadline - time.monotonic()
            try:
                line = self._lines.get(timeout=max(0.1, min(self.patience, left)))
            except queue.Empty:
                why = "took too long and was ended" if left > self.patience else "ran out of the time of all"
                raise _Stopped(WHOLE if left <= self.patience else self.step, why) from None
            if line is None:
                raise _Stopped(self.step, f"ended the process ({self._ending()})")
            try:
                message = json.loads(line)
            except json.JSONDecodeError:
                message = {"no JSON": line[:80]}
            yield message if isinstance(message, dict) else {"no message": line[:80]}

    def _ending(self) -> str:
        code = self._process.wait()
        return "out of memory or killed" if code in (-9, 137) else f"exit status {code}"


def _surroundings(home: str) -> dict[str, str]:
    """The environment: its own home, one thread, no display, no accelerator, the smallest profile."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
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
