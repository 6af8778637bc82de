"""Self-checks of problem set 2: each prints one line, which names the mistake where it knows it.

    from dfcvae.course.checks import ps2 as check
    check.normalise(normalise)

They try other numbers than the hidden tests do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dfcvae import faces
from dfcvae.course.checks import trial
from dfcvae.course.checks.networks import Branched, ThreeLayers, Trap
from dfcvae.course.checks.trial import (
    Task,
    Tried,
    describe,
    expect_shape,
    given,
    recognise,
    same,
    self_check,
)
from dfcvae.vgg import VGGFeatures


@self_check
def normalise(task: Task, answer: Tried) -> None:
    """Try ``normalise(x, card)``."""
    x = task["x"]
    for case in task["cases"]:
        copy, card = x.clone(), {k: tuple(v) if isinstance(v, list) else v for k, v in case["card"].items()}
        found = answer(copy, card)
        expect_shape(found, x.shape, "as x")
        task.refuse(not torch.equal(copy, x), "x changed")
        recognise(found, case)
    task.refuse(not answer(x.clone().requires_grad_(), card).requires_grad, "no gradient")


@self_check
def name_layers(task: Task, answer: Tried) -> None:
    """Try ``name_layers(trunk)``."""
    for case in task["cases"]:
        network, names = trial.network(case["layers"]), case["names"]
        found = answer(network)
        task.refuse(not isinstance(found, list | tuple), "no list", found=describe(found))
        where = "" if names[-1].startswith("pool") else " in a network that ends within a block"
        task.refuse(len(found) != len(names), "number", found=len(found), right=len(names), where=where)
        kinds = ["picture", *(type(layer).__name__ for layer in network)]
        for i, (one, right) in enumerate(zip(found, names, strict=True)):
            before, kind = kinds[i : i + 2]
            place = "behind a pool" if "Pool" in before else "pool" if "Pool" in kind else "in a block"
            said = {"i": i, "kind": kind, "before": before, "found": one}
            task.refuse(one != right, place if i else "first", **said)


@self_check
def sees(task: Task, answer: Tried) -> None:
    """Try ``sees(layers, place)``."""
    for hint, case in task["cases"].items():
        for place, right in zip((0, 5), case["right"], strict=True):
            found = answer(trial.network(case["layers"]), place)
            pair = isinstance(found, tuple | list) and len(found) == 2
            task.refuse(not pair, "no pair", found=describe(found))
            task.refuse(list(found) == [right[0], right[1] + 1], "one too far")
            where = " at place 5, though not at place 0" if place else ""
            task.refuse(list(found) != right, "places", found=tuple(found), where=where, hint=hint)


def _expect_names(task: Task, found: Any, names: list[str]) -> None:
    keys = list(found) if isinstance(found, dict) else describe(found)
    task.refuse(not isinstance(found, dict) or set(found) != set(names), "names", found=keys, names=names)


@self_check
def features(task: Task, answer: Tried) -> None:
    """Try ``features(trunk, names, x, wanted)``."""
    x, names, wanted, right, shapes = (task[k] for k in ("x", "names", "wanted", "right", "shapes"))
    network = trial.filled(trial.network(task["layers"]), 20)
    found = answer(network, names, x.clone(), wanted)
    _expect_names(task, found, wanted)
    task.refuse(same(found[wanted[0]], right[wanted[1]]), "exchanged")
    for name in wanted:
        expect_shape(found[name], shapes[name], f"{name}'s")
        at = names.index(name)
        for other in names[max(0, at - 2) : at + 3]:
            neighbour = other != name and shapes[other] == shapes[name] and same(found[name], right[other])
            task.refuse(neighbour, "another layer", name=name, other=other)
        recognise(found[name], {"right": right[name]})
        learning = answer(network, names, x.clone().requires_grad_(), wanted)[name]
        task.refuse(not learning.requires_grad, "no gradient")
    task.refuse(list(found) != wanted, "order", found=list(found), wanted=wanted)

    relus = [layer for layer in network if isinstance(layer, nn.ReLU)]
    for relu in relus:
        relu.inplace = True
    found = answer(network, names, x.clone(), ["conv1_1", "relu1_2"])["conv1_1"]
    task.refuse(not all(relu.inplace for relu in relus), "network changed")
    task.refuse(found.min() >= 0, "overwritten")
    trap = Trap()
    answer(nn.Sequential(*network[:2], trap), [*names[:2], "conv1_2"], x.clone(), ["relu1_1"])
    task.refuse(trap.calls, "too deep")
    try:
        answer.answer(network, names, x.clone(), ["relu1_1", "relu7_7"])
    except Exception as error:
        if isinstance(error, ValueError) and "relu7_7" in str(error):
            return
    task.refuse(True, "unknown layer")


@self_check
def capture(task: Task, answer: Tried) -> None:
    """Try ``capture(network, x, names)``."""
    x, names, right, network = task["x"], task["names"], task["right"], Branched(inplace=False)

    def hooks(network: nn.Module) -> bool:
        return any(part._forward_hooks for part in network.modules())

    before, theirs = network(x), network.left.register_forward_hook(lambda *_: None)  # somebody else's
    found = answer(network, x.clone(), names)
    _expect_names(task, found, names)
    for name in names:
        came_in = [*x.shape] if name == "stem" else task["shapes"]["stem"]
        task.refuse([*getattr(found[name], "shape", ())] == came_in, "input kept", name=name)
        expect_shape(found[name], task["shapes"][name], f"{name}'s")
        task.refuse(name != "stem" and not same(found[name], right[name]), "flow changed", name=name)
        recognise(found[name], {"right": right[name]})
        task.refuse(not found[name].requires_grad, "no gradient", name=name)
    task.refuse(theirs.id not in network.left._forward_hooks, "their hook gone")
    theirs.remove()
    task.refuse(hooks(network), "hooks stay")
    task.refuse(not all(part.training for part in network.modules()), "left in eval")
    answer(network.eval(), x.clone(), names)
    task.refuse(any(part.training for part in network.modules()), "left in training")
    task.refuse(not torch.equal(network.train()(x), before), "network changed")

    kept = answer(Branched(inplace=True), x.clone(), ["stem.0"])["stem.0"]
    task.refuse(kept.min() >= 0, "overwritten")
    recognise(kept, {"right": right["stem.0"]})
    network.head = Trap(raises=True)
    try:
        answer.answer(network, x.clone(), ["left"])
    except ArithmeticError:
        task.refuse(hooks(network), "hooks stay after an error")
        return
    task.refuse(True, "error swallowed")


@self_check
def dfc_loss(task: Task, answer: Tried) -> None:
    """Try ``dfc_loss(x_hat, x, kl, network, alpha, beta, weights, scales)``."""
    x_hat, x, network = task["x_hat"], task["x"], ThreeLayers()
    for case in task["cases"]:
        kl, rest = given(case["kl"]), [case[name] for name in ("alpha", "beta", "weights", "scales")]
        found = answer(x_hat, x, kl, network, *rest)
        task.refuse(isinstance(found, float), "a number")
        task.refuse(isinstance(found, Tensor) and found.shape == (len(x),), "one an image")
        expect_shape(found, (), "one number")
        recognise(found, case)
    image, target, kl = trial.learning(x_hat=x_hat, x=x, kl=kl).values()
    total = answer(image, target, kl, network, *rest)
    task.refuse(not total.requires_grad, "no gradient")
    total.backward()
    task.refuse(image.grad is None, "no gradient to x_hat")
    task.refuse(kl.grad is None, "no gradient to the KL")
    task.refuse(target.grad is not None, "gradient to the target")
    recognise(image.grad, {"right": task["gradient"]})


@self_check
def restore(task: Task, answer: Tried) -> None:
    """Try ``restore(network, target, known, mask, steps)``."""
    network = trial.filled(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), 23)
    x, mask, steps = task["x"], torch.ones(1, 1, 12, 14), 80
    mask[..., 4:9, 3:8] = 0
    known, target = torch.where(mask.bool(), x, 0.5), network(x).detach()
    before, copies = (
        [p.detach().clone() for p in network.parameters()],
        [t.clone() for t in (target, known, mask)],
    )
    y = answer(network, *copies, steps)
    expect_shape(y, x.shape, "a picture as `known`")
    changed = any(not torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))
    task.refuse(changed, "weights changed")
    task.refuse(not all(p.requires_grad for p in network.parameters()), "frozen")
    task.refuse(any(p.grad is not None for p in network.parameters()), "gradients left")
    for name, copy, tensor in zip(("target", "known", "mask"), copies, (target, known, mask), strict=True):
        task.refuse(not torch.equal(copy, tensor), "argument changed", name=name)
    task.refuse(y.requires_grad, "graph left")
    if ((y - x) * mask).abs().max() > 1e-5:
        task.refuse(((y - known) * (1 - mask)).abs().max() < 1e-6, "mask turned round")
        task.refuse(True, "known pixels changed")
    task.refuse(torch.equal(y, known), "hole as it was")
    with torch.no_grad():
        after, first = ((network(z) - target).square().mean().item() for z in (y, known))
    task.refuse(after > first, "uphill")
    task.refuse(after > 0.1 * first, "too little", left=after / first)
    beyond = network(torch.where(mask.bool(), x, 6 * x - 2.5)).detach()
    y = answer(network, beyond, known.clone(), mask.clone(), steps)
    task.refuse(y.min() < 0 or y.max() > 1, "out of range")


@self_check
def disagree(task: Task, answer: Tried) -> None:
    """Try ``disagree(x, distance)``."""
    for layer, size, seed in task["cases"]:
        x = faces.draw(faces.sample_factors(1, seed=seed), size=size).float() / 255
        network = VGGFeatures("vgg19", [layer], "mini")

        def distance(y: Tensor, x: Tensor, network: nn.Module = network, layer: str = layer) -> Tensor:
            return (network(y)[layer] - network(x)[layer]).square().mean()

        copy = x.clone()
        found = answer(copy, distance)
        task.refuse(not isinstance(found, tuple | list) or len(found) != 2, "no pair", found=describe(found))
        for y in found:
            expect_shape(y, x.shape, "two pictures of the size of x")
        task.refuse(not torch.equal(copy, x), "x changed")
        near, far = (y.detach() for y in found)
        if min((y - x).square().mean() for y in (near, far)) >= 0.01:  # far from x: are they stored ones?
            again = answer(x.flip(-1), distance)
            task.refuse(torch.equal(near, again[0]) and torch.equal(far, again[1]), "stored pictures")
        out = min(near.min(), far.min()) < 0 or max(near.max(), far.max()) > 1
        task.refuse(out, "out of range")
        with torch.no_grad():
            pixels = [(y - x).square().mean().item() for y in (near, far)]
            features = [distance(y, x).item() for y in (near, far)]
        task.refuse(min(pixels) < 1e-4, "too faint")
        ratios = pixels[1] / pixels[0], features[0] / max(features[1], 1e-12)
        said = {"pixels": ratios[0], "features": ratios[1], "layer": layer}
        task.refuse(max(ratios) < 1, "swapped")
        task.refuse(max(ratios) < 2, "neither ruler", **said)
        task.refuse(ratios[0] < 2, "first not nearer", **said)
        task.refuse(ratios[1] < 2, "second not nearer", **said)
