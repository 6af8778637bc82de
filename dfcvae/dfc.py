"""The Deep Feature Consistent VAE: the VAE of ``vae.py`` trained with the loss of ``perceptual.py``.

Hou, Shen, Sun, Qiu, "Deep Feature Consistent Variational Autoencoder", arXiv 1610.00291.

    loss = alpha * KL + beta * sum over layers of w_l * L_l        (equation 5)

alpha weighs the KL and beta the features: the reverse of beta-VAE, where beta weighs the KL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dfcvae.perceptual import PerceptualLoss, calibrate
from dfcvae.vae import VAE, VAEOutput, kl_divergence
from dfcvae.vgg import VGGFeatures


@dataclass(frozen=True)
class Preset:
    """layers: of the loss network, none for pixels. beta: nats per unit of reconstruction error.

    With ``calibrated`` the unit is the mean distance of two different drawn faces (perceptual.calibrate),
    so that one beta serves every loss network; without, it is the raw feature scale, as in the paper.
    """

    layers: tuple[str, ...]
    beta: float
    alpha: float = 1.0
    reduction: str = "mean"
    calibrated: bool = True


VAE_123, VAE_345 = ("relu1_1", "relu2_1", "relu3_1"), ("relu3_1", "relu4_1", "relu5_1")
PRESETS = {
    # Our own weights are the middle ones of benchmarks/quality.py.
    # pixel: beta is 1 / (2 sigma^2) of the decoder's noise, sigma = 0.22.
    "pixel": Preset((), beta=10.0),
    "vae-123": Preset(VAE_123, beta=1000.0),
    "vae-345": Preset(VAE_345, beta=1000.0),
    # The paper's numbers, alpha = 1 and beta = 0.5, on the raw features of whatever network they meet. The
    # paper's was VGG-19 in Caffe's scale, pixels of 0 to 255; features of a network with normalised input
    # are much smaller, and then the KL wins and z is left unused.
    "paper-123": Preset(VAE_123, beta=0.5, reduction="paper", calibrated=False),
    "paper-345": Preset(VAE_345, beta=0.5, reduction="paper", calibrated=False),
}


class DFCVAE(VAE):
    """A VAE that carries its loss: ``loss_function(model(x), x)``.

    preset: "vae-123" | "vae-345" | "pixel" (the plain VAE: summed squared error of pixels), or the paper's
    weights as "paper-123" | "paper-345". alpha, beta: in place of the preset's. features: the loss
    network, as ``VGGFeatures(weights=...)``, or a VGGFeatures of one's own. layer_weights: in place of
    these layers' calibrated ones. image_size, latent_dim, channels: as for ``VAE``.

    The loss network is in no ``state_dict()`` and in no ``parameters()``.
    """

    def __init__(
        self,
        preset: str = "vae-123",
        features: str | Path | VGGFeatures = "auto",
        image_size: int = 64,
        latent_dim: int = 100,
        channels: Sequence[int] = (32, 64, 128, 256),
        alpha: float | None = None,
        beta: float | None = None,
        layer_weights: Mapping[str, float] | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}.")
        super().__init__(image_size, latent_dim, channels)
        chosen = PRESETS[preset]
        self.preset = preset
        self.alpha = chosen.alpha if alpha is None else float(alpha)
        self.beta = chosen.beta if beta is None else float(beta)
        for name, weight in ("alpha", self.alpha), ("beta", self.beta):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} is {weight}: expected a number of 0 or more.")
        self.perceptual = _perceptual(chosen, features, layer_weights) if chosen.layers else None

    @property
    def features_name(self) -> str:
        """Which loss network is in use, for figures and logs."""
        return "pixels" if self.perceptual is None else self.perceptual.vgg.weights_name

    @property
    def effective_weights(self) -> dict[str, float]:
        """lambda_l of ``loss / alpha = KL + sum_l lambda_l * mean squared difference of Phi_l``, in nats.

        This is the form in which weights of different programs compare; the scale of Phi still matters.
        """
        beta = self.beta / self.alpha if self.alpha else math.inf
        if self.perceptual is None:
            return {"pixels": beta * 3 * self.image_size**2}
        return {layer: beta * factor for layer, factor in self.perceptual.factors.items()}

    def loss_function(self, out: VAEOutput, x: Tensor) -> dict[str, Tensor]:
        """Scalars: ``loss`` = alpha * ``kl`` + beta * ``reconstruction``, and the terms of each layer.

        kl: nats per image. reconstruction: the sum of the layers' terms, or, for "pixel", the squared
        error summed over the image. All are means over the batch. x: (N, 3, S, S) in [0, 1].
        """
        kl = kl_divergence(out.mu, out.log_var)
        if self.perceptual is None:
            squares = (out.reconstruction.float() - x.float()).square()  # (N, 3, S, S)
            terms = {"pixels": squares.flatten(1).sum(1).mean()}  # summed over the image
        else:
            terms = self.perceptual.per_layer(out.reconstruction, x)
        reconstruction = torch.stack(list(terms.values())).sum()
        return {
            "loss": self.alpha * kl + self.beta * reconstruction,
            "kl": kl,
            "reconstruction": reconstruction,
        } | terms


def _perceptual(
    preset: Preset, features: str | Path | VGGFeatures, layer_weights: Mapping[str, float] | None
) -> PerceptualLoss:
    vgg = features if isinstance(features, VGGFeatures) else VGGFeatures("vgg19", preset.layers, features)
    if preset.calibrated:
        layer_weights = calibrate(vgg) | dict(layer_weights or {})
    return PerceptualLoss(vgg, preset.reduction, layer_weights)
