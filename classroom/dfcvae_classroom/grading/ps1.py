"""Hidden tests of problem set 1, a plain VAE: draws, KL in nats, KL from draws, ELBO.

The tests of the decoder and of the training have modules of their own. Expected values come from the
formulas of ``ps1_formulas.py``, never from the package, whose own functions are poisoned meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence as torch_kl_divergence

from dfcvae.dfc import DFCVAE
from dfcvae.vae import VAE, kl_divergence
from dfcvae_classroom.grading import Check, Deal, Task
from dfcvae_classroom.grading.ps1_decoder import DECODER
from dfcvae_classroom.grading.ps1_formulas import (
    close,
    clouds,
    elbo_terms,
    gradients,
    normal_kl,
    normal_log_prob,
    two_hills,
)
from dfcvae_classroom.grading.ps1_training import TRAIN_VAE

MANY = 20_000  # draws: a mean of so many is known to about a hundredth


# Task 1


def _draw_z(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    draw_z = answers["draw_z"]
    mu, log_var = clouds(deal, "draw_z")
    std = (0.5 * log_var).exp()
    seed = deal.seed("ps1", "draw_z", "noise") % 2**31

    def z(draws: int, more: int = 0) -> Tensor:
        return draw_z(mu, log_var, draws, torch.Generator().manual_seed(seed + more))

    def epsilon() -> Tensor:
        drawn = z(MANY)
        assert drawn.shape == (MANY, *mu.shape) and (drawn.std(dim=0) > 0.01).all()
        return (drawn - mu) / std

    def shape_and_generator() -> bool:
        state = torch.get_rng_state()
        first, same, other = z(3), z(3), z(3, more=1)
        going_on = _seeded(seed)
        one, two = (draw_z(mu, log_var, 3, going_on) for _ in range(2))
        untouched = torch.equal(state, torch.get_rng_state())
        return (
            first.shape == (3, *mu.shape)
            and torch.equal(first, same)
            and untouched
            and (first != other).all()
            and (one != two).all()
        )

    def spread() -> bool:
        e = epsilon()
        return e.mean(dim=0).abs().max() < 0.05 and (e.std(dim=0) - 1).abs().max() < 0.05

    def normal() -> bool:
        e = epsilon()
        e = (e - e.mean(dim=0)) / e.std(dim=0)  # whatever its spread: the shape of the bell
        return (e.abs() > 2).double().mean().sub(0.0455).abs() < 0.005 and (e**4).mean().sub(3).abs() < 0.15

    def independent() -> bool:
        e = epsilon()
        columns = torch.cat([e[:-1].flatten(1), e[1:].flatten(1)], dim=1)  # each draw beside the next
        links = torch.corrcoef(columns.T).fill_diagonal_(0)
        return links.abs().max() < 0.06

    def differentiable() -> bool:
        at_mu, at_log_var = mu.clone().requires_grad_(), log_var.clone().requires_grad_()
        drawn = draw_z(at_mu, at_log_var, 4, torch.Generator().manual_seed(seed))
        weights = torch.randn(drawn.shape, generator=torch.Generator().manual_seed(seed))
        by_mu, by_log_var = gradients((weights * drawn).sum(), at_mu, at_log_var)
        expected = (weights * 0.5 * (drawn.detach() - mu)).sum(dim=0)
        return close(by_mu, weights.sum(dim=0)) and close(by_log_var, expected)

    yield 0.5, shape_and_generator
    yield 1, spread
    yield 0.5, normal
    yield 1, independent
    yield 1, differentiable


# Task 2


def _kl_normal(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    kl_normal = answers["kl_normal"]
    mu, log_var = clouds(deal, "kl_normal")
    generator = deal.generator("ps1", "kl_normal", "prior")
    m = 1 + torch.randn(mu.shape[1], generator=generator)
    s = 0.4 + 2 * torch.rand(mu.shape[1], generator=generator)
    zero, one = torch.zeros_like(m), torch.ones_like(s)

    def right(m: Tensor, s: Tensor) -> bool:
        return close(kl_normal(mu, log_var, m, s), normal_kl(mu, log_var, m, s).mean())

    def sums_and_means() -> bool:
        kl = kl_normal(mu, log_var, m, s)
        pictures = kl_normal(mu.repeat(3, 1), log_var.repeat(3, 1), m, s)
        latents = kl_normal(mu.repeat(1, 2), log_var.repeat(1, 2), m.repeat(2), s.repeat(2))
        assert abs(kl) > 0.01
        return close(pictures, kl) and close(latents, 2 * kl)

    def differentiable(*which: int) -> bool:
        """By some of mu, log_var, m and s: as the formula's, which autograd differentiates in float64."""
        by = [tensor.clone().requires_grad_() for tensor in (mu, log_var, m, s)]
        exact = [tensor.double().requires_grad_() for tensor in (mu, log_var, m, s)]
        found = gradients(kl_normal(*by), *(by[i] for i in which))
        expected = gradients(normal_kl(*exact).mean(), *(exact[i] for i in which))
        return all(map(close, found, expected))

    yield 1.5, lambda: right(zero, one)
    yield 1, lambda: right(m, one)
    yield 1.5, lambda: right(m, s)
    yield 0.5, sums_and_means
    yield 1, lambda: differentiable(0, 1)
    yield 0.5, lambda: differentiable(2, 3)


