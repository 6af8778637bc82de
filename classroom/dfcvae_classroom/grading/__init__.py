"""The hidden tests of the problem sets: what an answer is worth.

A set's module (``ps1.py`` ...) holds ``TASKS``: name -> ``Task``. A task's checks are drawn from a ``Deal``,
that is from a course's secret: the public one is in the repository, an instructor's is not.

    points({"kl_normal": kl_normal}, ps1.TASKS["kl_normal"], Deal("public"))      # -> 6.0
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dfcvae.course.checks.trial import poisoned

PUBLIC = "public"  # the secret of the variant that the repository carries

# Points, and what must be true for them; an exception means that it is not.
Check = tuple[float, Callable[[], Any]]


@dataclass(frozen=True)
class Deal:
    """What a course's secret deals to a task: numbers that are the same whenever they are asked for."""

    secret: str = PUBLIC

    def seed(self, *what: object) -> int:
        """A number below 2^63 that belongs to the secret and to ``what``, such as ("ps1", "kl", 3)."""
        text = "\0".join(map(str, (self.secret, *what)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def random(self, *what: object) -> random.Random:
        return random.Random(self.seed(*what))

    def generator(self, *what: object) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed(*what))


@dataclass(frozen=True)
class Task:
    """points: of a whole answer. answer: the name that the student defines. checks: of it, under a deal.

    checks(answers, deal) yields ``Check``s whose points add up to ``points``; answers holds what the
    student's notebook defines, by name. poisoned: functions of the package that must not do the student's
    work: while the checks run, calling one raises.
    """

    points: float
    checks: Callable[[Mapping[str, Any], Deal], Iterable[Check]]
    poisoned: tuple[Callable, ...] = ()


def points(answers: Mapping[str, Any], task: Task, deal: Deal) -> float:
    """What the answers are worth in one task: 0 to ``task.points``, in hundredths.

    Prints and exceptions cost nothing.
    """
    earned = 0.0
    try:
        with poisoned(task.poisoned):
            for worth, holds in task.checks(answers, deal):
                earned += worth * _true(holds)
    except Exception:  # of the student's code, where the checks are made up: the rest is lost
        pass
    return min(round(earned, 2), task.points)


def _true(holds: Callable[[], Any]) -> bool:
    try:
        return bool(holds())
    except Exception:
        return False
