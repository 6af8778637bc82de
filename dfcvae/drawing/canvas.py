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
    ends = []
    for axis in (1, 0):
        low, high = min(p[axis] for p in places) - 0.12, max(p[axis] for p in places) + 0.12
        ends += [
            max(0, math.floor((low + 1) / 2 * size) - 1),
            min(size, math.ceil((high + 1) / 2 * size) + 1),
        ]
    return ends[0], ends[1], ends[2], ends[3]


class Patch:
    """A part of the canvas of some of the faces, with the face frame's coordinates u, v at its pixels."""

    def __init__(self, canvas: Canvas, place: tuple[int, int, int, int], rows: Tensor | None = None):
        self.canvas, self.rows = canvas, rows
        self.window = (..., slice(place[0], place[1]), slice(place[2], place[3]))
        self.pixels = self.cut(canvas.pixels)
        self.u, self.v = self.cut(canvas.u), self.cut(canvas.v)
        self.sharpness = self["sharpness"]

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
        cover = self.cover(distance)
        self.lay(cover if isinstance(opacity, (int, float)) and opacity == 1 else cover.mul_(opacity), colour)

    def shade(self, amount: Tensor) -> None:
        """Darken (amount < 0) or lighten the pixels: multiply by 1 + amount (n, h, w)."""
        self.pixels *= (amount + 1).unsqueeze(1)

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
        self.looks = looks = {
            name: value.view(-1, 1, 1) for name, value in factors.items()
        }  # (n,) -> (n, 1, 1)
        steps = (torch.arange(size) + 0.5) * (2 / size) - 1
        sine_roll, cosine_roll = sine(looks["roll"]), cosine(looks["roll"])
        scale = looks["size"] * HEAD_SCALE
        # An upright frame for the body: (n, 1, size) across and (n, size, 1) down.
        self.x = (steps.view(1, 1, -1) - 2 * looks["x"]) / scale
        self.y = (steps.view(1, -1, 1) - 2 * looks["y"]) / scale
        self.u = self.x * cosine_roll + self.y * sine_roll  # (n, size, size)
        self.v = self.y * cosine_roll - self.x * sine_roll
        looks["sharpness"] = scale * (size / 2)
        self.pixels = torch.empty(len(self.x), 3, size, size)

    def patch(self, left: float, right: float, top: float, bottom: float) -> Patch:
        """The face frame between these borders, of all faces."""
        return Patch(self, box(self.size, left, right, top, bottom))

    def patch_of(self, having: str, left: float, right: float, top: float, bottom: float) -> Patch | None:
        """The same of the faces that have something, such as a hat; None if none has it."""
        rows = (self.looks[having].flatten() > 0.5).nonzero().flatten()
        return Patch(self, box(self.size, left, right, top, bottom), rows) if len(rows) else None
