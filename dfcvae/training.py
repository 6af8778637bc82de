"""Training: ``train(model, images, out="runs/demo", steps=300)`` into a run folder; called again, it goes on.

Everything random is a function of the seed and the step (``Trainer.generator``): the order of an epoch's
images, the noise of z, the shift of a step. So a run that was interrupted ends, on the same CPU, with the
bits of one that was not.
"""

from __future__ import annotations

import copy
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfcvae.datasets import Images
from dfcvae.device import (
    autocast,
    layout,
    loss_scaler,
    pick_device,
    pick_precision,
    repeating_steps,
    to_device,
)
from dfcvae.dfc import DFCVAE
from dfcvae.figures import png
from dfcvae.runs import RunFolder, describe_run, refuse_other_settings, telling_what_does_not_fit
from dfcvae.vae import evaluating

STREAMS = ("order", "flip", "noise", "shift", "preview", "validation")  # of random numbers, each its own
SCHEDULES = ("cosine", "halve", "constant")
PREVIEWED, VALIDATED = 16, 512  # images in reconstructions.png; at most, behind a validation figure
SAVE_AFTER = 300.0  # seconds without a checkpoint


@dataclass(frozen=True)
class Settings:
    """How to train. learning_rate is Adam's, as in the paper, which halves it every epoch ("halve").

    flip mirrors half of the images, for photographs. shift moves both pictures round together before the
    loss network looks (``Trainer.shift``); the paper did not. precision: "auto", "bf16", "fp16" or "fp32".
    log_every, preview_every: steps between lines of metrics.jsonl, and between pictures with a checkpoint.
    One of steps, epochs or minutes says how long; minutes become steps after a short timing.
    """

    batch_size: int = 64
    learning_rate: float = 5e-4
    schedule: str = "cosine"
    flip: bool = False
    shift: bool = True
    seed: int = 0
    precision: str = "auto"
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


