"""The painter: from factors to pictures, layer over layer, from the wall behind to the hat on top."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dfcvae.drawing import accessories, features, figure, hair
from dfcvae.drawing.canvas import Borders, Canvas, Patch
from dfcvae.drawing.colours import dress
from dfcvae.drawing.textures import rgb

DRAWING_VERSION = 6  # raise it whenever a pixel changes: caches of drawn faces carry it in their key

# What is painted over the wall, first to last; the factor that says who has it, None for all; where it is.
LAYERS: tuple[tuple[Callable[[Patch], None], str | None, Borders], ...] = (
    (hair.behind, None, (-2, 2, -2, 2)),
    (figure.body, None, (-2, 2, 0.40, 2)),
    (features.head_and_face, None, (-0.60, 0.60, -0.60, 0.68)),
    (features.freckles, "freckles", (-0.44, 0.44, -0.02, 0.36)),
    (partial(features.eye_and_brow, side=-1), None, (-0.42, 0.06, -0.30, 0.14)),
    (partial(features.eye_and_brow, side=1), None, (-0.06, 0.42, -0.30, 0.14)),
    (features.mustache, "mustache", (-0.32, 0.32, 0.18, 0.42)),
    (features.goatee, "goatee", (-0.32, 0.32, 0.36, 0.72)),
    (hair.in_front, None, (-2, 2, -2, 2)),
    (accessories.earrings, "earrings", (-0.60, 0.60, 0.12, 0.42)),
    (accessories.eyeglasses, "eyeglasses", (-0.62, 0.62, -0.24, 0.24)),
    (accessories.hat, "hat", (-0.80, 0.80, -0.98, -0.05)),
)


def paint(factors: dict[str, Tensor], size: int) -> Tensor:
    """Paint faces. factors: name -> float32 (n,) -> uint8 (n, 3, size, size)."""
    canvas = Canvas(factors, size)
    looks = canvas.looks
    dress(looks)
    canvas.pixels, canvas.strand = figure.wall(canvas), hair.strands(canvas)
    for layer, having, borders in LAYERS:
        patch = canvas.patch(borders, having)
        if patch:
            layer(patch)
            patch.put_back()
    warm = looks["light_warmth"].unsqueeze(1) * rgb(0.05, 0.0, -0.13)
    pixels = canvas.pixels.mul_((1 + warm) * looks["light_level"].unsqueeze(1))
    return pixels.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
