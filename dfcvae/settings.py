"""How to train: the numbers that travel together, and the learning rate that follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("cosine", "halve", "constant")


@dataclass(frozen=True)
class Settings:
    """How to train. learning_rate is Adam's, as in the paper, which halves it every epoch ("halve").

    flip mirrors half of the images, for photographs. shift moves both pictures round together before the
    loss network looks (``Trainer.shift``); the paper did not. precision: "auto", "bf16", "fp16" or "fp32".
    compile: let torch.compile fuse the network and the loss: the same up to rounding, after a minute's wait.
    log_every, preview_every: steps between lines of metrics.jsonl, and between pictures with a checkpoint.
    """

    batch_size: int = 64
    learning_rate: float = 5e-4
    schedule: str = "cosine"
    flip: bool = False
    shift: bool = True
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    log_every: int = 10
    preview_every: int | None = None
    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        lengths = [length for length in (self.steps, self.epochs, self.minutes) if length is not None]
        if not all(0 < length < math.inf for length in lengths):
            raise ValueError(f"steps, epochs or minutes are {lengths}: expected a number above 0.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.schedule!r}: expected one of {', '.join(SCHEDULES)}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}: expected a number above 0.")
        if min(self.log_every, self.preview_every or 1) < 1:
            raise ValueError("log_every and preview_every count steps: expected 1 or more.")


def rate_at(step: int, steps: int, per_epoch: int, base: float, schedule: str = "cosine") -> float:
    """Adam's rate at a step: "cosine" falls from base to 0 over the run, "halve" (the paper's) by epochs."""
    if schedule == "cosine":
        return base * 0.5 * (1 + math.cos(math.pi * step / steps))
    return base * 0.5 ** (step // per_epoch) if schedule == "halve" else base
