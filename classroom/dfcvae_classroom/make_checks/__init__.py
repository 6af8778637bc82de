"""The numbers of the self-checks, made here with the reference functions and written into ``dfcvae``.

    python -m dfcvae_classroom.make_checks            # writes those of dfcvae.course.checks that differ
    python -m dfcvae_classroom.make_checks --check    # only says which they are

Students import ``dfcvae.course.checks``, which holds no solution: what is right, and what a known mistake
gives, is there as numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import dfcvae.course.checks
from dfcvae.course.checks.trial import digest

FOLDER = Path(dfcvae.course.checks.__file__).parent
SETS = ("ps1", "ps2", "ps3", "ps4")


def numbers(value: Any) -> list[float]:
    """What is stored of a tensor, to six digits."""
    return [float(f"{number:.6g}") for number in digest(value).tolist()]


def case(right: Any, mistakes: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What ``trial.recognise`` compares an answer with."""
    named = {sentence: numbers(value) for sentence, value in (mistakes or {}).items()}
    return {"right": numbers(right), "mistakes": named} | more


def names(functions: tuple[Callable, ...]) -> list[str]:
    """Where a student's package has the functions that must not do the work."""
    found = {f"{function.__module__}:{function.__qualname__}" for function in functions}
    ours = ("dfcvae_classroom", "dfcvae.course.checks")
    return sorted(name for name in found if not name.startswith(ours))


def made(name: str) -> dict[str, Any]:
    """The tasks of a problem set."""
    from importlib import import_module

    from dfcvae_classroom import grading, make_checks

    tasks = import_module(f"{make_checks.__name__}.{name}").tasks()
    hidden = import_module(f"{grading.__name__}.{name}").TASKS
    return {task: {"poisoned": names(hidden[task].poisoned)} | data for task, data in tasks.items()}


def text(data: Mapping[str, Any]) -> str:
    """JSON with a line for each sentence, and for each list of numbers."""
    spread = json.dumps(data, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", spread) + "\n"


def written(name: str) -> Path:
    return FOLDER / f"{name}.json"


def differs(one: Any, other: Any) -> bool:
    """Whether two files say something else; the last digits of a number belong to the machine."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [*one] != [*other] or any(differs(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(map(differs, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return not math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)
    return one != other


def out_of_date(name: str) -> bool:
    path = written(name)
    with torch.random.fork_rng(devices=[]):
        found = json.loads(json.dumps(made(name)))
    return not path.is_file() or differs(found, json.loads(path.read_text(encoding="utf-8")))
