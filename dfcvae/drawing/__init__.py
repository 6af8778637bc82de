"""The painter: from factors to pictures, layer over layer, from the wall behind to the hat on top."""

from __future__ import annotations

import torch
from torch import Tensor

from dfcvae.drawing import accessories, features
from dfcvae.drawing.canvas import Canvas
from dfcvae.drawing.colours import dress
from dfcvae.drawing.figure import body, ears, head, wall
from dfcvae.drawing.hair import hair_behind, hair_in_front, strands
from dfcvae.drawing.textures import rgb

DRAWING_VERSION = 6  # raise it whenever a pixel changes: caches of drawn faces carry it in their key


def paint(factors: dict[str, Tensor], size: int) -> Tensor:
    """Paint faces. factors: name -> float32 (n,) -> uint8 (n, 3, size, size)."""
    canvas = Canvas(factors, size)
    dress(canvas.looks)
    canvas.pixels = wall(canvas)
    whole = canvas.patch(-2, 2, -2, 2)
    strand = strands(canvas)
    hair_behind(canvas, whole, strand)
    whole.put_back()
    patch = canvas.patch(-2, 2, 0.40, 2)
    body(canvas, patch)
    patch.put_back()
    patch = canvas.patch(-0.60, 0.60, -0.60, 0.68)
    ears(patch)
    features.face(patch, head(patch))
    patch.put_back()
    features.freckles(canvas)
    features.eyes(canvas, strand)
    features.facial_hair(canvas, strand)
    whole = canvas.patch(-2, 2, -2, 2)
    hair_in_front(whole, strand)
    whole.put_back()
    accessories.earrings(canvas)
    accessories.eyeglasses(canvas)
    accessories.hat(canvas)
    looks = canvas.looks
    warm = looks["light_warmth"].unsqueeze(1) * rgb(0.05, 0.0, -0.13)
    pixels = canvas.pixels.mul_((1 + warm) * looks["light_level"].unsqueeze(1))
    return pixels.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
