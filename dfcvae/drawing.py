"""The painter: from factors to pictures, layer over layer, from the wall behind to the hat on top.

The canvas runs from -1 to 1 both ways, v downwards. A face is drawn in its own frame (u, v), in which the neutral head
is about 0.9 wide and 1.2 high. Each layer works on a `Patch`: a part of the canvas known to hold it for every face.
"""
from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from dfcvae import features
from dfcvae.textures import (blob, cosine, ellipse, lattice, look_up, mix, palette, ramp, sheet, sine, smoothstep, wave,
                             wheel)

HEAD_SCALE = 1.12  # canvas units in one unit of the neutral face
DRAWING_VERSION = 1  # raise it whenever a pixel changes: caches of drawn faces carry it in their key

SKIN = palette("4a2c20", "6b4130", "8f5b40", "b57f5a", "d6a37c", "ecc3a0", "fae6db")
HAIR = palette("17131a", "3a251f", "6b402a", "9a6840", "cfa05c", "ecd08c")
EYES = palette("3b2318", "6e4a25", "5d7a44", "3f7f9c")
WALLS = palette("e9c9a6", "d9a58b", "c98f9b", "9f93b8", "86a6c4", "7fb5ad", "a3bd8b", "d8cf94")
CLOTHES = palette("c8553d", "e0a13a", "6a8d4f", "2f7f86", "34558b", "6b4a86", "b04a6f", "3b3a45", "e8ddca")
# frequencies across (a), down (b) and weights of two waves; the last column sharpens them into shapes
WALL_PATTERNS = torch.tensor([[0, 0, 0, 0, 0, 0, 1], [2.6, 2.6, 1, 0, 0, 0, 2], [3.6, 0, 1, 0, 0, 0, 3],
                              [3, 3, .6, 3, -3, .6, 2], [3.2, 0, .5, 0, 3.2, .5, 4]])
CLOTH_PATTERNS = torch.tensor([[0, 0, 0, 0, 0, 0, 1], [0, 6.5, 1, 0, 0, 0, 3], [5.5, 0, .5, 0, 5.5, .5, 3],
                               [6, 6, .5, 6, -6, .5, 1]])


@functools.lru_cache(maxsize=None)
def box(size: int, left: float, right: float, top: float, bottom: float) -> tuple[int, int, int, int]:
    """Rows and columns that hold a part of the face frame however the head is placed, sized and tilted."""
    places = [(scale * (u * math.cos(roll) - v * math.sin(roll)), scale * (u * math.sin(roll) + v * math.cos(roll)))
              for u in (left, right) for v in (top, bottom) for scale in (0.85 * HEAD_SCALE, 1.1 * HEAD_SCALE)
              for roll in (math.radians(-12), 0, math.radians(12))]
    ends = []
    for axis in (1, 0):
        low, high = min(p[axis] for p in places) - 0.12, max(p[axis] for p in places) + 0.12
        ends += [max(0, math.floor((low + 1) / 2 * size) - 1), min(size, math.ceil((high + 1) / 2 * size) + 1)]
    return tuple(ends)


