"""Run a submission and its hidden tests in a process of its own: no network, little time, little memory.

A cell or task that hangs or kills the process is left out, and the process started again for the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfcvae_classroom import isolation

START, WHOLE = "the start", "the notebook"
LINE, STRANGE = 2**25, 20  # bytes of a message; messages that are not ours, before the process is ended
PATIENCE = 120.0  # seconds to wait for a message at the start


@dataclass(frozen=True)
class Limits:
    """Seconds of a cell, of a task's tests, of all cells (and again of all tests); memory beyond torch's."""

    cell: float = 60
    task: float = 60
    whole: float = 300
    memory_mb: int = 4096


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


def run(work: Work, hidden: Sequence[Path] = (), limits: Limits | None = None) -> Result:
    """What the cells show and the tasks are worth. hidden: folders that student code must not read.

    Raises ChildProcessError where the process does not even start.
    """
    limits, result, start = limits or Limits(), Result(), time.monotonic()
    left_out: set[str] = set()
    for _ in range(len(work.cells) + len(work.tasks) + 1):
        try:
            _once(work, left_out, hidden, limits, result, start)
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
    work: Work, left_out: set[str], hidden: Sequence[Path], limits: Limits, result: Result, start: float
) -> None:
    """One process: all cells that are not left out, and the tasks without points yet."""
    tasks = [list(t) for t in work.tasks if ".".join(t) not in left_out | result.points.keys()]
    cells = [{"id": name, "source": source} for name, source in work.cells if name not in left_out]
    order = {
        "cells": cells,
        "hidden": work.hidden,
        "cell_seconds": limits.cell,
        "memory_mb": limits.memory_mb,
    }
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="answers-", ignore_cleanup_errors=True) as folder:
        process = _Process(Path(folder), hidden)
        try:
            process.send(order)
            for message in process.messages(START, start + limits.whole):
                if _take(message, result, None, process, limits) == "ran":
                    break
            process.send({"secret": work.secret, "token": token, "tasks": tasks, "task_seconds": limits.task})
            for message in process.messages("the tests", start + 2 * limits.whole):
                if _take(message, result, token, process, limits) == "done":
                    break
        finally:
            result.log = process.end()


def _take(message: dict, result: Result, token: str | None, process: _Process, limits: Limits) -> str:
    """Put one message into the result; "ran" or "done" at an end. token: none before the secret is told."""
    if "begins" in message:
        process.step = str(message["begins"])
        process.patience = 1.5 * max(limits.cell, limits.task) + 10
    elif token is None and "cell" in message:
        result.outputs[str(message["cell"])] = message["outputs"]
        if any(output.get("ename") == "TimeUp" for output in message["outputs"]):
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
        if len(result.fooling) > STRANGE:
            raise _Stopped(WHOLE, "was ended, since it went on writing results that are not ours")
    return ""


class _Process:
    """The worker, and the lines that it sends. step, patience: what it is at, and seconds for it."""

    def __init__(self, folder: Path, hidden: Sequence[Path]) -> None:
        self.step, self.patience = START, PATIENCE
        self._lines: queue.Queue[str | None] = queue.Queue(4)  # a student's code may write without end
        home = folder / "home"
        home.mkdir()
        self._log = open(folder / "log", "w+b")
        self._process = subprocess.Popen(
            isolation.command([sys.executable, "-m", "dfcvae_classroom.worker"], home, hidden),
            cwd=home,
            env=isolation.surroundings(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def end(self) -> str:
        """Kill it and what it started; returns what it wrote beside its results."""
        with contextlib.suppress(ProcessLookupError, AttributeError):  # Windows has no groups
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        with self._log:
            self._log.seek(0)
            return self._log.read(100_000).decode("utf-8", "replace")

    def _read(self) -> None:
        while line := self._process.stdout.readline(LINE):
            self._lines.put(line.decode("utf-8", "replace"))
        self._lines.put(None)

    def send(self, order: dict) -> None:
        with contextlib.suppress(OSError):  # it is dead, which reading from it will tell
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def messages(self, step: str, deadline: float) -> Iterator[dict]:
        """Lines as they come. Raises _Stopped with the step that did not end."""
        self.step, self.patience = step, PATIENCE
        while True:
            left = deadline - time.monotonic()
            try:
                line = self._lines.get(timeout=max(0.1, min(self.patience, left)))
            except queue.Empty:
                if left > self.patience:
                    raise _Stopped(self.step, "took too long and was ended") from None
                raise _Stopped(WHOLE, "ran out of the time of all") from None
            if line is None:
                raise _Stopped(self.step, f"ended the process ({self._ending()})")
            try:
                message = json.loads(line)
            except json.JSONDecodeError:
                message = None
            yield message if isinstance(message, dict) else {"no message": line[:80]}

    def _ending(self) -> str:
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return "what it started runs on"
        return "out of memory or killed" if code in (-9, 137) else f"exit status {code}"
