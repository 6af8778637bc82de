"""Notebook 02: what a layer sees, the patches it answers to, a picture made again from its features alone.

Inversion: Mahendran and Vedaldi, arXiv 1412.0035; here by L-BFGS, with total variation as the only prior.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfcvae.latent import correlations
from dfcvae.vgg import VGGFeatures

PRIOR = 0.2  # weight of the total variation beside the relative feature error, the same for every layer


def receptive_field(layers: Iterable[nn.Module]) -> tuple[int, int]:
    """(side, jump): how wide a square one feature depends on, how far apart two look, in pixels."""
    side, jump = 1, 1
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            sizes = (layer.kernel_size, layer.stride)
            kernel, stride = (size if isinstance(size, int) else size[0] for size in sizes)
            side += (kernel - 1) * jump
            jump *= stride
    return side, jump


def centre_gradient(vgg: VGGFeatures, layer: str, x: Tensor) -> Tensor:
    """How much each pixel of x (1, 3, H, W) moves the layer's centre feature: float (H, W), 0: not."""
    x = x.detach().clone().requires_grad_(True)
    phi = vgg(x)[layer]  # (1, C, h, w)
    (gradient,) = torch.autograd.grad(phi[0, :, phi.shape[2] // 2, phi.shape[3] // 2].sum(), x)
    return gradient[0].abs().sum(dim=0)


def around_grey(pattern: Tensor, largest: float | None = None) -> Tensor:
    """Signed numbers as a picture: grey is 0, white the largest, black as far below. Keeps the shape."""
    largest = pattern.abs().max().item() if largest is None else largest
    return (0.5 + 0.5 * pattern.detach() / max(largest, 1e-12)).clamp(0, 1)


def total_variation(x: Tensor) -> Tensor:
    """Mean length of the step from each pixel of x (N, 3, H, W) to those below and right: a scalar."""
    # 1e-6: a gradient everywhere, also of a flat picture
    down, right = x.diff(dim=2)[..., :-1], x.diff(dim=3)[..., :-1, :]
    return (down.square() + right.square() + 1e-6).sqrt().mean()


def feature_error(phi: Tensor, target: Tensor) -> Tensor:
    """Squared distance of features, relative to the target's own energy, a scalar: 1 if phi is 0."""
    return (phi - target).square().sum() / target.square().sum()


def invert(vgg: VGGFeatures, x: Tensor, steps: int, prior: float = PRIOR, seed: int = 0) -> Tensor:
    """A picture whose features are those of x (1, 3, H, W), found from noise by L-BFGS: float in [0, 1].

    Minimises feature_error + prior * total_variation over the logits of the pixels; ``vgg`` gives one
    layer, and nothing else of x is used. ValueError for more layers.
    """
    if len(vgg.layers) != 1:
        raise ValueError(f"the network gives {', '.join(vgg.layers)}: build one for a single layer.")
    (layer,) = vgg.layers
    with torch.no_grad():
        target = vgg(x)[layer]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    logits = (0.2 * noise).to(x.device).requires_grad_(True)
    # A line search at every step: Adam, with a step of its own for every pixel, leaves the noise in.
    optimizer = torch.optim.LBFGS([logits], max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        x_hat = logits.sigmoid()
        total = feature_error(vgg(x_hat)[layer], target) + prior * total_variation(x_hat)
        total.backward()
        return total

    optimizer.step(loss)
    return logits.detach().sigmoid()


class Answers(NamedTuple):
    """peak: (N, C), each channel's largest value in each picture; place: long (N, C, 2), row and column."""

    peak: Tensor
    place: Tensor


@torch.no_grad()
def answers(vgg: VGGFeatures, layer: str, pictures: Tensor, batch: int = 64) -> Answers:
    """What one layer's channels answer to pictures, uint8 (N, 3, H, W); computed on the network's device."""
    parts = []
    for part in pictures.split(batch):
        phi = vgg(part.to(vgg.mean.device).float() / 255)[layer]
        peak, index = phi.flatten(2).max(dim=2)
        place = torch.stack([index // phi.shape[3], index % phi.shape[3]], dim=-1)
        parts.append((peak.cpu(), place.cpu()))
    return Answers(*map(torch.cat, zip(*parts, strict=True)))


def patches(pictures: Tensor, places: Tensor, side: int, jump: int) -> Tensor:
    """The square of ``side`` pixels that each place sees: (N, 3, side, side), grey beyond the border.

    pictures: uint8 (N, 3, H, W); places: long (N, 2), row and column in a map of every ``jump``-th pixel.
    """
    padded, cut = F.pad(pictures, (side,) * 4, value=128), []
    for picture, place in zip(padded, places.tolist(), strict=True):
        # A place covers `jump` pixels, and what it sees lies evenly around them.
        top, left = (side + index * jump + (jump - side) // 2 for index in place)
        cut.append(picture[:, top : top + side, left : left + side])
    return torch.stack(cut)


def read_out(answers: Tensor, label: Tensor, ridge: float = 1.0) -> float:
    """Pearson's r between a label (N,) and a linear reading of it from answers (N, C).

    Ridge regression on standardised columns, fitted on the first half of the rows, measured on the second.
    """
    half = len(label) // 2
    a = (answers - answers[:half].mean(dim=0)) / answers[:half].std(dim=0).clamp_min(1e-9)
    a, y = a.double(), label.double() - label[:half].double().mean()
    gram = a[:half].T @ a[:half] + ridge * torch.eye(a.shape[1], dtype=a.dtype)
    weights = torch.linalg.solve(gram, a[:half].T @ y[:half])
    return correlations((a[half:] @ weights)[:, None], y[half:, None]).item()
