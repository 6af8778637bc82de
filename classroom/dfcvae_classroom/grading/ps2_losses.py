"""Hidden tests of problem set 2, what is made with features: the loss, a hole filled, two rulers at odds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from dfcvae import dfc, faces, perceptual, vgg
from dfcvae.course import lesson_02 as seeing
from dfcvae.fast import onepass
from dfcvae_classroom.grading import Check, Deal, Task
from dfcvae_classroom.grading.ps2_networks import close, filled, gradient, named_vgg

# ---------------------------------------------------------------- dfc_loss


class Layers(nn.Module):
    """A frozen network that gives the features of three layers, channels and sides all different."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        trunk, _ = named_vgg((1, 1, 1))
        self.trunk = filled(trunk, generator).requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = {}
        for i, layer in enumerate(self.trunk):
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found[f"relu{i // 3 + 1}_1"] = x
        return found


def loss(x_hat, x, kl, network, alpha, beta, weights, scales) -> Tensor:
    phi_hat, phi, total = network(x_hat), network(x), alpha * kl.double().mean()
    for layer, weight in weights.items():
        squares = (phi_hat[layer] - phi[layer].detach()).double().square()
        per_image = squares.sum(dim=(1, 2, 3)) / (2 * squares[0].numel())
        total = total + beta * weight / scales[layer] ** 2 * per_image.mean()
    return total


def _dfc_loss(answers: Mapping[str, Any], deal: Deal) -> Iterable[Check]:
    random, dfc_loss = deal.random("ps2", "loss"), answers["dfc_loss"]
    generator = deal.generator("ps2", "loss")
    network = Layers(generator)
    x_hat, x = torch.rand(2, 5, 3, 16, 24, generator=generator)
    kl, none = 30 + 20 * torch.rand(5, generator=generator), torch.zeros(5)
    names = ["relu1_1", "relu2_1", "relu3_1"]

    def numbers(low: float, high: float) -> dict[str, float]:
        return {name: round(random.uniform(low, high), 2) for name in names}

    one, weights, scales = dict.fromkeys(names, 1.0), numbers(2, 9), numbers(1.5, 5)
    two = {name: weights[name] for name in random.sample(names, k=2)}
    alpha, beta = round(random.uniform(0.2, 0.9), 2), round(random.uniform(40, 90), 1)

    def unit() -> float:
        """How many times as large it is with weights of 1: 1, or the price of a lost factor, paid once."""
        found = dfc_loss(x_hat, x, none, network, 1.0, 1.0, one, one).item()
        if not found > 0:
            raise ValueError("no loss where features differ")
        return found / loss(x_hat, x, none, network, 1.0, 1.0, one, one).item()

    def right(kl: Tensor, alpha: float, beta: float, *given: Any) -> bool:
        expected = alpha * kl.mean() + unit() * loss(x_hat, x, none, network, 1.0, beta, *given)
        return close(dfc_loss(x_hat, x, kl, network, alpha, beta, *given), expected)

    def of_x_hat(run: Callable[..., Tensor]) -> Tensor:
        return gradient(run, x_hat, x, none, network, 1.0, 1.0, one, one)

    def of_the_target() -> bool:
        target, image = x.clone().requires_grad_(True), x_hat.clone().requires_grad_(True)
        dfc_loss(image, target, none, network, 1.0, 1.0, one, one).backward()
        return target.grad is None and image.grad is not None and right(none, 1.0, 1.0, one, one)

    def of_the_kl() -> bool:
        nats = kl.clone().requires_grad_(True)
        dfc_loss(x_hat, x, nats, network, alpha, beta, one, one).backward()
        return close(nats.grad, torch.full_like(nats, alpha / len(nats)))

    yield 2, lambda: abs(unit() - 1) < 1e-3
    yield 1, lambda: right(none, 1.0, 1.0, two, one)
    yield 1, lambda: right(none, 1.0, 1.0, one, scales)
    yield 1.5, lambda: right(kl, alpha, beta, one, one)
    yield 0.5, of_the_kl
    yield 2, lambda: close(of_x_hat(dfc_loss), unit() * of_x_hat(loss))
    yield 1, of_the_target


# ---------------------------------------------------------------- restore


@torch.no_grad()
def squared_features(network: nn.Module, y: Tensor, target: Tensor) -> float:
    return (network(y) - target).square().mean().item()


