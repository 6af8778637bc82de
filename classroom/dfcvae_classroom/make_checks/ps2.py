"""Self-checks of problem set 2: inputs, right numbers, and what known mistakes give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dfcvae.course.checks.ps2 import Branched
from dfcvae.course.checks.trial import filled, given
from dfcvae.vgg import VGGFeatures
from dfcvae_classroom.grading.ps2 import every_layer, normalised, seen
from dfcvae_classroom.grading.ps2_losses import loss
from dfcvae_classroom.grading.ps2_networks import named_vgg
from dfcvae_classroom.make_checks import case, numbers

OVERWRITTEN = "{} has no negative numbers: the in-place ReLU behind it has overwritten it."


def plan(layers: Iterable[nn.Module]) -> list[list[Any]]:
    """A chain as ``trial.network`` reads it."""
    found: list[list[Any]] = []
    for layer in layers:
        arguments: list[Any] = []
        options: dict[str, Any] = {}
        if isinstance(layer, nn.Conv2d):
            arguments = [layer.in_channels, layer.out_channels, layer.kernel_size[0]]
            defaults = {"stride": 1, "padding": 0, "dilation": 1}
            sizes = {name: getattr(layer, name)[0] for name in defaults}
            options = {name: size for name, size in sizes.items() if size != defaults[name]}
        elif isinstance(layer, nn.BatchNorm2d):
            arguments = [layer.num_features]
        elif not isinstance(layer, nn.ReLU):
            arguments = [layer.kernel_size]
        found.append([type(layer).__name__, arguments, options])
    return found


def tasks() -> dict[str, Any]:
    return {
        "normalise": normalise(),
        "name_layers": name_layers(),
        "features": features(),
        "capture": capture(),
        "sees": sees(),
        "dfc_loss": dfc_loss(),
        "restore": restore(),
        "disagree": disagree(),
    }


def normalise() -> dict[str, Any]:
    recipe = {"seed": 11, "shape": [3, 3, 4, 6]}
    small = {"order": "RGB", "white": 1.0, "mean": [0.45, 0.55, 0.35], "std": [0.2, 0.3, 0.25]}
    wide = {"order": "RGB", "white": 255.0, "mean": [110.0, 120.0, 100.0], "std": [50.0, 60.0, 70.0]}
    x, cards = given(recipe), (small, small | {"order": "BGR"}, wide, wide | {"order": "BGR"})
    result = {"shape": recipe["shape"], "meaning": "as x"}
    cases = [
        {"given": {"x": recipe, "card": card}} | case(normalised(x, card), _wrong_scales(x, card), **result)
        for card in cards
    ]
    by_x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(normalised(by_x, cards[-1]).sum(), by_x)
    cases[-1]["gradients"] = {"x": numbers(gradient)}
    return {"tried": "both orders of colours, two scales, a batch, gradient", "cases": cases}


def _wrong_scales(x: Tensor, card: dict[str, Any]) -> dict[str, Tensor]:
    right = normalised(x, card)
    mean, std = (torch.tensor(card[key]).view(3, 1, 1) for key in ("mean", "std"))
    first, scaled = x.double().clone(), x * card["white"]
    first[0] = right[0]
    turned = scaled if card["order"] == "RGB" else scaled.flip(1)
    rgb = card | {"order": "RGB"}
    other = card | {"order": "BGR" if card["order"] == "RGB" else "RGB"}
    return {
        "x comes back as it was.": x,
        "only the first image of the batch is normalised.": first,
        "it looks normalised twice.": (right - mean) / std,
        "this is x on [-1, 1]: take the mean and the standard deviation of the card.": 2 * x - 1,
        "the colours are in the wrong order: what does the card say, and which colour is channel 0 of x?": (
            normalised(x, other)
        ),
        "each colour has its own numbers, but the channels come out in the wrong order.": right.flip(1),
        "mean and deviation are in the card's order: turn the colours before, not after.": (
            normalised(x, rgb).flip(1)
        ),
        "the picture is not on the card's scale: look at `white`.": (turned / card["white"] - mean) / std,
        "x is scaled too late: the mean is on the scale of `white`.": (
            (turned / card["white"] - mean) / std * card["white"]
        ),
        "the standard deviation is left out.": turned - mean,
        "multiplied by the standard deviation: divide.": (turned - mean) * std,
        "divided by the square of the standard deviation.": (turned - mean) / std**2,
        "the picture is put on a scale of 255, whatever the card says: look at `white`.": (
            (turned / card["white"] * 255 - mean) / std
        ),
        "the rows are turned round, not the colours: which axis of x holds them?": normalised(x.flip(2), rgb),
        "the columns are turned round, not the colours: which axis of x holds them?": (
            normalised(x.flip(3), rgb)
        ),
        "the pictures are turned round, not the colours: which axis of x holds them?": (
            normalised(x.flip(0), rgb)
        ),
        "the mean is added: subtract it.": (turned + mean) / std,
        "the mean is left out.": turned / std,
        "these are the pictures' own mean and deviation: take the card's.": (
            (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
        ),
    }


def name_layers() -> dict[str, Any]:
    shapes = (((2, 2, 4), {}), ((1, 3), {}), ((2, 1), {"norm": True}), ((2, 1), {"pool": nn.AvgPool2d}))
    trials = [named_vgg(counts, **settings) for counts, settings in shapes]
    whole, of_whole = trials[0]
    cut = of_whole.index("conv2_2") + 1
    place = "layer {i}, {kind} behind {before}, is called {found!r} and should not be: "
    return {
        "tried": "blocks of other sizes than VGG-19's, batch norm, both kinds of pools",
        "cases": [
            {"layers": plan(network), "names": names}
            for network, names in (*trials, (whole[:cut], of_whole[:cut]))
        ],
        "say": {
            "no list": "gives {found}: expected a list of names.",
            "number": "{found} names for {right} layers{where}: every layer has one, batch norm too.",
            "first": place + "blocks and places in a block count from 1.",
            "behind a pool": place + "behind a pool a new block begins, and the places count from 1 again.",
            "pool": place
            + "a pool ends its own block, has no place in it, and may be of another kind than a max pool.",
            "in a block": place
            + "the place in a block counts convolutions; what follows one has its number.",
        },
    }


def features() -> dict[str, Any]:
    recipe = {"seed": 12, "shape": [2, 3, 8, 8], "low": -1.0}
    trunk, names = named_vgg((2, 2))
    right = every_layer(filled(trunk, 20), names, given(recipe))
    return {
        "tried": "ReLUs, a convolution before an in-place ReLU, where it stops, order, gradient",
        "layers": plan(trunk),
        "names": names,
        "x": recipe,
        "wanted": ["relu2_1", "relu1_1"],
        "right": {name: numbers(tensor) for name, tensor in right.items()},
        "shapes": {name: list(tensor.shape) for name, tensor in right.items()},
        "say": {
            "names": "gives {found}: expected a dict of the layers {names} and no others.",
            "exchanged": (
                "the features of two layers are exchanged: `wanted` may have another order than the network."
            ),
            "another layer": "what is called {name} is {other}: one layer too early or too late?",
            "no gradient": "the features have no gradient: is something detached, or under no_grad?",
            "order": "the layers come in the order {found}: expected that of `wanted`, {wanted}.",
            "network changed": "the network's ReLUs were changed: leave the network as it is.",
            "overwritten": OVERWRITTEN.format("conv1_1"),
            "too deep": "layers behind the deepest one wanted are computed, too: stop there.",
            "unknown layer": "an unknown layer should raise a ValueError that names it.",
        },
    }


def capture() -> dict[str, Any]:
    recipe, network = {"seed": 13, "shape": [2, 3, 7, 7], "low": -1.0}, Branched(inplace=False)
    x = given(recipe)
    first = network.stem[0](x)
    stem = first.relu()
    right = {"stem.0": first, "stem": stem, "left": network.left(stem), "right.0": network.right[0](stem)}
    return {
        "tried": "a network with branches, in-place layers, gradient, hooks, an error on the way",
        "x": recipe,
        "names": ["stem", "left", "right.0"],
        "right": {name: numbers(tensor) for name, tensor in right.items()},
        "shapes": {name: list(tensor.shape) for name, tensor in right.items()},
        "say": {
            "names": "gives {found}: expected a dict with the names {names}.",
            "input kept": "{name} holds what went in: a hook is given the module, its input and its output.",
            "flow changed": "{name} is wrong, stem is right: what a hook returns takes the output's place.",
            "no gradient": "{name} has no gradient: is it detached, or under no_grad?",
            "their hook gone": "a hook of somebody else's is gone: remove your own, by their handles.",
            "hooks stay": (
                "your hooks are still in the network: each has a handle with which it is removed."
            ),
            "left in eval": "the network is left in eval: it was in training mode.",
            "left in training": "the network is left in training mode: it was in eval.",
            "network changed": "the network gives something else afterwards.",
            "overwritten": OVERWRITTEN.format("stem.0"),
            "hooks stay after an error": "where the network raises an error, your hooks stay in it.",
            "error swallowed": "an error of the network is swallowed: let it through.",
        },
    }


def sees() -> dict[str, Any]:
    def conv(kernel: int, **settings: int) -> nn.Conv2d:
        return nn.Conv2d(1, 1, kernel, **settings)

    trials: dict[str, list[nn.Module]] = {  # in this order: what each needs beyond the ones before
        "one kernel of 3 without padding: it begins at its own place, and sees 3 pixels.": [conv(3)],
        "two kernels, 3 and 5: the second one widens, too.": [conv(3), nn.ReLU(), conv(5)],
        "a stride: neighbouring features look several pixels apart.": [conv(3, stride=2)],
        "a layer behind a stride: its steps are longer, and what came before it is not.": [
            conv(3, stride=2),
            conv(3),
        ],
        "pools: they have a kernel and a stride as well.": [conv(3), nn.MaxPool2d(2), conv(3)],
        "padding: it moves where a feature looks.": [conv(3, padding=1)],
        "padding that is not half of the kernel.": [conv(3, padding=2), conv(2)],
        "padding behind a stride: it is counted in that layer's steps.": [
            nn.MaxPool2d(3),
            conv(3, padding=1),
        ],
        "dilation: a kernel's pixels need not be neighbours.": [conv(3, dilation=3)],
        "layers in another order: is the place followed from the last layer to the first?": [
            conv(4, stride=3),
            nn.MaxPool2d(2),
            conv(3, padding=1),
        ],
    }
    return {
        "tried": "kernels, strides, padding, dilation, pools, several places",
        "cases": {
            hint: {"layers": plan(layers), "right": [list(seen(layers, place)) for place in (0, 5)]}
            for hint, layers in trials.items()
        },
        "say": {
            "one too far": "last is one too far: it is the last pixel that is seen, not the one behind it.",
            "places": "gives {found}{where}. What is tried: {hint}",
        },
    }


def dfc_loss() -> dict[str, Any]:
    recipes = {name: {"seed": seed, "shape": [4, 3, 16, 16]} for name, seed in (("x_hat", 14), ("x", 15))}
    x_hat, x = (given(recipe) for recipe in recipes.values())
    network = VGGFeatures("vgg19", weights="mini")
    nats, none = {"numbers": [12.0, 20.0, 9.0, 31.0]}, {"numbers": [0.0] * 4}
    one = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0}
    weights, scales = {"relu1_1": 3.0, "relu3_1": 5.0}, {"relu1_1": 2.0, "relu2_1": 1.0, "relu3_1": 4.0}
    only = {"relu2_1": 1.0}
    result = {
        "shape": [],
        "meaning": "one number",
        "kinds": {
            "float": "the loss is a Python number: keep it a tensor, so that a gradient can come back.",
            "(4,)": "gives one number for each image: take the mean over the batch.",
        },
    }

    def value(kl: dict[str, Any], *settings: Any, times: float = 1.0) -> Tensor:
        return loss(x_hat, x, times * given(kl), network, *settings)

    def trial(kl: dict[str, Any], *settings: Any, mistakes: dict[str, Tensor]) -> dict[str, Any]:
        options = dict(zip(("alpha", "beta", "weights", "scales"), settings, strict=True))
        return {"given": recipes | {"kl": kl} | options} | case(value(kl, *settings), mistakes, **result)

    differences = (network(x_hat)["relu2_1"] - network(x)["relu2_1"]).double()
    wrong = _wrong_terms(differences, value(none, 1.0, 1.0, one, one))
    right, pixels = value(none, 1.0, 1.0, only, one), (x_hat - x).double().square().mean()
    for share in 0.5 * pixels, pixels:
        wrong |= {f"pixels ({share:.3f}) count as well: the loss compares features only.": right + share}
    cases = [trial(none, 1.0, 1.0, only, one, mistakes=wrong)]

    right = value(none, 1.0, 1.0, weights, one)
    mistakes = {
        "the weights of the layers are left out.": value(none, 1.0, 1.0, dict.fromkeys(weights, 1.0), one),
        "it looks divided by the number of layers: the terms are added.": right / 2,
        "the weights look squared.": value(none, 1.0, 1.0, {k: w**2 for k, w in weights.items()}, one),
        "only the last layer counts: the terms of all layers are added.": (
            value(none, 1.0, 1.0, {"relu3_1": weights["relu3_1"]}, one)
        ),
        "divided by the sum of the weights: the terms are added, and nothing is averaged.": right / 8,
        "every layer of the network counts: only those with a weight do.": right
        + value(none, 1.0, 1.0, only, one),
    }
    cases.append(trial(none, 1.0, 1.0, weights, one, mistakes=mistakes))
    mistakes = {
        "the scales are left out.": right,
        "the scale divides the weight once: how large are the squares of features s times as large?": (
            value(none, 1.0, 1.0, weights, {k: s**0.5 for k, s in scales.items()})
        ),
        "the scale works the wrong way round.": (
            value(none, 1.0, 1.0, weights, {k: 1 / s for k, s in scales.items()})
        ),
    }
    cases.append(trial(none, 1.0, 1.0, weights, scales, mistakes=mistakes))
    features, kl = value(none, 1.0, 1.0, one, one), given(nats).mean()
    mistakes = {
        "alpha and beta look swapped: in this course alpha weighs the KL.": value(nats, 50.0, 0.5, one, one),
        "the KL is summed over the batch: take its mean.": value(nats, 0.5, 50.0, one, one, times=4),
        "the KL is left out.": 50.0 * features,
        "alpha weighs the features, too.": 0.5 * (kl + 50.0 * features),
        "beta weighs the KL, too.": 50.0 * (0.5 * kl + features),
        "alpha is left out.": value(nats, 1.0, 50.0, one, one),
        "beta is left out.": value(nats, 0.5, 1.0, one, one),
    }
    cases.append(trial(nats, 0.5, 50.0, one, one, mistakes=mistakes))
    image = x_hat.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(image, x, given(nats), network, 0.5, 50.0, one, one), image)
    cases[-1]["gradients"] = {"x_hat": numbers(gradient), "kl": [0.5 / 4] * 4}
    return {
        "tried": "one layer, weights, scales, alpha and beta, who gets a gradient",
        "cases": cases,
        "say": {"target learns": "x gets a gradient, too: the target is a constant."},
    }


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


def restore() -> dict[str, Any]:
    return {
        "tried": "a small hole: what is known stays, the features come near, the network is left alone",
        "x": {"seed": 16, "shape": [1, 3, 12, 14], "low": 0.1, "high": 0.9},
        "say": {
            "weights changed": (
                "the network's weights have changed: give the optimizer the picture, not the network."
            ),
            "frozen": "the network's weights are frozen afterwards: leave them as you found them.",
            "gradients left": "the weights have a .grad now: ask for the gradient of the picture alone.",
            "graph left": "the picture still hangs on its graph: detach it at the end.",
            "mask turned round": (
                "the known pixels moved and the hole did not: mask is 1 where a pixel is known."
            ),
            "known pixels changed": "known pixels have changed: only the hole may.",
            "hole as it was": (
                "the hole is as it was: does a gradient reach the picture, and does the optimizer have it?"
            ),
            "uphill": "the features are further off than at first: is the sign right?",
            "too little": (
                "after 80 steps {left:.0%} of the feature error are left, expected less than 10 %: "
                "are all steps taken, and are they large enough?"
            ),
            "out of range": "the picture leaves [0, 1] where the features ask for it: keep it inside.",
        },
    }


def disagree() -> dict[str, Any]:
    return {
        "tried": "two other faces and two layers: both ratios are 2 or more",
        "cases": [["relu2_1", 64, 77], ["relu3_1", 48, 78]],
        "say": {
            "stored pictures": (
                "another face gives the same two pictures: make them from the x that is given."
            ),
            "out of range": "a picture leaves [0, 1]: clamp it, and measure again.",
            "too faint": (
                "a picture is the same as x, or nearly: differ by 0.01 (root mean square) or more."
            ),
            "swapped": "the two are swapped: the first is the nearer in pixels, the second in features.",
            "not nearer": (
                "the first should be twice as near in pixels, and the second in {layer}; the ratios are "
                "{pixels:.2f} and {features:.2f}. Are both made for this x? Which change does this layer "
                "hardly see?"
            ),
        },
    }
