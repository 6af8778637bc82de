"""The canvas of some faces, and the patches of it that the layers are painted on.

It runs from -1 to 1 both ways, v downwards. A face is drawn in its own frame (u, v), in which the neutral
head is about 0.9 wide and 1.2 high. A patch is a part of the canvas known to hold a layer for every face.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from dfcvae.drawing.textures import cosine, sine

Borders = tuple[float, float, float, float]  # left, right, top, bottom in the face frame
HEAD_SCALE = 1.22  # canvas units in one unit of the neutral face


@functools.cache
def box(size: int, left: float, right: float, top: float, bottom: float) -> tuple[int, int, int, int]:
    """Rows and columns that hold a part of the face frame however the head is placed, sized and tilted."""
    places = [
        (scale * (u * math.cos(roll) - v * math.sin(roll)), scale * (u * math.sin(roll) + v * math.cos(roll)))
        for u in (left, right)
        for v in (top, bottom)
        for scale in (0.85 * HEAD_SCALE, 1.1 * HEAD_SCALE)
        for roll in (math.radians(-12), 0, math.radians(12))
    ]
    across, down = zip(*places, strict=True)

    def ends(along: tuple[float, ...]) -> tuple[int, int]:
        low, high = ((end + 1) / 2 * size for end in (min(along) - 0.12, max(along) + 0.12))
        return max(0, math.floor(low) - 1), min(size, math.ceil(high) + 1)

    return *ends(down), *ends(across)


class Patch:
    """A part of the canvas of some of the faces, with the face frame's coordinates u, v at its pixels."""

    def __init__(self, canvas: Canvas, place: tuple[int, int, int, int], rows: Tensor | None = None):
        self.canvas, self.rows = canvas, rows
        self.window = (..., slice(place[0], place[1]), slice(place[2], place[3]))
        self.pixels, self.u, self.v = map(self.cut, (canvas.pixels, canvas.u, canvas.v))
        self.sharpness = self["sharpness"]

    @property
    def strand(self) -> Tensor:
        return self.cut(self.canvas.strand)

    def cut(self, plane: Tensor) -> Tensor:
        """This patch's part of a plane of the canvas, as a contiguous copy."""
        plane = plane[self.window]
        return plane.contiguous() if self.rows is None else plane[self.rows]

    def __getitem__(self, name: str) -> Tensor:
        value = self.canvas.looks[name]
        return value if self.rows is None else value[self.rows]

    def cover(self, distance: Tensor) -> Tensor:
        """How much of each pixel lies inside a shape of this signed distance: anti-aliasing, analytically."""
        return (distance * -self.sharpness).add_(0.5).clamp_(0, 1)

    def lay(self, cover: Tensor, colour: Tensor) -> None:
        """Paint a colour over the pixels, as far as `cover` (n, h, w) says."""
        self.pixels += (colour - self.pixels).mul_(cover.unsqueeze(1))

    def fill(self, distance: Tensor, colour: Tensor, opacity: Tensor | float = 1) -> None:
        """Paint a shape given by its signed distance."""
        self.lay(self.cover(distance).mul_(opacity), colour)

    def put_back(self) -> None:
        target = self.canvas.pixels[self.window]
        if self.rows is None:
            target.copy_(self.pixels)
        else:
            target[self.rows] = self.pixels


class Canvas:
    """The pictures in the making, (n, 3, size, size), and in `looks` all that the layers need to know."""

    def __init__(self, factors: dict[str, Tensor], size: int):
        self.size = size
        self.looks = looks = {name: value.view(-1, 1, 1) for name, value in factors.items()}  # (n, 1, 1)
        self.steps = steps = (torch.arange(size) + 0.5) * (2 / size) - 1
        sine_roll, cosine_roll = sine(looks["roll"]), cosine(looks["roll"])
        scale = looks["size"] * HEAD_SCALE
        # An upright frame for the body: (n, 1, size) across and (n, size, 1) down.
        self.x = (steps.view(1, 1, -1) - 2 * looks["x"]) / scale
        self.y = (steps.view(1, -1, 1) - 2 * looks["y"]) / scale
        self.u = self.x * cosine_roll + self.y * sine_roll  # (n, size, size)
        self.v = self.y * cosine_roll - self.x * sine_roll
        looks["sharpness"] = scale * (size / 2)
        self.pixels = torch.empty(len(self.x), 3, size, size)
        self.strand = torch.empty(len(self.x), size, size)

    def patch(self, borders: Borders, having: str | None) -> Patch | None:
        """The face frame between these borders, of all faces or those `having` a hat; None if none has it."""
        rows = None if having is None else (self.looks[having].flatten() > 0.5).nonzero().flatten()
        if rows is not None and not len(rows):
            return None
        return Patch(self, box(self.size, *borders), rows)
