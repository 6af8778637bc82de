"""What is broken in notebook 03."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from mutants.ways import (
    Checks,
    Mutant,
    each_layer,
    given,
    half_forgotten,
    normalisation_forgotten,
    only_without_gradient,
    per_layer,
    result,
    summed_over_the_batch,
    weights_ignored,
    without_gradient,
)


def names_in_the_wrong_order(named: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(zip(named, reversed(named.values()), strict=True))


def pooled(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean over all places in each place."""
    return {name: phi.mean((2, 3), keepdim=True).expand_as(phi) for name, phi in features.items()}


def first_for_all(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: phi[:1].expand_as(phi) for name, phi in features.items()}


def first_layer_alone(loss, x: Tensor, layer: str, term: Tensor) -> Tensor:
    return term * (layer == loss.vgg.layers[0])


def root(loss, x: Tensor, layer: str, term: Tensor) -> Tensor:
    return term.sqrt()


def normalised_by_the_batch(normalise: Callable) -> Callable:
    return lambda self, x: (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)


def linear(layer: nn.Module) -> nn.Module:
    return nn.Identity() if isinstance(layer, nn.ReLU) else layer


def half_as_wide(blur: Callable) -> Callable:
    return lambda x, sigma: blur(x, sigma / 2)


def nothing_moved(shift: Callable) -> Callable:
    """The wrong side of the padded picture cut off."""
    return lambda x, pixels: x


def as_they_were(changed: Callable) -> Callable:
    """The values set in a copy that is thrown away."""
    return lambda factors, **values: changed(factors)


def not_squared(convert_weights: Callable) -> Callable:
    return lambda weights, scales: {layer: weight / scales[layer] for layer, weight in weights.items()}


def energy_itself(calibrated: dict[str, float]) -> dict[str, float]:
    return {layer: 1 / weight for layer, weight in calibrated.items()}


def never_calibrated(perceptual: Callable) -> Callable:
    return lambda preset, *args: perceptual(replace(preset, calibrated=False), *args)


def whatever_the_reduction(effective_weights: property) -> property:
    """The half of the paper's form forgotten."""
    return property(
        lambda self: {
            layer: self.beta / self.alpha * weight for layer, weight in self.perceptual.layer_weights.items()
        }
    )


def without_norms(net: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*(layer for layer in net if not isinstance(layer, nn.BatchNorm2d)))


@torch.no_grad()
def scale_not_undone(net: nn.Sequential) -> nn.Sequential:
    for layer in net:
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.fill_(1)
    return net


def scale_unread(weights):
    return replace(weights, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


FORWARD, TERMS = "dfcvae.vgg:VGGFeatures.forward", "dfcvae.perceptual:PerceptualLoss.per_layer"
WRONG_ORDER = ("dfcvae.course.lesson_03:distances", "rulers named in the wrong order")
UNCHANGED = Mutant("dfcvae.course.lesson_03:changed", "the factors as they were", as_they_were, ("changes",))

CHECKS: Checks = {
    "formula-check": [
        Mutant(TERMS, "the half of the paper's form forgotten", per_layer(half_forgotten)),
        Mutant(FORWARD, "under no_grad", without_gradient),
        Mutant("dfcvae.vgg:freeze", "requires_grad_(False) and no more", only_without_gradient, ("vgg",)),
    ],
    "stripes-best": [
        Mutant(TERMS, "the first layer alone", per_layer(first_layer_alone)),
        Mutant(
            FORWARD,
            "layers named in the wrong order",
            result(names_in_the_wrong_order),
            again=("stripes-identity", "stripes-contrast"),
        ),
    ],
    "ranking-measure": [
        Mutant("dfcvae.course.lesson_00:blur", "half as wide", half_as_wide, again=("changes",)),
        UNCHANGED,
        Mutant(*WRONG_ORDER, result(names_in_the_wrong_order)),
    ],
    "shift-facts": [
        Mutant("dfcvae.course.lesson_00:shift", "nothing moved", nothing_moved, again=("shift-curve",)),
        Mutant(FORWARD, "mean over the places", result(pooled), again=("shift-curve",)),
    ],
    "depth-facts": [
        Mutant(
            "dfcvae.course.lesson_00:blur",
            "half as wide",
            half_as_wide,
            again=("changes", "ranking-measure"),
        ),
        Mutant(*WRONG_ORDER, result(names_in_the_wrong_order), again=("ranking-measure",)),
    ],
    "human": [
        Mutant(*WRONG_ORDER, result(names_in_the_wrong_order)),
        UNCHANGED,
    ],
    "scale": [
        Mutant("dfcvae.vgg:VGGFeatures.__init__", "mean and std ignored", given(mean=None, std=None)),
        Mutant("dfcvae.vgg:VGGFeatures.normalise", "forgotten", normalisation_forgotten),
        Mutant(TERMS, "the root of the mean square", per_layer(root)),
    ],
    "convert": [
        Mutant("dfcvae.perceptual:convert_weights", "the scale not squared", not_squared),
        Mutant(TERMS, "layer weights ignored", per_layer(weights_ignored)),
    ],
    "calibrate": [
        Mutant("dfcvae.perceptual:calibrate", "the energy for its inverse", result(energy_itself)),
        Mutant(TERMS, "layer weights ignored", per_layer(weights_ignored)),
    ],
    "effective": [
        Mutant("dfcvae.dfc:DFCVAE.effective_weights", "the half forgotten", whatever_the_reduction),
        Mutant("dfcvae.dfc:_perceptual", "never calibrated", never_calibrated),
    ],
    "normaliser": [
        Mutant("dfcvae.vgg:build_layers", "no ReLUs", each_layer(linear), again=("vgg",)),
        Mutant(FORWARD, "the first picture's features for all", result(first_for_all)),
    ],
    "health-package": [
        Mutant(TERMS, "under no_grad", without_gradient),
        Mutant(TERMS, "summed over the batch", per_layer(summed_over_the_batch)),
        Mutant("dfcvae.vgg:VGGFeatures.normalise", "by the batch's mean", normalised_by_the_batch),
    ],
    "bug-1": [
        Mutant("dfcvae.course.lesson_03:with_batch_norm", "no batch norms", result(without_norms)),
        Mutant("dfcvae.course.lesson_03:with_batch_norm", "the scale not undone", result(scale_not_undone)),
    ],
    "bug-2": [
        Mutant("dfcvae.weights:read_weights", "the file's scale unread", result(scale_unread), ("vgg",)),
    ],
}
