"""Self-checks of problem set 2: each prints one line, which names the mistake where it knows it.

    from dfcvae.course.checks import ps2 as check
    check.normalise(normalise)

They try other numbers than the hidden tests do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dfcvae_classroom.grading.ps2 import TASKS, normalised, seen
from dfcvae_classroom.grading.ps2_networks import named_vgg
from torch import Tensor, nn

from dfcvae.course.checks.ps2_capturing import capture, features
from dfcvae.course.checks.ps2_losses import dfc_loss, disagree, restore
from dfcvae.course.checks.trial import Mistake, Tried, describe, expect_shape, recognise, tell

__all__ = ["normalise", "name_layers", "features", "capture", "sees", "dfc_loss", "restore", "disagree"]


# ---------------------------------------------------------------- normalise


def normalise(answer: Callable) -> None:
    """Try ``normalise(x, card)``."""
    tried = "both orders of colours, two scales, a batch, gradient"
    tell("normalise", _normalise, [answer], TASKS["normalise"].poisoned, tried)


def _normalise(answer: Tried) -> None:
    x = torch.rand(3, 3, 4, 6, generator=torch.Generator().manual_seed(11))
    small = {"order": "RGB", "white": 1.0, "mean": (0.45, 0.55, 0.35), "std": (0.2, 0.3, 0.25)}
    wide = {"order": "RGB", "white": 255.0, "mean": (110.0, 120.0, 100.0), "std": (50.0, 60.0, 70.0)}
    for card in (small, small | {"order": "BGR"}, wide, wide | {"order": "BGR"}):
        given = x.clone()
        found = answer(given, card)
        expect_shape(found, tuple(x.shape), "as x")
        if not torch.equal(given, x):
            raise Mistake("x itself is changed: a caller's picture must stay as it was.")
        recognise(found, normalised(x, card), _wrong_scales(x, card))
    given = x.clone().requires_grad_(True)
    if not answer(given, wide).requires_grad:
        raise Mistake("no gradient comes back to x: was something detached?")


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


# ---------------------------------------------------------------- name_layers


def name_layers(answer: Callable) -> None:
    """Try ``name_layers(trunk)``."""
    tried = "blocks of other sizes than VGG-19's, batch norm, both kinds of pools"
    tell("name_layers", _name_layers, [answer], TASKS["name_layers"].poisoned, tried)


def _name_layers(answer: Tried) -> None:
    shapes = (((2, 2, 4), {}), ((1, 3), {}), ((2, 1), {"norm": True}), ((2, 1), {"pool": nn.AvgPool2d}))
    trials = [named_vgg(counts, **settings) for counts, settings in shapes]
    whole, of_whole = trials[0]
    cut = of_whole.index("conv2_2") + 1
    for network, names in (*trials, (whole[:cut], of_whole[:cut])):
        found = answer(network)
        if not isinstance(found, list | tuple):
            raise Mistake(f"gives {describe(found)}: expected a list of names.")
        if len(found) != len(names):
            where = " in a network that ends within a block" if len(names) == cut else ""
            raise Mistake(
                f"{len(found)} names for {len(names)} layers{where}: every layer has one, batch norm too."
            )
        wrong = [(i, *pair) for i, pair in enumerate(zip(found, names, strict=True)) if pair[0] != pair[1]]
        if wrong:
            _name_the_first(network, *wrong[0])


def _name_the_first(network: nn.Sequential, i: int, found: Any, expected: str) -> None:
    kind, before = type(network[i]).__name__, type(network[i - 1]).__name__ if i else "picture"
    place = f"layer {i}, {kind} behind {before},"
    if i == 0:
        hint = "blocks and places in a block count from 1"
    elif "Pool" in before:
        hint = "behind a pool a new block begins, and the places count from 1 again"
    elif "Pool" in kind:
        hint = "a pool ends its own block, has no place in it, and may be of another kind than a max pool"
    else:
        hint = "the place in a block counts convolutions; what follows one has its number"
    raise Mistake(f"{place} is called {found!r} and should not be: {hint}.")


# ---------------------------------------------------------------- sees


def sees(answer: Callable) -> None:
    """Try ``sees(layers, place)``."""
    tried = "kernels, strides, padding, dilation, pools, several places"
    tell("sees", _sees, [answer], TASKS["sees"].poisoned, tried)


def _sees(answer: Tried) -> None:
    def conv(kernel: int, **settings: int) -> nn.Conv2d:
        return nn.Conv2d(1, 1, kernel, **settings)

    trials = {  # in this order: what each needs beyond the ones before
        "one kernel of 3 without padding: it begins at its own place, and sees 3 pixels.": [conv(3)],
        "two kernels, 3 and 5: the second one widens, too.": [conv(3), nn.ReLU(), conv(5)],
        "a stride: neighbouring features look several pixels apart.": [conv(3, stride=2)],
        "a layer behind a stride: its steps are longer, and what came before it is not.": (
            [conv(3, stride=2), conv(3)]
        ),
        "pools: they have a kernel and a stride as well.": [conv(3), nn.MaxPool2d(2), conv(3)],
        "padding: it moves where a feature looks.": [conv(3, padding=1)],
        "padding that is not half of the kernel.": [conv(3, padding=2), conv(2, padding=0)],
        "padding behind a stride: it is counted in that layer's steps.": [
            nn.MaxPool2d(3),
            conv(3, padding=1),
        ],
        "dilation: a kernel's pixels need not be neighbours.": [conv(3, dilation=3)],
        "layers in another order: is the place followed from the last layer to the first?": (
            [conv(4, stride=3), nn.MaxPool2d(2), conv(3, padding=1)]
        ),
    }
    for hint, layers in trials.items():
        for place in (0, 5):
            found, right = answer(nn.Sequential(*layers), place), seen(layers, place)
            if not isinstance(found, tuple | list) or len(found) != 2:
                raise Mistake(f"gives {describe(found)}: expected (first, last), two whole numbers.")
            if tuple(found) == (right[0], right[1] + 1):
                raise Mistake(
                    "last is one too far: it is the last pixel that is seen, not the one behind it."
                )
            if tuple(found) != right:
                where = " at place 5, though not at place 0" if place else ""
                raise Mistake(f"gives {tuple(found)}{where}. What is tried: {hint}")
