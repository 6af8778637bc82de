"""Self-checks of problem set 2, what is made with features: the loss, a hole filled, two rulers at odds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dfcvae_classroom.grading.ps2_losses import TASKS, Layers, loss, squared_features
from dfcvae_classroom.grading.ps2_networks import filled
from torch import Tensor, nn

from dfcvae import faces
from dfcvae.course.checks.trial import Mistake, Tried, describe, expect_shape, recognise, tell
from dfcvae.vgg import VGGFeatures


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(12)


# ---------------------------------------------------------------- dfc_loss


def dfc_loss(answer: Callable) -> None:
    """Try ``dfc_loss(x_hat, x, kl, network, alpha, beta, weights, scales)``."""
    tried = "one layer, weights, scales, alpha and beta, who gets a gradient"
    tell("dfc_loss", _dfc_loss, [answer], TASKS["dfc_loss"].poisoned, tried)


def _dfc_loss(answer: Tried) -> None:
    network = Layers(_generator())
    x_hat, x = torch.rand(2, 4, 3, 16, 16, generator=_generator())
    kl, none = torch.tensor([12.0, 20.0, 9.0, 31.0]), torch.zeros(4)
    one = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0}
    weights, scales = {"relu1_1": 3.0, "relu3_1": 5.0}, {"relu1_1": 2.0, "relu2_1": 1.0, "relu3_1": 4.0}

    def trial(kl: Tensor, *given: Any, mistakes: dict[str, Tensor]) -> None:
        found = answer(x_hat, x, kl, network, *given)
        if isinstance(found, float):
            raise Mistake("the loss is a Python number: keep it a tensor, so that a gradient can come back.")
        if isinstance(found, Tensor) and found.shape == (4,):
            raise Mistake("gives one number for each image: take the mean over the batch.")
        expect_shape(found, (), "one number")
        recognise(found, loss(x_hat, x, kl, network, *given), mistakes)

    def value(kl: Tensor, *given: Any) -> Tensor:
        return loss(x_hat, x, kl, network, *given)

    only = {"relu2_1": 1.0}
    differences = (network(x_hat)["relu2_1"] - network(x)["relu2_1"]).double()
    wrong = _wrong_terms(differences, value(none, 1.0, 1.0, one, one))
    right, pixels = value(none, 1.0, 1.0, only, one), (x_hat - x).double().square().mean()
    for share in 0.5 * pixels, pixels:
        wrong |= {f"pixels ({share:.3f}) count as well: the loss compares features only.": right + share}
    trial(none, 1.0, 1.0, only, one, mistakes=wrong)
    right, unweighted = (
        value(none, 1.0, 1.0, weights, one),
        value(none, 1.0, 1.0, dict.fromkeys(weights, 1.0), one),
    )
    mistakes = {
        "the weights of the layers are left out.": unweighted,
        "it looks divided by the number of layers: the terms are added.": right / 2,
        "the weights look squared.": value(none, 1.0, 1.0, {k: w**2 for k, w in weights.items()}, one),
        "only the last layer counts: the terms of all layers are added.": (
            value(none, 1.0, 1.0, {"relu3_1": weights["relu3_1"]}, one)
        ),
        "divided by the sum of the weights: the terms are added, and nothing is averaged.": right / 8,
        "every layer of the network counts: only those with a weight do.": right
        + value(none, 1.0, 1.0, only, one),
    }
    trial(none, 1.0, 1.0, weights, one, mistakes=mistakes)
    inverse, root = ({k: f(s) for k, s in scales.items()} for f in (lambda s: 1 / s, lambda s: s**0.5))
    mistakes = {
        "the scales are left out.": right,
        "the scale divides the weight once: how large are the squares of features s times as large?": (
            value(none, 1.0, 1.0, weights, root)
        ),
        "the scale works the wrong way round.": value(none, 1.0, 1.0, weights, inverse),
    }
    trial(none, 1.0, 1.0, weights, scales, mistakes=mistakes)
    features = value(none, 1.0, 1.0, one, one)
    mistakes = {
        "alpha and beta look swapped: in this course alpha weighs the KL.": value(kl, 50.0, 0.5, one, one),
        "the KL is summed over the batch: take its mean.": value(4 * kl, 0.5, 50.0, one, one),
        "the KL is left out.": 50.0 * features,
        "alpha weighs the features, too.": 0.5 * (kl.mean() + 50.0 * features),
        "beta weighs the KL, too.": 50.0 * (0.5 * kl.mean() + features),
        "alpha is left out.": value(kl, 1.0, 50.0, one, one),
        "beta is left out.": value(kl, 0.5, 1.0, one, one),
    }
    trial(kl, 0.5, 50.0, one, one, mistakes=mistakes)
    _who_gets_a_gradient(answer, x_hat, x, (kl, network, 0.5, 50.0, one, one))


def _wrong_terms(differences: Tensor, every_layer: Tensor) -> dict[str, Tensor]:
    n, channels = differences.shape[:2]
    right = 0.5 * differences.square().mean()
    root = differences.square().mean().sqrt()
    norms = differences.square().sum((1, 2, 3)).sqrt().mean()
    return {
        "twice too large: the paper's form has 1/2 before the mean of the squares.": 2 * right,
        "the number of channels is not divided by.": channels * right,
        "only the channels are divided by: height and width are missing.": right * differences[0, 0].numel(),
        "summed over the batch: take the mean over images.": n * right,
        "summed over everything: divide by C, H and W, and take the mean over images.": (
            right * differences.numel()
        ),
        "C, H and W are not divided by.": right * differences[0].numel(),
        "divided by the batch twice.": right / n,
        "it looks like a root: the paper's form is the square itself.": root,
        "it looks like half a root: the paper's form is the square itself.": 0.5 * root,
        "it looks like a norm: the paper's form is the square itself.": norms,
        "these are absolute values: take squares.": differences.abs().mean(),
        "these are half the absolute values: take squares.": 0.5 * differences.abs().mean(),
        "every layer of the network counts: only those with a weight do.": every_layer,
    }


def _who_gets_a_gradient(answer: Tried, x_hat: Tensor, x: Tensor, given: tuple) -> None:
    image, target = x_hat.clone().requires_grad_(True), x.clone().requires_grad_(True)
    kl = given[0].clone().requires_grad_(True)
    total = answer(image, target, kl, *given[1:])
    if not total.requires_grad:
        raise Mistake("the loss has no gradient at all: is everything under no_grad?")
    total.backward()
    if image.grad is None:
        raise Mistake("no gradient reaches x_hat: its features must not be under no_grad, nor detached.")
    if kl.grad is None:
        raise Mistake("no gradient reaches the KL: is it detached?")
    if target.grad is not None:
        raise Mistake("x gets a gradient, too: the target is a constant.")
    image_2 = x_hat.clone().requires_grad_(True)
    loss(image_2, x, *given).backward()
    recognise(image.grad, image_2.grad, {})


# ---------------------------------------------------------------- restore


def restore(answer: Callable) -> None:
    """Try ``restore(network, target, known, mask, steps)``."""
    tried = "a small hole: what is known stays, the features come near, the network is left alone"
    tell("restore", _restore, [answer], TASKS["restore"].poisoned, tried)


def _restore(answer: Tried) -> None:
    network = filled(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), _generator())
    x = 0.1 + 0.8 * torch.rand(1, 3, 12, 14, generator=_generator())
    mask = torch.ones(1, 1, 12, 14)
    mask[..., 4:9, 3:8] = 0
    known, target = torch.where(mask.bool(), x, torch.full_like(x, 0.5)), network(x).detach()
    before, given = [p.detach().clone() for p in network.parameters()], (target, known, mask)
    copies = [tensor.clone() for tensor in given]
    y = answer(network, *copies, 80)
    expect_shape(y, tuple(x.shape), "a picture as `known`")
    if any(not torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True)):
        raise Mistake("the network's weights have changed: give the optimizer the picture, not the network.")
    if not all(p.requires_grad for p in network.parameters()):
        raise Mistake("the network's weights are frozen afterwards: leave them as you found them.")
    if any(p.grad is not None for p in network.parameters()):
        raise Mistake("the weights have a .grad now: ask for the gradient of the picture alone.")
    for name, copy, tensor in zip(("target", "known", "mask"), copies, given, strict=True):
        if not torch.equal(copy, tensor):
            raise Mistake(f"`{name}` itself is changed: work on a copy.")
    if y.requires_grad:
        raise Mistake("the picture still hangs on its graph: detach it at the end.")
    if ((y - x) * mask).abs().max() > 1e-5:
        inside = ((y - known) * (1 - mask)).abs().max()
        wrong_way = inside < 1e-6
        raise Mistake(
            "the known pixels moved and the hole did not: mask is 1 where a pixel is known."
            if wrong_way
            else "known pixels have changed: only the hole may."
        )
    _restore_error(squared_features(network, y, target), squared_features(network, known, target), y, known)
    beyond = network(torch.where(mask.bool(), x, 6 * x - 2.5)).detach()
    y = answer(network, beyond, known.clone(), mask.clone(), 80)
    if y.min() < 0 or y.max() > 1:
        raise Mistake("the picture leaves [0, 1] where the features ask for it: keep it inside.")


def _restore_error(after: float, at_first: float, y: Tensor, known: Tensor) -> None:
    if torch.equal(y, known):
        raise Mistake(
            "the hole is as it was: does a gradient reach the picture, and does the optimizer have it?"
        )
    if after > at_first:
        raise Mistake("the features are further off than at first: is the sign right?")
    if after > 0.1 * at_first:
        raise Mistake(
            f"after 80 steps {after / at_first:.0%} of the feature error are left, expected less than 10 %: "
            "are all steps taken, and are they large enough?"
        )


# ---------------------------------------------------------------- disagree


def disagree(answer: Callable) -> None:
    """Try ``disagree(x, distance)``."""
    tried = "two other faces and two layers: both ratios are 2 or more"
    tell("disagree", _disagree, [answer], TASKS["disagree"].poisoned, tried)


def _disagree(answer: Tried) -> None:
    factors = faces.sample_factors(2, seed=77)
    for i, (layer, size) in enumerate((("relu2_1", 64), ("relu3_1", 48))):
        x, network = (
            faces.draw(factors[i : i + 1], size=size).float() / 255,
            VGGFeatures("vgg19", [layer], "mini"),
        )

        def distance(y: Tensor, x: Tensor, network: nn.Module = network, layer: str = layer) -> Tensor:
            return (network(y)[layer] - network(x)[layer]).square().mean()

        given = x.clone()
        found = answer(given, distance)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Mistake(f"gives {describe(found)}: expected two pictures, (near, far).")
        for y in found:
            expect_shape(y, tuple(x.shape), "two pictures of the size of x")
        if not torch.equal(given, x):
            raise Mistake("x itself is changed: work on a copy.")
        _made_for_this_face(answer, found, x, distance)
        _rulers(*(y.detach() for y in found), x, distance, layer)


def _made_for_this_face(answer: Tried, found: tuple[Tensor, Tensor], x: Tensor, distance: Callable) -> None:
    """Pictures that are far from x are tried once more, with its mirror image: are they stored ones?"""
    if min((y.detach() - x).square().mean() for y in found) < 0.01:
        return
    again = answer(x.flip(-1), distance)
    if all(torch.equal(a, b) for a, b in zip(found, again, strict=True)):
        raise Mistake("another face gives the same two pictures: make them from the x that is given.")


def _rulers(near: Tensor, far: Tensor, x: Tensor, distance: Callable, layer: str) -> None:
    if min(near.min(), far.min()) < 0 or max(near.max(), far.max()) > 1:
        raise Mistake("a picture leaves [0, 1]: clamp it, and measure again.")
    with torch.no_grad():
        pixels = [(y - x).square().mean().item() for y in (near, far)]
        features = [distance(y, x).item() for y in (near, far)]
    if min(pixels) < 1e-4:
        raise Mistake("a picture is the same as x, or nearly: differ by 0.01 (root mean square) or more.")
    told = [f"{ruler} {b / a if ruler == 'pixels' else a / b:.2f}" for ruler, (a, b) in
            (("pixels", pixels), ("features", features))]  # fmt: skip
    if pixels[1] < pixels[0] and features[0] < features[1]:
        raise Mistake("the two are swapped: the first is the nearer in pixels, the second in features.")
    if pixels[1] < 2 * pixels[0] and features[0] < 2 * features[1]:
        raise Mistake(f"neither ruler is as asked (ratios at {layer}: {', '.join(told)}; 2 is asked for).")
    if pixels[1] < 2 * pixels[0]:
        raise Mistake(f"the first is not twice as near in pixels (ratios: {', '.join(told)}).")
    if features[0] < 2 * features[1]:
        raise Mistake(
            f"the second is not twice as near in {layer} (ratios: {', '.join(told)}). Is it made for this x? "
            "Which change does this layer hardly see?"
        )
