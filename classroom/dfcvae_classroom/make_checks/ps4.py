"""Self-checks of problem set 4: sentences, and what layers of a small VGG make of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfcvae.course.checks.ps4 import small_vgg
from dfcvae.course.checks.trial import given
from dfcvae_classroom.grading.wild.case import MEAN, STD
from dfcvae_classroom.grading.wild.judging import NUMBERS, WAYS
from dfcvae_classroom.grading.wild.program import Judge, WildDFCVAE
from dfcvae_classroom.grading.wild.promises import PROMISES
from dfcvae_classroom.make_checks import case, numbers

FOLLOWED = sorted({0, 1, 2, 3, 4, 9, 11, 16}.union(*NUMBERS))  # layers that a check or a guess names
PARTS = ["judge", "encoder", "to_mu", "to_log_var", "from_z", "decoder"]  # through which promises are asked
INHERITED = ["train", "eval", "parameters", "state_dict", "to"]


def tasks() -> dict[str, Any]:
    return {"found": found(), "repaired": repaired(), "tests": tests()}


def found() -> dict[str, Any]:
    own = {
        cls.__name__: [n for n, f in vars(cls).items() if isinstance(f, FunctionType)]
        for cls in (Judge, WildDFCVAE)
    }
    return {
        "tried": "the form: five promises, a place each; whether they are right is yours",
        "promises": list(PROMISES),
        "places": {name: sorted({*methods, "sample", *INHERITED}) for name, methods in own.items()},
        "say": {
            "no dict": "found is {found}: expected a dict, promise -> place.",
            "empty": "it is still empty.",
            "no promise": "{promise!r} is no promise: {hint}.",
            "line": "{promise}: {place} is the number of a line: name the method, such as 'Judge.forward'.",
            "no text": "{promise}: the place is {found}: expected one text, such as 'Judge.forward'.",
            "whole class": "{promise}: {owner} is a whole class: which method of it?",
            "no place": "{promise}: {place!r} is no place: write class and method, such as 'Judge.forward'.",
            "parentheses": "{promise}: write {place!r} without the parentheses.",
            "no method": "{promise}: {owner} has no method {method!r}.",
            "number": "{number} promises are named: the program breaks 5, and a wrong one costs.",
            "spared": "all of P11 to P14: have you measured them, or only read them?",
        },
    }


def _images(seed: int, n: int = 3) -> Tensor:
    return given({"seed": f"images {seed}", "shape": [n, 3, 64, 64]})


def _codes(n: int, seed: int) -> Tensor:
    return given({"seed": f"codes {seed}", "shape": [n, 7], "low": -2.0, "high": 2.0}).double()


@torch.no_grad()
def _outputs(x: Tensor, layers: Iterable[int], way: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """What layers of the VGG give, in float64, nothing overwritten."""
    h, seen = way(x.double()), []
    for number, layer in enumerate(small_vgg().double()):
        h = h.relu() if isinstance(layer, nn.ReLU) else layer(h)
        if number in layers:
            seen.append(h)
    return seen


def repaired() -> dict[str, Any]:
    ways = {"normalised": lambda y: (y - MEAN) / STD, "raw": lambda y: y}

    def both(way: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.cat([phi.flatten() for phi in _outputs(_images(0), (2, 9), way)])

    pairs = zip(*(_outputs(_images(seed), (2, 9), ways["normalised"]) for seed in (0, 1)), strict=True)
    mu, log_var = _codes(4, 0), _codes(4, 1)
    return {
        "tried": "the promises that you named; P11 to P14 still hold",
        "names": PARTS,
        "layers": {
            name: {
                str(number): numbers(phi)
                for number, phi in zip(FOLLOWED, _outputs(_images(0), FOLLOWED, way), strict=True)
            }
            for name, way in ways.items()
        },
        "other layers": {f"{sentence}.": list(layers) for layers, sentence in NUMBERS.items()},
        "normalised": case(
            both(ways["normalised"]),
            {f"{what}.": both(way) for what, way in WAYS.items()},
            otherwise="features differ from those of normalised images.",
        ),
        "normalised loss": numbers(sum(0.5 * F.mse_loss(a, b) for a, b in pairs)),
        "kl": numbers(0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1).mean()),
        "say": {
            "a model": "this is a model: give the class itself, Repaired, without parentheses.",
            "no class": "Repaired is {found}: expected a class of nn.Module.",
            "as found": "this is the program as it was found: give your own class.",
            "nothing named": "found names no promises, or more than 5: do task 1 first.",
            "the package's": "this is a class of the package, or inherits from one: write it yourself.",
            "the package's function": "this calls the package's own program or loss: write it yourself.",
            "nothing changed": (
                "all that you name is as in the program that was found: nothing is repaired yet, or nothing "
                "was broken."
            ),
            "no part": f"the model has no {{name}}: keep the names {', '.join(PARTS)}.",
            "range": "decode gives numbers from {low:.2f} to {high:.2f}.",
            "narrow range": "decode never leaves {low:.2f} to {high:.2f}.",
            "clipped": ("{stuck:.0%} of the pixels stand at an end or beyond: clipping hides the range."),
            "normalised loss": "the loss does not see original and reconstruction both normalised.",
            "moved": "train() undoes .eval(): the judge's statistics move, whatever requires_grad says.",
            "neighbours": (
                "under train() what the judge says of an image depends on its neighbours in the batch."
            ),
            "all in eval": ("the VAE's own batch norm no longer trains: only the judge is to stay in eval."),
            "other layers": "these are not relu1_1, relu2_1 and relu3_1 of a vgg19_bn.",
            "number of layers": ("there are {number} feature maps where the paper compares three ReLUs."),
            "maps": "{number} feature maps for {layers} layers.",
            "overwritten": (
                "a batch norm comes back without a negative number: the ReLU behind wrote into it first."
            ),
            "not as given": "layers {layers} do not all come back as the VGG gave them.",
            "copies without gradient": "no gradient comes through the copies.",
            "saved": "the state dict carries the judge; requires_grad=False changes nothing.",
            "optimised": "parameters() still gives the judge to the optimizer.",
            "not loaded": "a loaded state dict does not bring the VAE's weights.",
            "left behind": "the judge does not follow .to().",
            "stopped": "images of {size} pixels with channels {channels} stop it: {error}.",
            "another size": "images of {size} pixels come back as {found}.",
            "reversed": ("the caller's list comes back reversed: a second name for a list is not a copy."),
            "list changed": "the caller's list was changed to {found}.",
            "list remembered": "images come back in another size once the caller's list is changed.",
            "unbounded": "encode gives a log_var of {log_var:.0f}{where}.",
            "NaN image": "the reconstruction is NaN where log_var is large: the draw is not protected.",
            "infinite loss": "the loss is not finite where log_var is large.",
            "infinite gradient": "the gradient of {name} is not finite where log_var is large.",
            "log_var changed": (
                "a log_var between -4 and 4, which harms nobody, is changed by more than a tenth."
            ),
            "two pictures": "two calls of generate give two pictures.",
            "not mu": "generate does not decode mu.",
            "forward without draw": "forward no longer draws z in eval.",
            "generate draws": "generate draws random numbers or sets their seed.",
            "kl": "the KL is {found:.3f} nats where {right:.3f} is right.",
            "feature term": (
                "the feature term is not half the mean squared differences, summed over layers."
            ),
            "loss": "the loss is no longer alpha * KL + beta * features.",
            "target learns": "the original gets a gradient.",
            "decoder deaf": "no gradient reaches decoder.{name}.",
            "spread": "z has not the mean mu and the standard deviation exp(log_var / 2).",
            "samples": "sample(2) does not give two different images.",
        },
    }


def tests() -> dict[str, Any]:
    return {
        "tried": (
            "pass on your class, fail on the program as found; whether they pass on other right programs and "
            "fail on half repairs is yours"
        ),
        "say": {
            "no list": "tests is {found}: expected a list of functions, without parentheses.",
            "number": ("different functions in the list: {number}. Expected are 5, one for each fault."),
            "arguments": "{name} cannot be called with a class alone: {error}.",
            "not written": "{name} is not written yet.",
            "fails on yours": "{name} fails on your own class, {why}.",
            "returns": "{name} returns {found}: a test asserts, what it returns is not read.",
            "does not look": (
                "{name} passes with a class that cannot be built: does it use the Model that it is given, "
                "and does it catch exceptions?"
            ),
            "by chance": "{name} passes on your class with some random numbers and not with others.",
            "passes as found": "{name} passes on the program as it was found: it catches nothing there.",
            "how it is written": (
                "{name} fails on a class that does what yours does, {why}: test what is promised, not how "
                "you wrote it."
            ),
            "work": (
                "they are right so far, and compute {times:.1f} times as much as they may: use smaller "
                "batches, no training."
            ),
        },
    }
