"""Shapes, waves, noise and palettes: the pencils that the painter draws with.

Only sums, products, quotients, square roots, roundings and comparisons of float32 are used. These round
the same way in a vector unit and outside it, where sines need not: so a face does not depend on its
neighbours in the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MASK = 0x7FFFFFFF


def smoothstep(t: Tensor) -> Tensor:
    """0 below 0, 1 above 1, and 3t^2 - 2t^3 between."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def fraction(t: Tensor) -> Tensor:
    """What a number has beyond a whole one, in [0, 1)."""
    return t - t.floor()


def wave(t: Tensor) -> Tensor:
    """A sine of period 1, drawn with parabolas: exact arithmetic instead of a library's sine."""
    t = t - t.round()
    return t * (8 - 16 * t.abs())


def sine(degrees: Tensor) -> Tensor:
    """Sine of a small angle in degrees, by its series."""
    t = degrees * 0.017453292
    return t - t * t * t / 6


def cosine(degrees: Tensor) -> Tensor:
    """Cosine of a small angle in degrees, by its series."""
    t = degrees * 0.017453292
    return 1 - t * t / 2 + t * t * t * t / 24


def ellipse(u: Tensor, v: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """Signed distance to an ellipse about the origin, to first order near its edge (negative inside)."""
    u, v = u / a, v / b
    near = (u * u + v * v).sqrt_().clamp_(min=1e-3)
    slope = ((u / a).square_() + (v / b).square_()).sqrt_().clamp_(min=1e-3)
    return (near - 1).mul_(near).div_(slope)


def blob(u: Tensor, v: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """A soft round spot: 1 at the origin, falling smoothly to 0 on the ellipse with half axes a, b."""
    u, v = u / a, v / b
    return (1 - (u.square_() + v.square_())).clamp_(min=0).square_()


def lattice(seed: Tensor, rows: int, cols: int, salt: int) -> Tensor:
    """Random numbers in [-1, 1) that depend on the seed alone. seed (n,) -> (n, rows, cols)."""
    place = (torch.arange(rows * cols) * 0x2C1B3C6D + salt * 0x297A2D39) & _MASK
    bits = (seed.long().unsqueeze(1) * 0x3C6EF372 & _MASK) ^ place  # (n, rows * cols)
    for factor in (0x45D9F3B, 0x119DE1F3):  # a 31-bit number times a 29-bit one stays inside 63 bits
        bits = ((bits ^ (bits >> 15)) * factor) & _MASK
    bits = bits ^ (bits >> 16)
    return ((bits & 0xFFFFFF).float() * 2**-23 - 1).view(-1, rows, cols)


def sheet(points: Tensor, size: int) -> Tensor:
    """Stretch a lattice over the picture, linear between its points. (n, rows, cols) -> (n, size, size)."""
    for axis in (1, 2):
        cells = points.shape[axis] - 1
        place = (torch.arange(size) + 0.5) * (cells / size)
        left = place.floor().long()
        part = (place - left).view((-1, 1) if axis == 1 else (1, -1))
        here = points.index_select(axis, left)
        points = here + part * (points.index_select(axis, left + 1) - here)
    return points


def look_up(points: Tensor, s: Tensor, t: Tensor, exact: bool = False) -> Tensor:
    """Lattices read at places s (across), t (down) in [-1, 1]. (n, c, rows, cols), (n, h, w) -> (n, c, h, w)

    Linear between the points, the outermost of which lie at -1 and 1; `exact` takes the cell's own value,
    and then the cells fill [-1, 1] from edge to edge.
    """
    grid = torch.stack((s, t), dim=-1)  # (n, h, w, 2)
    return F.grid_sample(
        points, grid, mode="nearest" if exact else "bilinear", padding_mode="border", align_corners=not exact
    )


def ramp(colours: Tensor, t: Tensor) -> Tensor:
    """The colour at t in [0, 1] on a scale of k colours. (k, 3), (n, 1, 1) -> (n, 3, 1, 1)."""
    place = t.flatten().clamp(0, 1) * (len(colours) - 1)
    left = place.floor().clamp(max=len(colours) - 2).long()
    part = (place - left).unsqueeze(1)
    return (colours[left] + part * (colours[left + 1] - colours[left])).view(-1, 3, 1, 1)


def wheel(colours: Tensor, t: Tensor) -> Tensor:
    """Like `ramp`, on a closed ring of colours: t = 0 and t = 1 are the same colour."""
    return ramp(torch.cat((colours, colours[:1])), t)


def palette(*codes: str) -> Tensor:
    """Hexadecimal colours such as "f1cfb4" -> (k, 3) in [0, 1]."""
    return torch.tensor([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes])


def grey(colour: Tensor) -> Tensor:
    """Lightness of a colour, (n, 3, 1, 1) -> (n, 1, 1, 1)."""
    red, green, blue = colour.split(1, dim=1)
    return 0.3 * red + 0.59 * green + 0.11 * blue


def mix(first: Tensor, second: Tensor, t: Tensor | float) -> Tensor:
    """`first` at t = 0, `second` at t = 1."""
    return first + t * (second - first)


def rgb(red: float, green: float, blue: float) -> Tensor:
    """One colour for all faces and pixels, (1, 3, 1, 1)."""
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1)
