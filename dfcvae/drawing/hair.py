"""Hair: its strands, the mass behind the head and the part before it."""

from __future__ import annotations

import torch
from torch import Tensor

from dfcvae.drawing.canvas import Canvas, Patch
from dfcvae.drawing.textures import blob, ellipse, fraction, lattice, look_up, smoothstep, wave


def strands(canvas: Canvas) -> Tensor:
    """Stochastic strands in [-1, 1] that follow the hair's flow from the parting down. (n, size, size)"""
    looks, u, v = canvas.looks, canvas.u, canvas.v
    down = (v * 1.2 + 0.9).clamp_(0, 1)
    spread = down * (2 - down) * 0.28 + 0.36
    s = (u - (1 - down) * (looks["hair_parting"] * 0.2)).div_(spread)
    s += wave(v * 1.7 + 0.15 * u + fraction(looks["hair_seed"] / 97)).mul_(looks["wavy_hair"] * 0.22)
    seed = looks["hair_seed"].flatten()
    points = lattice(seed, 8, 36, salt=4) + lattice(seed, 1, 36, salt=5)
    return look_up(points.unsqueeze(1), s.mul_(0.55), v)[:, 0].mul_(0.7)


def outline_of(patch: Patch) -> Tensor:
    """Signed distance to the whole mass of hair, as if no face were in front of it."""
    a, b = 0.495 + 0.07 * patch["hair_volume"], 0.60 + 0.09 * patch["hair_volume"]
    u = patch.u - 0.06 * patch["turn"]
    outline = ellipse(u, (patch.v + 0.08).clamp_(max=0), a, b)
    curls = smoothstep((patch.v + 0.55) * 2).mul_(patch["wavy_hair"] * 0.035)
    outline += wave(patch.v * 2.1 + u + fraction(patch["hair_seed"] / 97)).mul_(curls)
    ends = patch["hair_length"] + 0.02
    tips = patch.v - (ends - (u * u) * (0.3 + 0.4 * patch["hair_length"])) + patch.strand * 0.05
    return torch.maximum(outline, tips)


def behind(patch: Patch) -> None:
    colour = patch["hair"].mul(0.62) * (1 + 0.3 * patch.strand.unsqueeze(1))
    patch.fill(outline_of(patch), colour, patch["has_hair"])


def in_front(patch: Patch) -> None:
    """The hair over the head: all of the outline but a window for the face, and the bangs."""
    u, v, strand = patch.u, patch.v, patch.strand
    shift = 0.20 * patch["turn"] - 0.05 * patch["hair_parting"]
    lean = 0.16 * patch["hair_parting"] * (u - shift)
    window = ellipse(u - shift, (v - 0.20 + lean).clamp_(max=0), 0.395 * patch["face_width"], 0.645)
    low = 0.235 - 0.1 * patch["nod"]
    fringe = v + low + (1 - patch["fringe"]) * 0.6 + 0.25 * (u - shift) * (u - shift) + 0.045 * strand
    outline = outline_of(patch)
    inner = torch.minimum(-window, fringe)
    shadow = (1 - inner / 0.085).clamp_(0, 1).mul_(patch.cover(outline)).mul_(patch["has_hair"] * -0.28)
    ring = v + 0.50 - 0.45 * u * u - 0.03 * strand
    gloss = blob(ring, u - 0.3 * patch["light_x"], 0.12, 0.5)
    light = (u * patch["light_x"] + v * patch["light_y"]) * (0.5 * patch["light_contrast"])
    tone = light.add_(strand * 0.27).add_(1)
    gloss = (gloss + 0.25 * strand).unsqueeze(1)
    colour = patch["hair"] * tone.unsqueeze(1) + patch["hair_gloss"] * gloss
    patch.pixels *= (shadow + 1).unsqueeze(1)
    patch.fill(torch.maximum(outline, inner), colour, patch["has_hair"])
