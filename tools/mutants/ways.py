"""What a mutant is, and ways to break a function that several notebooks share.

Each way takes the sound function (or property) and gives the broken one back; it runs in the notebook's
kernel, so nothing is edited in a file and the next cell can have the sound one again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Mutant:
    """target: "module:function", "module:Class.method" or "module:Class.property". wrap: sound -> broken.

    how: what is broken, for the table. again: cells to run again before the check, where it only shows what
    they made with the function.
    """

    target: str
    how: str
    wrap: Callable[[Callable], Callable]
    again: tuple[str, ...] = ()


Checks = dict[str, "list[Mutant] | str"]  # of one notebook: id of the check -> what is broken there


# Ways for any function.


def result(change: Callable) -> Callable[[Callable], Callable]:
    """Change what the function, or the property, gives back."""

    def wrap(function: Callable | property) -> Callable | property:
        if isinstance(function, property):
            return property(wrap(function.fget))
        return functools.wraps(function)(lambda *args, **options: change(function(*args, **options)))

    return wrap


def given(**other) -> Callable[[Callable], Callable]:
    """Give the function other arguments, by name."""

    def wrap(function: Callable) -> Callable:
        return functools.wraps(function)(lambda *args, **options: function(*args, **(options | other)))

    return wrap


def without_gradient(function: Callable) -> Callable:
    return torch.no_grad()(function)


def swapped(function: Callable) -> Callable:
    """The first two arguments of a function in the wrong order."""
    return functools.wraps(function)(lambda first, second: function(second, first))


def swapped_in_method(method: Callable) -> Callable:
    return functools.wraps(method)(lambda self, first, second: method(self, second, first))


# Ways for the VAE.


def log_var_of_deviation(kl: Callable) -> Callable:
    """log_var taken for the logarithm of the standard deviation."""
    return lambda mu, log_var: kl(mu, 2 * log_var)


def one_forgotten(kl: Callable) -> Callable:
    """The 1 of 1 + log_var - mu^2 - exp(log_var)."""
    return lambda mu, log_var: kl(mu, log_var) + 0.5 * mu.shape[1]


def mean_over_latents(kl: Callable) -> Callable:
    return lambda mu, log_var: kl(mu, log_var) / mu.shape[1]


def variance_for_deviation(reparameterize: Callable) -> Callable:
    return lambda self, mu, log_var, *args, **options: reparameterize(self, mu, 2 * log_var, *args, **options)


def weights_swapped(loss_function: Callable) -> Callable:
    """alpha at the features and beta at the KL, as in beta-VAE."""

    def broken(self, out, x: Tensor) -> dict[str, Tensor]:
        terms = loss_function(self, out, x)
        return terms | {"loss": self.beta * terms["kl"] + self.alpha * terms["reconstruction"]}

    return broken


# Ways for the loss network and the loss.


def detached(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in features.items()}


def only_without_gradient(freeze: Callable) -> Callable:
    """Frozen as most people do it: the weights stay parameters, in state dict and optimizer."""
    return lambda module: module.requires_grad_(False)


def follows_the_mode(train: Callable) -> Callable:
    return nn.Module.train


def normalisation_forgotten(normalise: Callable) -> Callable:
    return lambda self, x: x


def mean_divided_too(normalise: Callable) -> Callable:
    """A pair of brackets forgotten."""
    return lambda self, x: x - self.mean / self.std


def per_layer(change: Callable) -> Callable[[Callable], Callable]:
    """A mutant of PerceptualLoss.per_layer that changes its terms: (loss, x, layer, term) -> term."""

    def wrap(function: Callable) -> Callable:
        def broken(self, x_hat: Tensor, x: Tensor) -> dict[str, Tensor]:
            terms = function(self, x_hat, x)
            return {layer: change(self, x, layer, term) for layer, term in terms.items()}

        return broken

    return wrap


def half_forgotten(loss, x: Tensor, layer: str, term: Tensor) -> Tensor:
    from dfcvae.perceptual import REDUCTIONS

    return term / REDUCTIONS[loss.reduction]


def weights_ignored(loss, x: Tensor, layer: str, term: Tensor) -> Tensor:
    return term / loss.layer_weights[layer]


def summed_over_the_batch(loss, x: Tensor, layer: str, term: Tensor) -> Tensor:
    return term * len(x)


def each_layer(change: Callable) -> Callable[[Callable], Callable]:
    """A mutant of build_layers that changes each layer: (layer) -> layer."""

    def wrap(build: Callable) -> Callable:
        def broken(*args, **options) -> nn.Sequential:
            layers = build(*args, **options)
            for name, layer in list(layers.named_children()):
                setattr(layers, name, change(layer))
            return layers

        return broken

    return wrap