class Patch:
    """A part of the canvas of some of the faces, with the face frame's coordinates u, v at its pixels."""

    def __init__(self, canvas: "Canvas", place: tuple[int, int, int, int], rows: Tensor | None = None):
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
        """How much of each pixel lies inside a shape of this signed distance: anti-aliasing without more samples."""
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
    """The pictures in the making, (n, 3, size, size) in [0, 1], and all that the layers need to know of the faces."""

    def __init__(self, factors: dict[str, Tensor], size: int):
        self.size = size
        self.looks = looks = {name: value.view(-1, 1, 1) for name, value in factors.items()}
        steps = (torch.arange(size) + 0.5) * (2 / size) - 1
        sine_roll, cosine_roll = sine(looks["roll"]), cosine(looks["roll"])
        scale = looks["size"] * HEAD_SCALE
        self.x = (steps.view(1, 1, -1) - 2 * looks["x"]) / scale  # (n, 1, size): an upright frame for the body
        self.y = (steps.view(1, -1, 1) - 2 * looks["y"]) / scale  # (n, size, 1)
        self.u = self.x * cosine_roll + self.y * sine_roll  # (n, size, size)
        self.v = self.y * cosine_roll - self.x * sine_roll
        looks["sharpness"] = scale * (size / 2)
        dress(looks)
        self.pixels = wall(self)

    def patch(self, left: float, right: float, top: float, bottom: float, having: str | None = None) -> Patch | None:
        """The part of the face frame between these borders; of the faces `having` something only, None if there is none."""
        place = box(self.size, left, right, top, bottom)
        if having is None:
            return Patch(self, place)
        rows = (self.looks[having].flatten() > 0.5).nonzero().flatten()
        return Patch(self, place, rows) if len(rows) else None


def dress(looks: dict[str, Tensor]) -> None:
    """Add to the factors what follows from them: turns of the head, colours, and what hides what."""
    looks["turn"], looks["face_turn"] = sine(looks["yaw"]), cosine(looks["yaw"])
    looks["nod"] = sine(looks["pitch"])
    skin = ramp(SKIN, looks["skin_tone"])
    tint = looks["skin_undertone"].unsqueeze(1) * torch.tensor([0.0, 0.01, -0.05]).view(1, 3, 1, 1)
    looks["skin"] = (skin + tint).clamp(0, 1)
    looks["skin_shadow"] = looks["skin"] * torch.tensor([0.70, 0.58, 0.58]).view(1, 3, 1, 1)
    looks["skin_light"] = looks["skin"] + (1 - looks["skin"]) * torch.tensor([0.20, 0.17, 0.13]).view(1, 3, 1, 1)
    hair = ramp(HAIR, looks["hair_lightness"])
    red = (looks["hair_warmth"] - 0.3).unsqueeze(1) * torch.tensor([0.16, -0.03, -0.10]).view(1, 3, 1, 1)
    silver = (0.35 + 0.5 * looks["hair_lightness"]).unsqueeze(1) * torch.tensor([1.0, 1.0, 1.04]).view(1, 3, 1, 1)
    looks["hair"] = mix((hair + red).clamp(0.05, 1), silver, looks["hair_grey"].unsqueeze(1)).clamp(0, 1)
    features.choose_colours(looks)
    looks["iris"] = ramp(EYES, looks["eye_colour"])
    looks["clothes"] = wheel(CLOTHES, looks["clothes_hue"])
    looks["hat_colour"] = wheel(CLOTHES, looks["style"] * 3 % 1)
    looks["has_hair"] = (looks["bald"] <= 0.5).float()
    looks["fringe"] = ((looks["bangs"] > 0.5) & (looks["hat"] <= 0.5)).float()


