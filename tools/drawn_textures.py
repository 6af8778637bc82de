"""Drawn colour images that are not faces, with a label for every pixel: what the mini VGG is trained on.

Dead-leaves pictures (Lee, Mumford and Huang, "Occlusion Models for Natural Images", 2001): shapes of many
sizes cover each other at random, each filled with one of a few materials (gratings, checks, dots, cells,
noise of any spectral slope, strands), shaded and lit. A part of each picture may then be spoilt as
decoders spoil pictures: blurred, grainy, overlaid with a periodic grid, made of blocks, over-sharpened.

Shapes are placed independently of one another, so no arrangement of parts, a face's least of all, comes back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

MATERIALS = ("flat", "grating", "stripes", "plaid", "checks", "dots", "cells", "noise", "strands")
FLAWS = ("none", "blur", "grain", "grid", "blocks", "halo")
MATERIALS_PER_IMAGE, SHAPES_PER_IMAGE = 3, 12
LIGHT_NAMES = ("light x", "light y", "shapes", "softness")


class Drawn(NamedTuple):
    """A batch of pictures and what is in them; N pictures of side S."""

    images: Tensor  # float (N, 3, S, S) in [0, 1]
    material: Tensor  # int64 (N, S, S), an index into MATERIALS
    geometry: Tensor  # float (N, 3, S, S): cos and sin of twice the orientation, log2 of cycles per pixel
    oriented: Tensor  # bool (N, S, S): where the material has an orientation
    edges: Tensor  # float (N, S, S): 1 on outlines of shapes
    flaw: Tensor  # int64 (N, S, S), an index into FLAWS
    light: Tensor  # float (N, 4): LIGHT_NAMES, each of order 1


class _Random:
    """Draws of one generator, shaped to broadcast over (N, 1, 1)."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, n: int, low: float = 0.0, high: float = 1.0, dims: int = 2) -> Tensor:
        return low + (high - low) * torch.rand(n, *(1,) * dims, generator=self.generator)

    def log_uniform(self, n: int, low: float, high: float) -> Tensor:
        return low * (high / low) ** self.uniform(n)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def integers(self, n: int, high: int, dims: int = 2) -> Tensor:
        return torch.randint(high, (n, *(1,) * dims), generator=self.generator)


def draw(n: int, generator: torch.Generator, size: int = 64) -> Drawn:
    """n pictures of side ``size`` and their labels; the same generator state gives the same pictures."""
    random = _Random(generator)
    x, y = _warped_grid(random, n, size)
    colours, kinds, geometry = _materials(random, x, y)
    image, worn, edges, light = _dead_leaves(random, x, y, colours)
    kinds = kinds.gather(1, worn.flatten(1)).view(n, size, size)
    geometry = geometry.gather(1, worn.flatten(1)[..., None].expand(-1, -1, 3))  # (N, S * S, 3)
    geometry = geometry.transpose(1, 2).reshape(n, 3, size, size)
    oriented = _is_oriented(kinds)
    image, flaw = _spoil(random, image)
    return Drawn(image, kinds, geometry, oriented, edges, flaw, light)


def _is_oriented(kinds: Tensor) -> Tensor:
    return (kinds >= MATERIALS.index("grating")) & (kinds != MATERIALS.index("cells"))


def coloured_noise(
    random: _Random, n: int, size: int, slope: Tensor, angle: Tensor, stretch: Tensor
) -> Tensor:
    """Gaussian noise (N, S, S), variance 1, whose amplitude falls as frequency ** -slope along ellipses.

    slope, angle (radians), stretch (>= 1, ratio of the axes): (N, 1, 1).
    """
    fy, fx = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :]
    along = (fx * angle.cos() + fy * angle.sin()) * stretch
    across = fy * angle.cos() - fx * angle.sin()
    radius = (along.square() + across.square()).sqrt().clamp_min(1 / size)
    spectrum = torch.fft.rfft2(random.normal(n, size, size)) * radius**-slope
    spectrum[:, 0, 0] = 0
    noise = torch.fft.irfft2(spectrum, s=(size, size))
    return noise / noise.std(dim=(1, 2), keepdim=True).clamp_min(1e-6)


def _warped_grid(random: _Random, n: int, size: int) -> tuple[Tensor, Tensor]:
    """Pixel coordinates (N, S, S), bent by a smooth field in half of the pictures."""
    axis = torch.arange(size, dtype=torch.float32)
    one, bend = torch.ones(n, 1, 1), size / 16 * random.uniform(n) * (random.uniform(n) < 0.5)
    dx, dy = (bend * coloured_noise(random, n, size, 3 * one, 0 * one, one) for _ in range(2))
    return axis[None, None, :] + dx, axis[None, :, None] + dy


