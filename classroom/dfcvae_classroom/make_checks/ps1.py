"""Self-checks of problem set 1: inputs, right numbers, and what known mistakes give."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dfcvae.course.checks.ps1 import WatchedVAE
from dfcvae.course.checks.trial import filled, given
from dfcvae_classroom.grading.ps1_decoder import decode_by_parts, enlarge_and_convolve
from dfcvae_classroom.grading.ps1_formulas import elbo_terms, normal_kl
from dfcvae_classroom.grading.ps1_training import terms_of
from dfcvae_classroom.make_checks import case, numbers

DRAWS = 20_000
UNIFORM = "no draw lies below mu: epsilon looks uniform between 0 and 1, not normal (rand, randn?)."


def clouds(pictures: int, latents: int) -> dict[str, dict[str, Any]]:
    shape = [pictures, latents]
    return {
        "mu": {"seed": 5, "shape": shape, "low": -0.9, "high": 3.1},
        "log_var": {"seed": 6, "shape": shape, "low": -1.6, "high": 0.4},
    }


def tasks() -> dict[str, Any]:
    return {
        "draw_z": draw_z(),
        "kl_normal": kl_normal(),
        "kl_from_draws": kl_from_draws(),
        "elbo": elbo(),
        "decoder": decoder(),
        "train_vae": train_vae(),
    }


def draw_z() -> dict[str, Any]:
    inputs = clouds(3, 4)
    log_var = given(inputs["log_var"])
    std = (0.5 * log_var).exp()
    spreads = {
        "the spread looks like exp(log_var): that is a variance, not a standard deviation.": log_var.exp(),
        "the spread looks like log_var itself: log_var is the logarithm of the variance.": log_var.abs(),
        "the spread looks like exp(-log_var / 2): the sign is turned round.": 1 / std,
        "the spread is 1 everywhere: log_var looks unused.": torch.ones_like(std),
        "epsilon looks uniform between -1/2 and 1/2, not normal.": std / 12**0.5,
    }
    return {
        "tried": "shape, mean, spread, noise, gradient",
        **inputs,
        "draws": DRAWS,
        "spread": case(std, spreads),
        "say": {
            "every draw the same": "every draw is the same: the noise must be drawn anew for each draw.",
            "generator unused": "the same seed gives other draws: epsilon must come from `generator`.",
            "PyTorch's state used": (
                "PyTorch's own random numbers are used or seeded: epsilon comes from `generator` alone."
            ),
            "seeded anew": "a second call with the same generator gives the same draws: is it seeded anew?",
            "uniform from 0": UNIFORM,
            "no mu": "the draws lie around 0: mu looks left out.",
            "another mean": "the mean of the draws is not mu.",
            "uniform": "the noise has the right spread but no tails: it looks uniform, not normal.",
            "shared by pictures": "the noise is shared between pictures: one epsilon serves the whole batch.",
            "shared by latents": "the noise is shared between latents: one epsilon serves them all.",
            "shared by neighbours": "the noise is shared between draws that follow each other.",
        },
    }


def kl_normal() -> dict[str, Any]:
    m = {"numbers": [0.5, -1.0, 2.0, 0.3, -0.2]}
    s = {"numbers": [0.6, 1.5, 2.2, 0.8, 1.9]}
    zeros, ones = {"numbers": [0.0] * 5}, {"numbers": [1.0] * 5}
    result = {
        "shape": [],
        "meaning": "one number for the batch",
        "kinds": {
            "float": "KL is a Python number: keep it a tensor, so that a gradient can come back.",
            "(3,)": "KL is one number a picture: take the mean over pictures.",
        },
    }
    cases = []
    for prior in ({"m": zeros, "s": ones}, {"m": m, "s": ones}, {"m": m, "s": s}):
        recipes = clouds(3, 5) | prior
        inputs = [given(recipe) for recipe in recipes.values()]
        right, mistakes = normal_kl(*inputs).mean(), _wrong_kls(*inputs)
        cases.append({"given": recipes} | case(right, mistakes, unit=" nats", **result))
    by = [tensor.requires_grad_() for tensor in inputs]
    found = torch.autograd.grad(normal_kl(*by).mean(), by)
    cases[-1]["gradients"] = dict(zip(recipes, map(numbers, found), strict=True))
    return {
        "tried": "standard and other priors, gradients",
        "cases": cases,
    }


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
        "the squares are divided by s: divide by s^2.": changed(
            (var + square) / (2 * s**2), (var + square) / (2 * s)
        ),
        "log s is counted twice: of log(s^2) a half is meant.": changed(s.log(), 2 * s.log()),
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


def kl_from_draws() -> dict[str, Any]:
    inputs = clouds(3, 4)
    prior = {"m": {"numbers": [1.4, 0.2, 1.8, 1.1]}, "s": {"numbers": [0.8, 1.5, 1.2, 1.9]}}
    mu, log_var, m, s = (given(recipe).double() for recipe in (inputs | prior).values())
    std, latents = (0.5 * log_var).exp(), mu.shape[1]
    half_log_2pi = 0.5 * math.log(2 * math.pi)
    right = normal_kl(mu, log_var, m, s)
    q = -(0.5 + 0.5 * log_var + half_log_2pi).sum(dim=1)  # the mean of log q
    p = q - right
    # log q - log p is a quadratic in epsilon: linear and square parts have these variances
    linear, square = (mu - m) * std / s**2, 0.5 * (std**2 / s**2 - 1)
    spread = (linear**2 + 2 * square**2).sum(dim=1).sqrt()
    epsilon = torch.randn(200_000, 3, 4, generator=torch.Generator().manual_seed(1)).double()
    differences = right + (linear * epsilon + square * (epsilon**2 - 1)).sum(dim=2)
    of_p, of_1 = (m.expand_as(mu), 2 * s.log().expand_as(mu)), (torch.zeros_like(mu), torch.zeros_like(mu))
    wide, error = normal_kl(mu, 2 * log_var, m, s), spread / DRAWS**0.5
    mistakes = {
        "log q looks left out: KL is the mean of a difference.": -p,
        "log p looks left out: KL is the mean of a difference.": q,
        "the sign is turned round.": -right,
        "log q lacks its constant, log(2 pi) / 2 a latent.": right + latents * half_log_2pi,
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
            differences.abs().mean(dim=0)
        ),
        "all pictures have the same KL: take the mean over draws only, not over pictures.": (
            right.mean().expand_as(right)
        ),
    }
    errors = {
        "the error is the spread of one draw: that of a mean of many is smaller.": spread,
        "the error looks like a variance: take its root.": error**2,
        "the error is the variance of one draw, not the standard error of a mean.": spread**2,
        "the error is divided by the number of draws, not by its root.": spread / DRAWS,
    }
    apart = (
        "KL is right, its standard error is not: is it that of the mean of log q - log p, both at the same z?"
    )
    return {
        "tried": f"{DRAWS:,} draws against a known KL, the error, gradients",
        **inputs,
        **prior,
        "std": {"numbers": std.float().tolist()},
        "draws": DRAWS,
        "kl": case(right, mistakes, unit=" nats"),
        "error": case(error, errors, otherwise=apart),
        "gradients": {
            "mu": numbers((mu - m) / s**2),
            "log_var": numbers(0.5 * (std**2 / s**2 - 1)),
        },
        "say": {
            "log_p never called": "log_p is never called: how dense is this prior where the draws are?",
            "uniform from 0": UNIFORM,
            "another estimate": (
                "the same seed gives another estimate: the noise must come from `generator`."
            ),
            "other draws for p": (
                "where the prior is q, the difference must be zero in every single draw: same z in both?"
            ),
        },
    }


def elbo() -> dict[str, Any]:
    alone = "the ELBO is one number for the batch: keep one a picture."
    result = {"shape": [2], "meaning": "one number a picture", "kinds": {"()": alone}}
    cases = []
    # in the small picture the KL weighs, in the large one the pixels do
    for shape, sigma in (([2, 1, 2, 3], 0.7), ([2, 3, 8, 8], 0.25)):
        pictures = {"x": {"seed": 2, "shape": shape}, "x_hat": {"seed": 3, "shape": shape}}
        recipes = pictures | clouds(2, 5) | {"sigma": sigma}
        inputs = [given(recipe) for recipe in recipes.values()]
        right = -sum(elbo_terms(*inputs))
        cases.append({"given": recipes} | case(right, _wrong_elbos(*inputs), unit=" nats", **result))
    x, x_hat, mu, log_var, sigma = inputs
    gradients = {"x_hat": (x - x_hat) / sigma**2, "mu": -mu, "log_var": 0.5 * (1 - log_var.exp())}
    cases[-1]["gradients"] = {name: numbers(gradient) for name, gradient in gradients.items()}
    return {
        "tried": "pictures of two sizes, gradients",
        "cases": cases,
    }


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
        "the squared error is divided by 2 sigma: by 2 sigma^2.": -error * sigma - constant - kl,
        "sigma^2 looks used as standard deviation.": -sum(terms(sigma**2)),
        "sigma looks used as variance: it is a standard deviation.": -sum(terms(sigma**0.5)),
        "sigma looks unused.": -sum(terms(1.0)),
    }


def decoder() -> dict[str, Any]:
    recipes = {
        "h": {"seed": 1, "shape": [2, 2, 3, 5], "low": -1.0},
        "weight": {"seed": 2, "shape": [3, 2, 3, 3], "low": -1.0},
        "bias": {"seed": 3, "shape": [3], "low": -1.0},
    }
    h, weight, bias = (given(recipe) for recipe in recipes.values())
    latent_dim, channels, size = 5, [10, 7, 4], 40
    z = {"seed": 4, "shape": [4, latent_dim], "low": -4.0, "high": 4.0}
    network = _whole(latent_dim, channels, size)
    wrong = {"ReLU": 0.0, "LeakyReLU with slope 0.01": 0.01, "nothing": 1.0}
    between = "between the levels stands {}: expected LeakyReLU with slope 0.2."
    apart = (
        "the layers are there, but not put together as asked: linear, then up_block, norm and LeakyReLU a "
        "level, at last an up_block and the sigmoid. Is one made and not used?"
    )
    return {
        "tried": "pixels and border of a block, layers and pictures of a decoder",
        **recipes,
        "block": case(enlarge_and_convolve(h, weight, bias), _wrong_blocks(h, weight, bias)),
        "sizes": [latent_dim, channels, size],
        "z": z,
        "whole": case(
            decode_by_parts(network, given(z)),
            {
                between.format(name): decode_by_parts(network, given(z), slope)
                for name, slope in wrong.items()
            },
            otherwise=apart,
        ),
        "say": {
            "no module": "{function} gives {kind}: expected an nn.Module.",
            "parameters": (
                "up_block(2, 3) has parameters {shapes}: expected one 3x3 convolution with a bias, "
                "(3, 2, 3, 3) and (3,), and nothing else (a transposed convolution turns the first two "
                "round)."
            ),
            "out of range": "brightness goes from {low:.1f} to {high:.1f}: expected between 0 and 1.",
            "z unused": "two different z give the same picture.",
            "levels": (
                "convolutions (out, in) are {found}: expected {expected}, one a level, from wide to narrow."
            ),
            "norms": (
                "there are {norms} batch norms: expected {expected}, after all levels but the last: it "
                "fixes how bright pictures are on average."
            ),
            "cut off": "pictures are cut off at 0: a sigmoid only comes near it, so that a gradient is left.",
            "never dark": (
                "pictures cannot become dark: does something stand between last convolution and sigmoid?"
            ),
        },
    }


def _whole(latent_dim: int, channels: list[int], size: int) -> torch.nn.ModuleList:
    """The layers of a decoder, from wide to narrow, filled as the check fills them."""
    nn, grid = torch.nn, size // 2 ** len(channels)
    layers = [nn.Linear(latent_dim, channels[0] * grid**2)]
    layers += [nn.Conv2d(a, b, 3) for a, b in zip(channels, [*channels[1:], 3], strict=True)]
    layers += [nn.BatchNorm2d(c) for c in channels[1:]]
    return nn.ModuleList(filled(layer, i) for i, layer in enumerate(layers))


def _wrong_blocks(h: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    def convolve(h: Tensor, mode: str = "replicate") -> Tensor:
        return F.conv2d(F.pad(h, (1, 1, 1, 1), mode=mode), weight, bias)

    def smooth(mode: str, corners: bool) -> Tensor:
        return F.interpolate(h, scale_factor=2, mode=mode, align_corners=corners)

    nearest = F.interpolate(h, scale_factor=2)
    at_border = "the border is filled with zeros: repeat the outermost pixels beyond it."
    tiled = "the whole map is repeated side by side (repeat): repeat each pixel instead."
    early = "the convolution comes before the pixels are repeated: the order is turned round."
    smoothed = "new pixels look interpolated (bilinear): repeat the old ones."
    return {
        at_border: convolve(nearest, "constant"),
        "the border is mirrored: repeat the outermost pixels beyond it.": convolve(nearest, "reflect"),
        "the border goes round to the other side: repeat the outermost pixels.": convolve(
            nearest, "circular"
        ),
        tiled: convolve(h.repeat(1, 1, 2, 2)),
        early: F.interpolate(convolve(h), scale_factor=2),
        smoothed: convolve(smooth("bilinear", False)),
        f"{smoothed} (align_corners)": convolve(smooth("bilinear", True)),
        f"{smoothed} And {at_border}": convolve(smooth("bilinear", False), "constant"),
        "a ReLU stands in up_block: it belongs into make_decoder, behind the norm.": convolve(nearest).relu(),
        "a LeakyReLU stands in up_block: it belongs into make_decoder, behind the norm.": (
            F.leaky_relu(convolve(nearest), 0.2)
        ),
    }


PICTURES, BATCH, ALPHA, BETA, RATE = 48, 11, 3.0, 0.7, 4e-3
NARROW, NO_NOISE = -0.5, -30.0  # added to log_var
FOLLOWED = ("to_mu.weight", "to_log_var.weight", "from_z.weight", "encoder.0.0.weight", "decoder.0.0.weight")


def train_vae() -> dict[str, Any]:
    recipe = {"seed": 4, "shape": [PICTURES, 3, 32, 32]}
    x = given(recipe)[:1].expand(BATCH, -1, -1, -1)
    model = WatchedVAE(NARROW)
    mu, log_var = model.encode(x)
    kl, _ = terms_of(x, x, mu, log_var)
    var, latents, values = log_var.exp(), mu.shape[1], x[0].numel()
    wrong_kls = {
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
    }
    updates, terms = _trained(x)
    price, error = terms
    wrong_errors = {
        "squared errors look averaged over pixels: sum them over the picture.": error / values,
        "squared errors look summed over the batch as well: take the mean over pictures.": error * BATCH,
        "squared errors are halved: beta is the whole weight here.": error / 2,
        "the history's 'reconstruction' has beta in it: note the squared error without.": BETA * error,
    }
    wrong_losses = {
        "alpha and beta look swapped: alpha weighs the KL.": BETA * price + ALPHA * error,
        "alpha and beta look unused.": price + error,
        "the KL looks left out of the loss.": BETA * error,
        "the KL looks subtracted: it is a price.": BETA * error - ALPHA * price,
    }
    return {
        "tried": "history, batches, noise and every update of a run of six steps",
        "pictures": recipe,
        "settings": [BATCH, ALPHA, BETA, RATE],
        "terms": {
            "kl": case(kl, wrong_kls, unit=" nats of KL", shift=NARROW),
            "reconstruction": case(error, wrong_errors, unit=" of squared error", shift=NO_NOISE),
            "loss": case(ALPHA * price + BETA * error, wrong_losses, unit=" of loss", shift=NO_NOISE),
        },
        "updates": updates,
        "say": {
            "calls": "6 steps were asked and encode was called {calls} times: once a step, then decode.",
            "no history": "the history should be a list with one dict for each of the 6 steps.",
            "no floats": (
                "the history's {name!r} should be a float in each step (a tensor keeps its graph alive)."
            ),
            "batch size": "batches hold {sizes} pictures: {batch} were asked.",
            "same batch": "two steps see the same batch: choose the pictures anew in each step.",
            "generator unused": (
                "the same generator gives another first step: batches and noise must come from it."
            ),
            "eval mode": "the model is in eval mode while it trains.",
            "no weight moves": (
                "no weight has moved: does the optimizer step, and with the gradients of this step?"
            ),
            "encoder stays": (
                "the encoder's weights have not moved: does the optimizer have all parameters, and does a "
                "gradient reach them?"
            ),
            "decoder stays": "the decoder's weights have not moved: does a gradient pass through x_hat?",
            "no gradient through z": (
                "the decoder learns rightly, the encoder does not: does the gradient pass through z?"
            ),
            "later steps": (
                "the first step is right and later ones are not: what do gradients or optimizer carry over?"
            ),
            "first step": (
                "the first step moves {name} {ratio:.2g} times as far as Adam at this rate would."
            ),
            "no noise": "z is mu: the noise looks left out.",
            "uniform from 0": UNIFORM.replace("draw", "z"),
            "shared by pictures": "one epsilon serves the whole batch: each picture needs its own.",
        }
        | {
            name: f"the noise has another spread than log_var says: {why}"
            for name, why in {
                "variance": "exp(log_var) looks used as standard deviation: it is the variance.",
                "sign": "it looks like exp(-log_var / 2): the sign is turned round.",
                "log_var": "it looks like log_var itself: log_var is the logarithm of the variance.",
                "one": "it is 1 everywhere: log_var looks unused.",
                "prior": "z looks drawn from N(0, I): it comes from the cloud of the picture.",
                "another spread": "(z - mu) / std is not N(0, I).",
            }.items()
        },
    }


def _trained(x: Tensor) -> tuple[dict[str, dict[str, list[float]]], tuple[Tensor, Tensor]]:
    """By how much one step and six move the weights; KL and squared error before the first."""
    model, start = WatchedVAE(NO_NOISE), WatchedVAE(NO_NOISE)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    updates: dict[str, dict[str, list[float]]] = {name: {} for name in FOLLOWED}
    terms = []
    for step in range(1, 7):
        mu, log_var = model.encode(x)
        kl, error = terms_of(x, model.decode(mu), mu, log_var)
        terms.append((kl.detach(), error.detach()))
        optimizer.zero_grad()
        (ALPHA * kl + BETA * error).backward()
        optimizer.step()
        for name in FOLLOWED if step in (1, 6) else ():
            moved = model.get_parameter(name).detach() - start.get_parameter(name).detach()
            updates[name][str(step)] = numbers(moved)
    return updates, terms[0]
