"""Self-check of problem set 1: the short training."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from dfcvae_classroom.grading.ps1_formulas import normal_log_prob
from dfcvae_classroom.grading.ps1_training import (
    TRAIN_VAE,
    Watched,
    distance_of_updates,
    narrow,
    terms_of,
    trained_again,
)
from torch import Tensor

from dfcvae import faces
from dfcvae.course.checks.trial import Mistake, Tried, recognise, same, tell
from dfcvae.vae import VAE


def train_vae(answer: Callable) -> None:
    """Try ``train_vae(model, pictures, steps, batch_size, alpha, beta, learning_rate, generator)``."""
    tried = "history, batches, noise and every update of a run of six steps"
    tell("train_vae", _train_vae, [answer], TRAIN_VAE.poisoned, tried)


PICTURES, SIZES, BATCH, ALPHA, BETA, RATE = 48, (32, 5, (6, 8)), 11, 3.0, 0.7, 4e-3


def _train_vae(answer: Tried) -> None:
    pictures = faces.draw(faces.sample_factors(PICTURES, seed=4), size=32).float() / 255
    model, history = _run(answer, pictures, steps=6)
    if len(model.seen) != 6 or any("z" not in line for line in model.seen):
        raise Mistake(
            f"6 steps were asked and encode was called {len(model.seen)} times: once a step, then decode."
        )
    _history(history)
    _batches(model, pictures)
    _noise(model)
    if not torch.equal(model.seen[0]["z"], _run(answer, pictures, steps=6, elsewhere=1)[0].seen[0]["z"]):
        raise Mistake("the same generator gives another first step: batches and noise must come from it.")
    _terms(model, history)
    if not all(line["training"] for line in model.seen):
        raise Mistake("the model is in eval mode while it trains.")
    if distance_of_updates(_fresh(VAE), model, _again(model)) > 0.05:
        _wrong_update(answer, pictures, model)


def _fresh(kind: type) -> VAE:
    torch.manual_seed(9)
    return narrow(kind(*SIZES))


def _run(answer: Tried, pictures: Tensor, steps: int, elsewhere: int = 0) -> tuple[Watched, list]:
    model = _fresh(Watched)
    torch.manual_seed(elsewhere)
    generator = torch.Generator().manual_seed(0)
    return model, answer(model, pictures, steps, BATCH, ALPHA, BETA, RATE, generator)


def _again(model: Watched) -> VAE:
    return trained_again(_fresh(VAE), model, ALPHA, BETA, RATE)


def _history(history: list) -> None:
    if not isinstance(history, list) or len(history) != 6:
        raise Mistake("the history should be a list with one dict for each of the 6 steps.")
    for name in ("loss", "kl", "reconstruction"):
        if not all(isinstance(line.get(name), float) for line in history):
            raise Mistake(
                f"the history's {name!r} should be a float in each step (a tensor keeps its graph alive)."
            )


def _batches(model: Watched, pictures: Tensor) -> None:
    sizes = {len(line["x"]) for line in model.seen}
    if sizes != {BATCH}:
        raise Mistake(f"batches hold {sorted(sizes)} pictures: {BATCH} were asked.")
    if torch.equal(model.seen[0]["x"], model.seen[1]["x"]):
        raise Mistake("two steps see the same batch: choose the pictures anew in each step.")


def _noise(model: Watched) -> None:
    epsilon = torch.cat(model.epsilons())  # (6 * BATCH, J)
    if epsilon.abs().max() < 1e-3:
        raise Mistake("z is mu: the noise looks left out.")
    if (epsilon >= 0).all():
        raise Mistake("no z lies below mu: epsilon looks uniform between 0 and 1, not normal (rand, randn?).")
    by_picture = torch.stack(model.epsilons())  # (6, BATCH, J)
    if (by_picture.std(dim=1) < 1e-3).all():
        raise Mistake("one epsilon serves the whole batch: each picture needs its own.")
    _spread(model)
    if not 0.85 < epsilon.std() < 1.15 or epsilon.abs().max() < 2:
        raise Mistake("the noise has another spread than log_var says: (z - mu) / std is not N(0, I).")


def _spread(model: Watched) -> None:
    """Which spread makes the noise likeliest? Its size does not tell once training has moved log_var to 0."""
    mu, log_var, z = (torch.cat([line[name] for line in model.seen]) for name in ("mu", "log_var", "z"))
    std = (0.5 * log_var).exp()
    likely = {
        "": normal_log_prob(z, mu, std),
        "exp(log_var) looks used as standard deviation: it is the variance.": (
            normal_log_prob(z, mu, log_var.exp())
        ),
        "it looks like exp(-log_var / 2): the sign is turned round.": normal_log_prob(z, mu, 1 / std),
        "it looks like log_var itself: log_var is the logarithm of the variance.": (
            normal_log_prob(z, mu, log_var.abs() + 1e-3)
        ),
        "it is 1 everywhere: log_var looks unused.": normal_log_prob(z, mu, torch.ones_like(std)),
        "z looks drawn from N(0, I): it comes from the cloud of the picture.": (
            normal_log_prob(z, 0.0, torch.ones_like(std))
        ),
    }
    nats = {name: value.sum().item() for name, value in likely.items()}
    likeliest = max(nats, key=nats.get)
    if nats[likeliest] > nats[""] + 10:
        raise Mistake(f"the noise has another spread than log_var says: {likeliest}")


def _terms(model: Watched, history: list[dict[str, float]]) -> None:
    line, told = model.seen[0], history[0]
    kl, error = terms_of(*(line[name] for name in ("x", "x_hat", "mu", "log_var")))
    numbers, latents, var = line["x"][0].numel(), line["mu"].shape[1], line["log_var"].exp()
    recognise(
        torch.tensor(told["kl"]),
        kl,
        {
            "KL looks averaged over latents: sum them.": kl / latents,
            "KL looks summed over pictures: take their mean.": kl * BATCH,
            "KL is twice too large: a factor of 1/2 is dropped.": 2 * kl,
            "KL has the wrong sign: it can never be negative.": -kl,
            "KL is in bits: nats are asked.": kl / math.log(2),
            "exp(log_var) looks used as standard deviation in the KL: it is the variance.": (
                kl + 0.5 * (var.square() - var).sum(dim=1).mean()
            ),
            "exp(log_var / 2) looks used as variance in the KL: it is the standard deviation.": (
                kl + 0.5 * (var.sqrt() - var).sum(dim=1).mean()
            ),
            "a constant is missing in the KL: where the cloud is the prior, it is zero.": kl + 0.5 * latents,
        },
        " nats of KL",
    )
    recognise(
        torch.tensor(told["reconstruction"]),
        error,
        {
            "squared errors look averaged over pixels: sum them over the picture.": error / numbers,
            "squared errors look summed over the batch as well: take the mean over pictures.": error * BATCH,
            "squared errors are halved: beta is the whole weight here.": error / 2,
            "the history's 'reconstruction' has beta in it: note the squared error without.": BETA * error,
        },
        " of squared error",
    )
    kl, error = torch.tensor(told["kl"]), torch.tensor(told["reconstruction"])
    mistakes = {
        "alpha and beta look swapped: alpha weighs the KL.": BETA * kl + ALPHA * error,
        "alpha and beta look unused.": kl + error,
        "the KL looks left out of the loss.": BETA * error,
        "the KL looks subtracted: it is a price.": BETA * error - ALPHA * kl,
    }
    recognise(torch.tensor(told["loss"]), ALPHA * kl + BETA * error, mistakes, " of loss")


def _wrong_update(answer: Tried, pictures: Tensor, model: Watched) -> None:
    """Which weights moved otherwise than they should, and from which step on."""
    start, found = dict(_fresh(VAE).named_parameters()), dict(model.named_parameters())
    encoder, decoder = (torch.equal(found[name], start[name]) for name in ("to_mu.weight", "from_z.weight"))
    if encoder and decoder:
        raise Mistake("no weight has moved: does the optimizer step, and with the gradients of this step?")
    if encoder:
        raise Mistake("the encoder's weights have not moved: does the optimizer have all parameters?")
    if decoder:
        raise Mistake("the decoder's weights have not moved: does a gradient pass through x_hat?")
    first = _run(answer, pictures, steps=1)[0]
    if distance_of_updates(_fresh(VAE), first, _again(first)) < 0.01:
        raise Mistake(
            "the first step is right and later ones are not: what do gradients or optimizer carry over?"
        )
    one, two = (dict(m.named_parameters()) for m in (first, _again(first)))
    if same(one["from_z.weight"], two["from_z.weight"]):
        raise Mistake("the decoder learns rightly, the encoder does not: does the gradient pass through z?")
    name = "from_z.weight"
    ratio = (one[name] - start[name]).norm().item() / (two[name] - start[name]).norm().item()
    raise Mistake(
        f"the first step moves the decoder's weights {ratio:.2g} times as far as Adam at this rate would."
    )
