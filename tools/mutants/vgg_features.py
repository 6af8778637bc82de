"""What is broken in notebook 02."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn import functional as F

from mutants.ways import (
    Checks,
    Mutant,
    each_layer,
    follows_the_mode,
    mean_divided_too,
    normalisation_forgotten,
    only_without_gradient,
    result,
    without_gradient,
)


def of_another_network(layer_names: Callable) -> Callable:
    return lambda arch: layer_names("vgg19_bn")


def without_pools(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("pool")]


def half_the_picture(forward: Callable) -> Callable:
    return lambda self, x: forward(self, F.avg_pool2d(x, 2))


def five_by_five(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(layer.in_channels, layer.out_channels, 5, padding=2)
    return layer


def pools_of_three(layer: nn.Module) -> nn.Module:
    return nn.MaxPool2d(3, stride=2, padding=1) if isinstance(layer, nn.MaxPool2d) else layer


def in_place(layer: nn.Module) -> nn.Module:
    return nn.ReLU(inplace=True) if isinstance(layer, nn.ReLU) else layer


def without_averages(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.BatchNorm2d):
        return nn.BatchNorm2d(layer.num_features, track_running_stats=False)
    return layer


def one_layer_too_many(build_layers: Callable) -> Callable:
    """The slice that cuts the network off, and its end that does not belong to it."""

    def broken(arch: str = "vgg19", last: str | None = None, *args, **options) -> nn.Sequential:
        return build_layers(arch, None, *args, **options)[
            : len(build_layers(arch, last, *args, **options)) + 1
        ]

    return broken


def without_batch_norm(build_layers: Callable) -> Callable:
    return lambda arch="vgg19", *args, **options: build_layers(arch.removesuffix("_bn"), *args, **options)


def pools_overlooked(receptive_field: Callable) -> Callable:
    return lambda layers: receptive_field([layer for layer in layers if isinstance(layer, nn.Conv2d)])


CHECKS: Checks = {
    "shapes": [
        Mutant("dfcvae.vgg:layer_names", "the list of vgg19_bn", of_another_network),
        Mutant("dfcvae.vgg:layer_names", "pools left out", result(without_pools)),
        Mutant("dfcvae.vgg:VGGFeatures.forward", "the picture halved before", half_the_picture),
    ],
    "scale": [
        Mutant("dfcvae.vgg:VGGFeatures.normalise", "forgotten", normalisation_forgotten),
        Mutant("dfcvae.vgg:VGGFeatures.normalise", "x - mean / std", mean_divided_too),
    ],
    "field": [
        Mutant("dfcvae.vgg:build_layers", "pools of 3 x 3 for 2 x 2", each_layer(pools_of_three)),
        Mutant("dfcvae.vgg:build_layers", "cut off a layer too late", one_layer_too_many),
        Mutant("dfcvae.course.lesson_02:receptive_field", "pools overlooked", pools_overlooked),
    ],
    "measure-field": [
        Mutant("dfcvae.vgg:build_layers", "convolutions of 5 x 5 for 3 x 3", each_layer(five_by_five)),
        Mutant("dfcvae.vgg:VGGFeatures.forward", "under no_grad", without_gradient),
    ],
    "five-ways": [
        Mutant("dfcvae.vgg:build_layers", "batch norms left out", without_batch_norm),
        Mutant("dfcvae.vgg:build_layers", "batch norms without averages", each_layer(without_averages)),
    ],
    "undone": [
        Mutant("dfcvae.vgg:freeze", "requires_grad_(False) and no more", only_without_gradient),
        Mutant("dfcvae.vgg:VGGFeatures.train", "not overridden", follows_the_mode),
        Mutant("dfcvae.vgg:VGGFeatures.forward", "under no_grad", without_gradient),
    ],
    "inplace": [
        Mutant("dfcvae.vgg:build_layers", "ReLUs in place", each_layer(in_place)),
    ],
}
