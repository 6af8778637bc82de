"""What is done to a picture to see which distance finds it worse: shift, blur, noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shift(x: Tensor, pixels: int) -> Tensor:
    """To the right; the pixels of the left border are repeated. x: (N, 3, S, S)."""
    return F.pad(x, (pixels, 0, 0, 0), mode="replicate")[..., : x.shape[-1]]


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, sigma in pixels; the border's pixels are repeated. x: (N, 3, S, S)."""
    reach = round(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype)
    weights = torch.softmax(-offsets.square() / (2 * sigma**2), dim=0)
    kernel = (weights[:, None] * weights).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(x, (reach,) * 4, mode="replicate"), kernel, groups=3)


def noisy(x: Tensor, sigma: float = 0.05, seed: int = 0) -> Tensor:
    """With Gaussian noise of standard deviation ``sigma``, kept in [0, 1]. x: (N, 3, S, S)."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return (x + sigma * noise).clamp(0, 1)
