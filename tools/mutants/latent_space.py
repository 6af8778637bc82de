"""What is broken in notebook 05."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from scipy.stats import binomtest
from torch import Tensor

from mutants.ways import Checks, Mutant, given, mean_over_latents, result


def temperature_ignored(sample: Callable) -> Callable:
    return lambda self, n, temperature=1.0, generator=None: sample(self, n, 1.0, generator)


def generator_ignored(sample: Callable) -> Callable:
    return lambda self, n, temperature=1.0, generator=None: sample(self, n, temperature)


def end_left_out(interpolate: Callable) -> Callable:
    return lambda a, b, steps: interpolate(a, b, steps + 1)[:-1]


def on_the_sphere(interpolate: Callable) -> Callable:
    """Every point of the way as long as the ends are, as a slerp would have it."""

    def broken(a: Tensor, b: Tensor, steps: int) -> Tensor:
        way = interpolate(a, b, steps)
        lengths = interpolate(a.norm().view(1), b.norm().view(1), steps)
        return way / way.norm(dim=1, keepdim=True) * lengths

    return broken


def from_the_mean_of_all(attribute_vectors: Callable) -> Callable:
    """Mean of those with the attribute minus the mean of all, in place of those without."""
    return lambda mu, attributes, n=1000: torch.stack(
        [mu[has][:n].mean(dim=0) - mu.mean(dim=0) for has in attributes.unbind(1)]
    )


def fringe_under_the_hat(attributes: Callable) -> Callable:
    def broken(factors: Tensor) -> Tensor:
        from dfcvae import faces

        seen = attributes(factors)
        bangs = factors[:, faces.FACTOR_NAMES.index("bangs")] > 0.5
        seen[:, faces.ATTRIBUTE_NAMES.index("Bangs")] = bangs
        return seen

    return broken


def in_place(change: Callable) -> Callable:
    """The factors not copied before."""
    return lambda factors, name: factors.copy_(change(factors, name))


def covariance(correlations: Callable) -> Callable:
    def broken(a: Tensor, b: Tensor | None = None) -> Tensor:
        b = a if b is None else b
        return (a - a.mean(dim=0)).T @ (b - b.mean(dim=0)) / len(a)

    return broken


def mean_left_in(correlations: Callable) -> Callable:
    """The cosine."""

    def broken(a: Tensor, b: Tensor | None = None) -> Tensor:
        a, b = (table / table.norm(dim=0) for table in (a, a if b is None else b))
        return a.T @ b

    return broken


def standard_errors(wilson: Callable) -> Callable:
    def broken(hits: int, n: int) -> tuple[float, float]:
        rate = hits / n
        reach = 1.96 * (rate * (1 - rate) / n) ** 0.5
        return rate - reach, rate + reach

    return broken


def of_ninety_percent(wilson: Callable) -> Callable:
    return lambda hits, n: binomtest(hits, n).proportion_ci(0.9, method="wilson")


def always_balanced(linear_reader: Callable) -> Callable:
    return lambda codes, has, class_weight=None: linear_reader(codes, has, "balanced")


def first_face(z: Callable) -> Callable:
    return lambda self, state: z(self, replace(state, face=0))


def latents_set(z: Callable) -> Callable:
    """Set, where they are to be added."""

    def broken(self, state) -> Tensor:
        code = z(self, replace(state, latents={}))
        for latent, amount in state.latents.items():
            code[latent] = amount
        return code

    return broken


def covariance_for_its_root(mixture):
    return replace(mixture, cholesky=mixture.cholesky @ mixture.cholesky.mT)


def spread_forgotten(sample: Callable) -> Callable:
    def broken(self, *args, **options) -> Tensor:
        ones = torch.eye(self.means.shape[1]).expand_as(self.cholesky)
        return sample(replace(self, cholesky=ones), *args, **options)

    return broken


CHECKS: Checks = {
    "nats": [
        Mutant("dfcvae.latent:kl_per_latent", "the half forgotten", result(lambda nats: 2 * nats)),
        Mutant("dfcvae.vae:kl_divergence", "mean over latents for the sum", mean_over_latents),
    ],
    "samples-by-hand": [
        Mutant("dfcvae.vae:VAE.sample", "temperature ignored", temperature_ignored),
        Mutant("dfcvae.vae:VAE.sample", "the generator ignored", generator_ignored),
    ],
    "interpolate-by-hand": [
        Mutant("dfcvae.latent:interpolate", "the end left out", end_left_out),
        Mutant("dfcvae.latent:interpolate", "on the sphere", on_the_sphere),
    ],
    "vector-by-hand": [
        Mutant("dfcvae.latent:attribute_vectors", "without minus with", result(lambda v: -v)),
        Mutant("dfcvae.latent:attribute_vectors", "with minus all", from_the_mean_of_all),
    ],
    "side-effects": [
        Mutant("dfcvae.course.lesson_05:change", "in place", in_place),
        Mutant("dfcvae.faces:attributes", "a fringe under a hat is seen", fringe_under_the_hat),
    ],
    "correlation-by-hand": [
        Mutant("dfcvae.latent:correlations", "the covariance", covariance),
        Mutant("dfcvae.latent:correlations", "the mean left in", mean_left_in),
        Mutant(
            "dfcvae.drawing.factors:sample_factors", "always independent", given(distribution="independent")
        ),
    ],
    "wilson-by-hand": [
        Mutant("dfcvae.latent:wilson", "rate and standard errors", standard_errors),
        Mutant("dfcvae.latent:wilson", "the z of 90 %", of_ninety_percent),
    ],
    "toy-readers": [
        Mutant("dfcvae.latent:linear_reader", "always balanced", always_balanced),
        Mutant(
            "dfcvae.latent:linear_reader",
            "the offset forgotten",
            result(lambda reader: replace(reader, offset=0.0)),
        ),
        Mutant(
            "dfcvae.latent:judge",
            "the accuracy for the balanced one",
            result(lambda read: replace(read, balanced=read.accuracy)),
        ),
    ],
    "space": [
        Mutant("dfcvae.figures.explore:Space.z", "always the first face", first_face),
        Mutant("dfcvae.figures.explore:Space.z", "latents set, not added", latents_set),
        Mutant("dfcvae.figures.explore:Space.png", "not enlarged", given(zoom=1)),
    ],
    "mixture-toy": [
        Mutant("dfcvae.latent:fit_mixture", "covariance for its root", result(covariance_for_its_root)),
        Mutant("dfcvae.latent:fit_mixture", "one Gaussian alone", given(components=1)),
        Mutant("dfcvae.latent:Mixture.sample", "the spread forgotten", spread_forgotten),
    ],
}
