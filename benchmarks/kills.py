"""A training killed at a hundred random moments, and power cuts while it saves: are the ends the same?

    python benchmarks/kills.py [COUNT]

The figures stand in docs/reliability.md; ``python -m pytest`` does a few of the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

import tiny_run  # noqa: E402  (stands among the tests)


def kills(count: int, folder: Path) -> None:
    start = time.perf_counter()
    told = []
    for kill in tiny_run.kills(count, folder):
        told.append(kill)
        print(kill, file=sys.stderr, flush=True)
    lost = [kill["done"] - kill["saved"] for kill in told]
    stages = {
        "before the first checkpoint": sum(kill["saved"] == 0 for kill in told),
        "under way": sum(0 < kill["saved"] < tiny_run.STEPS for kill in told),
        "after the last": sum(kill["saved"] == tiny_run.STEPS for kill in told),
    }
    print(f"{count} runs of {tiny_run.STEPS} steps, killed: {stages}")
    print(f"bit-equal to the run that nobody killed: {sum(kill['same'] for kill in told)}")
    print(f"steps lost, of {tiny_run.EVERY} between checkpoints: {dict(sorted(Counter(lost).items()))}")
    print(f"{time.perf_counter() - start:.0f} seconds")


def cuts(count: int, folder: Path) -> None:
    command = [sys.executable, "-W", "ignore", TESTS / "faults.py", str(count), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for kind in sorted({cut["kind"] for cut in told}):
        mine = [cut for cut in told if cut["kind"] == kind]
        steps = dict(sorted(Counter(cut["step"] for cut in mine).items()))
        print(
            f"{kind}: {len(mine)} cuts, {sum(cut['died'] for cut in mine)} died of them, "
            f"{sum(cut['whole'] for cut in mine)} whole; step read (2 was saved, 3 on the way): {steps}"
        )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        cuts(4 * count, Path(folder) / "cuts")  # of four kinds
        kills(count, Path(folder))