@dataclass
class Run:
    """What ``train`` returns: the folder, the trained model (eval mode), config.json, metrics.jsonl."""

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
    device: str | torch.device = "auto",
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train ``model`` on ``images`` with Adam into a run folder; where it holds a checkpoint, go on from it.

    settings: those of ``Settings``. validation: images for the pictures and for figures of the same loss.

    Raises ValueError for settings that do not fit, or that differ from the folder's; FloatingPointError
    when the loss or a weight is NaN or infinite; BlockingIOError when another training is under way in the
    folder. On Ctrl-C the step is finished and saved before KeyboardInterrupt.
    """
    trainer, folder = Trainer(model, images, Settings(**settings), pick_device(device)), RunFolder(out)
    chosen = trainer.settings
    if sum(length is not None for length in (chosen.steps, chosen.epochs, chosen.minutes)) != 1:
        raise ValueError("how long? Give one of steps, epochs or minutes.")
    if validation is not None:
        _check_size(model, validation)
    with folder.lock(), repeating_steps(trainer.device):
        stored = folder.config() if folder.begun else None
        try:
            trainer.settings = _with_steps(trainer, stored)
            config = describe_run(model, images, asdict(trainer.settings), trainer.device)
            if stored:
                refuse_other_settings(folder, config, asdict(Settings()))
            _loop(trainer, folder, config, validation, progress)
        except torch.cuda.OutOfMemoryError:
            raise torch.cuda.OutOfMemoryError(
                f"out of memory at batch_size {chosen.batch_size}: give a smaller one, and another folder."
            ) from None
    return Run(folder.path, model.eval(), folder.config(), folder.metrics())


class Trainer:
    """A training under way: model, optimizer, and the images of each step."""

    def __init__(self, model: DFCVAE, images: Images, settings: Settings, device: torch.device) -> None:
        if not 2 <= settings.batch_size <= len(images):
            raise ValueError(
                f"batch_size is {settings.batch_size}: expected 2 to {len(images)}, the number of images."
            )
        _check_size(model, images)
        self.settings = replace(settings, precision=pick_precision(device, settings.precision))
        self.model = model.to(device).to(memory_format=layout(device))
        self.images, self.device = images, device
        self.per_epoch = len(images) // settings.batch_size
        self.pixels = images.pixels
        if device.type == "cuda" and images.pixels.numel() < torch.cuda.mem_get_info(device)[0] / 2:
            self.pixels = images.pixels.to(device)
        self.optimizer = torch.optim.Adam(
            model.parameters(), settings.learning_rate, fused=device.type != "mps"
        )
        self.scaler = loss_scaler(device, self.settings.precision)
        self._order: tuple[int, Tensor] = -1, torch.empty(0)

    def generator(self, stream: str, number: int) -> torch.Generator:
        """The random numbers of one purpose and one step, the same on every device."""
        base = self.settings.seed * len(STREAMS) + STREAMS.index(stream)
        return torch.Generator().manual_seed((base * 1_000_003 + number) % 2**63)

    def rows(self, step: int) -> Tensor:
        """Which images a step takes: int64 (B,). Every epoch has a new order."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._order[0]:
            self._order = epoch, torch.randperm(len(self.images), generator=self.generator("order", epoch))
        size = self.settings.batch_size
        return self._order[1][place * size : (place + 1) * size]

    def batch(self, step: int) -> Tensor:
        """The images of a step: float (B, 3, S, S) in [0, 1] on the device."""
        x = self.pixels[self.rows(step).to(self.pixels.device)].to(self.device)  # uint8 (B, 3, S, S)
        x = x.to(memory_format=layout(self.device)).float().div_(255)
        if self.settings.flip:
            mirrored = torch.rand(len(x), generator=self.generator("flip", step)) < 0.5
            x = torch.where(to_device(mirrored, self.device).view(-1, 1, 1, 1), x.flip(-1), x)
        return x

    def noise(self, step: int) -> Tensor:
        """The epsilon of a step (B, latent_dim), of its images one by one."""
        shape = self.settings.batch_size, self.model.latent_dim
        return to_device(torch.randn(shape, generator=self.generator("noise", step)), self.device)

    def shift(self, step: int) -> list[int]:
        """Pixels down and across, anew at each step, below the stride of the loss network.

        Its deep features are read at every fourth pixel (relu3_1) and always the same ones, and a decoder
        would learn to please these. No pixel is privileged when both pictures move together.
        """
        stride = self.model.perceptual.vgg.stride if self.settings.shift and self.model.perceptual else 1
        return torch.randint(stride, (2,), generator=self.generator("shift", step)).tolist()

    def terms(self, x: Tensor, epsilon: Tensor, shift: Sequence[int] = (0, 0)) -> dict[str, Tensor]:
        """The terms of the loss on x, both pictures moved round by ``shift`` pixels before the loss."""
        with autocast(self.device, self.settings.precision):
            out = self.model(x, epsilon=epsilon)
            moved = out._replace(reconstruction=out.reconstruction.roll(shift, (2, 3)))
            return self.model.loss_function(moved, x.roll(shift, (2, 3)))

    def step(self, step: int) -> dict[str, Tensor]:
        """One step of Adam. Returns the terms of the loss, detached, on the device.

        The scaler is at work in fp16 only, and in other precisions hands everything on as it is.
        """
        chosen = self.settings
        rate = rate_at(step, chosen.steps or 1, self.per_epoch, chosen.learning_rate, chosen.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self.terms(self.batch(step), self.noise(step), self.shift(step))
        self.optimizer.zero_grad()
        self.scaler.scale(terms["loss"]).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def look(self, out: Path, validation: Images | None) -> dict[str, float]:
        """Pictures into the folder, and the loss of the first 512 validation images, without the shift."""
        images = validation or self.images
        x = images.float(slice(0, PREVIEWED)).to(self.device)
        samples = self.model.sample(32, generator=self.generator("preview", 0))
        png.save_previews(out, x, self.model.generate(x), samples)
        sums: dict[str, float] = {}
        count = min(VALIDATED, len(images)) if validation else 0
        with evaluating(self.model):
            for first in range(0, count, 64):
                x = images.float(slice(first, min(first + 64, count))).to(self.device)
                generator = self.generator("validation", first)
                epsilon = torch.randn((len(x), self.model.latent_dim), generator=generator).to(self.device)
                terms = self.terms(x.to(memory_format=layout(self.device)), epsilon)
                for name in ("loss", "kl", "reconstruction"):
                    sums[name] = sums.get(name, 0.0) + terms[name].item() * len(x)
        return {f"validation_{name}": total / count for name, total in sums.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs of model and optimizer; everything random follows from seed and step."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint, which another kind of device may have written."""
        self.model.load_state_dict(state["model"])
        for group in state["optimizer"]["param_groups"]:  # which say where Adam's counters go
            group["fused"] = self.device.type != "mps"
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.scaler.is_enabled():  # the run may have begun in another precision
            self.scaler.load_state_dict(state["scaler"])
        # A fused step takes for granted that weights and moments lie alike in memory.
        for parameter, moments in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name] = torch.empty_like(parameter).copy_(moments[name])


def _check_size(model: DFCVAE, images: Images) -> None:
    if (found := images.pixels.shape[-1]) != model.image_size:
        raise ValueError(
            f"the images are {found} pixels wide, the model {model.image_size}: load them with that size."
        )


def _loop(
    trainer: Trainer, folder: RunFolder, config: dict[str, Any], validation: Images | None, progress: bool
) -> None:
    """From the folder's checkpoint, or from the start, to the last step.

    A checkpoint is due with each preview, after the first step (so that a full disk is known at once), at the
    first line after five minutes without one, and on Ctrl-C. None of them changes a bit of what is learnt.
    """
    from tqdm import tqdm

    chosen, first, seconds = trainer.settings, 0, 0.0
    steps, preview_every = chosen.steps or 0, chosen.preview_every or 1  # both are set by now
    if folder.begun:
        state = folder.checkpoint(mend=True)
        with telling_what_does_not_fit(folder):
            trainer.load(state)
            first, seconds = state["step"], state["seconds"]
    if first > steps:
        raise ValueError(
            f"{str(folder.path)!r} holds a run of {first} steps, asked for were {steps}: "
            "ask for at least as many, or give another folder to start anew."
        )
    if first == steps:
        return
    folder.write_config(config)
    folder.drop_metrics_after(first)
    trainer.model.train()
    start, saved = time.perf_counter() - seconds, time.perf_counter()
    seen: list[dict[str, Tensor]] = []  # the terms of the steps that no line tells yet
    told_at = seconds  # of the last line
    # Once a second: who reads a notebook's output only at the end of a cell (nbval) holds 1,000 messages.
    shown = {"desc": folder.path.name, "unit": "step", "mininterval": 1.0, "disable": not progress}
    with tqdm(total=steps, initial=first, **shown) as bar, _ctrl_c() as asked:
        for done in range(first + 1, steps + 1):
            seen.append(trainer.step(done - 1))
            bar.update()
            stop, preview = asked(), done % preview_every == 0 or done == steps
            saving = preview or stop or done == 1
            if not saving and done % chosen.log_every:
                continue
            means = {
                name: torch.stack([terms[name].float() for terms in seen]).mean().item() for name in seen[0]
            }
            _refuse_nan(means, trainer.model, done, chosen)
            seconds = time.perf_counter() - start
            speed = len(seen) * chosen.batch_size / max(seconds - told_at, 1e-9)
            line = {"step": done, "epoch": done / trainer.per_epoch, "images": done * chosen.batch_size}
            line |= {"seconds": round(seconds, 3), "images_per_second": round(speed, 1)}
            line |= {"learning_rate": trainer.optimizer.param_groups[0]["lr"]} | means
            if preview:
                pause = time.perf_counter()
                line |= trainer.look(folder.path, validation)
                start += time.perf_counter() - pause
            folder.add_metrics(line)
            bar.set_postfix_str(f"{speed:.0f} images/s, loss {line['loss']:.1f}, kl {line['kl']:.1f} nats, "
                                f"reconstruction {line['reconstruction']:.4g}", refresh=False)  # fmt: skip
            seen, told_at = [], seconds
            if saving or time.perf_counter() - saved > SAVE_AFTER:
                folder.save({"step": done, "seconds": time.perf_counter() - start} | trainer.state())
                saved = time.perf_counter()
            if stop:
                raise KeyboardInterrupt(
                    f"stopped after step {done:,} of {steps:,}, which is saved in {str(folder.path)!r}. "
                    "The same command, or call, goes on from there."
                )


def _refuse_nan(means: dict[str, float], model: torch.nn.Module, step: int, settings: Settings) -> None:
    """FloatingPointError where a term of the loss or a weight is NaN or infinite: nothing is saved then.

    A loss is that of the weights before its step, so it does not vouch for what the step made of them.
    """
    parts = {name: torch.tensor(value) for name, value in reversed(means.items())} | model.state_dict()
    broken = next((name for name, value in parts.items() if not torch.isfinite(value).all()), None)
    if broken:
        fp16 = " or give precision='fp32', since fp16 ends at 65,504" if settings.precision == "fp16" else ""
        raise FloatingPointError(
            f"{broken} is NaN or infinite by step {step}: lower the learning rate "
            f"({settings.learning_rate:g}){fp16}, and look at alpha, beta and the weights that the run began "
            "with. The last checkpoint is from before."
        )


def _with_steps(trainer: Trainer, stored: dict[str, Any] | None) -> Settings:
    """Settings whose length is a number of steps; a run that goes on keeps the steps of its minutes."""
    chosen, begun = trainer.settings, (stored or {}).get("training", {})
    steps = chosen.steps
    if chosen.epochs is not None:
        steps = max(1, round(chosen.epochs * trainer.per_epoch))
    elif chosen.minutes is not None:
        steps = begun.get("steps") if begun.get("minutes") == chosen.minutes else None
        timed = {name: value for name, value in asdict(chosen).items() if name != "minutes"}
        steps = steps or steps_in(chosen.minutes, trainer.model, trainer.images, trainer.device, **timed)
    if chosen.schedule == "cosine" and begun and begun["steps"] < (steps or 0):
        warnings.warn(
            f"the run was begun for {begun['steps']} steps and goes on to {steps}: the cosine of its "
            "learning rate is now that of the longer run, so the result is not that of either.",
            stacklevel=3,
        )
    return replace(chosen, steps=steps, preview_every=chosen.preview_every or math.ceil((steps or 1) / 8))


def steps_in(
    minutes: float, model: DFCVAE, images: Images, device: str | torch.device = "auto", **settings: Any
) -> int:
    """How many steps of training fit into so many minutes here: timed, and the model is put back.

    A fiftieth of that time is spent on warming up and another on timing, six steps each at least: the first
    steps on a machine are slower than those that follow, and a handful of steps says little about minutes.
    """
    trainer = Trainer(model, images, Settings(**settings), pick_device(device))
    before, was_training = copy.deepcopy(model.state_dict()), model.training
    model.train()
    with repeating_steps(trainer.device):
        for _ in ("warming up", "timing"):
            start, steps = time.perf_counter(), 0
            while steps < 6 or time.perf_counter() - start < 60 * minutes / 50:
                trainer.step(steps % trainer.per_epoch)["loss"].item()
                steps += 1
            pace = steps / (time.perf_counter() - start)
    model.load_state_dict(before)
    model.train(was_training)
    return max(1, int(60 * minutes * pace))


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only makes ``asked()`` true; a second one stops at once.

    A thread gets no signals, and a program that handles them itself goes on to do so.
    """
    asked = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield asked.is_set
        return

    def note(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asked.set()
        with suppress(OSError):  # print may be in the middle of a line, and raises then
            os.write(2, b"\nfinishing this step and saving; Ctrl-C again stops at once\n")

    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
