"""Hidden tests of problem set 2, what a network sees: scale, names, capturing, the squares that features see.

Pictures, networks and constants come from the deal, and what is right is computed here. The tests of the
loss and of what is made with it are in ``ps2_losses``; ``TASKS`` holds them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfcvae import vgg
from dfcvae.course import lesson_02 as seeing
from dfcvae_classroom.grading import Check, Deal, Task, ps2_losses
from dfcvae_classroom.grading.ps2_networks import Branched, Trap, close, filled, gradient, named_vgg

# ---------------------------------------------------------------- normalise


def normalised(x: Tensor, card: Mapping[str, Any]) -> Tensor:
    x = x.double() if card["order"] == "RGB" else x.double().flip(1)
    mean, std = (torch.tensor(card[key], dtype=torch.float64).view(3, 1, 1) for key in ("mean", "std"))
    return (x * card["white"] - mean) / std


def _normalise(answers: Mapping[str, Any], deal: Deal) -> Iterable[Check]:
    random, normalise = deal.random("ps2", "normalise"), answers["normalise"]
    x = torch.rand(4, 3, 5, 8, generator=deal.generator("ps2", "normalise"))

    def card(order: str = "RGB", white: float = 1.0) -> dict[str, Any]:
        mean, std = ([round(white * random.uniform(*r), 3) for _ in "123"] for r in ((0.3, 0.6), (0.1, 0.4)))
        return {"order": order, "white": white, "mean": tuple(mean), "std": tuple(std)}

    plain, bgr, wide = card(), card("BGR"), card(white=random.choice((255.0, 100.0, 4095.0)))

    def right(x: Tensor, card: dict[str, Any]) -> bool:
        expected = normalised(x, card)
        return close(normalise(x, card), expected)

    def leaves_x() -> bool:
        before = x.clone()
        return right(x, plain) and torch.equal(x, before)

    yield 2, lambda: right(x[:1].clone(), plain)
    yield 1, lambda: right(x.clone(), plain)
    yield 1, lambda: right(x.clone(), bgr)
    yield 1, lambda: right(x.clone(), wide)
    yield 0.5, leaves_x
    yield 0.5, lambda: close(gradient(normalise, x, plain), gradient(normalised, x, plain))


# ---------------------------------------------------------------- name_layers


def _name_layers(answers: Mapping[str, Any], deal: Deal) -> Iterable[Check]:
    random, name_layers = deal.random("ps2", "names"), answers["name_layers"]
    counts = [random.sample((1, 2, 3, 4), k=3) for _ in range(4)]  # convolutions of each block

    def right(network: nn.Sequential, names: Sequence[str]) -> bool:
        return list(name_layers(network)) == list(names)

    def cut(network: nn.Sequential, names: list[str]) -> bool:
        ends = [names.index("conv3_1") + 1, names.index("pool2"), names.index("pool1") + 1]
        return all(right(network[:end], names[:end]) for end in ends)

    yield 1.5, lambda: right(*named_vgg(counts[0]))
    yield 1, lambda: right(*named_vgg(counts[1], norm=True))
    yield 1, lambda: cut(*named_vgg(counts[2]))
    yield 0.5, lambda: right(*named_vgg(counts[3], pool=nn.AvgPool2d))


# ---------------------------------------------------------------- features


def every_layer(network: Iterable[nn.Module], names: Sequence[str], x: Tensor) -> dict[str, Tensor]:
    found = {}
    for name, layer in zip(names, network, strict=True):
        x = torch.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
        found[name] = x
    return found


def _features(answers: Mapping[str, Any], deal: Deal) -> Iterable[Check]:
    random, features = deal.random("ps2", "features"), answers["features"]
    generator = deal.generator("ps2", "features")
    x = torch.randn(2, 3, 16, 12, generator=generator)
    network, names = named_vgg(random.sample((1, 2, 3), k=3))
    in_place, bn_names = named_vgg((2, 2, 1), norm=True, inplace=True)
    filled(network, generator), filled(in_place, generator).eval()
    blocks = sorted(random.sample(("1_1", "2_1", "3_1"), k=2), reverse=True)  # not the network's order

    def right(network: nn.Sequential, names: Sequence[str], wanted: Sequence[str]) -> bool:
        expected = every_layer(network, names, x)
        found = features(network, names, x.clone(), wanted)
        return set(found) == set(wanted) and all(close(found[name], expected[name]) for name in wanted)

    def overwrites_nothing() -> bool:
        wanted = [f"conv{blocks[0]}", f"bn{blocks[1]}", "conv2_2"]
        same = right(in_place, bn_names, wanted)
        return same and all(layer.inplace for layer in in_place if isinstance(layer, nn.ReLU))

    def stops() -> bool:
        trap, end = Trap(), names.index("relu2_1") + 1
        trapped = nn.Sequential(*network[:end], trap)
        found = features(trapped, [*names[:end], "conv2_2"], x.clone(), ["relu1_1", "relu2_1"])
        return trap.calls == 0 and close(found["relu2_1"], every_layer(network, names, x)["relu2_1"])

    def orders_and_refuses() -> bool:
        wanted = ["relu3_1", "relu1_1", "pool2"]
        if list(features(network, names, x, wanted)) != wanted or not right(network, names, wanted):
            return False
        try:
            features(network, names, x, ["relu1_1", "relu9_1"])
        except ValueError as error:
            return "relu9_1" in str(error)
        return False

    wanted = [f"relu{block}" for block in blocks]

    def total(x: Tensor, run: Any) -> Tensor:
        return sum(run(x)[name].square().sum() for name in wanted)

    def lets_through() -> bool:
        found = gradient(total, x, lambda x: features(network, names, x, wanted))
        return close(found, gradient(total, x, lambda x: every_layer(network, names, x)))

    yield 2, lambda: right(network, names, wanted)
    yield 1.5, overwrites_nothing
    yield 1, stops
    yield 0.5, orders_and_refuses
    yield 1, lets_through


# ---------------------------------------------------------------- capture


def _capture(answers: Mapping[str, Any], deal: Deal) -> Iterable[Check]:
    capture, generator = answers["capture"], deal.generator("ps2", "capture")
    random = deal.random("ps2", "capture")
    x = torch.randn(2, 3, 9, 9, generator=generator)
    network = filled(Branched(inplace=False), generator)
    in_place = filled(Branched(inplace=True), generator)
    inner = random.choice(("right.0", "right.1"))

    def right(network: Branched, names: Sequence[str]) -> bool:
        found, expected = capture(network, x.clone(), names), network.every_output(x)
        return set(found) == set(names) and all(close(found[name], expected[name]) for name in names)

    def lets_through() -> bool:
        def total(x: Tensor, run: Any) -> Tensor:
            found = run(x)
            return found["left"].square().sum() + found[inner].sum()

        found = gradient(total, x, lambda x: capture(network, x, ["left", inner]))
        return close(found, gradient(total, x, network.every_output))

    def hooks(network: nn.Module) -> int:
        return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.modules())

    def takes_its_hooks_away() -> bool:
        theirs = network.left.register_forward_hook(lambda *_: None)
        try:
            return right(network, ["left", "stem"]) and hooks(network) == 1
        finally:
            theirs.remove()

    def even_after_an_error() -> bool:
        broken = filled(Branched(inplace=False), generator)
        broken.head = Trap(raises=True)
        try:
            capture(broken, x, ["left", inner])
        except ArithmeticError:
            return hooks(broken) == 0
        return False

    def leaves_the_network() -> bool:
        before, modes = network(x).detach(), []
        found = right(network, ["left", inner])
        same = torch.equal(network(x), before)
        for mode in (True, False):
            network.train(mode)
            capture(network, x.clone(), ["left"])
            modes.append(all(part.training == mode for part in network.modules()))
        network.train()
        return found and same and all(modes)

    yield 2, lambda: right(network, ["left", inner, "stem"])
    yield 1, lambda: right(in_place, ["stem.0", "right.0", "left"])
    yield 1, lets_through
    yield 1, takes_its_hooks_away
    yield 0.5, even_after_an_error
    yield 0.5, leaves_the_network


# ---------------------------------------------------------------- sees


def seen(layers: Iterable[nn.Module], place: int) -> tuple[int, int]:
    first = last = place
    for layer in reversed(list(layers)):
        if hasattr(layer, "kernel_size"):
            size = {}
            for name, alone in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
                value = getattr(layer, name, alone)
                size[name] = value if isinstance(value, int) else value[0]
            first = first * size["stride"] - size["padding"]
            last = last * size["stride"] - size["padding"]
            last += size["dilation"] * (size["kernel_size"] - 1)
    return first, last


def _sees(answers: Mapping[str, Any], deal: Deal) -> Iterable[Check]:
    random, sees = deal.random("ps2", "sees"), answers["sees"]

    def right(layers: Sequence[nn.Module]) -> bool:
        network = nn.Sequential(*layers)
        places = [0, *random.sample(range(2, 30), k=3)]
        return all(tuple(map(int, sees(network, p))) == seen(network, p) for p in places)

    def conv(kernel: int, **settings: int) -> nn.Conv2d:
        return nn.Conv2d(1, 1, kernel, **settings)

    small, large = random.choice((2, 3)), random.choice((5, 6, 7))
    step, other = random.sample((2, 3, 4), k=2)
    deep, _ = named_vgg(random.sample((1, 2, 3, 4), k=3))
    yield 1, lambda: right([conv(small), nn.ReLU(), conv(large)])
    yield 1.5, lambda: right([conv(small, stride=step), nn.ReLU(), nn.MaxPool2d(other), conv(large)])
    yield 1, lambda: right([conv(small, padding=2), conv(large, padding=random.choice((1, 4)))])
    yield 1, lambda: right([conv(small), conv(3, dilation=random.choice((2, 3, 4)))])
    yield 1.5, lambda: right(list(deep))


PACKAGE = (vgg.VGGFeatures.forward, vgg.VGGFeatures.normalise)
TASKS = {
    "normalise": Task(6, _normalise, PACKAGE),
    "name_layers": Task(4, _name_layers, (vgg.layer_names, vgg.build_layers)),
    "features": Task(6, _features, PACKAGE),
    "capture": Task(6, _capture, PACKAGE),
    "sees": Task(6, _sees, (seeing.receptive_field, seeing.centre_gradient)),
    **ps2_losses.TASKS,
}
