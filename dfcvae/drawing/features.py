"""What is in a face: cheeks, freckles, nose, mouth, eyes, brows, beard."""

from __future__ import annotations

import torch
from torch import Tensor

from dfcvae.drawing.canvas import Patch
from dfcvae.drawing.figure import ears, head
from dfcvae.drawing.textures import blob, ellipse, lattice, look_up, rgb, smoothstep, wave

INK, WHITE, TEETH = rgb(0.13, 0.08, 0.08), rgb(1, 1, 1), rgb(0.97, 0.95, 0.90)
MOUTH, TONGUE = rgb(0.30, 0.07, 0.08), rgb(0.72, 0.30, 0.30)


def place(patch: Patch, side: float, u: float, v: float, depth: float) -> tuple[Tensor, Tensor]:
    """Coordinates about a point of the face; the more its `depth`, the more it moves as the head turns."""
    shift = side * u * patch["face_width"] * patch["face_turn"] + depth * patch["turn"]
    return patch.u - shift, patch.v - v - 0.35 * depth * patch["nod"]


def head_and_face(patch: Patch) -> None:
    """Ears, head, cheeks, nose and mouth."""
    ears(patch)
    cover = head(patch)
    for side in (-1, 1):
        u, v = place(patch, side, 0.255, 0.20, 0.36)
        cheek = blob(u, v + 0.03 * patch["smile"], 0.18, 0.15).mul_(0.22 + 0.70 * patch["rosy_cheeks"])
        patch.lay(cheek.mul_(cover), patch["blush"])
    nose(patch)
    mouth(patch)


def freckles(patch: Patch) -> None:
    """A spot at a random place of each cell of a grid over cheeks and nose, some larger than others."""
    u, v = place(patch, 0, 0, 0.16, 0.42)
    rows, cols = 4, 10
    cell_u, cell_v = 0.40 / cols * 2, 0.16 / rows * 2
    seed = patch["skin_seed"].flatten()
    spots = torch.stack([lattice(seed, rows, cols, salt) for salt in (7, 8, 9)], dim=1)
    across, down = (u / cell_u + cols / 2).floor_(), (v / cell_v + rows / 2).floor_()
    cell = (across + 0.5).mul_(2 / cols).sub_(1), (down + 0.5).mul_(2 / rows).sub_(1)
    own = look_up(spots, *cell, exact=True)  # (n, 3, h, w): the place of the cell's spot, and its size
    du = u - (across + 0.5 + 0.33 * own[:, 0] - cols / 2) * cell_u
    dv = v - (down + 0.5 + 0.33 * own[:, 1] - rows / 2) * cell_v
    spot = patch.cover((du * du + dv * dv).sqrt_() - (0.009 + 0.011 * own[:, 2]))
    where = smoothstep(3 * (1 - (u / 0.40).square() - (v / 0.16).square()))
    patch.lay(spot.mul_(where).mul_(0.8), patch["freckle"])


def nose(patch: Patch) -> None:
    u, v = place(patch, 0, 0, 0.17, 0.50)
    u, v = u / patch["nose_size"], v / patch["nose_size"]
    lit = patch["light_x"] * patch["light_contrast"]
    patch.lay(blob(u + 0.07 * lit, v + 0.02, 0.11, 0.24).mul_(0.25 + 0.3 * lit.abs()), patch["skin_shadow"])
    patch.lay(blob(u, v - 0.075, 0.13, 0.05).mul_(0.8), patch["skin_shadow"])
    for side in (-1, 1):
        patch.lay(blob(u - side * 0.048, v - 0.062, 0.036, 0.026), patch["skin_shadow"] * 0.5)
    patch.lay(blob(u - 0.02 * lit, v - 0.01, 0.05, 0.05).mul_(0.6), patch["skin_light"])
    patch.lay(blob(u - 0.01 * lit, v + 0.13, 0.03, 0.14).mul_(0.45), patch["skin_light"])


def mouth(patch: Patch) -> None:
    u, v = place(patch, 0, 0, 0.385, 0.40)
    smile = patch["smile"]
    half = (0.150 + 0.045 * smile - 0.04 * patch["mouth_opening"] * (1 - smile)) * patch["mouth_width"]
    t = u / half
    arch = (1 - t * t).clamp_(min=-0.4)
    v = v + (0.075 * patch["mouth_curve"]) * (t * t).clamp_(max=1.4) - 0.02 * patch["mouth_curve"]
    opening = 0.095 * patch["mouth_opening"]
    above, below = opening * 0.3 * arch, opening * arch  # the lips' inner edges
    bow = 0.010 * (1 - (t * 5).abs()).clamp_(min=0)
    upper_edge, lower_edge = above + 0.037 * arch - bow, below + 0.050 * arch
    patch.fill(torch.maximum(-v - upper_edge, v - lower_edge) * 0.85, patch["lips"])
    patch.lay(blob(u, v - opening - 0.028, 0.07, 0.016).mul_(0.35), patch["skin_light"])
    gap = patch.cover(torch.maximum(-v - above, v - below) * 0.85)
    open_ = (patch["mouth_opening"] > 0.02).float()
    patch.lay(gap * open_, MOUTH)
    patch.lay(gap * (blob(u, v - opening - 0.01, 0.11, 0.05) * open_), TONGUE)
    edges = smoothstep(wave(u * 5.2).abs_() * 4)  # one tooth to each half wave
    teeth = TEETH * (0.70 + 0.30 * edges).unsqueeze(1)
    patch.lay(gap * patch.cover(v - opening * (0.05 + 0.35 * smile) * arch) * open_, teeth)
    line = torch.maximum(v.abs() - 0.008, t.abs() * half - half * 1.04)
    patch.fill(line, patch["lips"] * 0.45, 0.8 * (1 - open_))


