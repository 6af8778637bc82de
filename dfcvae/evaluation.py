"""The numbers: how near reconstructions are to their originals, how sharp, and what the code costs.

Reconstructions are decoded from mu, without noise, as float in [0, 1]. Grey is the mean of the channels.
Everything here takes images in batches and keeps sums, so memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfcvae.datasets import Images
from dfcvae.device import layout
from dfcvae.fid import FrechetDistance, frechet_distance
from dfcvae.latent import Mixture, kl_per_latent
from dfcvae.spectra import OctaveSpectrum
from dfcvae.streams import Moments, Stopwatch, median, widest
from dfcvae.vae import VAE, kl_divergence

__all__ = [
    "ACTIVE",
    "OctaveSpectrum",
    "RatePoint",
    "evaluate",
    "fid",
    "frechet_distance",
    "kl_divergence",
    "laplacian",
    "laplacian_variance",
    "psnr",
    "rate_distortion",
    "reconstructions",
    "sharpness",
    "sharpness_ratios",
    "ssim",
]

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
    return median(sharpness_ratios(x_hat, x))


def ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Structural similarity of each image, from torchmetrics with data_range 1: (N,)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    return structural_similarity_index_measure(x_hat, x, data_range=1.0, reduction="none")


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


@torch.no_grad()
def evaluate(model: VAE, images: Images, batch_size: int = 64) -> dict[str, float | int | list[float]]:
    """Means over the images: psnr (dB), mse, ssim, kl (nats); the median sharpness; spectra by octave.

    kl_per_latent: nats of each latent, which add up to kl. active_units: how many latents have a mu whose
    variance over the images is above 0.01 (Burda, Grosse and Salakhutdinov, arXiv 1509.00519).
    images_per_second is that of reading, encoding and decoding, without the figures.

    The median needs every image's sharpness, 4 bytes each (0.8 MB for all of CelebA); of all else there are
    sums, on the model's device. Raises ValueError for an empty set.
    """
    if not len(images):
        raise ValueError("there are no images to evaluate: give a split that holds some.")
    device = next(model.parameters()).device
    spectrum, measures, means = OctaveSpectrum(images.pixels.shape[-1]), Moments(), Moments()
    ratios, done = torch.empty(len(images), device=device), 0
    kl = nats = torch.zeros((), dtype=widest(device), device=device)
    watch = Stopwatch(device)
    watch.start()
    for x_hat, x, mu, log_var in reconstructions(model, images, batch_size):
        watch.stop()
        mse = (x_hat - x).square().flatten(1).mean(1)
        measures.add(torch.stack([psnr(x_hat, x), mse, ssim(x_hat, x)], dim=1))
        means.add(mu)
        kl = kl + kl_divergence(mu, log_var).to(kl.dtype) * (len(x) / len(images))
        nats = nats + kl_per_latent(mu, log_var).to(nats.dtype) * (len(x) / len(images))
        ratios[done : done + len(x)] = sharpness_ratios(x_hat, x)
        spectrum.add(x_hat, x)
        done += len(x)
        watch.start()
    mean = dict(zip(("psnr", "mse", "ssim"), measures.mean.tolist(), strict=True))
    return {
        "images": len(images),
        "psnr": mean["psnr"],
        "mse": mean["mse"],
        "ssim": mean["ssim"],
        "sharpness": median(ratios),
        "kl": kl.item(),
        "active_units": int((means.variance > ACTIVE).sum()),
        "kl_per_latent": nats.tolist(),
        "power_ratio": spectrum.power_ratio,
        "coherence": spectrum.coherence,
        "images_per_second": len(images) / watch.seconds(),
    }


@torch.no_grad()
def fid(
    model: VAE,
    images: Images,
    extractor: nn.Module,
    mixture: Mixture | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, float]:
    """Fréchet distances from the originals to as many reconstructions and to as many samples.

    extractor: pictures (N, 3, S, S), float in [0, 1], -> features (N, F); with ``frechet.inception()`` the
    distances are FIDs, with another network they are not and do not compare with any. Returns
    "reconstructions" (from mu), "prior" (samples at temperature 1) and, where a mixture of codes is given,
    "mixture". Nothing but sums is kept. ValueError for fewer than two images.
    """
    device, generator = next(model.parameters()).device, torch.Generator().manual_seed(seed)
    samplers = {"prior": lambda n: model.sample(n, generator=generator)}
    if mixture is not None:
        samplers["mixture"] = lambda n: model.decode(mixture.sample(n, generator=generator).to(device))
    distance = FrechetDistance(extractor.to(device))
    with evaluating(model), evaluating(extractor):
        for x_hat, x, _, _ in reconstructions(model, images, batch_size):
            distance.add(x, real=True)
            distance.add(x_hat, real=False)
        found = {"reconstructions": distance.compute()}
        for name, sample in samplers.items():
            distance.forget_made()
            for first in range(0, len(images), batch_size):
                distance.add(sample(min(batch_size, len(images) - first)), real=False)
            found[name] = distance.compute()
    return found


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode, and afterwards in the mode in which it was."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


class RatePoint(NamedTuple):
    """One trained model: what its code costs, nats per image, and what it loses for it."""

    run: str
    kl: float
    mse: float
    psnr: float
    sharpness: float


def rate_distortion(measured: Mapping[str, Mapping[str, Any]]) -> list[RatePoint]:
    """The curve through several models, such as one recipe at several betas: points by rising rate.

    measured: name -> what ``evaluate`` said of it, all on the same images (Alemi et al., "Fixing a Broken
    ELBO", arXiv 1711.00464: compare models at equal rate, not at equal beta). ValueError for other images.
    """
    counts = {figures["images"] for figures in measured.values()}
    if len(counts) > 1:
        raise ValueError(
            f"the models were measured on {sorted(counts)} images: expected the same images for all."
        )
    points = [
        RatePoint(name, *(figures[key] for key in RatePoint._fields[1:]))
        for name, figures in measured.items()
    ]
    return sorted(points, key=lambda point: point.kl)
