"""Training: ``train(model, images, out="runs/demo", steps=300)``; its steps stand in ``trainer.py``."""

from __future__ import annotations

import copy
import math
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dfcvae import loop, ranks
from dfcvae.checkpoint import has_checkpoint, read_config, read_metrics
from dfcvae.conditions import describe_run, refuse_other_ranks, refuse_other_settings
from dfcvae.datasets import Images
from dfcvae.device import reusing_memory, tuned
from dfcvae.dfc import DFCVAE
from dfcvae.locks import alone_in
from dfcvae.memory import telling_what_fits
from dfcvae.settings import Settings
from dfcvae.trainer import Trainer, check_size


@dataclass
class Run:
    """What ``train`` returns: the folder, the trained model (eval mode) and the lines of metrics.jsonl."""

    out: Path
    model: DFCVAE
    config: dict[str, Any]
    metrics: list[dict[str, float]]


def train(
    model: DFCVAE,
    images: Images,
    out: str | Path,
    *,
    validation: Images | None = None,
    device: str = "auto",
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train ``model`` on ``images`` with Adam into a run folder; where it holds a checkpoint, go on from it.

    settings: those of ``Settings``. The length is one of steps, epochs or minutes; minutes become a fixed
    number of steps after a short timing, stored in config.json. validation: images for the pictures and
    for figures of the same loss.

    Raises ValueError for settings that do not fit, or that differ from the folder's; FloatingPointError
    when the loss is no number or explodes, naming step, term and likely cause; BlockingIOError when another
    training is under way in the folder. On Ctrl-C the step is finished and saved before KeyboardInterrupt.

    In a process that ``torchrun`` started, the ranks train together (``ranks.py``): ``batch_size`` is that
    of all of them, and the first alone reads and writes the folder.
    """
    trainer, out = _trainer(model, images, device, settings), Path(out)
    with ranks.agreed():
        _check_length(trainer.settings)
        if validation is not None:
            check_size(model, validation)
    with alone_in(out), telling_what_fits(trainer):
        stored = ranks.from_first(lambda: read_config(out) if has_checkpoint(out) else None)
        trainer.settings = _with_length(trainer, stored)
        config = _agreed_config(trainer, out, stored)
        with reusing_memory():
            loop.run(trainer, out, config, validation, progress)
        return Run(out, model.eval(), config, ranks.from_first(lambda: read_metrics(out)))


def _agreed_config(trainer: Trainer, out: Path, stored: dict[str, Any] | None) -> dict[str, Any]:
    """The first rank's config.json; ValueError where it is not that of the folder, or of all ranks."""
    with ranks.agreed():
        config = describe_run(trainer.model, trainer.images, asdict(trainer.settings), trainer.device)
        if stored:
            refuse_other_settings(out, stored, config)
            _warn_of_another_curve(out, stored["training"], config["training"])
    firsts = ranks.from_first(lambda: config)
    with ranks.agreed():
        refuse_other_ranks(firsts, config)
    return firsts


def _trainer(model: DFCVAE, images: Images, device: str | torch.device, settings: dict[str, Any]) -> Trainer:
    """Raises on every rank what one of them finds wrong."""
    ranks.join()
    with ranks.agreed():
        chosen, own = Settings(**settings), ranks.own_device(device)
    return Trainer(model, images, chosen, own)


def steps_in(minutes: float, model: DFCVAE, images: Images, device: str = "auto", **settings: Any) -> int:
    """How many steps of training fit into so many minutes here: timed on a copy, which is thrown away.

    A fiftieth of that time is spent on warming up and another on timing, six steps each at least: the first
    steps on a machine are slower than those that follow, and a handful of steps says little about minutes.
    """
    trainer = _trainer(copy.deepcopy(model), images, device, settings)
    trainer.model.train()
    with reusing_memory(), tuned(trainer.device):
        _pace(trainer, seconds=60 * minutes / 50)
        pace = _pace(trainer, seconds=60 * minutes / 50)
    return ranks.from_first(lambda: max(1, int(60 * minutes * pace)))


def _pace(trainer: Trainer, seconds: float) -> float:
    """Steps a second, over so many seconds and at least six steps."""
    start = time.perf_counter()
    steps = 0

    def unfinished() -> bool:
        return steps < 6 or time.perf_counter() - start < seconds

    while ranks.from_first(unfinished):
        trainer.step(steps % trainer.per_epoch)["loss"].item()
        steps += 1
    return steps / (time.perf_counter() - start)


def _check_length(chosen: Settings) -> None:
    if sum(length is not None for length in (chosen.steps, chosen.epochs, chosen.minutes)) != 1:
        raise ValueError("how long? Give one of steps, epochs or minutes.")


def _with_length(trainer: Trainer, stored: dict[str, Any] | None) -> Settings:
    """Settings whose length is a number of steps; a run that goes on keeps the steps of its minutes."""
    chosen = trainer.settings
    steps = chosen.steps
    if chosen.epochs:
        steps = max(1, round(chosen.epochs * trainer.per_epoch))
    elif chosen.minutes and stored and stored["training"].get("minutes") == chosen.minutes:
        steps = stored["training"]["steps"]
    elif chosen.minutes:
        settings = {key: value for key, value in asdict(chosen).items() if key != "minutes"}
        steps = steps_in(chosen.minutes, trainer.model, trainer.images, trainer.device, **settings)
    return replace(chosen, steps=steps, preview_every=chosen.preview_every or math.ceil(steps / 8))


def _warn_of_another_curve(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    if ranks.is_first() and now["schedule"] == "cosine" and before["steps"] < now["steps"]:
        warnings.warn(
            f"{str(out)!r} was begun for {before['steps']} steps and goes on to {now['steps']}: the cosine "
            "of its learning rate is now that of the longer run, so the result is not that of either.",
            stacklevel=4,
        )
