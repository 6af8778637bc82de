"""Hidden tests of problem set 1: the short training, watched step by step and done once more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

import dfcvae.vae
from dfcvae import faces
from dfcvae.dfc import DFCVAE
from dfcvae.training import Trainer, train
from dfcvae.vae import VAE
from dfcvae_classroom.grading import Check, Deal, Task


class Watched(VAE):
    """A VAE that keeps what passes through it: a line of x, mu, log_var, z, x_hat and mode for each step."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[dict[str, Any]] = []

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = super().encode(x)
        self.seen.append({"x": x.detach(), "mu": mu.detach(), "log_var": log_var.detach()})
        return mu, log_var

    def decode(self, z: Tensor) -> Tensor:
        x_hat = super().decode(z)
        self.seen[-1] |= {"z": z.detach(), "x_hat": x_hat.detach(), "training": self.training}
        return x_hat

    def epsilons(self) -> list[Tensor]:
        return [(line["z"] - line["mu"]) / (0.5 * line["log_var"]).exp() for line in self.seen]


def narrow(model: VAE) -> VAE:
    """Let the clouds start narrow. An untrained network's are as wide as the prior: log_var is next to zero,
    and a wrong spread cannot be told from the right one.
    """
    with torch.no_grad():
        model.to_log_var.bias.fill_(-1.5)
    return model


def terms_of(x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    """KL in nats and summed squared error, means over the batch."""
    kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1).mean()
    return kl, (x - x_hat).square().flatten(1).sum(dim=1).mean()


def trained_again(start: VAE, watched: Watched, alpha: float, beta: float, learning_rate: float) -> VAE:
    """``start`` after the same batches and the same noise, with the loss and the optimizer of the task."""
    optimizer = torch.optim.Adam(start.parameters(), lr=learning_rate)
    for line, epsilon in zip(watched.seen, watched.epsilons(), strict=True):
        mu, log_var = start.encode(line["x"])
        x_hat = start.decode(mu + (0.5 * log_var).exp() * epsilon)
        kl, error = terms_of(line["x"], x_hat, mu, log_var)
        optimizer.zero_grad()
        (alpha * kl + beta * error).backward()
        optimizer.step()
    return start


def distance_of_updates(before: VAE, found: VAE, expected: VAE) -> float:
    """How far two trainings from the same start differ, as a part of how far they went; the worst layer."""
    layers = ("to_mu", "to_log_var", "from_z", "encoder.0.0", "decoder.0.0")
    start, one, other = (dict(model.named_parameters()) for model in (before, found, expected))
    weights = [f"{layer}.weight" for layer in layers]
    return max(((one[w] - other[w]).norm() / (other[w] - start[w]).norm()).item() for w in weights)


def _train_vae(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    train_vae, dealt = answers["train_vae"], deal.random("ps1", "train_vae")
    pictures = faces.draw(faces.sample_factors(40, seed=deal.seed("ps1", "faces") % 2**31), size=32) / 255
    shape = 32, dealt.randint(5, 8), (6, 8)
    steps, batch_size = dealt.randint(7, 9), dealt.randint(10, 14)
    alpha, beta, learning_rate = dealt.uniform(2, 4), dealt.uniform(0.3, 0.8), dealt.uniform(2e-3, 4e-3)
    seed = deal.seed("ps1", "train_vae", "batches") % 2**31

    @cache
    def run(more: int = 0, elsewhere: int = 0) -> tuple[Watched, list[dict[str, float]]]:
        """more: another generator; elsewhere: another state of PyTorch's own, which must not matter."""
        model = fresh(Watched)
        torch.manual_seed(seed + 1 + elsewhere)
        options = steps, batch_size, alpha, beta, learning_rate, torch.Generator().manual_seed(seed + more)
        history = train_vae(model, pictures, *options)
        model.seen = [line for line in model.seen if "z" in line]  # encoded only: to look, not to train
        return model, history

    def fresh(kind: type = VAE) -> VAE:
        torch.manual_seed(seed)
        return narrow(kind(*shape))

    def lines_of_history() -> bool:
        history = run()[1]
        numbers = [line[name] for line in history for name in ("loss", "kl", "reconstruction")]
        finite = all(isinstance(number, float) and math.isfinite(number) for number in numbers)
        sums = [abs(alpha * h["kl"] + beta * h["reconstruction"] - h["loss"]) / h["loss"] for h in history]
        return len(history) == len(run()[0].seen) == steps and finite and max(sums) < 1e-3

    def true_terms() -> bool:
        model, history = run()
        names = ("x", "x_hat", "mu", "log_var")
        true = torch.tensor([terms_of(*(line[name] for name in names)) for line in model.seen])
        told = torch.tensor([[_number(line[name]) for name in ("kl", "reconstruction")] for line in history])
        return len(history) == steps and torch.allclose(told, true, rtol=1e-3)

    def batches() -> bool:
        rows, others = ([_rows(line["x"], pictures) for line in run(more)[0].seen] for more in (0, 1))
        sizes = {len(row) for row in rows} == {batch_size}
        anew = len({tuple(row) for row in rows}) == len(rows) and rows != others
        return sizes and anew and len({i for row in rows for i in row}) > 25

    def noise() -> bool:
        epsilon = torch.cat(run()[0].epsilons())  # (steps * batch_size, J)
        runs = (watched.seen[0]["z"] for watched in (run()[0], run(elsewhere=1)[0]))
        bell = epsilon.mean().abs() < 0.2 and 0.85 < epsilon.std() < 1.15 and epsilon.abs().max() > 2.2
        links = torch.corrcoef(epsilon).fill_diagonal_(0)  # of pictures: by chance all signs, mean zero
        return torch.equal(*runs) and bell and links.mean().abs() < 0.05

    def the_same_updates() -> bool:
        model = run()[0]
        expected = trained_again(fresh(), model, alpha, beta, learning_rate)
        modes = all(line["training"] for line in model.seen)
        return modes and distance_of_updates(fresh(), model, expected) < 0.05

    yield 0.5, lines_of_history
    yield 1, true_terms
    yield 0.5, batches
    yield 1, noise
    yield 3, the_same_updates


def _number(value: Any) -> float:
    return float(torch.as_tensor(value).detach())


def _rows(x: Tensor, pictures: Tensor) -> list[int]:
    """Which pictures a batch holds; AssertionError for one that is none of them."""
    exact = "donot_use_mm_for_euclid_dist"  # the faster way is off by a hundredth
    distances = torch.cdist(x.flatten(1), pictures.flatten(1), compute_mode=exact)
    assert distances.amin(dim=1).max() < 1e-3
    return distances.argmin(dim=1).tolist()


TRAIN_VAE = Task(
    6,
    _train_vae,
    (
        dfcvae.vae.kl_divergence,
        VAE.reparameterize,
        VAE.forward,
        DFCVAE.loss_function,
        train,
        Trainer.step,
    ),
)
