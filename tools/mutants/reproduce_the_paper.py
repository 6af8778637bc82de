"""What is broken in notebook 06."""

from __future__ import annotations

from collections.abc import Callable

from mutants.ways import Checks, Mutant, result, swapped


def one_epoch_late(rate_at: Callable) -> Callable:
    """The first halving comes after the second epoch."""
    return lambda step, steps, per_epoch, *rest: rate_at(max(0, step - per_epoch), steps, per_epoch, *rest)


CHECKS: Checks = {
    "paper-presets": [
        Mutant(
            "dfcvae.dfc:DFCVAE.effective_weights",
            "the half of the paper's formula forgotten",
            result(lambda weights: {layer: 2 * weight for layer, weight in weights.items()}),
        ),
        Mutant("dfcvae.vae:_decoder", "the last level left out", result(lambda levels: levels[:-1])),
    ],
    "steps": [
        Mutant("dfcvae.training:rate_at", "halved before the first step", result(lambda rate: rate / 2)),
        Mutant("dfcvae.training:rate_at", "halved an epoch late", one_epoch_late),
    ],
    "commands": [
        Mutant("dfcvae.reproduction.recipe:Recipe.command", "the data set left out", result(
            lambda line: line.replace("--data celeba ", "")
        )),
        Mutant("dfcvae.reproduction.recipe:Recipe.command", "the folder left out", result(
            lambda line: line.replace("--out runs/paper/celeba ", "")
        )),
    ],
    "skill": "arithmetic with the paper's number, without a function of the package",
    "student": [
        Mutant(
            "dfcvae.evaluation:interval",
            "1.96 whatever the number of seeds",
            result(lambda found: (found[0], 0.7 * found[1])),
        ),
        Mutant("dfcvae.evaluation:interval", "mean and half-width swapped", result(lambda f: f[::-1])),
    ],
    "psnr": [
        Mutant("dfcvae.evaluation:psnr", "5 log10 for 10 log10", result(lambda db: db / 2)),
        Mutant("dfcvae.evaluation:sharpness_ratios", "original over picture", swapped),
    ],
    "frechet": [
        Mutant("dfcvae.evaluation:frechet_distance", "the root of it", result(lambda d: max(d, 0) ** 0.5)),
    ],
    "fingerprint": [
        Mutant(
            "dfcvae.reproduction.report:fingerprint",
            "of half of the digits",
            result(lambda digits: digits[:6]),
        ),
    ],
}  # fmt: skip
