"""Hidden tests of problem set 3, tasks 1 and 2: vectors without company, arithmetic beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from dfcvae_classroom.grading import Check, Deal, ps3_cases

Answers = Mapping[str, Any]


def own(function: FunctionType) -> FunctionType:
    """A copy, so that the original can be poisoned while the checks run."""
    return FunctionType(function.__code__, function.__globals__, function.__name__)


_matched, _gains = own(ps3_cases.matched), own(ps3_cases.gains)


def near(found: Any, expected: Any, atol: float = 1e-4) -> bool:
    found, expected = torch.as_tensor(found).detach().double(), torch.as_tensor(expected).double()
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=atol)


# Task 1: groups of equal company


def matched_vector(answers: Answers, deal: Deal) -> Iterator[Check]:
    matched = answers["matched_vector"]
    has, company, move, other = ps3_cases.population(deal, 1)
    mu = has[:, None] * move + company * other
    yield 2, lambda: near(matched(mu, has, company), move)

    uneven = mu + 2 * has[:, None] * company * move  # with company the attribute moves three times as far
    yield 2, lambda: near(matched(uneven, has, company), _matched(uneven, has, company))

    has2, company2, move2, other2 = ps3_cases.population(deal, 2, columns=2, n=240)
    apart = (company2[:, :1] ^ company2[:, 1:]) * other2  # neither column tells it alone
    mu2 = has2[:, None] * move2 + apart
    yield 1.5, lambda: near(matched(mu2, has2, company2), _matched(mu2, has2, company2))

    one_sided = has2.clone()  # two of the four groups have faces of one kind only
    one_sided[company2.all(dim=1)] = True
    one_sided[~company2.any(dim=1)] = False
    mu3 = one_sided[:, None] * move2 + 9 * company2.all(dim=1, keepdim=True)
    yield 1.5, lambda: near(matched(mu3, one_sided, company2), _matched(mu3, one_sided, company2))

    def says_so() -> bool:
        try:
            matched(mu, has, has[:, None])
        except ValueError:
            return near(matched(mu, has, company), move)
        return False

    yield 1, says_so


# Task 2: arithmetic beside the truth


def counterfactual_gains(answers: Answers, deal: Deal) -> Iterator[Check]:
    answer = answers["counterfactual_gains"]

    def model(training: bool = False) -> ps3_cases.Watched:
        return ps3_cases.Watched(deal.seed("ps3", "model") % 2**31).train(training)

    g = deal.generator("ps3", "pictures")
    has, latents = torch.rand(40, generator=g) < 0.4, model().latent_dim
    codes = torch.randn(40, latents, generator=g) + has[:, None] * torch.randn(latents, generator=g)
    before, after = torch.rand(2, 6, 3, 32, 32, generator=g)
    after = (before + 3 * after.mean(dim=(2, 3), keepdim=True)) / 4
    # 0 comes last: who takes the first amount for the baseline is to lose by it.
    amounts = torch.tensor([*deal.random("ps3", "amounts").sample((0.4, 0.7, 1.3, 1.8, 2.4), 3), 0.0])
    given = codes, has, before, after, amounts

    expected = _gains(model(), *given)

    def answered(watched: ps3_cases.Watched) -> Tensor:
        """The answer, if it can be one at all: a gain a face, and not the same whatever the amount."""
        found = answer(watched, *given)
        if found.shape != expected.shape or not found.isfinite().all() or found.std(dim=0).min() < 1e-4:
            raise ValueError(f"no gains: {tuple(found.shape)}")
        return found

    def unspoilt() -> bool:
        watched = model()
        answered(watched)
        return not watched.saw(after)

    def in_training() -> bool:
        watched = model(training=True)
        return near(answered(watched), expected, 0.01) and watched.training

    yield 3, lambda: near(answered(model()), expected, 0.01)
    yield 1, lambda: answered(model())[-1].abs().max() < 1e-3
    yield 1, unspoilt
    yield 1, lambda: near(answered(model()), answered(model()), 1e-3)
    yield 1, in_training
    yield 1, lambda: not answered(model()).requires_grad
