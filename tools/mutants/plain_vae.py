"""What is broken in notebook 01."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mutants.ways import (
    Checks,
    Mutant,
    given,
    log_var_of_deviation,
    mean_over_latents,
    one_forgotten,
    result,
    swapped,
    swapped_in_method,
    variance_for_deviation,
    weights_swapped,
)


def zeros_beyond_the_border(forward: Callable) -> Callable:
    return lambda self, h: F.conv2d(F.interpolate(h, scale_factor=2), self.weight, self.bias, padding=1)


def generator_ignored(reparameterize: Callable) -> Callable:
    return lambda self, mu, log_var, generator=None, epsilon=None: reparameterize(self, mu, log_var)


def one_draw_for_all(reparameterize: Callable) -> Callable:
    def broken(self, mu: Tensor, log_var: Tensor, generator=None, epsilon=None) -> Tensor:
        epsilon = reparameterize(self, torch.zeros_like(mu[:1]), torch.zeros_like(mu[:1]), generator)
        return mu + torch.exp(0.5 * log_var) * epsilon

    return broken


def mean_of_the_pixels(loss_function: Callable) -> Callable:
    def broken(self, out, x: Tensor) -> dict[str, Tensor]:
        terms = loss_function(self, out, x)
        error = terms["reconstruction"] / x[0].numel()
        return terms | {"reconstruction": error, "loss": self.alpha * terms["kl"] + self.beta * error}

    return broken


def zeros_around_it(laplacian: Callable) -> Callable:
    return lambda x: laplacian(F.pad(x, (1, 1, 1, 1)))


CHECKS: Checks = {
    "networks-equal": [
        Mutant(
            "dfcvae.fast.upsampling:UpsampleConv2d.forward",
            "zeros beyond the border for its last pixel",
            zeros_beyond_the_border,
        ),
        Mutant("dfcvae.vae:VAE.encode", "log_var before mu", result(lambda q: q[::-1])),
        Mutant("dfcvae.vae:VAE.decode", "no sigmoid", result(lambda x_hat: x_hat.logit())),
    ],
    "elbo-by-hand": [
        Mutant("dfcvae.vae:kl_divergence", "the half forgotten", result(lambda kl: 2 * kl)),
        Mutant("dfcvae.vae:kl_divergence", "log_var read as log of the deviation", log_var_of_deviation),
    ],
    "reparameterize": [
        Mutant("dfcvae.vae:VAE.reparameterize", "exp(log_var) for its root", variance_for_deviation),
        Mutant("dfcvae.vae:VAE.reparameterize", "the draw detached", result(lambda z: z.detach())),
        Mutant("dfcvae.vae:VAE.reparameterize", "the generator ignored", generator_ignored),
    ],
    "gradients": [
        Mutant("dfcvae.vae:VAE.reparameterize", "the draw detached", result(lambda z: z.detach())),
        Mutant("dfcvae.vae:VAE.reparameterize", "one draw for the whole batch", one_draw_for_all),
    ],
    "kl-by-hand": [
        Mutant("dfcvae.vae:kl_divergence", "mean over latents for the sum", mean_over_latents),
        Mutant("dfcvae.vae:kl_divergence", "the 1 forgotten", one_forgotten),
    ],
    "loss-by-hand": [
        Mutant("dfcvae.dfc:DFCVAE.loss_function", "alpha and beta swapped", weights_swapped),
        Mutant("dfcvae.dfc:DFCVAE.loss_function", "mean over the pixels for the sum", mean_of_the_pixels),
        Mutant("dfcvae.vae:kl_divergence", "mean over latents for the sum", mean_over_latents),
    ],
    "sigma": [
        Mutant("dfcvae.dfc:DFCVAE.__init__", "the paper's beta for the preset's", given(beta=0.5)),
        Mutant("dfcvae.dfc:DFCVAE.loss_function", "mean over the pixels for the sum", mean_of_the_pixels),
    ],
    "active": [
        Mutant("dfcvae.vae:kl_divergence", "mean over latents for the sum", mean_over_latents),
        Mutant("dfcvae.vae:kl_divergence", "the half forgotten", result(lambda kl: 2 * kl)),
    ],
    "edges": [
        Mutant("dfcvae.evaluation:sharpness_ratios", "original over picture", swapped),
        Mutant("dfcvae.evaluation:laplacian", "zeros beyond the border", zeros_around_it),
    ],
    "mean-face": [
        Mutant("dfcvae.evaluation:OctaveSpectrum.add", "picture and original swapped", swapped_in_method),
        Mutant(
            "dfcvae.evaluation:OctaveSpectrum.power_ratio",
            "amplitude for power",
            result(lambda power: [kept**0.5 for kept in power]),
        ),
        Mutant("dfcvae.course.lesson_01:one_face_many_times", "the head held still", given(shift=0.0)),
    ],
}
