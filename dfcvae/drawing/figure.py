"""What the features stand on: the wall behind, neck and clothes, ears and head."""

from __future__ import annotations

import torch
from torch import Tensor

from dfcvae.drawing.canvas import Canvas, Patch
from dfcvae.drawing.textures import ellipse, fraction, lattice, mix, palette, sheet, smoothstep, wave, wheel

WALLS = palette("e9c9a6", "d9a58b", "c98f9b", "9f93b8", "86a6c4", "7fb5ad", "a3bd8b", "d8cf94")
# frequencies across (a), down (b) and weights of two waves; the last column sharpens them into shapes
WALL_PATTERNS = torch.tensor((
    (0, 0, 0, 0, 0, 0, 1), (2.6, 2.6, 1, 0, 0, 0, 2), (3.6, 0, 1, 0, 0, 0, 3),
    (3, 3, 0.6, 3, -3, 0.6, 2), (3.2, 0, 0.5, 0, 3.2, 0.5, 4),
))  # fmt: skip
CLOTH_PATTERNS = torch.tensor((
    (0, 0, 0, 0, 0, 0, 1), (0, 6.5, 1, 0, 0, 0, 3), (5.5, 0, 0.5, 0, 5.5, 0.5, 3), (6, 6, 0.5, 6, -6, 0.5, 1),
))  # fmt: skip


def pattern(kind: Tensor, table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Stripes, dots or checks in [-1, 1]; kind (n, 1, 1) in [0, 1] chooses the row of the table."""
    row = (kind.flatten() * len(table)).floor().clamp(max=len(table) - 1).long()
    across, down, weight, across_2, down_2, weight_2, sharpness = table[row].view(-1, 7, 1, 1).unbind(1)
    waves = wave(x * across + y * down) * weight
    return waves.add_(wave(x * across_2 + y * down_2) * weight_2).mul_(sharpness).clamp_(-1, 1)


def wall(canvas: Canvas) -> Tensor:
    """The background: a lit wall with a pattern and the unevenness of its plaster."""
    looks, size = canvas.looks, canvas.size
    x, y = canvas.steps.view(1, 1, -1), canvas.steps.view(1, -1, 1)
    tone = pattern(looks["background_pattern"], WALL_PATTERNS, x, y).mul_(0.065)
    tone += sheet(lattice(looks["texture_seed"].flatten(), 23, 23, salt=2), size).mul_(0.065)
    tone += (x * looks["light_x"] + y * looks["light_y"]) * (0.16 * looks["light_contrast"])
    colour = wheel(WALLS, looks["background_hue"])
    light = (0.35 + 0.75 * looks["background_lightness"]).unsqueeze(1)
    return (colour * light) * (tone + 1).unsqueeze(1)  # (n, 3, size, size)


def body(patch: Patch) -> None:
    """Neck, shoulders and clothes, upright whatever the head does."""
    x, y = patch.canvas.x, patch.canvas.y[:, patch.window[1]]
    side = x.abs()
    neck = torch.maximum(side - (0.185 + 0.04 * (y - 0.6)), 0.25 - y)
    below = ellipse(x - 0.1 * patch["turn"], y - 0.30, 0.42, 0.50)
    shadow = smoothstep(0.75 - below * 4.0).mul_(0.85) + 0.15 * (x * patch["light_x"] * -4).clamp(0, 1)
    patch.fill(neck, mix(patch["skin"], patch["skin_shadow"], shadow.unsqueeze(1)))
    slope = (side - 0.17).clamp_(min=0)
    shoulder = (0.735 + 0.20 * slope + 0.55 * slope * slope - y) * 0.85
    collar = ellipse(x, y - 0.68, 0.235, 0.15 + 0.2 * fraction(patch["style"] * 5))
    skin = mix(patch["skin"], patch["skin_shadow"], (shadow * 0.6).unsqueeze(1))
    patch.fill(shoulder, skin)
    grain = sheet(lattice(patch["texture_seed"].flatten(), 41, 41, salt=6), patch.canvas.size)
    grain = grain[:, patch.window[1]]  # (n, h, size)
    tone = pattern(patch["clothes_pattern"], CLOTH_PATTERNS, x, y).mul_(0.17).add_(grain * 0.13)
    tone += x * patch["light_x"] * (0.35 * patch["light_contrast"])
    tone -= (1 - (collar.abs() - 0.02).clamp(0, 0.03) / 0.03) * 0.18
    patch.fill(torch.maximum(shoulder, -collar), patch["clothes"] * (tone + 1).unsqueeze(1))


def ears(patch: Patch) -> None:
    for side in (-1, 1):
        u = patch.u - side * 0.455 * patch["face_width"] * patch["face_turn"] + 0.07 * patch["turn"]
        v = patch.v - 0.06 - 0.05 * patch["nod"]
        lit = (0.5 + 0.5 * side * patch["light_x"] * patch["light_contrast"]).unsqueeze(1)
        u = u - 0.12 * side * v
        patch.fill(ellipse(u, v, 0.075, 0.125), mix(patch["skin_shadow"], patch["skin"], lit))
        patch.fill(ellipse(u, v - 0.005, 0.038, 0.08), patch["skin_shadow"], 0.55)


def head(patch: Patch) -> Tensor:
    """The face's egg, lit from one side; its cover is what the cheeks may colour."""
    u, v = patch.u, patch.v - 0.03
    narrow = smoothstep((v + 0.02) * 1.6)
    a = (0.455 - 0.10 * narrow) * patch["face_width"]
    nx, ny = u / a, v / 0.595
    q = (nx * nx).add_(ny * ny)
    light = (nx - 0.4 * patch["turn"]) * patch["light_x"] + ny * patch["light_y"] * 0.7
    light = light.mul_(0.55 * patch["light_contrast"]).add_(0.62)
    light -= q * q * (0.16 + 0.14 * patch["light_contrast"])
    light.clamp_(0, 1).unsqueeze_(1)
    colour = mix(patch["skin_shadow"], patch["skin"], (light * 2).clamp(max=1))
    cover = patch.cover((q.sqrt_() - 1) * 0.5)
    patch.lay(cover, mix(colour, patch["skin_light"], (light * 2 - 1).clamp_(min=0)))
    return cover
