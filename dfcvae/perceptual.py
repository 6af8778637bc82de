"""Perceptual loss: distances between features of a frozen network instead of between pixels.

Hou et al., arXiv 1610.00291, section 3.2, equation 3; after Johnson et al., arXiv 1603.08155.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfcvae import faces
from dfcvae.vgg import VGGFeatures

REDUCTIONS = {"paper": 0.5, "mean": 1.0}  # factor before the mean squared difference of a layer


class PerceptualLoss(nn.Module):
    """sum over layers l of w_l * L_l(x_hat, x), a scalar, mean over the batch.

    reduction="paper": L_l = 1 / (2 C_l H_l W_l) * sum over c, h, w of (Phi_l(x) - Phi_l(x_hat))^2.
    reduction="mean":  the plain mean of the squares, twice that.
    layer_weights: w_l by layer name, 1 each unless given.

    x_hat, x: float (N, 3, H, W) in [0, 1]. The gradient reaches x_hat, never x and never the network.
    Squares are taken and summed in float32 whatever precision the network runs in.
    """

    def __init__(
        self, vgg: VGGFeatures, reduction: str = "paper", layer_weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"unknown reduction {reduction!r}: expected one of {', '.join(REDUCTIONS)}.")
        given = dict(layer_weights or {})
        unknown = set(given) - set(vgg.layers)
        if unknown:
            raise ValueError(
                f"weights for {sorted(unknown)}: the loss network gives {', '.join(vgg.layers)}."
            )
        self.layer_weights = {layer: float(given.get(layer, 1.0)) for layer in vgg.layers}
        self.vgg, self.reduction = vgg, reduction

    @property
    def factors(self) -> dict[str, float]:
        """What the mean squared difference of each layer is multiplied by: w_l, halved for "paper"."""
        return {layer: REDUCTIONS[self.reduction] * weight for layer, weight in self.layer_weights.items()}

    def per_layer(self, x_hat: Tensor, x: Tensor) -> dict[str, Tensor]:
        """The weighted terms w_l * L_l by layer name; ``forward`` is their sum."""
        if x_hat.shape != x.shape:
            raise ValueError(
                f"x_hat is {tuple(x_hat.shape)} and x {tuple(x.shape)}: expected the same shape."
            )
        with torch.no_grad():
            target = self.vgg(x)
        terms = {}
        for layer, phi in self.vgg(x_hat).items():  # phi: (N, C_l, H_l, W_l)
            terms[layer] = self.factors[layer] * F.mse_loss(phi.float(), target[layer].float())
        return terms

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return torch.stack(list(self.per_layer(x_hat, x).values())).sum()


def convert_weights(layer_weights: Mapping[str, float], scales: Mapping[str, float]) -> dict[str, float]:
    """Layer weights for a network whose features are s_l times those of the one the weights are for.

    Exact: features s_l times as large have squared differences s_l^2 times as large, so
    w'_l = w_l / s_l^2 leaves every term of the loss as it was. ``scales``: s_l by layer name.
    """
    return {layer: weight / scales[layer] ** 2 for layer, weight in layer_weights.items()}


@torch.no_grad()
def calibrate(vgg: VGGFeatures) -> dict[str, float]:
    """Layer weights under which two different faces lie at distance 1 in every layer, on average.

    w_l = 1 / mean squared difference of Phi_l between each of 64 drawn training faces (independent factors,
    64 x 64) and the next one. It makes one weight usable with any loss network, whatever the scale of its
    features. The mini VGG's file has these numbers; other networks are measured once and keep them in
    ``vgg.calibration``: empty it after changing such a network.
    """
    if not set(vgg.layers) <= set(vgg.calibration):
        vgg.calibration.update(measure_differences(vgg))
    silent = [layer for layer in vgg.layers if not vgg.calibration[layer] > 0]
    if silent:
        raise ValueError(
            f"{vgg.weights_name} gives the same {silent[0]} for every face: its weights are unfit."
        )
    return {layer: 1.0 / vgg.calibration[layer] for layer in vgg.layers}


@torch.no_grad()
def measure_differences(vgg: VGGFeatures) -> dict[str, float]:
    """The mean squared difference of two different faces in each of the network's layers."""
    factors = faces.split_factors("train", 64, distribution="independent")
    x = faces.draw(factors, size=64).to(vgg.mean.device).float() / 255  # (64, 3, 64, 64)
    features = vgg(x)
    return {name: (phi - phi.roll(1, dims=0)).square().mean().item() for name, phi in features.items()}
