"""What problem set 1 should give, in nats and float64, and how near an answer comes to it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dfcvae_classroom.grading import Deal


def normal_kl(mu: Tensor, log_var: Tensor, m: Tensor | float, s: Tensor | float) -> Tensor:
    """KL(N(mu, exp(log_var)) || N(m, s^2)) in nats of each picture: (N,), float64. mu, log_var: (N, J)."""
    mu, log_var = mu.double(), log_var.double()
    m, s = torch.as_tensor(m).double(), torch.as_tensor(s).double()
    return 0.5 * (2 * s.log() - log_var + (log_var.exp() + (mu - m) ** 2) / s**2 - 1).sum(dim=1)


def close(found: Any, expected: Tensor, tolerance: float = 1e-3) -> bool:
    """Of the expected shape, and no further off than ``tolerance`` of the largest expected number."""
    found = torch.as_tensor(found).detach().double()
    expected = expected.detach().double()
    return (
        found.shape == expected.shape
        and bool(found.isfinite().all())
        and bool(((found - expected).abs() <= tolerance * expected.abs().max().clamp_min(0.01)).all())
    )


def clouds(deal: Deal, *what: object, pictures: int = 0, latents: int = 0) -> tuple[Tensor, Tensor]:
    """mu and log_var (N, J) of dealt sizes, N and J different; mu not small, log_var of both signs."""
    dealt, generator = deal.random("ps1", *what, "sizes"), deal.generator("ps1", *what)
    shape = pictures or dealt.randint(2, 4), latents or dealt.randint(5, 9)
    mu = 0.5 + 1.5 * torch.randn(shape, generator=generator)
    log_var = 0.3 - 2.5 * torch.rand(shape, generator=generator)
    return mu, log_var


def gradients(total: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(total, of)


def normal_log_prob(z: Tensor, m: Tensor | float, s: Tensor | float) -> Tensor:
    """log N(z; m, s^2), summed over the last axis."""
    s = torch.as_tensor(s)
    return -(0.5 * ((z - m) / s) ** 2 + s.log() + 0.5 * math.log(2 * math.pi)).sum(dim=-1)


def two_hills(z: Tensor, places: tuple[float, float], width: float) -> Tensor:
    """log density of a prior with two hills of equal weight in every latent: it has no closed-form KL."""
    hills = torch.stack([-0.5 * ((z - place) / width) ** 2 for place in places])
    return (hills.logsumexp(dim=0) - math.log(2 * width * math.sqrt(2 * math.pi))).sum(dim=-1)


def elbo_terms(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, sigma: float) -> tuple[Tensor, ...]:
    """Of each picture in nats, float64: the squared error's part, the constant's, and the KL; ELBO is
    minus their sum.
    """
    error = (x.double() - x_hat.double()).square().flatten(1).sum(dim=1) / (2 * sigma**2)
    constant = torch.full_like(error, 0.5 * x[0].numel() * math.log(2 * math.pi * sigma**2))
    return error, constant, normal_kl(mu, log_var, 0.0, 1.0)
