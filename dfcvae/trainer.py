"""A training under way: the images of each step, the step itself, previews, validation.

Everything random is a function of the seed and the step: the order of the images of the epoch, the
noise of z and the shift of the step. So a run that was interrupted goes on as if it had not been, on the
CPU to the last bit. On several ranks (``ranks.py``) all of it is drawn for the whole batch, of which each
rank takes its rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from dfcvae import ranks
from dfcvae.checkpoint import read_checkpoint, telling_what_does_not_fit
from dfcvae.datasets import Images
from dfcvae.device import autocast, compiled, layout, loss_scaler, pick_precision, to_device
from dfcvae.dfc import DFCVAE
from dfcvae.feeding import Feed
from dfcvae.figures import png as pictures
from dfcvae.settings import Settings, rate_at

STREAMS = ("order", "flip", "noise", "shift", "preview", "validation")  # of random numbers, each its own
PREVIEWED, VALIDATED = 16, 512  # images in reconstructions.png; at most, behind a validation figure


@dataclass
class Position:
    """Where a run stands: steps taken, seconds they took, and the terms of those that no line tells yet."""

    step: int = 0
    seconds: float = 0.0
    seen: list[dict[str, Tensor]] = field(default_factory=list)


class Trainer:
    """A training under way: model, optimizer, and the images of each step."""

    def __init__(self, model: DFCVAE, images: Images, settings: Settings, device: torch.device) -> None:
        with ranks.agreed():
            _check_images(model, images, settings)
            self.settings = replace(settings, precision=pick_precision(device, settings.precision))
            self.layout = layout(device, settings.compile)
            self.model = model.to(device, memory_format=self.layout)
        self.images, self.device = images, device
        self._forward, self._loss = ranks.parallel(self.model, device), self.model.loss_function
        if settings.compile:
            # Several ranks' batch norms talk within the network, which a compiled one cannot.
            self._forward = compiled(self._forward, device) if ranks.count() == 1 else self._forward
            self._loss = compiled(self._loss, device)
        self.per_epoch = len(images) // settings.batch_size
        self.optimizer = torch.optim.Adam(
            model.parameters(), settings.learning_rate, fused=device.type != "mps"
        )
        self.scaler = loss_scaler(device, self.settings.precision)
        self._epoch, self._order = -1, torch.empty(0)
        # A cycle would keep the images on a GPU until Python happens to look for cycles.
        trainer = weakref.proxy(self)
        self.feed = Feed(images.pixels, lambda step: trainer.rows(step), device)

    def random(self, stream: str, number: int) -> torch.Generator:
        """The random numbers of one purpose and one step, the same on every device."""
        base = self.settings.seed * len(STREAMS) + STREAMS.index(stream)
        return torch.Generator().manual_seed((base * 1_000_003 + number) % 2**63)

    def rows(self, step: int) -> Tensor:
        """Which images a step takes: int64 (B,). Every epoch has a new order.

        B is the batch size, or this rank's share of it; so it is in what follows.
        """
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = torch.randperm(len(self.images), generator=self.random("order", epoch))
            self._epoch = epoch
        size = self.settings.batch_size
        return ranks.own_rows(self._order[place * size : (place + 1) * size])

    def batch(self, step: int) -> Tensor:
        """The images of a step: float (B, 3, S, S) in [0, 1] on the device."""
        x = self.feed(step).to(memory_format=self.layout).float().div_(255)
        if self.settings.flip:
            drawn = torch.rand(self.settings.batch_size, generator=self.random("flip", step))
            mirrored = to_device(ranks.own_rows(drawn) < 0.5, self.device)
            x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
        return x

    def noise(self, step: int) -> Tensor:
        """The epsilon of a step (B, latent_dim), of its images one by one."""
        shape = self.settings.batch_size, self.model.latent_dim
        drawn = torch.randn(shape, generator=self.random("noise", step))
        return to_device(ranks.own_rows(drawn), self.device)

    def terms(self, x: Tensor, epsilon: Tensor, shift: Sequence[int] = (0, 0)) -> dict[str, Tensor]:
        """The terms of the loss on x, both pictures moved round by ``shift`` pixels before the loss."""
        forward, loss = self._forward, self._loss
        if not self.model.training:  # the first rank validates alone, and would wait for the others
            forward, loss = self.model, self.model.loss_function
        with autocast(self.device, self.settings.precision):
            out = forward(x, epsilon=epsilon)
            # not compiled: it would be anew, for each shift
            moved = out._replace(reconstruction=out.reconstruction.roll(shift, (2, 3)))
            return loss(moved, x.roll(shift, (2, 3)))

    def shift(self, step: int) -> list[int]:
        """Pixels down and across, anew at each step, below the stride of the loss network.

        Its deep features are read at every fourth pixel (relu3_1) and always the same ones, and a decoder
        learns to please these: it draws a lattice of that period. No pixel is privileged when both
        pictures move together.
        """
        stride = self.model.perceptual.vgg.stride if self.settings.shift and self.model.perceptual else 1
        return torch.randint(stride, (2,), generator=self.random("shift", step)).tolist()

    def step(self, step: int) -> dict[str, Tensor]:
        """One step of Adam. Returns the terms of the loss, detached, on the device.

        The scaler is at work in fp16 only, and in other precisions hands everything on as it is.
        """
        self._begin(step)
        terms = self.terms(self.batch(step), self.noise(step), self.shift(step))
        self.optimizer.zero_grad()
        self.scaler.scale(terms["loss"]).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {name: term.detach().clone() for name, term in terms.items()}

    def _begin(self, step: int) -> None:
        chosen = self.settings
        rate = rate_at(step, chosen.steps or 1, self.per_epoch, chosen.learning_rate, chosen.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if chosen.compile:  # its CUDA graphs may write over what the last step gave: hence the clones
            torch.compiler.cudagraph_mark_step_begin()

    def resume(self, out: Path) -> Position:
        """Take up the folder's newest whole checkpoint; ValueError where it fits neither model nor seed."""
        state = ranks.from_first(lambda: read_checkpoint(out, mend=True))
        with telling_what_does_not_fit(out):
            self.model.load_state_dict(state["model"])
            for group in state["optimizer"]["param_groups"]:  # which say where Adam's counters go
                group["fused"] = self.device.type != "mps"  # and not what the machine before had
            self.optimizer.load_state_dict(state["optimizer"])
            if state["scaler"] and self.scaler.is_enabled():  # the run may have begun in another precision
                self.scaler.load_state_dict(state["scaler"])
            if state["seed"] not in (None, self.settings.seed):
                raise KeyError(f"seed {self.settings.seed} and {state['seed']}")
        # a fused step takes for granted that weights and moments lie alike
        for parameter, moments in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name] = torch.empty_like(parameter).copy_(moments[name])
        return Position(state["step"], state["seconds"], _by_step(state["seen"], self.device))

    def skipped(self, done: int) -> dict[str, int]:
        """How many steps of the run overflowed in fp16: Adam counts on the device those that it took."""
        if not self.scaler.is_enabled():
            return {}
        taken = next(iter(self.optimizer.state.values()))["step"]
        return {"skipped_steps": done - int(taken.item())}

    def look(self, out: Path, validation: Images | None) -> dict[str, float]:
        """Pictures into the folder, and the figures of the validation images."""
        self.model.eval()
        x = (validation or self.images).float(slice(0, PREVIEWED)).to(self.device)
        samples = self.model.sample(32, generator=self.random("preview", 0))
        pictures.save_previews(out, x, self.model.generate(x), samples)
        self.model.train()
        return self.validate(validation) if validation else {}

    @torch.no_grad()
    def validate(self, images: Images) -> dict[str, float]:
        """The training's loss on other images (the first 512), in eval mode and without the shift."""
        self.model.eval()
        sums, count = {"loss": 0.0, "kl": 0.0, "reconstruction": 0.0}, min(VALIDATED, len(images))
        for first in range(0, count, 64):
            x = images.float(slice(first, min(first + 64, count))).to(self.device)
            drawn = self.random("validation", first)
            epsilon = torch.randn((len(x), self.model.latent_dim), generator=drawn).to(self.device)
            terms = self.terms(x.to(memory_format=self.layout), epsilon)
            sums = {name: total + terms[name].item() * len(x) for name, total in sums.items()}
        self.model.train()
        return {f"validation_{name}": total / count for name, total in sums.items()}


def _check_images(model: DFCVAE, images: Images, settings: Settings) -> None:
    if not 2 <= settings.batch_size <= len(images):
        raise ValueError(
            f"batch_size is {settings.batch_size}: expected 2 to {len(images)}, the number of images."
        )
    ranks.check_batch(settings.batch_size, len(images))
    check_size(model, images)


def check_size(model: DFCVAE, images: Images) -> None:
    if images.pixels.shape[-1] != model.image_size:
        raise ValueError(
            f"the images are {images.pixels.shape[-1]} pixels wide and the model {model.image_size}: "
            f"load them with size={model.image_size}."
        )


def _by_step(series: dict[str, Tensor], device: torch.device) -> list[dict[str, Tensor]]:
    """What ``MetricsWriter.checked`` has stacked, step by step again."""
    count = len(next(iter(series.values()), ()))
    return [{name: values[step].to(device) for name, values in series.items()} for step in range(count)]
