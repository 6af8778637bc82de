"""What mutate_checks.py breaks: for each check of each notebook, functions of the package and how."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """target: "module:function" or "module:Class.method". wrap: the sound function -> the broken one.

    how: what is broken, for the table. again: cells to run again before the check, where it only shows what
    they made with the function.
    """

    target: str
    how: str
    wrap: Callable[[Callable], Callable]
    again: tuple[str, ...] = ()


def result(change: Callable) -> Callable[[Callable], Callable]:
    """A mutant that changes what the function gives back."""

    def wrap(function: Callable) -> Callable:
        return functools.wraps(function)(lambda *args, **options: change(function(*args, **options)))

    return wrap


def given(**other) -> Callable[[Callable], Callable]:
    """A mutant that gives the function other arguments, by name."""

    def wrap(function: Callable) -> Callable:
        return functools.wraps(function)(lambda *args, **options: function(*args, **(options | other)))

    return wrap


def without_gradient(function: Callable) -> Callable:
    import torch

    return torch.no_grad()(function)


def swapped(function: Callable) -> Callable:
    return functools.wraps(function)(lambda first, second: function(second, first))


def one_pixel_more(shift: Callable) -> Callable:
    return lambda x, pixels: shift(x, pixels + 1)


def variance_for_deviation(reparameterize: Callable) -> Callable:
    return lambda self, mu, log_var, *args, **options: reparameterize(self, mu, 2 * log_var, *args, **options)


def glasses_forgotten(draw: Callable) -> Callable:
    def forgetful(factors, *args, **options):
        from dfcvae import faces

        if not isinstance(factors, dict):
            factors = factors.clone()
            factors[:, faces.FACTOR_NAMES.index("eyeglasses")] = 0
        return draw(factors, *args, **options)

    return forgetful


def detached(features: dict) -> dict:
    return {name: value.detach() for name, value in features.items()}


# Notebook -> id of the check -> what is broken there. A check without a mutant says why: it then tells of
# mathematics or of torch, and does not count among the five of its notebook.
MUTANTS: dict[str, dict[str, list[Mutant] | str]] = {
    "00_start_here": {
        "squeeze": [
            Mutant("dfcvae.vae:VAE.__init__", "one latent fewer", given(latent_dim=99)),
            Mutant("dfcvae.vae:_decoder", "the last level left out", result(lambda levels: levels[:-1])),
        ],
        "pixel-votes": [
            Mutant("dfcvae.evaluation:psnr", "5 log10 for 10 log10", result(lambda db: db / 2)),
            Mutant("dfcvae.evaluation:psnr", "the sign lost", result(lambda db: -db)),
            Mutant("dfcvae.course.closer:_shift", "a pixel farther", one_pixel_more, again=("comparison",)),
        ],
        "sharpness": [
            Mutant("dfcvae.evaluation:laplacian_variance", "the root of it", result(lambda v: v.sqrt())),
            Mutant("dfcvae.evaluation:sharpness_ratios", "original over picture", swapped),
        ],
        "one-knob": [
            Mutant("dfcvae.faces:attributes", "labels turned round", result(lambda seen: ~seen)),
        ],
        "counterfactual": [
            Mutant("dfcvae.faces:draw", "glasses not drawn", glasses_forgotten),
            Mutant("dfcvae.faces:attributes", "every label False", result(lambda seen: seen & False)),
            Mutant(
                "dfcvae.evaluation:psnr", "the error of a picture, not of a pixel", result(lambda db: db - 41)
            ),
        ],
        "gaussian": [
            Mutant("dfcvae.vae:VAE.reparameterize", "exp(log_var) for its root", variance_for_deviation),
        ],
        "kl": [
            Mutant("dfcvae.vae:kl_divergence", "mean over latents for the sum", result(lambda kl: kl / 3)),
            Mutant("dfcvae.vae:kl_divergence", "the half forgotten", result(lambda kl: 2 * kl)),
        ],
        "jensen": "a fact about the logarithm, without the package",
        "convolution": [
            Mutant(
                "dfcvae.vae:_encoder", "a level fewer", result(lambda levels: levels[:-1]), again=("squeeze",)
            ),
        ],
        "gradients": [
            Mutant("dfcvae.vgg:VGGFeatures.forward", "under no_grad", without_gradient),
            Mutant("dfcvae.vgg:VGGFeatures.forward", "the features detached", result(detached)),
        ],
    },
}