def _materials(random: _Random, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of the materials (N, M, 3, S, S), their kinds (N, M) and geometry (N, M, 3)."""
    n, size, m = len(x), x.shape[-1], MATERIALS_PER_IMAGE
    x, y = x.repeat_interleave(m, 0), y.repeat_interleave(m, 0)
    kinds = random.integers(n * m, len(MATERIALS), dims=0)
    angle = torch.pi * random.uniform(n * m)
    frequency = random.log_uniform(n * m, 1 / 24, 1 / 2.8)  # cycles per pixel: periods of 2.8 pixels or more
    field = torch.zeros(n * m, size, size)
    for kind, name in enumerate(MATERIALS):
        here = (kinds == kind).nonzero()[:, 0]
        if name != "flat" and len(here):
            field[here] = _field(random, name, x[here], y[here], angle[here], frequency[here])
    pale, dark = _colours(random, n * m)
    colours = pale + dark * field[:, None]
    geometry = torch.cat([(2 * angle).cos(), (2 * angle).sin(), frequency.log2() + 3], dim=2)
    return colours.view(n, m, 3, size, size), kinds.view(n, m), geometry.view(n, m, 3)


def _field(random: _Random, name: str, x: Tensor, y: Tensor, angle: Tensor, frequency: Tensor) -> Tensor:
    """One material as a scalar field (n, S, S) of order 1."""
    n, size = len(x), x.shape[-1]
    if name == "noise":
        stretch = random.log_uniform(n, 1, 3)
        return 0.5 * coloured_noise(random, n, size, random.uniform(n, 0, 2), angle, stretch)
    if name == "strands":
        slope, stretch = random.uniform(n, 0.8, 1.6), random.log_uniform(n, 6, 16)
        return 0.6 * coloured_noise(random, n, size, slope, angle + torch.pi / 2, stretch)
    if name == "cells":
        return _cells(random, x, y, frequency)
    phase = 2 * torch.pi * frequency
    u = phase * (x * angle.cos() + y * angle.sin()) + 6.3 * random.uniform(n)
    v = phase * (y * angle.cos() - x * angle.sin()) + 6.3 * random.uniform(n)
    if name == "grating":
        return u.cos()
    if name == "stripes":
        return torch.tanh(4 * (u.cos() - random.uniform(n, -0.6, 0.6)))
    if name == "plaid":
        return 0.5 * (u.cos() + v.cos())
    if name == "checks":
        return torch.tanh(6 * u.cos() * v.cos())
    return torch.tanh(4 * (u.cos() + v.cos() - random.uniform(n, 0.2, 1.4)))


def _cells(random: _Random, x: Tensor, y: Tensor, frequency: Tensor) -> Tensor:
    """Worley's cellular texture: the distance to the nearest of 24 random points, in waves."""
    n, size = len(x), x.shape[-1]
    nearest = torch.full_like(x, float("inf"))
    for _ in range(24):
        distance = (x - size * random.uniform(n)).square() + (y - size * random.uniform(n)).square()
        nearest = torch.minimum(nearest, distance)
    return (2 * torch.pi * frequency * nearest.sqrt()).cos()


def _colours(random: _Random, n: int) -> tuple[Tensor, Tensor]:
    """A mean colour and a half difference (n, 3, 1, 1); grey varies most, as it does outdoors."""
    mean = random.uniform(n, 0.1, 0.9, dims=3) + 0.2 * random.uniform(n, dims=3) * random.normal(n, 3, 1, 1)
    grey = random.normal(n, 1, 1, 1).sign() * (random.uniform(n, dims=3) < 0.8)
    contrast = 0.05 * 8 ** random.uniform(n, dims=3)
    return mean, contrast * (grey + 0.5 * random.normal(n, 3, 1, 1))


def _dead_leaves(random: _Random, x: Tensor, y: Tensor, colours: Tensor) -> tuple[Tensor, ...]:
    """Cover the first material with shapes of the others: image, material index, edges, light."""
    n, size = len(x), x.shape[-1]
    image, worn = colours[:, 0].clone(), torch.zeros(n, size, size, dtype=torch.int64)
    edges = torch.zeros(n, size, size)
    count, softness = random.integers(n, SHAPES_PER_IMAGE + 1), random.log_uniform(n, 0.5, 3)
    light = random.normal(n, 2, 1, 1)
    every = torch.arange(n)
    for i in range(SHAPES_PER_IMAGE):
        distance, u, v = _shape(random, x, y)
        cover = torch.sigmoid(-3 * distance / softness) * (count > i)
        chosen = random.integers(n, MATERIALS_PER_IMAGE, dims=0)
        tint = 0.2 * random.normal(n, 1, 1, 1) + 0.08 * random.normal(n, 3, 1, 1)
        relief = 0.12 * random.uniform(n) * (light[:, 0] * u + light[:, 1] * v).clamp(-2, 2)
        leaf = colours[every, chosen] + tint + relief[:, None]
        image += cover[:, None] * (leaf - image)
        worn = torch.where(cover > 0.5, chosen[:, None, None], worn)
        outline = (1 - distance.abs()).clamp_min(0) * (count > i)
        edges = torch.maximum(edges * (1 - cover), outline)
    slope = (x * light[:, 0] + y * light[:, 1]) / size - light.sum(1) / 2
    image = image * (1 + 0.25 * slope[:, None]) + 0.1 * random.normal(n, 1, 1, 1)
    labels = [light[:, :, 0, 0], count[:, 0] / 6 - 1, softness[:, 0].log()]
    return image, worn, edges, torch.cat(labels, dim=1)


def _shape(random: _Random, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One superellipse a picture, filled or an outline: distance to its edge in pixels, own coordinates."""
    n, size = len(x), x.shape[-1]
    angle, power = torch.pi * random.uniform(n), random.log_uniform(n, 1, 8)
    radius = size * random.log_uniform(n, 0.03, 0.6)  # sizes follow a power law, as in dead leaves
    aspect = random.log_uniform(n, 0.12, 1)
    dx, dy = x - size * random.uniform(n, -0.1, 1.1), y - size * random.uniform(n, -0.1, 1.1)
    u = (dx * angle.cos() + dy * angle.sin()) / radius
    v = (dy * angle.cos() - dx * angle.sin()) / (radius * aspect)
    level = (u.abs().clamp_min(1e-4) ** power + v.abs().clamp_min(1e-4) ** power) ** (1 / power)
    distance = (level - 1) * radius * aspect.sqrt()
    width = random.uniform(n, 0.6, 2.5)
    return torch.where(random.uniform(n) < 0.25, distance.abs() - width, distance), u, v


def _spoil(random: _Random, image: Tensor) -> tuple[Tensor, Tensor]:
    """Spoil one region of each picture in one way: the picture in [0, 1], and which flaw is where.

    A lens blurs everything a little at the end, as in photographs: single pixels carry little.
    """
    n, size = len(image), image.shape[-1]
    kind = random.integers(n, len(FLAWS), dims=3)
    blurred = _blur(image, random.log_uniform(n, 1, 4)[:, None])
    base = torch.where(random.uniform(n, dims=3) < 0.5, image, blurred)
    coarse = F.interpolate(F.avg_pool2d(image, 4), scale_factor=4)
    choices = {
        "blur": blurred,
        "grain": image + 0.04 * 6 ** random.uniform(n, dims=3) * _mostly_grey(random, n, size, size),
        "grid": base + _grid(random, n, size),
        "blocks": coarse,
        "halo": image + random.uniform(n, 0.7, 2, dims=3) * (image - blurred),
    }
    spoilt = image
    for name, choice in choices.items():
        spoilt = torch.where(kind == FLAWS.index(name), choice, spoilt)
    one = torch.ones(n, 1, 1)
    smooth = coloured_noise(random, n, size, 3 * one, 0 * one, one)
    region = (smooth > random.uniform(n, -1.5, 0.5))[:, None]
    image = _blur(torch.where(region, spoilt, image), random.uniform(n, 0.4, 0.8, dims=3))
    return image.clamp(0, 1), (kind * region)[:, 0]


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, sigma in pixels (N, 1, 1, 1), by its transfer function."""
    size = image.shape[-1]
    padded = F.pad(image, (8, 8, 8, 8), mode="reflect")
    fy, fx = torch.fft.fftfreq(size + 16)[:, None], torch.fft.rfftfreq(size + 16)[None, :]
    transfer = torch.exp(-2 * (torch.pi * sigma) ** 2 * (fx.square() + fy.square()))
    return torch.fft.irfft2(torch.fft.rfft2(padded) * transfer, s=(size + 16,) * 2)[..., 8:-8, 8:-8]


def _mostly_grey(random: _Random, n: int, *size: int) -> Tensor:
    """White noise (n, 3, *size) whose channels agree for the most part."""
    return random.normal(n, 1, *size) + 0.3 * random.normal(n, 3, *size)


def _grid(random: _Random, n: int, size: int) -> Tensor:
    """A tile of dots and lines, repeated with period 4 or 8: the patterns that decoders invent."""
    pattern = torch.zeros(n, 3, size, size)
    coarse = random.uniform(n, dims=3) < 0.5
    for period in (4, 8):
        sides, times = ((period, period), (period, 1), (1, period)), size // period
        tile = sum(_mostly_grey(random, n, *side) for side in sides)  # (n, 3, period, period)
        pattern = torch.where(coarse == (period == 8), tile.repeat(1, 1, times, times), pattern)
    return pattern * 0.015 * 10 ** random.uniform(n, dims=3)
