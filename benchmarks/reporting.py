"""What the benchmarks share: options, the machine in words, medians, tables, and JSON beside the table."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

import dfcvae
from dfcvae.device import available_threads, describe, pick_device

RESULTS = Path(__file__).parent / "results"


def parser(doc: str, name: str) -> argparse.ArgumentParser:
    """The options of every benchmark; ``--json`` without a file is the committed one of that name."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="auto")
    made.add_argument("--json", type=Path, nargs="?", const=RESULTS / f"{name}.json")
    return made


def machine(device: str = "auto") -> dict[str, Any]:
    """Everything that a figure of speed depends on."""
    return {
        "date": datetime.date.today().isoformat(),
        "device": describe(pick_device(device)),
        "processor": _processor(),
        "cores": available_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "dfcvae": dfcvae.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    bf16 = ", bf16" if any("avx512_bf16" in line for line in lines) else ""
    return (names[0] if names else platform.processor() or platform.machine()) + bf16


def median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def alone(*command: str, **environment: str) -> dict[str, Any]:
    """What a Python program prints as JSON in its last line, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=os.environ | environment
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def write(path: Path | None, figures: dict[str, Any]) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print(f"written: {path}")
