"""What is kept of each octave of detail, and whether it stands where it stood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dfcvae.streams import widest


@dataclass
class OctaveSpectrum:
    """Sums over images and the frequencies of each octave; octave k holds [2^k, 2^(k+1)) cycles an image,
    the last one all that is higher, the corners of the plane included (16 to 45 at 64 pixels).

    ``power_ratio``: power of the reconstructions over that of the originals, 1 when nothing is lost.
    ``coherence``: Re sum F_x conj(F_x_hat) / sqrt(sum |F_x|^2 sum |F_x_hat|^2), 1 when the detail stands
    where it stood; noise of the right power has ratio 1 and coherence 0. Grey images, mean removed,
    Hann window. ``add`` in batches, on the images' device; memory does not grow.
    """

    size: int

    def __post_init__(self) -> None:
        self.octaves = int(math.log2(self.size)) - 1
        window = torch.hann_window(self.size + 2, periodic=False)[1:-1]
        self.window = window[:, None] * window
        frequency = torch.fft.fftfreq(self.size) * self.size
        radius = torch.hypot(frequency[:, None], frequency[None, :])
        octave = radius.clamp_min(0.5).log2().floor().long()  # -1: the mean
        octave[octave >= self.octaves] = self.octaves - 1
        self.octave = octave
        self.sums = torch.zeros(3, self.octaves, dtype=torch.float64)

    def add(self, x_hat: Tensor, x: Tensor) -> None:
        """Float images (N, 3, S, S), reconstructions and originals."""
        wide = widest(x.device)
        f_hat, f = self._transform(x_hat), self._transform(x)
        energies = (f.abs().square(), f_hat.abs().square(), (f * f_hat.conj()).real)
        summed = torch.stack([energy.to(wide).sum(0).flatten() for energy in energies])  # (3, S * S)
        of_octave = torch.arange(self.octaves)[:, None] == self.octave.flatten()  # (octaves, S * S)
        self.sums = self.sums.to(x.device, wide) + summed @ of_octave.to(x.device, wide).T

    def _transform(self, images: Tensor) -> Tensor:
        grey = images.detach().float().mean(1)
        return torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * self.window.to(grey.device))

    @property
    def power_ratio(self) -> list[float]:
        return (self.sums[1] / self.sums[0]).tolist()

    @property
    def coherence(self) -> list[float]:
        return (self.sums[2] / (self.sums[0] * self.sums[1]).sqrt()).tolist()
