"""Ten thousand bad inputs of six kinds, each in a process of its own with limits: what comes of them?

    python tools/fuzz/bad_inputs.py 10000 --json

Allowed: an answer of the right size and type, or one line. What is tried stands beside this file, what counts
as past the header in docs/reliability.md. Linux only; ``python -m pytest tools/fuzz`` tests the harness.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "benchmarks", "tests")]

from reporting import machine, parser, table, write  # noqa: E402

from fuzz.worker import Outcome, run  # noqa: E402

# Kind and its share of a hundred.
KINDS = {"images": 25, "celeba": 20, "weights": 20, "checkpoints": 15, "configuration": 10, "arguments": 10}

SLOWEST = "slowest, s"


def outcomes(kind: str, count: int, folder: Path) -> list[Outcome]:
    """Cases 0 to count - 1 of a kind; the same ones each time."""
    make = importlib.import_module(f"fuzz.{kind}")
    (folder / kind).mkdir()
    os.environ["DFCVAE_CACHE"] = str(folder / "cache")
    make.prepare()
    found = []
    for number in range(count):
        outcome = run(kind, make.make, number, folder / kind)
        found.append(outcome)
        if outcome.failure:
            print(
                f"{kind} {number}: {outcome.failure} | {outcome.what} | {outcome.lines[-2:]}", file=sys.stderr
            )
    return found


def row(found: list[Outcome]) -> dict[str, Any]:
    answers = Counter("failure" if o.failure else "read" if o.status == 0 else "one line" for o in found)
    return {
        "tried": len(found),
        "past the header": sum(o.past for o in found),
        "read": answers["read"],
        "one line": answers["one line"],
        "tracebacks": sum("traceback" in o.failure or "ended with" in o.failure for o in found),
        "hangs": sum("hung" in o.failure for o in found),
        "other failures": sum(
            bool(o.failure) and not any(words in o.failure for words in ("traceback", "ended with", "hung"))
            for o in found
        ),
        SLOWEST: round(max(o.seconds for o in found), 1),
    }


if __name__ == "__main__":
    options = parser(__doc__, "bad_inputs")
    options.add_argument("count", type=int, nargs="?", default=10_000)
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    chosen = options.parse_args()
    torch.set_num_threads(1)  # a process that is forked has no other threads to wait for
    os.environ["DFCVAE_PROFILE"] = "smoke"
    began, rows = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as place:
        for kind in chosen.kinds:
            rows[kind] = row(outcomes(kind, chosen.count * KINDS[kind] // 100, Path(place)))
            print(kind, rows[kind], flush=True)
    if chosen.json and chosen.json.is_file() and set(chosen.kinds) < set(KINDS):  # the other kinds stay
        rows = {kind: found for kind, found in json.loads(chosen.json.read_text())["rows"].items()} | rows
        rows.pop("all", None)
    total = {key: sum(found[key] for found in rows.values()) for key in next(iter(rows.values()))}
    rows["all"] = total | {SLOWEST: max(found[SLOWEST] for found in rows.values())}
    print(table(["kind", *total], [[kind, *found.values()] for kind, found in rows.items()]))
    seconds = round(time.perf_counter() - began)
    write(chosen.json, {"machine": machine("cpu"), "seconds of the last run": seconds, "rows": rows})
