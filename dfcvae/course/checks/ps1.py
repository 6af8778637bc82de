"""Self-checks of problem set 1: each prints one line, which names the mistake where it knows it.

    from dfcvae.course.checks import ps1 as check
    check.kl_normal(kl_normal)

They try other numbers than the hidden tests do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from dfcvae_classroom.grading.ps1 import TASKS
from dfcvae_classroom.grading.ps1_formulas import elbo_terms, normal_kl
from torch import Tensor

from dfcvae.course.checks.ps1_decoder import decoder
from dfcvae.course.checks.ps1_draws import clouds, draw_z, kl_from_draws
from dfcvae.course.checks.ps1_training import train_vae
from dfcvae.course.checks.trial import Mistake, Tried, expect_gradients, expect_shape, recognise, tell

__all__ = ["draw_z", "kl_normal", "kl_from_draws", "elbo", "decoder", "train_vae"]


def kl_normal(answer: Callable) -> None:
    """Try ``kl_normal(mu, log_var, m, s)``."""
    tried = "standard and other priors, gradients"
    tell("kl_normal", _kl_normal, [answer], TASKS["kl_normal"].poisoned, tried)


def _kl_normal(answer: Tried) -> None:
    mu, log_var = clouds(3, 5)
    m, s = torch.tensor([0.5, -1.0, 2.0, 0.3, -0.2]), torch.tensor([0.6, 1.5, 2.2, 0.8, 1.9])
    for prior in (torch.zeros(5), torch.ones(5)), (m, torch.ones(5)), (m, s):
        found = answer(mu, log_var, *prior)
        if isinstance(found, float):
            raise Mistake("KL is a Python number: keep it a tensor, so that a gradient can come back.")
        if isinstance(found, Tensor) and found.shape == (3,):
            raise Mistake("KL is one number a picture: take the mean over pictures.")
        expect_shape(found, (), "one number for the batch")
        recognise(found, normal_kl(mu, log_var, *prior).mean(), _wrong_kls(mu, log_var, *prior), " nats")
    by = [tensor.clone().requires_grad_() for tensor in (mu, log_var, m, s)]
    exact = torch.autograd.grad(normal_kl(*by).mean(), by)
    names = "mu", "log_var", "m", "s"
    expect_gradients(answer(*by), dict(zip(names, by, strict=True)), dict(zip(names, exact, strict=True)))


def _wrong_kls(mu: Tensor, log_var: Tensor, m: Tensor, s: Tensor) -> dict[str, Tensor]:
    def kl(mu=mu, log_var=log_var, m=m, s=s) -> Tensor:
        return normal_kl(mu, log_var, m, s).mean()

    right, latents, var = kl(), mu.shape[1], log_var.exp()
    square = (mu - m).square()

    def changed(old: Tensor, new: Tensor) -> Tensor:
        """The KL with one term, (J,) or (N, J), in another's place."""
        return right + (new - old).expand_as(mu).sum(dim=1).mean()

    return {
        "KL looks averaged over latents: sum them.": right / latents,
        "KL looks summed over pictures: take their mean.": right * len(mu),
        "KL looks summed over pictures and averaged over latents: it is the other way round.": (
            right * len(mu) / latents
        ),
        "KL has the wrong sign: it can never be negative.": -right,
        "KL is twice too large: a factor of 1/2 is dropped.": 2 * right,
        "KL is in bits: nats are asked, with the natural logarithm.": right / math.log(2),
        "exp(log_var) looks used as standard deviation: it is the variance.": kl(log_var=2 * log_var),
        "exp(log_var) looks squared: it is the variance already.": changed(
            var / (2 * s**2), var**2 / (2 * s**2)
        ),
        "exp(log_var / 2) looks used as variance: it is the standard deviation.": kl(log_var=0.5 * log_var),
        "exp(log_var / 2) looks used in the place of the variance: it is the standard deviation.": (
            changed(var / (2 * s**2), var.sqrt() / (2 * s**2))
        ),
        "log_var looks used as log sigma: it is the logarithm of the variance.": changed(
            0.5 * log_var, torch.zeros(())
        ),
        "the sign of log sigma is turned round.": changed(-0.5 * log_var, 0.5 * log_var),
        "the sign of log s is turned round.": changed(s.log(), -s.log()),
        "the distance of mu and m is not squared.": changed(square / (2 * s**2), (mu - m) / (2 * s**2)),
        "a factor of 1/2 is dropped before the squares.": changed(
            (var + square) / (2 * s**2), (var + square) / s**2
        ),
        "m looks unused.": kl(m=torch.zeros_like(m)),
        "s looks unused.": kl(s=torch.ones_like(s)),
        "s looks used as variance: it is a standard deviation.": kl(s=s.sqrt()),
        "KL looks like that of the prior from q: the direction is turned round.": (
            normal_kl(m.expand_as(mu), 2 * s.log().expand_as(mu), mu, (0.5 * log_var).exp()).mean()
        ),
        "a constant is missing: where q equals the prior, KL is zero.": right + 0.5 * latents,
        "the constant is too large: where q equals the prior, KL is zero.": right - 0.5 * latents,
        "log s is missing: a wide prior gives a thin density everywhere.": right - s.log().sum(),
        "the distance of mu and m is not measured in units of s.": (
            right + 0.5 * (square - square / s**2).sum(dim=1).mean()
        ),
    }


