"""What is worn on a face: earrings, glasses, a hat."""

from __future__ import annotations

import torch

from dfcvae.drawing.canvas import Patch
from dfcvae.drawing.features import WHITE, place
from dfcvae.drawing.textures import blob, ellipse, fraction, mix, smoothstep, wave


def earrings(patch: Patch) -> None:
    for side in (-1, 1):
        u = patch.u - side * 0.47 * patch["face_width"] * patch["face_turn"] + 0.07 * patch["turn"]
        v = patch.v - 0.26
        kind = fraction(patch["style"] * 7)
        round_ = (u * u + v * v).sqrt_() - 0.064
        drop = ellipse(u, v - 0.02, 0.042 + 0.25 * (v + 0.07).clamp(0, 0.08), 0.10)
        stud_or_drop = torch.where(kind < 0.75, drop, round_ + 0.008)
        shape = torch.where(kind < 0.45, round_.abs() - 0.019, stud_or_drop)
        gleam = (0.92 - 2.5 * v + 2.0 * u * patch["light_x"]).clamp_(0.6, 1.3)
        patch.fill(shape, patch["jewel"] * gleam.unsqueeze(1))
        patch.lay(blob(u + 0.02, v + 0.015, 0.03, 0.03).mul_(0.6 * (kind >= 0.45).float()), WHITE)


def eyeglasses(patch: Patch) -> None:
    haired = (patch["bald"] <= 0.5).float()  # the arms end where the hair begins, or at the ears
    reach = (0.45 - 0.075 * haired) * patch["face_width"]
    shift = haired * (0.20 * patch["turn"] - 0.05 * patch["hair_parting"])
    rim, square = patch["rim"], fraction(patch["style"] * 2)
    for side in (-1, 1):
        u, v = place(patch, side, 0.20, 0.015, 0.44)
        width = 0.165 * (patch["face_turn"] - 0.25 * side * patch["turn"])
        t, w = u / width, v / 0.142
        t2, w2 = t * t, w * w
        circle = t2 + w2
        q = mix(circle, (t2 * t2 + w2 * w2), square * 0.9).sqrt_()
        lens = (q - 1) * (0.15 * (0.8 - 0.2 * square))
        inside = patch.cover(lens)
        patch.lay(inside * 0.05, WHITE)
        streak = smoothstep(1.8 - ((u + v * 0.6 - 0.10 * patch["light_x"]) / 0.026).abs()) * 0.28
        patch.lay(inside * streak, WHITE)
        patch.fill(lens.abs() - 0.021, rim)
        arm = torch.maximum((v + 0.04).abs() - 0.017, width - u * side)
        patch.fill(arm.maximum((patch.u - shift).abs() - reach), rim)
    u, v = place(patch, 0, 0, -0.005, 0.46)
    patch.fill(torch.maximum((v - 1.2 * u * u).abs() - 0.017, u.abs() - 0.045), rim)


def hat(patch: Patch) -> None:
    u, v = patch.u - 0.06 * patch["turn"], patch.v - 0.06 * patch["nod"]
    brimmed = (fraction(patch["style"] * 2) > 0.5).float()
    line = -0.29 + 0.30 * u * u  # the lower edge, seen from below
    dome = ellipse(u, v + 0.24, 0.575 - 0.08 * brimmed, 0.57 - 0.05 * brimmed)
    crown = torch.maximum(dome, v - line)
    ribs = wave(u * (9 - 2 * v) / (1.15 - u * u))
    weave = wave(v * 8)
    band = smoothstep((v - line + 0.17) / 0.02)
    knit = ribs * (0.10 + 0.06 * band) + weave * 0.05 * (1 - band)
    light = (u * patch["light_x"] + (v + 0.4) * patch["light_y"]) * (0.7 * patch["light_contrast"])
    tone = knit * (1 - brimmed) + light - 0.18 * band + 1.0 - brimmed * band * 0.35
    patch.fill(crown, patch["hat_colour"] * tone.unsqueeze(1))
    brim = ellipse(u, v + 0.29 - 0.10 * u * u, 0.76, 0.085)
    shade = (1.02 + light * 0.6 - smoothstep((v + 0.30) * 12) * 0.25).unsqueeze(1)
    patch.fill(brim, patch["hat_colour"] * shade, brimmed)
