"""Self-checks of problem set 2, features caught on their way: in a chain of layers, and with hooks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from dfcvae_classroom.grading.ps2 import TASKS, every_layer
from dfcvae_classroom.grading.ps2_networks import Branched, Trap, filled, named_vgg
from torch import Tensor, nn

from dfcvae.course.checks.trial import Mistake, Tried, describe, expect_shape, recognise, same, tell


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


# ---------------------------------------------------------------- features


def features(answer: Callable) -> None:
    """Try ``features(trunk, names, x, wanted)``."""
    tried = "ReLUs, a convolution before an in-place ReLU, where it stops, order, gradient"
    tell("features", _features, [answer], TASKS["features"].poisoned, tried)


def _features(answer: Tried) -> None:
    x = torch.randn(2, 3, 8, 8, generator=_generator())
    network, names = named_vgg((2, 2))
    filled(network, _generator())
    right, wanted = every_layer(network, names, x), ["relu2_1", "relu1_1"]
    found = answer(network, names, x.clone(), wanted)
    if not isinstance(found, dict) or set(found) != set(wanted):
        keys = list(found) if isinstance(found, dict) else describe(found)
        raise Mistake(f"gives {keys}: expected a dict of the layers {wanted} and no others.")
    first, second = (found[name] for name in wanted)
    if isinstance(first, Tensor) and first.shape == right[wanted[1]].shape and same(first, right[wanted[1]]):
        raise Mistake(
            "the features of two layers are exchanged: `wanted` may have another order than the network."
        )
    for name in wanted:
        at = names.index(name)
        expect_shape(found[name], tuple(right[name].shape), f"{name}'s")
        neighbours = {
            f"what is called {name} is {other}: one layer too early or too late?": right[other]
            for other in names[max(0, at - 2) : at + 3]
            if right[other].shape == right[name].shape and other != name
        }
        recognise(found[name], right[name], neighbours)
        if not answer(network, names, x.clone().requires_grad_(True), wanted)[name].requires_grad:
            raise Mistake("the features have no gradient: is something detached, or under no_grad?")
    if list(found) != wanted:
        raise Mistake(f"the layers come in the order {list(found)}: expected that of `wanted`, {wanted}.")
    _features_in_place(answer, x)
    trap = Trap()
    answer(nn.Sequential(*network[:2], trap), [*names[:2], "conv1_2"], x.clone(), ["relu1_1"])
    if trap.calls:
        raise Mistake("layers behind the deepest one wanted are computed, too: stop there.")
    try:
        answer.answer(network, names, x.clone(), ["relu1_1", "relu7_7"])
    except Exception as error:
        if isinstance(error, ValueError) and "relu7_7" in str(error):
            return
    raise Mistake("an unknown layer should raise a ValueError that names it.")


def _features_in_place(answer: Tried, x: Tensor) -> None:
    network, names = named_vgg((2,), inplace=True)
    filled(network, _generator())
    found = answer(network, names, x.clone(), ["conv1_1", "relu1_2"])["conv1_1"]
    if not all(layer.inplace for layer in network if isinstance(layer, nn.ReLU)):
        raise Mistake("the network's ReLUs were changed: leave the network as it is.")
    if found.min() >= 0:
        raise Mistake("conv1_1 has no negative numbers: the in-place ReLU behind it has overwritten it.")


# ---------------------------------------------------------------- capture


def capture(answer: Callable) -> None:
    """Try ``capture(network, x, names)``."""
    tried = "a network with branches, in-place layers, gradient, hooks, an error on the way"
    tell("capture", _capture, [answer], TASKS["capture"].poisoned, tried)


def _capture(answer: Tried) -> None:
    x = torch.randn(2, 3, 7, 7, generator=_generator())
    network, names = filled(Branched(inplace=False), _generator()), ["stem", "left", "right.0"]
    right, before = network.every_output(x), network(x)
    theirs = network.left.register_forward_hook(lambda *_: None)  # somebody else's
    found = answer(network, x.clone(), names)
    if not isinstance(found, dict) or set(found) != set(names):
        keys = list(found) if isinstance(found, dict) else describe(found)
        raise Mistake(f"gives {keys}: expected a dict with the names {names}.")
    for name in names:
        came_in = x if name == "stem" else right["stem"]
        if isinstance(found[name], Tensor) and found[name].shape == came_in.shape:
            raise Mistake(f"{name} holds what went in: a hook is given the module, its input and its output.")
        expect_shape(found[name], tuple(right[name].shape), f"{name}'s")
        if name != "stem" and not same(found[name], right[name]):
            raise Mistake(f"{name} is wrong, stem is right: what a hook returns takes the output's place.")
        recognise(found[name], right[name], {})
        if not found[name].requires_grad:
            raise Mistake(f"{name} has no gradient: is it detached, or under no_grad?")
    if theirs.id not in network.left._forward_hooks:
        raise Mistake("a hook of somebody else's is gone: remove your own, by their handles.")
    theirs.remove()
    if any(part._forward_hooks for part in network.modules()):
        raise Mistake("your hooks are still in the network: each has a handle with which it is removed.")
    if not all(part.training for part in network.modules()):
        raise Mistake("the network is left in eval: it was in training mode.")
    answer(network.eval(), x.clone(), names)
    if any(part.training for part in network.modules()):
        raise Mistake("the network is left in training mode: it was in eval.")
    network.train()
    if not same(network(x), before):
        raise Mistake("the network gives something else afterwards.")
    _capture_in_place(answer, x)
    _capture_an_error(answer, x)


def _capture_in_place(answer: Tried, x: Tensor) -> None:
    network = filled(Branched(inplace=True), _generator())
    found = answer(network, x.clone(), ["stem.0"])["stem.0"]
    if found.min() >= 0:
        raise Mistake("stem.0 has no negative numbers: the in-place ReLU behind it has overwritten it.")
    recognise(found, network.every_output(x)["stem.0"], {})


def _capture_an_error(answer: Tried, x: Tensor) -> None:
    network = filled(Branched(inplace=False), _generator())
    network.head = Trap(raises=True)
    try:
        answer.answer(network, x.clone(), ["left"])
    except ArithmeticError:
        if any(part._forward_hooks for part in network.modules()):
            raise Mistake("where the network raises an error, your hooks stay in it.") from None
        return
    raise Mistake("an error of the network is swallowed: let it through.")
