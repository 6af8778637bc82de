"""Power cuts while a checkpoint is written: ``python tests/faults.py COUNT FOLDER`` prints a JSON line each.

A process is forked for each cut and dies there: in the middle of the file, at a random byte (the system ends
it when a file passes its limit), or before or after one of the calls that make a checkpoint last.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import warnings
from pathlib import Path

import torch
from tiny_run import same

from dfcvae.runs import RunFolder

CALLS = ("write", "fsync", "replace", "open")
LEFT = {"checkpoint.pt", "checkpoint.previous.pt"}


def weights(step: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(step)
    return {"a": torch.randn(50, 40), "b": torch.randn(40, 30)}


def save(out: Path, step: int) -> None:
    RunFolder(out).save({"step": step, "seconds": 1.0, "model": weights(step), "optimizer": {}})


def dying(function, call: int, after: bool):
    """``function`` that ends the process at its call of that number, before or after its work."""
    calls = iter(range(10_000))

    def deadly(*arguments, **options):
        mine = next(calls) == call
        if mine and not after:
            os._exit(1)
        result = function(*arguments, **options)
        if mine:
            os._exit(1)
        return result

    return deadly


def cut(out: Path, kind: str, call: int, after: bool, byte: int) -> int:
    """Save step 3 in a process that dies on the way. Returns its exit status; 0: it had nothing to die of."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    if kind == "write":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores
        resource.setrlimit(resource.RLIMIT_FSIZE, (byte, byte))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    else:
        setattr(os, kind, dying(getattr(os, kind), call, after))
    save(out, 3)
    os._exit(0)


def outcome(template: Path, out: Path, number: int, byte: float) -> dict:
    """Each kind of cut in turn, at its first and second call, before and after; byte: a share of the file."""
    shutil.copytree(template, out)
    size = (out / "checkpoint.pt").stat().st_size
    number, kind = divmod(number, len(CALLS))
    fault = {"kind": CALLS[kind], "call": number % 2, "after": number // 2 % 2 == 1, "byte": int(byte * size)}
    died = cut(out, **fault) != 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        state = RunFolder(out).checkpoint()
    whole = same(state["model"], weights(state["step"]))
    save(out, 4)
    tidy = {path.name for path in out.iterdir()} == LEFT and RunFolder(out).checkpoint()["step"] == 4
    shutil.rmtree(out)
    return fault | {"died": died, "step": state["step"], "whole": whole, "tidy": tidy, "told": len(told)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, moments = Path(sys.argv[2]), random.Random(0)
    (folder / "template").mkdir(parents=True)
    for step in (1, 2):
        save(folder / "template", step)
    for number in range(int(sys.argv[1])):
        print(json.dumps(outcome(folder / "template", folder / str(number), number, moments.random())))
