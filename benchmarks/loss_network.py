"""What a loss network sees: how far faint patterns of each fineness move a face, layer by layer.

    python benchmarks/loss_network.py [mini random FILE ...]

Patterns of 0.02 (root mean square) are laid over 128 drawn faces. Distances are calibrated, times 1,000:
two different faces lie at 1,000. A network that weighs the finest patterns most makes decoders draw grids.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from dfcvae import VGGFeatures, faces
from dfcvae.perceptual import PerceptualLoss, calibrate

BANDS = ((1, 2), (4, 8), (16, 23), (33, 46))  # cycles an image
COLOURS = {"grey": (1.0, 1.0, 1.0), "red against green": (1.0, -1.0, 0.0)}


def pattern(band: tuple[int, int], colour: tuple[float, ...], n: int, seed: int = 0) -> Tensor:
    """Noise of one octave and one colour direction, 0.02 root mean square: (n, 3, 64, 64)."""
    noise = torch.randn(n, 64, 64, generator=torch.Generator().manual_seed(seed))
    frequency = torch.fft.fftfreq(64) * 64
    radius = torch.hypot(frequency[:, None], frequency[None, :])
    kept = torch.fft.ifft2(torch.fft.fft2(noise) * ((radius >= band[0]) & (radius < band[1]))).real
    coloured = kept[:, None] * torch.tensor(colour).view(1, 3, 1, 1)
    return 0.02 * coloured / coloured.square().mean((1, 2, 3), keepdim=True).sqrt()


@torch.no_grad()
def main() -> None:
    networks = sys.argv[1:] or ["mini", "random"]
    losses = []
    for weights in networks:
        vgg = VGGFeatures(weights=weights)
        losses.append(PerceptualLoss(vgg, "mean", calibrate(vgg)))
    x = faces.draw(faces.sample_factors(128, seed=3)).float() / 255
    print(
        "| pattern, cycles an image | " + " | ".join(networks) + " |\n" + "| --- " * (1 + len(networks)) + "|"
    )
    for name, colour in COLOURS.items():
        for band in BANDS:
            near = x + pattern(band, colour, len(x))
            cells = [
                " / ".join(f"{1000 * v.item():.0f}" for v in loss.per_layer(near, x).values())
                for loss in losses
            ]
            print(f"| {name}, {band[0]} to {band[1]} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
