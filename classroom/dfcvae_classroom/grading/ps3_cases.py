"""What the hidden tests of problem set 3 compare with: dealt cases, expected values by other formulas."""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch
from torch import Tensor

from dfcvae import faces
from dfcvae.course.lesson_05 import CHANGES, counterfactuals
from dfcvae.course.shipped import shipped
from dfcvae.datasets import Images
from dfcvae.vae import VAE
from dfcvae_classroom.grading import Deal

PEOPLE = {"learning": 800, "choosing": 200, "measuring": 300}  # faces in the notebook's three sets
PAIRS = {"choosing": 80, "measuring": 120}  # counterfactuals of them, at most
AMOUNTS = (0.25, 0.5, 1.0, 1.5)


class Watched(VAE):
    """A small VAE that remembers which images it encoded; its log_var is large, so that sampling shows."""

    def __init__(self, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(image_size=32, latent_dim=3 + seed % 4, channels=(4, 6))
            for module in self.modules():
                if isinstance(module, torch.nn.BatchNorm2d):  # eval and training must not agree
                    module.running_mean.normal_(std=0.3)
                    module.running_var.uniform_(0.5, 2)
            with torch.no_grad():
                self.to_mu.weight.mul_(6)
                self.from_z.weight.mul_(4)
                self.to_log_var.bias.fill_(0.5)
                self.decoder[-1][0].weight.mul_(4)
        self.seen: list[Tensor] = []

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(x.detach().clone())
        return super().encode(x)

    def saw(self, pictures: Tensor) -> bool:
        """Whether one of the pictures was encoded."""
        return any((one == x).flatten(1).all(1).any() for x in self.seen for one in pictures)


def population(
    deal: Deal, *what: object, columns: int = 1, n: int = 200
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """has (n,) and company (n, columns), which go together; a move of codes (5,) for each of the two."""
    g = deal.generator("ps3", "population", *what)
    company = torch.rand(n, columns, generator=g) < 0.5
    has = torch.rand(n, generator=g) < 0.2 + 0.6 * company.float().mean(dim=1)
    return has, company, *torch.randn(2, 5, generator=g)


def matched(mu: Tensor, has: Tensor, company: Tensor) -> Tensor:
    """Every face that has it, minus the mean of those without in the same company; then their mean."""
    differences = []
    for i in has.nonzero().flatten().tolist():
        alike = (company == company[i]).all(dim=1) & ~has
        if alike.any():
            differences.append(mu[i].double() - mu[alike].double().mean(dim=0))
    return torch.stack(differences).mean(dim=0)


def gains(model: VAE, codes: Tensor, has: Tensor, before: Tensor, after: Tensor, amounts: Tensor) -> Tensor:
    """dB by which before + amount * vector comes nearer to after than before's own reconstruction: (K, n)."""
    vector = codes[has].mean(dim=0) - codes[~has].mean(dim=0)
    with torch.no_grad():
        code = VAE.encode(model, before)[0]
        pictures = [model.decode(code + amount * vector) for amount in (0.0, *amounts.tolist())]
    nothing, *errors = ((x_hat.double() - after).square().flatten(1).mean(dim=1) for x_hat in pictures)
    return torch.stack([10 * torch.log10(nothing / error) for error in errors])


def sign_flips(differences: Tensor) -> float:
    """Share of all 2^S signs under which the differences' sum is at least as far from 0 as theirs."""
    values = differences.double().tolist()
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    return sum(one >= abs(sum(values)) - 1e-9 for one in sums) / len(sums)


def seeds(deal: Deal) -> tuple[int, int, int]:
    """Of the faces to learn, to choose and to measure on: the notebook's one dealt line."""
    dealt = deal.random("ps3", "faces")
    return tuple(dealt.sample(range(1_000, 1_000_000), 3))


def people(n: int, seed: int) -> Images:
    factors = faces.sample_factors(n, seed)
    pictures, labels = faces.draw(factors), faces.attributes(factors)
    return Images(pictures, labels, faces.ATTRIBUTE_NAMES, factors, faces.FACTOR_NAMES, "faces")


@lru_cache(maxsize=2)
def _sets(deal: Deal) -> tuple[Tensor, dict[str, Images]]:
    """Codes of the faces to learn from, and the three sets."""
    sets = {what: people(n, seed) for (what, n), seed in zip(PEOPLE.items(), seeds(deal), strict=True)}
    pictures = sets["learning"].float().split(100)
    with torch.no_grad():
        return torch.cat([VAE.encode(shipped("dfc-123"), part)[0] for part in pictures]), sets


@lru_cache(maxsize=4)
def measured(attribute: str, deal: Deal) -> tuple[Tensor, Tensor]:
    """The gains (K, n) of AMOUNTS of the attribute's vector: on the faces to choose and to measure on."""
    if attribute not in CHANGES:
        raise ValueError(
            f"no attribute of the task is called {attribute!r}: take one of {', '.join(CHANGES)}."
        )
    codes, sets = _sets(deal)
    has = sets["learning"].attributes[:, faces.ATTRIBUTE_NAMES.index(attribute)]
    truths = [counterfactuals(sets[what], attribute, n) for what, n in PAIRS.items()]
    model, amounts = shipped("dfc-123"), torch.tensor(AMOUNTS)
    return tuple(gains(model, codes, has, truth.before, truth.after, amounts) for truth in truths)


def claim(attribute: str, deal: Deal) -> dict[str, object]:
    """What the set's procedure finds for an attribute, as the notebook's last answer writes it down."""
    chosen_on, measured_on = measured(attribute, deal)
    best = int(chosen_on.mean(dim=1).argmax())
    mean, half = interval(measured_on[best])
    gain, low, high = (round(value, 2) + 0.0 for value in (mean, mean - half, mean + half))  # no -0.0
    verdict = "nearer" if low > 0 else "farther" if high < 0 else "undecided"
    found = {"attribute": attribute, "amount": AMOUNTS[best], "gain": gain, "low": low, "high": high}
    return found | {"faces": measured_on.shape[1], "verdict": verdict}


def interval(values: Tensor) -> tuple[float, float]:
    """Mean, and half of its 95 % interval."""
    return values.mean().item(), (1.96 * values.std() / len(values) ** 0.5).item()