def elbo(answer: Callable) -> None:
    """Try ``elbo(x, x_hat, mu, log_var, sigma)``."""
    tell("elbo", _elbo, [answer], TASKS["elbo"].poisoned, "pictures of two sizes, gradients")


def _elbo(answer: Tried) -> None:
    mu, log_var = clouds(2, 5)
    # in the small picture the KL weighs, in the large one the pixels do
    for shape, sigma in ((2, 1, 2, 3), 0.7), ((2, 3, 8, 8), 0.25):
        x, x_hat = torch.rand(2, *shape, generator=torch.Generator().manual_seed(2))
        found = answer(x, x_hat, mu, log_var, sigma)
        if isinstance(found, Tensor) and found.ndim == 0:
            raise Mistake("the ELBO is one number for the batch: keep one a picture.")
        expect_shape(found, (2,), "one number a picture")
        right = -sum(elbo_terms(x, x_hat, mu, log_var, sigma))
        recognise(found, right, _wrong_elbos(x, x_hat, mu, log_var, sigma), " nats")
    by = {name: value.clone().requires_grad_() for name, value in
          {"x_hat": x_hat, "mu": mu, "log_var": log_var}.items()}  # fmt: skip
    right = {"x_hat": (x - x_hat) / sigma**2, "mu": -mu, "log_var": 0.5 * (1 - log_var.exp())}
    expect_gradients(answer(x, *by.values(), sigma).sum(), by, right)


def _wrong_elbos(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, sigma: float) -> dict[str, Tensor]:
    def terms(sigma: float) -> tuple[Tensor, ...]:
        return elbo_terms(x, x_hat, mu, log_var, sigma)

    error, constant, kl = terms(sigma)
    numbers, latents, var = x[0].numel(), mu.shape[1], log_var.exp()
    pi, log_sigma = (0.5 * numbers * math.log(part) for part in (2 * math.pi, sigma**2))
    return {
        "pixels look averaged and the KL summed: sum both.": -(error + constant) / numbers - kl,
        "squared errors look averaged over pixels: sum them.": -error / numbers - constant - kl,
        "KL looks averaged over latents: sum it.": -error - constant - kl / latents,
        "pixels and latents both look averaged: sum them.": -(error + constant) / numbers - kl / latents,
        "KL is twice too large: a factor of 1/2 is dropped.": -error - constant - 2 * kl,
        "KL is added: it must be paid.": -error - constant + kl,
        "this is minus the ELBO, a loss.": error + constant + kl,
        "this looks like bits: nats are asked.": -(error + constant + kl) / math.log(2),
        "the constant with log(2 pi sigma^2) is missing.": -error - kl,
        "the constant is that of one number: every number of the picture has one.": -error
        - constant / numbers
        - kl,
        "the constant is there without 2 pi.": -error - log_sigma - kl,
        "the constant is there without sigma^2.": -error - pi - kl,
        "the constant is twice too large: a factor of 1/2 is dropped.": -error - 2 * constant - kl,
        "the sign of the constant is turned round.": -error + constant - kl,
        "KL looks left out.": -error - constant,
        "KL looks averaged over the batch: keep one a picture.": -error - constant - kl.mean(),
        "KL looks summed over the batch: keep one a picture.": -error - constant - kl.sum(),
        "the pixels of all pictures are summed together: keep one number a picture.": (
            -(error + constant).sum() - kl
        ),
        "a constant is missing in the KL: where the cloud is the prior, it is zero.": (
            -error - constant - kl - 0.5 * latents
        ),
        "exp(log_var) looks used as standard deviation in the KL: it is the variance.": (
            -error - constant - elbo_terms(x, x_hat, mu, 2 * log_var, sigma)[2]
        ),
        "exp(log_var) looks squared in the KL: it is the variance already.": (
            -error - constant - kl - 0.5 * (var**2 - var).sum(dim=1)
        ),
        "the squared error is twice too large: a factor of 1/2 is dropped.": -2 * error - constant - kl,
        "sigma^2 looks used as standard deviation.": -sum(terms(sigma**2)),
        "sigma looks used as variance: it is a standard deviation.": -sum(terms(sigma**0.5)),
        "sigma looks unused.": -sum(terms(1.0)),
    }
