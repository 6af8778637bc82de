"""What is broken in notebook 04."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mutants.ways import (
    Checks,
    Mutant,
    given,
    only_without_gradient,
    per_layer,
    result,
    swapped,
    weights_ignored,
    weights_swapped,
    without_gradient,
)


def phase_ignored(add: Callable) -> Callable:
    """|F_x| |F_x_hat| for the real part of their product: where the detail stands no longer matters."""

    def broken(self, x_hat: Tensor, x: Tensor) -> None:
        together = self.sums[2].clone()
        add(self, x_hat, x)
        energy = (self._transform(x_hat).abs() * self._transform(x).abs()).double().sum(0)
        for k in range(self.octaves):
            together[k] += energy[self.octave == k].sum()
        self.sums[2] = together

    return broken


def moments_forgotten(load: Callable) -> Callable:
    """The optimizer begins anew."""

    def broken(self, state: dict) -> None:
        load(self, state)
        self.optimizer.state.clear()

    return broken


def one_stream_that_runs_on(generator: Callable) -> Callable:
    """A generator made once, so that its numbers depend on how often it was asked since the start."""

    def broken(self, stream: str, number: int) -> torch.Generator:
        kept = vars(self).setdefault("kept_generators", {})
        return kept.setdefault(stream, generator(self, stream, 0))

    return broken


def step_ignored(generator: Callable) -> Callable:
    return lambda self, stream, number: generator(self, stream, 0)


CHECKS: Checks = {
    "by-hand": [
        Mutant("dfcvae.dfc:DFCVAE.loss_function", "alpha and beta swapped", weights_swapped),
        Mutant(
            "dfcvae.perceptual:PerceptualLoss.per_layer", "layer weights ignored", per_layer(weights_ignored)
        ),
        Mutant("dfcvae.dfc:DFCVAE.__init__", "one latent fewer", given(latent_dim=99)),
    ],
    "promises": [
        Mutant("dfcvae.vgg:freeze", "requires_grad_(False) and no more", only_without_gradient, ("by-hand",)),
        Mutant("dfcvae.vgg:VGGFeatures.forward", "under no_grad", without_gradient, again=("by-hand",)),
    ],
    "shift": [
        Mutant("dfcvae.training:Trainer.shift", "nothing moved", result(lambda shift: [0, 0])),
        Mutant("dfcvae.vgg:VGGFeatures.stride", "of the next layer", result(lambda stride: 2 * stride)),
        Mutant("dfcvae.training:Trainer.generator", "the same numbers at each step", step_ignored),
    ],
    "cheat": [
        Mutant("dfcvae.evaluation:sharpness_ratios", "original over picture", swapped),
        Mutant("dfcvae.evaluation:psnr", "the sign lost", result(lambda db: -db)),
        Mutant("dfcvae.evaluation:OctaveSpectrum.add", "the phase ignored", phase_ignored),
    ],
    "resume": [
        Mutant("dfcvae.training:Trainer.load", "the optimizer's moments forgotten", moments_forgotten),
        Mutant("dfcvae.training:Trainer.generator", "one stream that runs on", one_stream_that_runs_on),
    ],
}