def eye_and_brow(patch: Patch, side: int) -> None:
    eye(patch, side)
    brow(patch, side)


def eye(patch: Patch, side: int) -> None:
    u, v = place(patch, side, 0.195, -0.005, 0.38)
    width = 0.108 * (patch["face_turn"] - 0.35 * side * patch["turn"])
    t = u / width
    arch = 1 - t * t
    v = v + 0.012 * side * t  # the outer corner lies a little higher
    upper, lower = 0.068 * patch["eye_opening"] * arch, (0.048 - 0.012 * patch["smile"]) * arch
    patch.lay(blob(u, v, 0.17, 0.12).mul_(0.35), patch["skin_shadow"])
    inside = patch.cover(torch.maximum(-v - upper, v - lower) * 0.8)
    patch.lay(inside, WHITE * 0.96)
    iu, iv = u - 0.035 * patch["gaze_x"], v + 0.008 - 0.016 * patch["gaze_y"]
    r = (iu * iu + iv * iv).sqrt_()
    iris = patch.cover(r - 0.060) * inside
    glow = (0.62 + 5.0 * iv + 4 * r).clamp_(0.45, 1.25).unsqueeze(1)
    patch.lay(iris, patch["iris"] * glow)
    patch.lay(patch.cover((r - 0.058).abs_() - 0.006) * inside * 0.6, patch["iris"] * 0.35)
    patch.lay(patch.cover(r - 0.030) * inside, INK * 0.5)
    patch.lay(inside * smoothstep(1 - (v + upper) / 0.035) * 0.45, INK)
    shine = -0.022 + 0.044 * (patch["light_x"] > 0).float()
    patch.fill(ellipse(iu - shine, iv + 0.022, 0.017, 0.017), WHITE, 0.95)
    ends = t.abs() * width - width * 1.08
    lash = torch.maximum(((v + upper).abs() - 0.017 * (1.1 - 0.35 * t * t)) * 0.85, ends)
    patch.fill(lash, INK)
    patch.fill(torch.maximum((v - lower).abs() - 0.006, ends), patch["skin_shadow"] * 0.6, 0.7)
    fold = (v + upper * 1.05 + 0.047).abs() - 0.008
    patch.fill(torch.maximum(fold, ends), patch["skin_shadow"], 0.8)


def brow(patch: Patch, side: int) -> None:
    u, v = place(patch, side, 0.20, -0.165, 0.36)
    width = 0.135 * (patch["face_turn"] - 0.3 * side * patch["turn"])
    t = u / width * side  # -1 near the nose, 1 at the temple
    line = v + 0.035 * patch["brow_raise"] * (1.2 - 0.4 * t) + 0.030 * (1 - t * t) - 0.010 * t
    t2 = t * t
    thick = 0.029 * patch["brow_thickness"] * (0.8 - 0.25 * t) * (1 - t2 * t2).clamp_(min=-1)
    shape = torch.maximum(line.abs() - thick, (t.abs() - 1) * width) * 0.9
    patch.fill(shape, patch["brow"] * (1 + 0.35 * patch.strand).unsqueeze(1), 0.92)


def mustache(patch: Patch) -> None:
    u, v = place(patch, 0, 0, 0.305, 0.42)
    v = v - 0.55 * u * u * (1 - 0.9 * patch["smile"]) / 0.5
    beard(patch, (v.abs() - 0.047 + 0.8 * u * u).maximum(u.abs() - 0.20) + 0.018 * patch.strand)


def goatee(patch: Patch) -> None:
    u, v = place(patch, 0, 0, 0.56, 0.36)
    chin = ellipse(u, v, 0.185, 0.13).maximum(0.030 - ellipse(u, v + 0.10, 0.12, 0.055))
    beard(patch, chin + 0.02 * patch.strand)


def beard(patch: Patch, shape: Tensor) -> None:
    patch.fill(shape, patch["beard"] * (1 + 0.3 * patch.strand).unsqueeze(1))
