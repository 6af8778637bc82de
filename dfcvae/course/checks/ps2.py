"""Self-checks of problem set 2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfcvae import faces
from dfcvae.course.checks import trial
from dfcvae.course.checks.trial import Task, Tried, describe, expect_shape, recognise, same, self_check
from dfcvae.vgg import VGGFeatures


class Branched(nn.Module):
    """A network that is no chain: head(left(h) + right(h)) with h = stem(x)."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace))
        self.left = nn.Conv2d(6, 5, 1)
        self.right = nn.Sequential(nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(inplace))
        self.head = nn.Conv2d(5, 2, 1)
        trial.filled(self, 21)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return self.head(self.left(h) + self.right(h))


@self_check
def normalise(task: Task, answer: Tried) -> None:
    """Try ``normalise(x, card)``."""
    trial.try_cases(task, answer)


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
            found = trial.expect_parts(answer(trial.network(case["layers"]), place), "first", "last")
            task.refuse(found == [right[0], right[1] + 1], "one too far")
            where = " at place 5, though not at place 0" if place else ""
            task.refuse(found != right, "places", found=tuple(found), where=where, hint=hint)


@self_check
def features(task: Task, answer: Tried) -> None:
    """Try ``features(trunk, names, x, wanted)``."""
    x, names, wanted, right, shapes = (task[k] for k in ("x", "names", "wanted", "right", "shapes"))
    network = trial.filled(trial.network(task["layers"]), 20)
    found = answer(network, names, x, wanted)
    keys = list(found) if isinstance(found, dict) else describe(found)
    task.refuse(not isinstance(found, dict) or {*found} != {*wanted}, "names", found=keys, names=wanted)
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
    task.refuse(keys != wanted, "order", found=keys, wanted=wanted)

    relus = [layer for layer in network if isinstance(layer, nn.ReLU)]
    for relu in relus:
        relu.inplace = True
    found = answer(network, names, x, ["conv1_1", "relu1_2"])["conv1_1"]
    task.refuse(not all(relu.inplace for relu in relus), "network changed")
    task.refuse(found.min() >= 0, "overwritten")
    calls: list[Tensor] = []
    network[2].register_forward_hook(lambda layer, inputs, output: calls.append(output))
    answer(network, names, x, ["relu1_1"])
    task.refuse(calls, "too deep")
    error = answer.error(network, names, x, ["relu1_1", "relu7_7"])
    task.refuse(not isinstance(error, ValueError) or "relu7_7" not in str(error), "unknown layer")


@self_check
def capture(task: Task, answer: Tried) -> None:
    """Try ``capture(network, x, names)``."""
    x, names, right, network = task["x"], task["names"], task["right"], Branched(inplace=False)

    def hooks(network: nn.Module) -> bool:
        return any(part._forward_hooks for part in network.modules())

    before, theirs = network(x), network.left.register_forward_hook(lambda *_: None)  # somebody else's
    found = answer(network, x, names)
    keys = list(found) if isinstance(found, dict) else describe(found)
    task.refuse(not isinstance(found, dict) or {*found} != {*names}, "names", found=keys, names=names)
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
    answer(network.eval(), x, names)
    task.refuse(any(part.training for part in network.modules()), "left in training")
    task.refuse(not torch.equal(network.train()(x), before), "network changed")

    kept = answer(Branched(inplace=True), x, ["stem.0"])["stem.0"]
    task.refuse(kept.min() >= 0, "overwritten")
    recognise(kept, {"right": right["stem.0"]})
    network.head.register_forward_pre_hook(lambda *_: 1 / 0)  # a layer that is broken
    task.refuse(not isinstance(answer.error(network, x, ["left"]), ZeroDivisionError), "error swallowed")
    task.refuse(hooks(network), "hooks stay after an error")


@self_check
def dfc_loss(task: Task, answer: Tried) -> None:
    """Try ``dfc_loss(x_hat, x, kl, network, alpha, beta, weights, scales)``."""
    network = VGGFeatures("vgg19", weights="mini")

    def priced(x_hat: Tensor, x: Tensor, kl: Tensor, *settings: object) -> Tensor:
        return answer(x_hat, x, kl, network, *settings)

    trial.try_cases(task, priced)
    last = task["cases"][-1]["given"]
    task.refuse(priced(*(last | {"x": last["x"].requires_grad_()}).values()).requires_grad, "target learns")


@self_check
def restore(task: Task, answer: Tried) -> None:
    """Try ``restore(network, target, known, mask, steps)``."""
    network = trial.filled(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), 23)
    x, mask, steps = task["x"], torch.ones(1, 1, 12, 14), 80
    mask[..., 4:9, 3:8] = 0
    known, target = torch.where(mask.bool(), x, 0.5), network(x).detach()
    before = [p.detach().clone() for p in network.parameters()]
    y = answer(network, target, known, mask, steps)
    expect_shape(y, x.shape, "a picture as `known`")
    task.refuse(not all(map(torch.equal, network.parameters(), before)), "weights changed")
    task.refuse(not all(p.requires_grad for p in network.parameters()), "frozen")
    task.refuse(any(p.grad is not None for p in network.parameters()), "gradients left")
    task.refuse(y.requires_grad, "graph left")
    turned = ((y - known) * (1 - mask)).abs().max() < 1e-6
    changed = "mask turned round" if turned else "known pixels changed"
    task.refuse(((y - x) * mask).abs().max() > 1e-5, changed)
    task.refuse(turned, "hole as it was")
    with torch.no_grad():
        after, first = ((network(z) - target).square().mean().item() for z in (y, known))
    task.refuse(after > first, "uphill")
    task.refuse(after > 0.1 * first, "too little", left=after / first)
    beyond = network(torch.where(mask.bool(), x, 6 * x - 2.5)).detach()
    y = answer(network, beyond, known, mask, steps)
    task.refuse(y.min() < 0 or y.max() > 1, "out of range")


@self_check
def disagree(task: Task, answer: Tried) -> None:
    """Try ``disagree(x, distance)``."""
    for layer, size, seed in task["cases"]:
        x = faces.draw(faces.sample_factors(1, seed=seed), size=size).float() / 255
        network = VGGFeatures("vgg19", [layer], "mini")

        def distance(y: Tensor, x: Tensor, network: nn.Module = network, layer: str = layer) -> Tensor:
            return (network(y)[layer] - network(x)[layer]).square().mean()

        found = trial.expect_parts(answer(x, distance), "near", "far")
        for y in found:
            expect_shape(y, x.shape, "two pictures of the size of x")
        near, far = (y.detach() for y in found)
        with torch.no_grad():
            pixels = [(y - x).square().mean().item() for y in (near, far)]
            features = [distance(y, x).item() for y in (near, far)]
        if min(pixels) >= 0.01:  # far from x: are they stored ones?
            again = answer(x.flip(-1), distance)
            task.refuse(torch.equal(near, again[0]) and torch.equal(far, again[1]), "stored pictures")
        out = min(near.min(), far.min()) < 0 or max(near.max(), far.max()) > 1
        task.refuse(out, "out of range")
        task.refuse(min(pixels) < 1e-4, "too faint")
        ratios = pixels[1] / pixels[0], features[0] / max(features[1], 1e-12)
        said = {"pixels": ratios[0], "features": ratios[1], "layer": layer}
        task.refuse(max(ratios) < 1, "swapped")
        task.refuse(min(ratios) < 2, "not nearer", **said)
