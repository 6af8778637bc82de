"""Self-checks of problem set 1 that draw: noise, and KL from draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from dfcvae_classroom.grading.ps1 import TASKS
from dfcvae_classroom.grading.ps1_formulas import normal_kl, normal_log_prob
from torch import Tensor

from dfcvae.course.checks.trial import Mistake, Tried, expect_gradients, expect_shape, same, tell

DRAWS = 20_000


def clouds(pictures: int, latents: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    mu = 1 + torch.randn(pictures, latents, generator=generator)
    return mu, 0.4 - 2 * torch.rand(pictures, latents, generator=generator)


def draw_z(answer: Callable) -> None:
    """Try ``draw_z(mu, log_var, draws, generator)``."""
    tell("draw_z", _draw_z, [answer], TASKS["draw_z"].poisoned, "shape, mean, spread, noise, gradient")


def _draw_z(answer: Tried) -> None:
    (mu, log_var), seeded = clouds(3, 4), torch.Generator().manual_seed
    state, generator = torch.get_rng_state(), seeded(0)
    z = answer(mu, log_var, DRAWS, generator)
    expect_shape(z, (DRAWS, 3, 4), "(draws, pictures, latents)")
    if (z.std(dim=0) < 1e-4).all():
        raise Mistake("every draw is the same: the noise must be drawn anew for each draw.")
    if not torch.equal(z[:1], answer(mu, log_var, DRAWS, seeded(0))[:1]):
        raise Mistake("the same seed gives other draws: epsilon must come from `generator`.")
    if not torch.equal(state, torch.get_rng_state()):
        raise Mistake(
            "PyTorch's own random numbers are used or seeded: epsilon comes from `generator` alone."
        )
    if torch.equal(z[:1], answer(mu, log_var, DRAWS, generator)[:1]):
        raise Mistake("a second call with the same generator gives the same draws: is it seeded anew?")
    _mean_and_spread(z.detach(), mu, log_var)
    _independence((z.detach() - mu) / (0.5 * log_var).exp())
    by = {"mu": mu.clone().requires_grad_(), "log_var": log_var.clone().requires_grad_()}
    few = answer(*by.values(), 3, seeded(0))
    right = {"mu": torch.full_like(mu, 3), "log_var": 0.5 * (few.detach() - mu).sum(dim=0)}
    expect_gradients(few.sum(), by, right)


def _mean_and_spread(z: Tensor, mu: Tensor, log_var: Tensor) -> None:
    std, spread, off = (0.5 * log_var).exp(), z.std(dim=0), z.mean(dim=0) - mu
    if (z >= mu).all():
        raise Mistake(
            "no draw lies below mu: epsilon looks uniform between 0 and 1, not normal (rand, randn?)."
        )
    if same(off, -mu, 0.1):
        raise Mistake("the draws lie around 0: mu looks left out.")
    if off.abs().max() > 0.1:
        raise Mistake("the mean of the draws is not mu.")
    for name, value in {
        "the spread looks like exp(log_var): that is a variance, not a standard deviation.": log_var.exp(),
        "the spread looks like log_var itself: log_var is the logarithm of the variance.": log_var.abs(),
        "the spread looks like exp(-log_var / 2): the sign is turned round.": 1 / std,
        "the spread is 1 everywhere: log_var looks unused.": torch.ones_like(std),
    }.items():
        if same(spread, value, 0.04) and not same(spread, std, 0.04):
            raise Mistake(name)
    if not same(spread / std, torch.ones_like(std), 0.05):
        raise Mistake("the spread of the draws is not the standard deviation that log_var says.")


def _independence(epsilon: Tensor) -> None:
    if (epsilon**4).mean() < 2.5:
        raise Mistake("the noise has the right spread but no tails: it looks uniform, not normal.")
    links = {
        "pictures: one epsilon serves the whole batch": (epsilon[:, 0, 0], epsilon[:, 1, 0]),
        "latents: one epsilon serves them all": (epsilon[:, 0, 0], epsilon[:, 0, 1]),
        "draws that follow each other": (epsilon[:-1, 0, 0], epsilon[1:, 0, 0]),
    }
    for name, pair in links.items():
        if torch.corrcoef(torch.stack(pair))[0, 1].abs() > 0.05:
            raise Mistake(f"the noise is shared between {name}.")


def kl_from_draws(answer: Callable) -> None:
    """Try ``kl_from_draws(mu, log_var, log_p, draws, generator)``."""
    tried = f"{DRAWS:,} draws against a known KL, the error, gradients"
    tell("kl_from_draws", _kl_from_draws, [answer], TASKS["kl_from_draws"].poisoned, tried)


def _kl_from_draws(answer: Tried) -> None:
    mu, log_var = clouds(3, 4)
    m, s, std = torch.tensor([0.5, -1.0, 2.0, 0.3]), torch.tensor([0.8, 1.5, 1.2, 1.9]), (0.5 * log_var).exp()
    seeded = torch.Generator().manual_seed
    z = mu + std * torch.randn(DRAWS, 3, 4, generator=seeded(1))
    log_q, log_p = normal_log_prob(z, mu, std), normal_log_prob(z, m, s)
    asked = []
    found = answer(
        mu, log_var, lambda z: asked.append(z.detach()) or normal_log_prob(z, m, s), DRAWS, seeded(0)
    )
    if not asked:
        raise Mistake("log_p is never called: how dense is this prior where the draws are?")
    if asked[0].shape == z.shape and (asked[0] >= mu).all():
        raise Mistake(
            "no draw lies below mu: epsilon looks uniform between 0 and 1, not normal (rand, randn?)."
        )
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise Mistake("expected two tensors, the estimate and its standard error.")
    for part, what in zip(found, ("KL of each picture", "standard error of each picture"), strict=True):
        expect_shape(part, (3,), f"the {what}")
    _estimate(found[0].detach(), normal_kl(mu, log_var, m, s), log_q, log_p, (mu, log_var, m, s))
    _error(found[1].detach(), (log_q - log_p).std(dim=0))
    few = (answer(mu, log_var, lambda z: normal_log_prob(z, m, s), 20, seeded(0))[0] for _ in range(2))
    if not torch.equal(*few):
        raise Mistake("the same seed gives another estimate: the noise must come from `generator`.")
    prior_is_q = answer(mu[:1], log_var[:1], lambda z: normal_log_prob(z, mu[0], std[0]), 20, seeded(0))
    if prior_is_q[0].abs().max() > 1e-3:
        raise Mistake(
            "where the prior is q, the difference must be zero in every single draw: same z in both?"
        )
    by = {"mu": mu.clone().requires_grad_(), "log_var": log_var.clone().requires_grad_()}
    total = answer(*by.values(), lambda z: normal_log_prob(z, m, s), DRAWS, seeded(0))[0].sum()
    if not total.requires_grad:
        raise Mistake("no gradient comes back: was something detached (.data, .item(), no_grad)?")
    gradients = torch.autograd.grad(total, [*by.values()], allow_unused=True)
    right = (mu - m) / s**2, 0.5 * (std**2 / s**2 - 1)
    if any(g is None or (g - r).abs().max() > 0.15 for g, r in zip(gradients, right, strict=True)):
        raise Mistake("the values are right, but not the gradients: does z depend on mu and log_var?")


def _estimate(kl: Tensor, right: Tensor, log_q: Tensor, log_p: Tensor, case: tuple[Tensor, ...]) -> None:
    mu, log_var, m, s = case
    latents, (q, p) = mu.shape[1], (log_q.mean(dim=0), log_p.mean(dim=0))
    noise = 6 * (log_q - log_p).std(dim=0) / DRAWS**0.5
    if ((kl - right).abs() < noise).all():
        return
    of_p, of_1 = (m.expand_as(mu), 2 * s.log().expand_as(mu)), (torch.zeros_like(mu), torch.zeros_like(mu))
    std, wide = (0.5 * log_var).exp(), normal_kl(mu, 2 * log_var, m, s)
    mistakes = {
        "log q looks left out: KL is the mean of a difference.": -p,
        "log p looks left out: KL is the mean of a difference.": q,
        "the sign is turned round.": -right,
        "log q lacks its constant, log(2 pi) / 2 a latent.": right + latents * 0.5 * math.log(2 * math.pi),
        "log q is taken with exp(log_var) as standard deviation: it is the variance.": (
            right + 0.5 * (1 - 1 / log_var.exp() - log_var).sum(dim=1)
        ),
        "log q lacks log sigma.": right + 0.5 * log_var.sum(dim=1),
        "log q looks averaged over latents: sum it.": q / latents - p,
        "the draws look summed: take their mean.": right * DRAWS,
        "this looks like bits: nats are asked.": right / math.log(2),
        "the draws look like draws from the prior: z comes from q.": -normal_kl(*of_p, mu, std),
        "the draws look like draws from N(0, I): z comes from q.": (
            normal_kl(*of_1, m, s) - normal_kl(*of_1, mu, std)
        ),
        "exp(log_var) looks used as standard deviation: it is the variance.": wide,
        "z is drawn with another spread than log q has: is exp(log_var) a standard deviation?": (
            wide + 0.5 * log_var.sum(dim=1)
        ),
        "the differences look taken without their sign: negative ones count too.": (
            (log_q - log_p).abs().mean(dim=0)
        ),
    }
    off = {
        name: ((kl - value).abs() / (noise + 0.01 * value.abs())).max() for name, value in mistakes.items()
    }
    nearest = min(off, key=off.get)
    if off[nearest] < 1.5:
        raise Mistake(nearest)
    if (kl - kl[0]).abs().max() < 1e-6:
        raise Mistake("all pictures have the same KL: take the mean over draws only, not over pictures.")
    raise Mistake(f"not right yet: a known KL of {right[0]:.2f} nats is estimated as {kl[0]:.2f}.")


def _error(error: Tensor, spread: Tensor) -> None:
    right = spread / DRAWS**0.5
    if same(error, right, 0.08):
        return
    names = {
        "the error is the spread of one draw: that of a mean of many is smaller.": spread,
        "the error looks like a variance: take its root.": right**2,
        "the error is the variance of one draw, not the standard error of a mean.": spread**2,
        "the error is divided by the number of draws, not by its root.": right / DRAWS**0.5,
    }
    for name, value in names.items():
        if same(error / value, torch.ones_like(value), 0.1):
            raise Mistake(name)
    raise Mistake(
        f"KL is right, its standard error is {error[0]:.2g} where {right[0]:.2g} was expected: is it that of "
        "the mean of log q - log p, both at the same z?"
    )
