"""The numbers: how near reconstructions are to their originals, and how sharp.

Reconstructions are decoded from mu, without noise, as float in [0, 1]. Grey is the mean of the channels.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dfcvae.datasets import Images
from dfcvae.hardware import layout
from dfcvae.vae import VAE, kl_divergence


def psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB: (N,). x_hat, x: float (N, 3, S, S) in [0, 1]."""
    mse = (x_hat - x).square().flatten(1).mean(1).clamp_min(1e-12)
    return -10 * torch.log10(mse)


def laplacian(x: Tensor) -> Tensor:
    """5-point Laplacian of the grey image, valid positions only: (N, S - 2, S - 2)."""
    grey = x.mean(1)  # (N, S, S)
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return around - 4 * grey[:, 1:-1, 1:-1]


def laplacian_variance(x: Tensor) -> Tensor:
    """Variance of the 5-point Laplacian of the grey image, valid positions only: (N,)."""
    return laplacian(x).flatten(1).var(1)


def sharpness_ratios(x_hat: Tensor, x: Tensor) -> Tensor:
    """var(Laplacian of the reconstruction) / var(Laplacian of the original), image by image: (N,)."""
    return laplacian_variance(x_hat) / laplacian_variance(x).clamp_min(1e-12)


def sharpness(x_hat: Tensor, x: Tensor) -> float:
    """The median of the images' sharpness ratios: 1 keeps the original's, 0 is flat."""
    return statistics.median(sharpness_ratios(x_hat, x).tolist())


def ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Structural similarity of each image, from torchmetrics with data_range 1: (N,)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    return structural_similarity_index_measure(x_hat, x, data_range=1.0, reduction="none")


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features a (N, F), b (M, F), by torchmetrics.

    Heusel et al., arXiv 1706.08500, whose FID takes the features of an Inception network; distances in
    different features do not compare. 0 for a set and itself.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    as_they_are = torch.nn.Identity()
    as_they_are.num_features = a.shape[1]
    distance = FrechetInceptionDistance(as_they_are)
    distance.update(a.double(), real=True)
    distance.update(b.double(), real=False)
    return distance.compute().item()


@dataclass
class OctaveSpectrum:
    """Sums over images and the frequencies of each octave; octave k holds [2^k, 2^(k+1)) cycles an image,
    the last one all that is higher, the corners of the plane included (16 to 45 at 64 pixels).

    ``power_ratio``: power of the reconstructions over that of the originals, 1 when nothing is lost.
    ``coherence``: Re sum F_x conj(F_x_hat) / sqrt(sum |F_x|^2 sum |F_x_hat|^2), 1 when the detail stands
    where it stood; noise of the right power has ratio 1 and coherence 0. Grey images, mean removed,
    Hann window. ``add`` in batches; memory does not grow.
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
        f_hat, f = (self._transform(images) for images in (x_hat, x))
        for row, energy in enumerate((f.abs().square(), f_hat.abs().square(), (f * f_hat.conj()).real)):
            summed = energy.double().sum(0)
            for k in range(self.octaves):
                self.sums[row, k] += summed[self.octave == k].sum()

    def _transform(self, images: Tensor) -> Tensor:
        grey = images.detach().float().cpu().mean(1)
        return torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * self.window)

    @property
    def power_ratio(self) -> list[float]:
        return (self.sums[1] / self.sums[0]).tolist()

    @property
    def coherence(self) -> list[float]:
        return (self.sums[2] / (self.sums[0] * self.sums[1]).sqrt()).tolist()


@torch.no_grad()
def reconstructions(
    model: VAE, images: Images, batch_size: int = 64
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(x_hat, x, mu, log_var) batch by batch, x_hat decoded from mu, the model in eval mode."""
    device = next(model.parameters()).device
    was_training = model.training
    try:
        for first in range(0, len(images), batch_size):
            model.eval()
            x = images.float(slice(first, first + batch_size)).to(device).to(memory_format=layout(device))
            mu, log_var = model.encode(x)
            yield model.decode(mu), x, mu, log_var
    finally:
        model.train(was_training)


def evaluate(model: VAE, images: Images, batch_size: int = 64) -> dict[str, float | int | list[float]]:
    """Means over the images: psnr (dB), ssim, kl (nats per image); sharpness (median); spectra by octave.

    images_per_second is that of reading, encoding and decoding, without the figures. Raises ValueError for
    an empty set.
    """
    if not len(images):
        raise ValueError("there are no images to evaluate: give a split that holds some.")
    spectrum, values = OctaveSpectrum(images.pixels.shape[-1]), {"psnr": [], "ssim": [], "ratio": []}
    kl_total, busy, start = 0.0, 0.0, time.perf_counter()
    for x_hat, x, mu, log_var in reconstructions(model, images, batch_size):
        kl_total += kl_divergence(mu, log_var).item() * len(x)
        busy += time.perf_counter() - start
        values["psnr"] += psnr(x_hat, x).tolist()
        values["ssim"] += ssim(x_hat, x).tolist()
        values["ratio"] += sharpness_ratios(x_hat, x).tolist()
        spectrum.add(x_hat, x)
        start = time.perf_counter()
    return {
        "images": len(images),
        "psnr": statistics.fmean(values["psnr"]),
        "ssim": statistics.fmean(values["ssim"]),
        "sharpness": statistics.median(values["ratio"]),
        "kl": kl_total / len(images),
        "power_ratio": spectrum.power_ratio,
        "coherence": spectrum.coherence,
        "images_per_second": len(images) / busy,
    }
