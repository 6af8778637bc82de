"""Notebook 01: faces of three kinds for a latent plane, pictures that are no faces, one face many times."""

from __future__ import annotations

import torch
from torch import Tensor

from dfcvae import faces
from dfcvae.datasets import Images

# Far apart on purpose: between them lie pictures of nobody.
KINDS = ("hat", "bald", "long hair")
LOOKS = {
    "hat": (1, 0, 0), "bald": (0, 1, 0), "style": (0.3, 0.2, 0.2), "skin_tone": (0.35, 0.9, 0.6),
    "hair_length": (0.35, 0, 1), "hair_lightness": (0.3, 0.3, 0.85), "hair_warmth": (0.3, 0.3, 0.5),
}  # fmt: skip


def three_kinds(n: int, size: int = 32, seed: int = 0) -> Images:
    """n drawn faces of three kinds in turn, which else differ only in turn of the head and side of the light.

    attributes: bool (n, 3), columns ``KINDS``.
    """
    generator = torch.Generator().manual_seed(seed)
    kind = torch.arange(n) % len(KINDS)
    factors = {name: torch.tensor(looks)[kind].float() for name, looks in LOOKS.items()}
    factors["yaw"] = 36 * torch.rand(n, generator=generator) - 18
    factors["light_x"] = 2 * torch.rand(n, generator=generator) - 1
    factors["light_contrast"] = torch.ones(n)
    is_kind = kind.view(-1, 1) == torch.arange(len(KINDS))  # (n, 3)
    return Images(faces.draw(factors, size), is_kind, KINDS, name="three kinds", split="train")


def one_face_many_times(n: int, shift: float = 2.0, seed: int = 0) -> dict[str, Tensor | float]:
    """Factors of one face that differ only in strands and threads and, by ``shift`` pixels of 64 at most, in
    where the head is: what 100 numbers can hardly say. name -> a number for all, or one each, (n,).
    """
    generator = torch.Generator().manual_seed(seed)
    looks = {
        "yaw": -6, "skin_tone": 0.5, "eye_colour": 0.9, "mouth_curve": 0.7, "hair_lightness": 0.75,
        "hair_length": 0.8, "eyeglasses": 1, "style": 0.1, "clothes_pattern": 0.6, "background_pattern": 0.7,
    }  # fmt: skip
    places = {name: shift / 64 * (2 * torch.rand(n, generator=generator) - 1) for name in ("x", "y")}
    seeds = {name: torch.randint(2**20, (n,), generator=generator) for name in ("hair_seed", "texture_seed")}
    return looks | places | seeds
