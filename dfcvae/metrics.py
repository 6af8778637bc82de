"""The lines of metrics.jsonl, and the eye on the loss that they give: what is no number, and what explodes.

A loss counts as exploded when it is above a hundred times that of the first step, where the network knew
nothing yet, ten steps long or at the last one. A spike of the KL passes, and a network that has learnt
anything stays far below, so that a false alarm is hard to come by; a run that only learns nothing is not
stopped. No checkpoint is written from the first exploded step on.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from dfcvae import ranks
from dfcvae.checkpoint import METRICS, read_metrics
from dfcvae.files import could_not_write, flush
from dfcvae.settings import Settings

FAR, LASTING = 100.0, 10  # times the first step's loss; steps in a row
BEFORE = "The last checkpoint of the run folder, if there is one, is from before."


class MetricsWriter:
    """Writes the lines of metrics.jsonl: means of the loss's terms since the line before.

    step, seconds: where the run goes on. seen: how many steps before it no line has told yet.
    """

    def __init__(
        self, out: Path, per_epoch: int, settings: Settings, step: int, seconds: float, seen: int = 0
    ) -> None:
        self.path, self.per_epoch, self.settings = out / METRICS, per_epoch, settings
        self.step, self.timed, self.seconds = step - seen, step, seconds
        self.start = next(iter(read_metrics(out)), {})  # the terms of a network that knows nothing yet
        self.exploded = 0  # steps in a row, up to the last one looked at

    def checked(self, seen: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The terms of the steps since the last line, by name (k,), as the mean of all ranks.

        So what is no number on one of them is none on all. Raises FloatingPointError, naming step, term and
        likely cause, where something is no number.
        """
        names = seen[0] if seen else {}
        series = {name: torch.stack([terms[name].float() for terms in seen]) for name in names}
        series = {name: ranks.averaged(values) for name, values in series.items()}
        if not all(values.isfinite().all() for values in series.values()):
            place, name = _first_broken(series)
            value, step = series[name][place].item(), self.step + place + 1
            raise FloatingPointError(
                f"step {step}: {name} is {value}, which is no number. {self._cause(name, step)} {BEFORE}"
            )
        return series

    def line(self, step: int, start: float, seen: list[dict[str, Tensor]], rate: float) -> dict[str, float]:
        """start: when the run would have started without a pause. Raises as ``checked`` does."""
        series = self.checked(seen)
        means = {name: values.mean().item() for name, values in series.items()}
        self.start = self.start or {name: values[0].item() for name, values in series.items()}
        self._watch(step, series)
        seconds = time.perf_counter() - start
        speed = (step - self.timed) * self.settings.batch_size / max(seconds - self.seconds, 1e-9)
        line = {"step": step, "epoch": step / self.per_epoch, "images": step * self.settings.batch_size}
        line |= {"seconds": round(seconds, 3), "images_per_second": round(speed, 1), "learning_rate": rate}
        self.step, self.timed, self.seconds = step, step, seconds
        return line | means

    def _watch(self, step: int, series: dict[str, Tensor]) -> None:
        """Raise FloatingPointError where the loss stays far above its start; series: (k,) up to ``step``."""
        far = (series["loss"] > FAR * self.start["loss"]).tolist()
        at_the_end = next((i for i, above in enumerate(reversed(far)) if not above), len(far))
        self.exploded = at_the_end + (self.exploded if at_the_end == len(far) else 0)
        if self.exploded >= LASTING or self.exploded and step == self.settings.steps:
            first, name = step - self.exploded + 1, self._most_grown(series)
            raise FloatingPointError(
                f"step {first}: {name} explodes; at step {step} it is {series[name][-1].item():.3g}, and was "
                f"{self.start[name]:.3g} at the start. {self._cause(name, first)} {BEFORE}"
            )

    def _most_grown(self, series: dict[str, Tensor]) -> str:
        """The part of the loss that has grown most; the loss itself, where its start has no parts."""
        parts = [name for name in series if name != "loss" and name in self.start] or ["loss"]
        return max(parts, key=lambda name: series[name][-1].item() / (abs(self.start[name]) + 1e-9))

    def _cause(self, name: str, step: int) -> str:
        """The likeliest reason, and what to do about it."""
        rate, precision = self.settings.learning_rate, self.settings.precision
        if step == 1:
            return (
                "Nothing has been learnt before it, so look at what the step began with: the weights of the "
                f"model and of the loss network, alpha and beta{', and fp16' if precision == 'fp16' else ''}."
            )
        if precision == "fp16" and name not in ("kl", "loss"):
            return "fp16 ends at 65,504, and features pass that: give precision='fp32', or 'bf16'."
        return (
            f"The likeliest cause is the learning rate {rate:g}: give a tenth of it"
            f"{'; or alpha and beta, whose size it is to be seen against' if name != 'kl' else ''}."
        )

    def append(self, line: dict[str, float], durable: bool) -> None:
        """durable: on the disk before a checkpoint is, which would else be of a later step than the lines."""
        try:
            with self.path.open("ab") as file:
                file.write((json.dumps(line) + "\n").encode())
                if durable:
                    flush(file)
        except OSError as error:
            raise could_not_write(self.path, error) from None


def _first_broken(series: dict[str, Tensor]) -> tuple[int, str]:
    """The first step and term that are no number, a part of the loss before the loss itself."""
    steps = range(len(series["loss"]))
    return next(
        (step, name) for step in steps for name in reversed(series) if not math.isfinite(series[name][step])
    )
