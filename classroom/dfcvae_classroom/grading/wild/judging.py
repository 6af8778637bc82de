"""Questions to the judge of a class, promises P2 to P6: each gives "" or says what is wrong."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from dfcvae_classroom.grading.wild.case import MEAN, STD, Case, all_close, close
from dfcvae_classroom.grading.wild.program import small_vgg

WAYS = {  # of giving images to the judge
    "raw images reach the VGG": lambda y: y,
    "the mean is taken off, but nothing is divided by std": lambda y: y - MEAN,
    "images are divided by std, but the mean stays": lambda y: y / STD,
    "images are normalised twice": lambda y: ((y - MEAN) / STD - MEAN) / STD,
    "the channels stand in the order BGR": lambda y: (y.flip(-3) - MEAN) / STD,
    "images are moved to [-1, 1], which is not how this VGG was trained": lambda y: 2 * y - 1,
}


def normalised(case: Case) -> str:
    x = case.images()
    found = case.model(layers=(2, 9)).features(x)
    if all_close(found, case.outputs(x, (2, 9))):
        return ""
    ways = [what for what, way in WAYS.items() if all_close(found, case.outputs(x, (2, 9), way))]
    return ways[0] if ways else "features differ from those of normalised images"


def normalised_in_the_loss(case: Case) -> str:
    x, x_hat = case.images(), case.images(more=1)
    zero = torch.zeros(3, case.latents)
    found = case.model(layers=(2, 9)).loss_function(x, x_hat, zero, zero)["features"]
    pairs = zip(case.outputs(x_hat, (2, 9)), case.outputs(x, (2, 9)), strict=True)
    right = close(found, sum(0.5 * F.mse_loss(a, b) for a, b in pairs))
    return "" if right else "the loss does not see original and reconstruction both normalised"


def unmoved(case: Case) -> str:
    model, x = case.model(), case.images()
    before = [phi.detach().clone() for phi in model.features(x)]
    model.train()
    for step in range(3):
        other = case.images(more=step + 1) ** 2
        model.loss_function(other, *model(other))["loss"].backward()
        model.features(other)
    model.eval()
    moved = not all_close(model.features(x), before)
    return "train() undoes .eval(): the judge's statistics move, whatever requires_grad says" if moved else ""


def alone(case: Case) -> str:
    model, x = case.model().train(), case.images()
    together = [phi[:1] for phi in model.features(x)]
    if not all_close(together, model.features(x[:1])):
        return "under train() what the judge says of an image depends on its neighbours in the batch"
    own = close(model.encode(x)[0][:1], model.encode(x[:1])[0])
    return "the VAE's own batch norm no longer trains: only the judge is to stay in eval" if own else ""


NUMBERS = {
    (0, 7, 14): "convolutions are compared where the paper compares the ReLUs behind them",
    (1, 8, 15): "batch norms are compared where the paper compares the ReLUs behind them",
    (1, 6, 11): "these are the numbers of a VGG-19 without batch norm",
    (
        5,
        12,
        19,
    ): "the second ReLUs of the blocks are compared, relu1_2 and so on, where the paper has the first",
}


def named_layers(case: Case) -> str:
    x = case.images()
    found = case.model().features(x)
    for way in (None, lambda y: y):
        expected = case.outputs(x, (2, 9, 16), way)
        if len(found) >= 2 and all(any(close(phi, right) for right in expected) for phi in found):
            return ""
    guesses = [what for numbers, what in NUMBERS.items() if case.either(found, x, numbers)]
    return guesses[0] if guesses else "these are not relu1_1, relu2_1 and relu3_1 of a vgg19_bn"


def all_layers(case: Case) -> str:
    found = case.model().features(case.images())
    right = len(found) == 3 and not named_layers(case)
    return "" if right else f"there are {len(found)} feature maps where the paper compares three ReLUs"


def as_given(case: Case) -> str:
    x, numbers = case.images(), case.norms
    for layers in (numbers, (0, 1, 2, 3)):
        found = case.model(layers=layers).features(x)
        if len(found) == len(layers) and not case.either(found, x, layers):
            if layers is numbers and any(phi.min() >= 0 for phi in found):
                return (
                    "a batch norm comes back without a negative number: the ReLU behind wrote into it first"
                )
            return f"layers {layers} do not all come back as the VGG gave them"
    return "" if len(found) == len(layers) else f"{len(found)} feature maps for {len(layers)} layers"


def heard(case: Case) -> str:
    x = case.images().requires_grad_()
    total = sum(phi.square().mean() for phi in case.model(layers=case.norms).features(x))
    (gradient,) = torch.autograd.grad(total, x)
    return as_given(case) or ("" if gradient.abs().sum() > 0 else "no gradient comes through the copies")


def _two(case: Case) -> tuple[nn.Module, nn.Module]:
    return case.model(), case.model(trunk=small_vgg([2 * width for width in case.widths], 1))


def not_saved(case: Case) -> str:
    sizes = [{key: tensor.shape for key, tensor in model.state_dict().items()} for model in _two(case)]
    return (
        ""
        if sizes[0] == sizes[1]
        else "the state dict carries the judge; requires_grad=False changes nothing"
    )


def not_optimised(case: Case) -> str:
    sizes = [[p.shape for p in model.parameters()] for model in _two(case)]
    return "" if sizes[0] == sizes[1] else "parameters() still gives the judge to the optimizer"


def loads_and_moves(case: Case) -> str:
    if found := not_saved(case) or not_optimised(case):
        return found
    one, other = _two(case)
    other.load_state_dict(one.state_dict())
    x = case.images()
    if not close(other.encode(x)[0], one.encode(x)[0]):
        return "a loaded state dict does not bring the VAE's weights"
    phi = one.double().features(x.double())[0]
    return "" if phi.dtype == torch.float64 else "the judge does not follow .to()"
