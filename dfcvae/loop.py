"""The loop of a training: from the folder's checkpoint to the last step, with lines, pictures, checkpoints.

A checkpoint is due with each preview, after the first step (so that a full disk is known at once), at the
first line after five minutes without one, and on Ctrl-C. None of them changes a bit of what is learnt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dfcvae import ranks
from dfcvae.checkpoint import (
    has_checkpoint,
    read_config,
    read_metrics,
    refuse_broken_weights,
    save_checkpoint,
    write_config,
    write_metrics,
)
from dfcvae.datasets import Images
from dfcvae.device import tuned
from dfcvae.metrics import MetricsWriter
from dfcvae.stopping import stopping
from dfcvae.trainer import Position, Trainer

SAVE_AFTER = 300.0  # seconds


def run(
    trainer: Trainer, out: Path, config: dict[str, Any], validation: Images | None, progress: bool
) -> None:
    """Train from the folder's checkpoint, or from the start, to the last step."""
    steps = trainer.settings.steps
    begun = ranks.from_first(lambda: has_checkpoint(out))
    first = trainer.resume(out) if begun else Position()
    if first.step > steps:
        raise ValueError(
            f"{str(out)!r} holds a run of {first.step} steps, asked for were {steps}: "
            "ask for at least as many, or give another folder to start anew."
        )
    with ranks.agreed():
        if ranks.is_first() and first.step < steps:
            write_config(out, config)
            write_metrics(out, read_metrics(out, up_to_step=first.step))
        elif ranks.is_first() and read_config(out)["training"]["steps"] != steps:
            write_config(out, config)  # it was to become longer, and now is to end here
    if first.step < steps:
        Loop(trainer, out, validation, first).run(progress and ranks.is_first())


class Loop:
    """What changes from step to step, besides the trainer."""

    def __init__(self, trainer: Trainer, out: Path, validation: Images | None, first: Position) -> None:
        self.trainer, self.out, self.validation, self.first = trainer, out, validation, first.step
        self.seen = first.seen  # terms of the steps that no line tells yet
        self.start = time.perf_counter() - first.seconds
        self.saved = time.perf_counter()
        self.writer = MetricsWriter(
            out, trainer.per_epoch, trainer.settings, first.step, first.seconds, len(first.seen)
        )

    def run(self, progress: bool) -> None:
        from tqdm import tqdm

        chosen = self.trainer.settings
        self.trainer.model.train()
        # Once a second: who reads a notebook's output only at the end of a cell (nbval) holds 1,000 messages.
        shown = {"desc": self.out.name, "unit": "step", "disable": not progress}
        bar = tqdm(total=chosen.steps, initial=self.first, mininterval=1.0, **shown)
        with bar, tuned(self.trainer.device), stopping() as asked:
            for done in range(self.first + 1, chosen.steps + 1):
                self.seen.append(self.trainer.step(done - 1))
                bar.update()
                stop = asked()
                self._after(done, stop, lambda line: bar.set_postfix_str(_summary(line), refresh=False))
                if stop:
                    raise KeyboardInterrupt(
                        f"stopped after step {done:,} of {chosen.steps:,}, which is saved in "
                        f"{str(self.out)!r}. The same command, or call, goes on from there."
                    )

    def _after(self, done: int, stop: bool, show: Callable[[dict[str, float]], None]) -> None:
        chosen = self.trainer.settings
        preview = done % chosen.preview_every == 0 or done == chosen.steps
        saving = preview or stop or done == 1
        if preview or done % chosen.log_every == 0:
            # The clock is the first rank's, and all have to know what it says.
            saving = saving or ranks.from_first(lambda: time.perf_counter() - self.saved > SAVE_AFTER)
            show(self._log(done, preview, saving))
        if saving:
            self._save(done)

    def _log(self, done: int, preview: bool, durable: bool) -> dict[str, float]:
        rate = self.trainer.optimizer.param_groups[0]["lr"]
        line, self.seen = self.writer.line(done, self.start, self.seen, rate), []
        line |= self.trainer.skipped(done)
        with ranks.agreed():
            if preview:
                refuse_broken_weights(self.trainer.model, done)
                pause = time.perf_counter()
                line |= self.trainer.look(self.out, self.validation) if ranks.is_first() else {}
                self.start += time.perf_counter() - pause
            if ranks.is_first():
                self.writer.append(line, durable)
        return line

    def _save(self, done: int) -> None:
        """A checkpoint, unless the loss has just exploded: the one before is the last good one then."""
        trainer, seen = self.trainer, self.writer.checked(self.seen)
        with ranks.agreed():
            refuse_broken_weights(trainer.model, done)
            if ranks.is_first() and not self.writer.exploded:
                seconds = time.perf_counter() - self.start
                seed = trainer.settings.seed
                save_checkpoint(
                    self.out, trainer.model, trainer.optimizer, done, seconds, trainer.scaler, seed, seen
                )
        self.saved = time.perf_counter()


def _summary(line: dict[str, float]) -> str:
    return (
        f"{line['images_per_second']:.0f} images/s, loss {line['loss']:.1f}, "
        f"kl {line['kl']:.1f} nats, reconstruction {line['reconstruction']:.4g}"
    )