def pattern(kind: Tensor, table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Stripes, dots or checks in [-1, 1]; kind (n, 1, 1) in [0, 1] chooses the row of the table."""
    row = (kind.flatten() * len(table)).floor().clamp(max=len(table) - 1).long()
    across, down, weight, across_2, down_2, weight_2, sharpness = table[row].view(-1, 7, 1, 1).unbind(1)
    waves = wave(x * across + y * down) * weight
    return waves.add_(wave(x * across_2 + y * down_2) * weight_2).mul_(sharpness).clamp_(-1, 1)


def wall(canvas: Canvas) -> Tensor:
    """The background: a lit wall with a pattern and the grain of its plaster."""
    looks, size = canvas.looks, canvas.size
    seed = looks["texture_seed"].flatten()
    steps = (torch.arange(size) + 0.5) * (2 / size) - 1
    x, y = steps.view(1, 1, -1), steps.view(1, -1, 1)
    drift = lattice(seed, 1, 2, salt=1).view(-1, 2, 1, 1)
    tone = pattern(looks["background_pattern"], WALL_PATTERNS, x + drift[:, 0], y + drift[:, 1]).mul_(0.09)
    tone += sheet(lattice(seed, 10, 40, salt=2), size).mul_(0.07)  # the linen's threads: down,
    tone += sheet(lattice(seed, 40, 10, salt=3), size).mul_(0.07)  # and across
    tone += (x * looks["light_x"] + y * looks["light_y"]) * (0.16 * looks["light_contrast"])
    colour = wheel(WALLS, looks["background_hue"])
    light = (0.35 + 0.75 * looks["background_lightness"]).unsqueeze(1)
    return (colour * light) * (tone + 1).unsqueeze(1)  # (n, 3, size, size)


def strands(canvas: Canvas) -> Tensor:
    """Stochastic strands in [-1, 1] that follow the hair's flow from the parting down. (n, size, size)"""
    looks, u, v = canvas.looks, canvas.u, canvas.v
    down = (v * 1.2 + 0.9).clamp_(0, 1)
    spread = down * (2 - down) * 0.3 + 0.26
    s = (u - (1 - down) * (looks["hair_parting"] * 0.2)).div_(spread)
    s += wave(v * 1.7 + 0.15 * u + looks["hair_seed"] / 97 % 1).mul_(looks["wavy_hair"] * 0.22)
    points = lattice(looks["hair_seed"].flatten(), 8, 44, salt=4)
    points = points + lattice(looks["hair_seed"].flatten(), 1, 44, salt=5)
    return look_up(points.unsqueeze(1), s.mul_(0.55), v)[:, 0].mul_(0.7)


def hair_outline(patch: Patch, ragged: Tensor) -> Tensor:
    """Signed distance to the whole mass of hair, as if no face were in front of it."""
    a, b = 0.495 + 0.07 * patch["hair_volume"], 0.60 + 0.09 * patch["hair_volume"]
    u = patch.u - 0.06 * patch["turn"]
    outline = ellipse(u, (patch.v + 0.08).clamp_(max=0), a, b)
    curls = smoothstep((patch.v + 0.55) * 2).mul_(patch["wavy_hair"] * 0.035)
    outline += wave(patch.v * 2.1 + u + patch["hair_seed"] / 97 % 1).mul_(curls)
    ends = mix(0.0, 1.0, patch["hair_length"]) + 0.02
    tips = patch.v - (ends - (u * u) * (0.3 + 0.4 * patch["hair_length"])) + ragged * 0.05
    return torch.maximum(outline, tips)


def hair_behind(canvas: Canvas, patch: Patch, strand: Tensor) -> None:
    colour = patch["hair"].mul(0.62) * (1 + 0.3 * strand.unsqueeze(1))
    patch.lay(patch.cover(hair_outline(patch, strand)).mul_(patch["has_hair"]), colour)


def hair_in_front(patch: Patch, strand: Tensor) -> None:
    """The hair over the head: all of the outline but a window for the face, and the bangs."""
    u, v = patch.u, patch.v
    shift = 0.20 * patch["turn"] - 0.05 * patch["hair_parting"]
    lean = 0.16 * patch["hair_parting"] * (u - shift)
    window = ellipse(u - shift, (v - 0.20 + lean).clamp_(max=0), 0.395 * patch["face_width"], 0.645)
    low = 0.235 - 0.1 * patch["nod"]
    fringe = v + low + (1 - patch["fringe"]) * 0.6 + 0.25 * (u - shift) * (u - shift) + 0.045 * strand
    outline = hair_outline(patch, strand)
    inner = torch.minimum(-window, fringe)
    shadow = (1 - inner / 0.085).clamp_(0, 1).mul_(patch.cover(outline)).mul_(patch["has_hair"] * -0.28)
    cover = patch.cover(torch.maximum(outline, inner)).mul_(patch["has_hair"])
    ring = v + 0.50 - 0.45 * u * u - 0.03 * strand
    gloss = blob(ring, u - 0.3 * patch["light_x"], 0.12, 0.5)
    light = (u * patch["light_x"] + v * patch["light_y"]) * (0.5 * patch["light_contrast"])
    tone = light.add_(strand * 0.27).add_(1)
    colour = patch["hair"] * tone.unsqueeze(1) + (patch["hair_gloss"] * (gloss + 0.25 * strand).unsqueeze(1))
    patch.shade(shadow)
    patch.lay(cover, colour)


def body(canvas: Canvas, patch: Patch) -> None:
    """Neck, shoulders and clothes, upright whatever the head does."""
    x, y = canvas.x, canvas.y[:, patch.window[1]]
    side = x.abs()
    neck = torch.maximum(side - (0.185 + 0.04 * (y - 0.6)), 0.25 - y)
    below = ellipse(x - 0.1 * patch["turn"], y - 0.30, 0.42, 0.50)
    shadow = smoothstep(0.75 - below * 4.0).mul_(0.85) + 0.15 * (x * patch["light_x"] * -4).clamp(0, 1)
    patch.fill(neck, mix(patch["skin"], patch["skin_shadow"], shadow.unsqueeze(1)))
    slope = (side - 0.17).clamp_(min=0)
    shoulder = (0.735 + 0.20 * slope + 0.55 * slope * slope - y) * 0.85
    collar = ellipse(x, y - 0.68, 0.235, 0.15 + 0.2 * (patch["style"] * 5 % 1))
    skin = mix(patch["skin"], patch["skin_shadow"], (shadow * 0.6).unsqueeze(1))
    patch.fill(shoulder, skin)
    grain = sheet(lattice(patch["texture_seed"].flatten(), 41, 41, salt=6), canvas.size)[:, patch.window[1]]
    tone = pattern(patch["clothes_pattern"], CLOTH_PATTERNS, x, y).mul_(0.17).add_(grain * 0.13)
    tone += x * patch["light_x"] * (0.35 * patch["light_contrast"])
    tone -= (1 - (collar.abs() - 0.02).clamp(0, 0.03) / 0.03) * 0.18
    patch.fill(torch.maximum(shoulder, -collar), patch["clothes"] * (tone + 1).unsqueeze(1))


def ears(patch: Patch) -> None:
    for side in (-1, 1):
        u = patch.u - side * 0.455 * patch["face_width"] * patch["face_turn"] + 0.07 * patch["turn"]
        v = patch.v - 0.06 - 0.05 * patch["nod"]
        lit = (0.5 + 0.5 * side * patch["light_x"] * patch["light_contrast"]).unsqueeze(1)
        patch.fill(ellipse(u - 0.12 * side * v, v, 0.075, 0.125), mix(patch["skin_shadow"], patch["skin"], lit))
        patch.fill(ellipse(u - 0.12 * side * v, v - 0.005, 0.038, 0.08), patch["skin_shadow"], 0.55)


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
    half = (light * 2).clamp(max=1)
    colour = mix(mix(patch["skin_shadow"], patch["skin"], half), patch["skin_light"], (light * 2 - 1).clamp_(min=0))
    cover = patch.cover((q.sqrt_() - 1) * 0.5)
    patch.lay(cover, colour)
    return cover


def paint(factors: dict[str, Tensor], size: int) -> Tensor:
    """Paint faces. factors: name -> float32 (n,) -> uint8 (n, 3, size, size)."""
    canvas = Canvas(factors, size)
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
    features.earrings(canvas)
    features.eyeglasses(canvas)
    features.hat(canvas)
    looks = canvas.looks
    warm = looks["light_warmth"].unsqueeze(1) * torch.tensor([0.05, 0.0, -0.11]).view(1, 3, 1, 1)
    pixels = canvas.pixels.mul_((1 + warm) * looks["light_level"].unsqueeze(1))
    return pixels.mul_(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