def _restore(answers: Mapping[str, Any], deal: Deal) -> Iterable[Check]:
    random, restore = deal.random("ps2", "restore"), answers["restore"]
    generator = deal.generator("ps2", "restore")
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1)
    network = filled(nn.Sequential(*layers), generator)  # with weights that could be trained
    x = 0.1 + 0.8 * torch.rand(1, 3, 20, 16, generator=generator)
    top, left = random.randrange(2, 10), random.randrange(2, 8)
    mask = torch.ones(1, 1, 20, 16)
    mask[..., top : top + 6, left : left + 5] = 0
    known, target = torch.where(mask.bool(), x, torch.full_like(x, 0.5)), network(x).detach()
    pristine = deepcopy(network)

    def run(*given: Tensor) -> Tensor:
        y = restore(network, *given, 80)
        if y.shape != x.shape:
            raise ValueError("another shape")
        return y

    @cache
    def once() -> Tensor:
        return run(target.clone(), known.clone(), mask.clone())

    def left(y: Tensor) -> float:
        """The share of the features' error at the start that is left."""
        return squared_features(pristine, y, target) / squared_features(pristine, known, target)

    def keeps_what_is_known() -> bool:
        same = ((once() - x) * mask).abs().max().item() < 1e-5
        return same and bool(((once() - known) * (1 - mask)).abs().max() > 0.05)

    def gives_a_picture() -> bool:
        # features that no picture in [0, 1] has
        beyond = pristine(torch.where(mask.bool(), x, 6 * x - 2.5)).detach()
        y = run(beyond, known.clone(), mask.clone())
        moved = ((y - known) * (1 - mask)).abs().max() > 0.2
        return not y.requires_grad and 0 <= y.min() and y.max() <= 1 and bool(moved)

    def leaves_the_network() -> bool:
        lower = left(once()) < 0.5
        same = all(
            torch.equal(a, b) for a, b in zip(network.parameters(), pristine.parameters(), strict=True)
        )
        free = all(p.grad is None and p.requires_grad for p in network.parameters())
        return lower and same and free

    def leaves_the_arguments() -> bool:
        given = target.clone(), known.clone(), mask.clone()
        y = run(*given)
        same = all(torch.equal(a, b) for a, b in zip(given, (target, known, mask), strict=True))
        return same and left(y) < 0.5

    yield 2, keeps_what_is_known
    yield 1, lambda: left(once()) < 0.5
    yield 1.5, lambda: left(once()) < 0.1
    yield 1, gives_a_picture
    yield 1.5, leaves_the_network
    yield 1, leaves_the_arguments


# ---------------------------------------------------------------- disagree


def _disagree(answers: Mapping[str, Any], deal: Deal) -> Iterable[Check]:
    random, disagree = deal.random("ps2", "disagree"), answers["disagree"]
    factors = faces.sample_factors(3, seed=deal.seed("ps2", "disagree") % 2**31)
    layers = [random.choice(pair) for pair in (("relu1_2", "conv2_1"), ("relu2_1", "relu2_2"), ("relu3_1",))]

    def ruler(layer: str) -> Callable[[Tensor, Tensor], Tensor]:
        network = vgg.VGGFeatures(layers=[layer], weights="mini")

        def distance(y: Tensor, x: Tensor) -> Tensor:
            return (network(y)[layer] - network(x)[layer]).square().mean()

        return distance

    @cache
    def times(person: int, layer: str, size: int) -> float:
        """By how much the two rulers disagree: the smaller of the two ratios, 0 where a rule is broken."""
        x = faces.draw(factors[person : person + 1], size=size).float() / 255
        near, far = (y.detach() for y in disagree(x.clone(), ruler(layer)))
        for y in (near, far):
            if y.shape != x.shape or not (y.min() >= 0 and y.max() <= 1):
                return 0.0
        with torch.no_grad():
            pixels = [(y - x).square().mean().item() for y in (near, far)]
            seen = [ruler(layer)(y, x).item() for y in (near, far)]
        return min(pixels[1] / pixels[0], seen[0] / seen[1]) if pixels[0] >= 1e-4 else 0.0

    for given in zip(range(3), layers, (64, 48, 64), strict=True):
        yield 0.5, lambda given=given: times(*given) >= 1.1
        yield 1.5, lambda given=given: times(*given) >= 2


LOSS = (perceptual.PerceptualLoss.forward, perceptual.PerceptualLoss.per_layer, perceptual.convert_weights)
TASKS = {
    "dfc_loss": Task(9, _dfc_loss, (*LOSS, onepass._there_and_back, dfc.DFCVAE.loss_function)),
    "restore": Task(8, _restore, (seeing.invert,)),
    "disagree": Task(6, _disagree),
}
