"""What is broken in notebook 00."""

from __future__ import annotations

from collections.abc import Callable

from mutants.ways import (
    Checks,
    Mutant,
    detached,
    given,
    result,
    swapped,
    variance_for_deviation,
    without_gradient,
)


def one_pixel_more(shift: Callable) -> Callable:
    return lambda x, pixels: shift(x, pixels + 1)


def glasses_forgotten(draw: Callable) -> Callable:
    def forgetful(factors, *args, **options):
        from dfcvae import faces

        if not isinstance(factors, dict):
            factors = factors.clone()
            factors[:, faces.FACTOR_NAMES.index("eyeglasses")] = 0
        return draw(factors, *args, **options)

    return forgetful


CHECKS: Checks = {
    "squeeze": [
        Mutant("dfcvae.vae:VAE.__init__", "one latent fewer", given(latent_dim=99)),
        Mutant("dfcvae.vae:_decoder", "the last level left out", result(lambda levels: levels[:-1])),
    ],
    "pixel-votes": [
        Mutant("dfcvae.evaluation:psnr", "5 log10 for 10 log10", result(lambda db: db / 2)),
        Mutant("dfcvae.evaluation:psnr", "the sign lost", result(lambda db: -db)),
        Mutant("dfcvae.course.lesson_00:shift", "a pixel farther", one_pixel_more, again=("comparison",)),
    ],
    "sharpness": [
        Mutant("dfcvae.evaluation:laplacian_variance", "the root of it", result(lambda v: v.sqrt())),
        Mutant("dfcvae.evaluation:sharpness_ratios", "original over picture", swapped),
    ],
    "one-knob": [
        Mutant("dfcvae.faces:attributes", "labels turned round", result(lambda seen: ~seen)),
    ],
    "counterfactual": [
        Mutant("dfcvae.faces:draw", "glasses not drawn", glasses_forgotten),
        Mutant("dfcvae.faces:attributes", "every label False", result(lambda seen: seen & False)),
        Mutant(
            "dfcvae.evaluation:psnr", "the error of a picture, not of a pixel", result(lambda db: db - 41)
        ),
    ],
    "gaussian": [
        Mutant("dfcvae.vae:VAE.reparameterize", "exp(log_var) for its root", variance_for_deviation),
    ],
    "kl": [
        Mutant("dfcvae.vae:kl_divergence", "mean over latents for the sum", result(lambda kl: kl / 3)),
        Mutant("dfcvae.vae:kl_divergence", "the half forgotten", result(lambda kl: 2 * kl)),
    ],
    "jensen": "a fact about the logarithm, without the package",
    "convolution": [
        Mutant(
            "dfcvae.vae:_encoder", "a level fewer", result(lambda levels: levels[:-1]), again=("squeeze",)
        ),
    ],
    "gradients": [
        Mutant("dfcvae.vgg:VGGFeatures.forward", "under no_grad", without_gradient),
        Mutant("dfcvae.vgg:VGGFeatures.forward", "the features detached", result(detached)),
    ],
}