# Task 3


def _kl_from_draws(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    kl_from_draws = answers["kl_from_draws"]
    mu, log_var = clouds(deal, "kl_from_draws", pictures=3, latents=deal.random("ps1", "J").randint(4, 6))
    std = (0.5 * log_var).exp()
    generator = deal.generator("ps1", "kl_from_draws", "prior")
    m, s = torch.randn(mu.shape[1], generator=generator), 0.8 + torch.rand(mu.shape[1], generator=generator)
    seed = deal.seed("ps1", "kl_from_draws", "noise") % 2**31
    e = torch.randn(MANY, *mu.shape, generator=torch.Generator().manual_seed(seed + 1))
    ours = normal_log_prob(mu + std * e, mu, std) - normal_log_prob(mu + std * e, m, s)  # (MANY, N)

    @cache
    def estimate(draws: int) -> tuple[Tensor, Tensor]:
        return kl_from_draws(mu, log_var, lambda z: normal_log_prob(z, m, s), draws, _seeded(seed))

    def unbiased() -> bool:
        kl, expected = torch.as_tensor(estimate(MANY)[0]).double(), normal_kl(mu, log_var, m, s)
        return kl.shape == expected.shape and ((kl - expected).abs() < 6 * ours.std(dim=0) / MANY**0.5).all()

    def without_closed_form() -> bool:
        places, width = (-1.5 - m[0].abs().item(), 2 + m[1].abs().item()), 0.5 + 0.2 * s[0].item()
        one_mu, one_std = mu[:, :1].double(), std[:, :1].double()
        z = one_mu + one_std * torch.linspace(-8, 8, 4001, dtype=torch.double)  # (N, grid)
        log_q = -0.5 * ((z - one_mu) / one_std) ** 2 - (one_std * math.sqrt(2 * math.pi)).log()
        difference = log_q - two_hills(z[..., None], places, width)
        weight = log_q.exp() * one_std * 16 / 4000
        exact = (weight * difference).sum(dim=1)
        spread = (weight * (difference - exact[:, None]) ** 2).sum(dim=1).sqrt()
        one = mu[:, :1], log_var[:, :1]
        kl = kl_from_draws(*one, lambda z: two_hills(z, places, width), MANY, _seeded(seed))[0]
        return kl.shape == exact.shape and ((kl - exact).abs() < 6 * spread / MANY**0.5 + 1e-3).all()

    def standard_error() -> bool:
        errors = [torch.as_tensor(estimate(draws)[1]).double() for draws in (MANY, MANY // 4)]
        expected = [ours.std(dim=0).double() / draws**0.5 for draws in (MANY, MANY // 4)]
        return all(close(error, exact, 0.08) for error, exact in zip(errors, expected, strict=True))

    def zero_draw_by_draw() -> bool:
        """Where the prior is q itself, each draw's difference is zero, not only their mean."""
        q = mu[:1].expand_as(mu), log_var[:1].expand_as(mu)
        prior_log_prob = lambda z: normal_log_prob(z, mu[0], std[0])  # noqa: E731
        kl, error = kl_from_draws(*q, prior_log_prob, 50, _seeded(seed))
        few = estimate(50)[0]
        return close(kl, torch.zeros(3)) and close(error, torch.zeros(3)) and few.shape == (3,)

    def from_the_generator() -> bool:
        def few(more: int = 0) -> Tensor:
            log_p = lambda z: normal_log_prob(z, m, s)  # noqa: E731
            return kl_from_draws(mu, log_var, log_p, 30, _seeded(seed + more))[0]

        return torch.equal(few(), few()) and bool((few() != few(more=1)).all())

    def differentiable() -> bool:
        by = mu.clone().requires_grad_(), log_var.clone().requires_grad_()
        total = kl_from_draws(*by, lambda z: normal_log_prob(z, m, s), MANY, _seeded(seed))[0].sum()
        by_mu, by_log_var = gradients(total, *by)
        exact = (mu - m) / s**2, 0.5 * (std**2 / s**2 - 1)
        return (by_mu - exact[0]).abs().max() < 0.15 and (by_log_var - exact[1]).abs().max() < 0.15

    yield 1.5, unbiased
    yield 1, without_closed_form
    yield 1, standard_error
    yield 1, zero_draw_by_draw
    yield 0.5, from_the_generator
    yield 1, differentiable


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Task 4


def _elbo(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    elbo, dealt = answers["elbo"], deal.random("ps1", "elbo")
    mu, log_var = clouds(deal, "elbo", pictures=dealt.randint(3, 5), latents=dealt.randint(6, 9))
    sigma = dealt.choice([dealt.uniform(0.15, 0.3), dealt.uniform(0.55, 0.8)])  # at 0.4 the constant is zero
    side, colours = dealt.choice([6, 10, 12]), dealt.choice([1, 3])
    pictures = torch.rand(3, len(mu), colours, side, side, generator=deal.generator("ps1", "elbo", "x"))
    x, x_hat, other = pictures
    noiseless = torch.zeros_like(mu)  # mu and log_var of the prior: a KL of zero

    def right() -> bool:
        return close(elbo(x, x_hat, mu, log_var, sigma), -sum(elbo_terms(x, x_hat, mu, log_var, sigma)), 2e-4)

    def constant() -> bool:
        found = elbo(x, x, noiseless, noiseless, sigma)
        return close(found, -elbo_terms(x, x, noiseless, noiseless, sigma)[1])

    def change(*terms: int) -> bool:
        """From one x_hat, or one cloud, to another: no constant is left, and only these terms change."""
        first, second = (x, x_hat, mu, log_var), (x, other, mu, log_var)
        if terms == (2,):
            second = (x, x_hat, noiseless, noiseless)
        exact = [elbo_terms(*case, sigma) for case in (first, second)]
        expected = sum(exact[1][i] - exact[0][i] for i in terms)
        return close(elbo(*first, sigma) - elbo(*second, sigma), expected)

    def differentiable() -> bool:
        by = x_hat.clone().requires_grad_(), mu.clone().requires_grad_(), log_var.clone().requires_grad_()
        by_x_hat, by_mu, by_log_var = gradients(elbo(x, *by, sigma).sum(), *by)
        return (
            close(by_x_hat, (x - x_hat) / sigma**2)
            and close(by_mu, -mu)
            and close(by_log_var, 0.5 * (1 - log_var.exp()))
        )

    yield 2, right
    yield 1, constant
    yield 1.5, lambda: change(0)
    yield 1, lambda: change(2)
    yield 0.5, differentiable


OWN = (kl_divergence, VAE.reparameterize, VAE.forward, DFCVAE.loss_function)

TASKS = {
    "draw_z": Task(4, _draw_z, OWN),
    "kl_normal": Task(6, _kl_normal, (*OWN, torch_kl_divergence)),
    "kl_from_draws": Task(6, _kl_from_draws, (*OWN, torch_kl_divergence)),
    "elbo": Task(6, _elbo, (*OWN, torch_kl_divergence)),
    "decoder": DECODER,
    "train_vae": TRAIN_VAE,
}
