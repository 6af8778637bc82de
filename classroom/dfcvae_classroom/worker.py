"""The process in the sandbox: runs a student's cells, then the hidden tests on what they define.

    python -m dfcvae_classroom.worker      (started by sandbox.py alone)

Orders come as lines of JSON from the standard input, results go as lines to what was the standard output;
both are moved away before student code runs. The secret and the token that marks a true result come only
after the student's cells have run, to a fork of the process that ran them: threads and children of the
cells end before it.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

TEXT, PICTURE = 20_000, 400_000  # characters of a cell's output that feedback shows


class _Line:
    """Lines of JSON in both directions; the standard streams lead to the log from here on."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "r", encoding="utf-8")
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def order(self) -> dict:
        return json.loads(self._in.readline())

    def tell(self, **message: Any) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def main() -> None:
    first = os.getpid() == 1
    if hasattr(os, "fork"):
        _reap()
    line = _Line()
    order = line.order()
    import torch

    from dfcvae_classroom import guard
    from dfcvae_classroom.course import hidden_tests
    from dfcvae_classroom.grading import Deal, points

    torch.set_num_threads(1)
    tests = {name: dict(hidden_tests(name, source).TASKS) for name, source in order["hidden"].items()}
    shell, shown = _shell()
    kept, ours = guard.Snapshot(), guard.copies(tests)
    guard.block_network()
    guard.block_mocks()
    allow = guard.block_programs()
    guard.limit(order["memory_mb"])
    seconds = order["cell_seconds"]
    for cell in order["cells"]:
        line.tell(begins=cell["id"])
        outputs = _run(shell, shown, cell["source"], seconds)
        line.tell(cell=cell["id"], outputs=outputs)
        if any(output.get("ename") == "TimeUp" for output in outputs):
            seconds = order["cell_seconds"] / 4  # what calls the same loop again shall not cost all the time
    with allow():
        alone(first)
    tests = guard.with_copies(tests, [f for f in guard.copies(tests) if f not in ours])
    torch.set_num_threads(1)  # of a pool of the cells' own, the fork has no threads
    before = [f"a cell changed {what}, which was put back" for what in kept.put_back()]
    answers = dict(shell.user_ns)
    line.tell(ran=True)

    order = line.order()
    deal, token = Deal(order["secret"]), order["token"]
    gc.disable()  # so that no class that a task's answer made is gone before it is looked at
    for name, task in order["tasks"]:
        line.tell(begins=f"{name}.{task}")
        torch.manual_seed(deal.seed(name, task, "global"))
        earned = 0.0
        with _silence(), _alarm(order["task_seconds"]) as late, contextlib.suppress(SystemExit):
            earned = points(answers, tests[name][task], deal)
        fooling = [f"changed {what} during the tests" for what in kept.put_back()]
        fooling += guard.disguised(shell.user_module.__name__)
        earned = 0.0 if late or fooling else earned
        line.tell(task=[name, task], token=token, points=earned, late=bool(late), fooling=before + fooling)
        before = []
    line.tell(done=token)
    os._exit(0)  # threads of the student's do not keep us


def _reap() -> None:
    """Return in a child; this process waits for all that comes of it, and ends as the last of it did."""
    if os.fork() == 0:
        return
    for stream in (0, 1):
        os.close(stream)
    code = 0
    while True:
        try:
            _, status = os.wait()
        except ChildProcessError:
            os._exit(code)
        ended = os.waitstatus_to_exitcode(status)
        code = 128 - ended if ended < 0 else ended


FORK, LEAVE, KILL = getattr(os, "fork", None), os._exit, os.kill


def alone(first: bool, fork: Callable = FORK, leave: Callable = LEAVE, kill: Callable = KILL) -> None:
    """Go on in a fork, which has this thread only; what else the cells started ends, where we may end it.

    first: whether the process that we come from is the first of a namespace, so that all others in it are
    the student's. The functions are bound before student code can change them.
    """
    if fork is None:
        return
    mother = os.getpid()
    if fork():
        leave(0)
    while os.getppid() == mother:
        time.sleep(0.001)
    if first:
        with contextlib.suppress(ProcessLookupError):  # there is nobody else
            kill(-1, signal.SIGKILL)


@contextlib.contextmanager
def _alarm(seconds: float):
    """Raise TimeUp in the main thread after so long, and keep it: yields a list that then has an entry.

    Where there is no alarm (Windows), or where code holds the interpreter, the parent ends the process.
    """
    from dfcvae_classroom.guard import TimeUp

    late: list[bool] = []

    def ring(*_: Any) -> None:
        late.append(True)
        raise TimeUp(f"stopped after {seconds:g} s: an infinite loop, or far more work than was asked for")

    if not hasattr(signal, "setitimer"):
        yield late
        return
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield late
    except TimeUp:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _silence():
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _shell():
    """IPython without history and without a terminal, and the list into which its outputs go."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    settings.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=settings)
    shown: list[dict] = []

    def result(value: Any) -> None:
        if value is not None:
            shell.user_ns["_"] = value
            data, metadata = shell.display_formatter.format(value)
            shown.append({"output_type": "execute_result", "data": data, "metadata": metadata})

    def publish(data: dict, metadata: dict | None = None, **_: Any) -> None:
        shown.append({"output_type": "display_data", "data": data, "metadata": metadata or {}})

    def failed(kind: type, value: BaseException, stack: list[str]) -> None:
        theirs = [part for part in stack if __file__ not in part]
        text = {"ename": kind.__name__, "evalue": str(value)[:1000], "traceback": theirs[-8:]}
        shown.append({"output_type": "error", **text})

    shell.display_trap.hook = result
    shell.display_pub.publish = publish
    shell._showtraceback = failed
    shell.system = lambda command: print(f"not run while your notebook is graded: {command}")
    return shell, shown


def _run(shell, shown: list[dict], source: str, seconds: float) -> list[dict]:
    """One cell's outputs in the notebook format; what it prints is cut to a length for reading."""
    shown.clear()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), _alarm(seconds):
        shell.run_cell(source, store_history=False)
    text = printed.getvalue()
    if len(text) > TEXT:
        text = text[:TEXT] + f"\n[{len(text):,} characters in all]"
    streams = [{"output_type": "stream", "name": "stdout", "text": text}] if text else []
    return streams + [_small(output) for output in shown[:20]]


def _small(output: dict) -> dict:
    """Without what JSON does not take, pictures above a size and widgets, which feedback cannot show."""
    if "data" in output:
        texts = {kind: value for kind, value in output["data"].items() if isinstance(value, str)}
        output["data"] = {kind: value for kind, value in texts.items() if len(value) <= PICTURE}
        output["metadata"] = {}
        if output["output_type"] == "execute_result":
            output["execution_count"] = None
    return output


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    main()
