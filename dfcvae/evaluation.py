"""The numbers: how near reconstructions are to their originals, how sharp, and what the code costs.

Reconstructions are decoded from mu, without noise, as float in [0, 1]. Grey is the mean of the channels.
Images come in batches, and of each image some numbers and its code are kept: 162 MB for the whole of CelebA.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dfcvae.datasets import Images
from dfcvae.device import layout
from dfcvae.fid import FrechetDistance
from dfcvae.fid import frechet_distance as frechet_distance
from dfcvae.latent import kl_per_latent
from dfcvae.vae import VAE, Prior, evaluating, kl_divergence

ACTIVE = 0.01  # a latent whose mu varies more than this over the images is in use: arXiv 1509.00519, 5.1


def psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, by torchmetrics: (N,). At most 120, for equal images.

    x_hat, x: float (N, 3, S, S) in [0, 1].
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    values = peak_signal_noise_ratio(x_hat, x, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return values.clamp_max(120)


def laplacian(x: Tensor) -> Tensor:
    """5-point Laplacian of the grey image, valid positions only: (N, S - 2, S - 2)."""
    grey = x.mean(1)  # (N, 3, S, S) -> (N, S, S)
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
    return sharpness_ratios(x_hat, x).quantile(0.5).item()


def ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Structural similarity of each image, from torchmetrics with data_range 1: (N,)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    values: Any = structural_similarity_index_measure(x_hat, x, data_range=1.0, reduction="none")
    return values


class OctaveSpectrum:
    """What is kept of each octave of detail, and whether it stands where it stood. ``add`` in batches.

    size: side of the images, S. Octave k holds [2^k, 2^(k+1)) cycles an image, the last one all that is
    higher, the corners of the plane included (16 to 45 at 64 pixels).
    ``power_ratio``: power of the reconstructions over that of the originals, 1 when nothing is lost.
    ``coherence``: Re sum F_x conj(F_x_hat) / sqrt(sum |F_x|^2 sum |F_x_hat|^2), 1 when the detail stands
    where it stood; noise of the right power has ratio 1 and coherence 0. Grey images, mean removed,
    Hann window.
    """

    def __init__(self, size: int) -> None:
        self.octaves = int(math.log2(size)) - 1
        window = torch.hann_window(size + 2, periodic=False)[1:-1]
        self.window = window[:, None] * window  # (S, S)
        frequency = torch.fft.fftfreq(size) * size
        radius = torch.hypot(frequency[:, None], frequency[None, :])  # (S, S), cycles an image
        octave = radius.clamp_min(0.5).log2().floor().long()  # -1: the mean
        self.octave = octave.clamp_max(self.octaves - 1)
        self.sums = torch.zeros(3, self.octaves, dtype=torch.float64)  # |F_x|^2, |F_x_hat|^2, their product

    def add(self, x_hat: Tensor, x: Tensor) -> None:
        """Float images (N, 3, S, S), reconstructions and originals."""
        f_hat, f = self._transform(x_hat), self._transform(x)  # (N, S, S), complex
        energies = torch.stack([f.abs().square(), f_hat.abs().square(), (f * f_hat.conj()).real])
        energies = energies.sum(1).flatten(1).cpu().double()  # (3, N, S, S) -> (3, S * S)
        of_octave = torch.arange(self.octaves)[:, None] == self.octave.flatten()  # (octaves, S * S)
        self.sums += energies @ of_octave.double().T

    def _transform(self, images: Tensor) -> Tensor:
        grey = images.detach().float().mean(1)  # (N, 3, S, S) -> (N, S, S)
        return torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * self.window.to(grey.device))

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
    with evaluating(model):
        for first in range(0, len(images), batch_size):
            x = images.float(slice(first, first + batch_size)).to(device).to(memory_format=layout(device))
            mu, log_var = model.encode(x)
            yield model.decode(mu), x, mu, log_var


@torch.no_grad()
def evaluate(model: VAE, images: Images, batch_size: int = 64) -> dict[str, Any]:
    """Means over the images: psnr (dB), mse, ssim, kl (nats); the median sharpness; spectra by octave.

    kl_per_latent: nats of each latent, which add up to kl. active_units: how many latents have a mu whose
    variance over the images is above 0.01 (Burda, Grosse and Salakhutdinov, arXiv 1509.00519).
    images_per_second is that of reading, encoding and decoding, without the figures. ValueError for an
    empty set.
    """
    if not len(images):
        raise ValueError("there are no images to evaluate: give a split that holds some.")
    spectrum, figures, codes, seconds = OctaveSpectrum(images.pixels.shape[-1]), [], [], 0.0
    start = time.perf_counter()
    for x_hat, x, mu, log_var in reconstructions(model, images, batch_size):
        x_hat[0, 0, 0, 0].item()  # waits until the device has decoded
        seconds += time.perf_counter() - start
        mse = (x_hat - x).square().flatten(1).mean(1)  # (n,)
        figures.append(torch.stack([psnr(x_hat, x), mse, ssim(x_hat, x), sharpness_ratios(x_hat, x)]).cpu())
        codes.append(torch.stack([mu, log_var]).cpu())  # (2, n, latent_dim)
        spectrum.add(x_hat, x)
        start = time.perf_counter()
    decibels, mse, similarity, ratios = torch.cat(figures, dim=1).double()  # (N,) each
    mu, log_var = torch.cat(codes, dim=1)  # (N, latent_dim) each
    return {
        "images": len(images),
        "psnr": decibels.mean().item(),
        "mse": mse.mean().item(),
        "ssim": similarity.mean().item(),
        "sharpness": ratios.quantile(0.5).item(),
        "kl": kl_divergence(mu, log_var).item(),
        "active_units": int((mu.var(dim=0, correction=0) > ACTIVE).sum()),
        "kl_per_latent": kl_per_latent(mu, log_var).tolist(),
        "power_ratio": spectrum.power_ratio,
        "coherence": spectrum.coherence,
        "images_per_second": len(images) / seconds,
    }


def interval(values: Tensor) -> tuple[float, float]:
    """Mean of values (N,), drawn independently, and half the width of its 95 % interval: Student's.

    NaN, for a half-width, where there is a single value. Of images it is the interval over other images of
    the same kind with the same model, and says nothing of another training.
    """
    from scipy.stats import t

    mean, n = values.double().mean().item(), len(values)
    if n < 2:
        return mean, math.nan
    return mean, float(t.ppf(0.975, n - 1)) * values.double().std().item() / math.sqrt(n)


@torch.no_grad()
def fid(
    model: VAE,
    images: Images,
    extractor: nn.Module,
    priors: Mapping[str, Prior] | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, float]:
    """Fréchet distances from the originals to as many reconstructions and to as many samples.

    extractor: pictures (N, 3, S, S), float in [0, 1] -> features (N, F); with ``fid.inception()`` the
    distances are FIDs, with another network they are not and do not compare with any. Returns
    "reconstructions" (from mu), "prior" (samples of N(0, I)) and, under their names, samples of ``priors``.
    ValueError for fewer than two images.
    """
    device, generator = next(model.parameters()).device, torch.Generator().manual_seed(seed)
    distance = FrechetDistance(extractor.to(device))
    with evaluating(extractor):
        for x_hat, x, _, _ in reconstructions(model, images, batch_size):
            distance.add(x, real=True)
            distance.add(x_hat, real=False)
        found = {"reconstructions": distance.compute()}
        for name, prior in {"prior": None, **(priors or {})}.items():
            distance.forget_made()
            for first in range(0, len(images), batch_size):
                n = min(batch_size, len(images) - first)
                distance.add(model.sample(n, prior=prior, generator=generator), real=False)
            found[name] = distance.compute()
    return found


def rate_distortion(measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The curve through several models, such as one recipe at several betas: points by rising rate.

    measured: name -> what ``evaluate`` said of it, all on the same images (Alemi et al., "Fixing a Broken
    ELBO", arXiv 1711.00464: compare models at equal rate, not at equal beta). A point is what the code costs
    ("kl", nats per image) and what is lost for it ("mse", "psnr", "sharpness"), with the name ("run").
    ValueError for other images.
    """
    counts = sorted({figures["images"] for figures in measured.values()})
    if len(counts) > 1:
        raise ValueError(f"the models were measured on {counts} images: expected the same images for all.")
    keys = "kl", "mse", "psnr", "sharpness"
    points = [{"run": run} | {key: figures[key] for key in keys} for run, figures in measured.items()]
    return sorted(points, key=lambda point: point["kl"])
