"""Notebook 00: which is closer? Five questions to the eye, on which the squared error has its own opinion."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from dfcvae import faces

# Written down, not sampled: so the rounds stay what the text says of them.
PEOPLE = {
    "glasses": dict(yaw=-8, skin_tone=0.5, eye_colour=0.8, eyeglasses=1, style=0.1, mouth_curve=0.5,
        lipstick=1, earrings=1, hair_lightness=0.8, hair_warmth=0.4, hair_length=0.42, background_hue=0.6,
        background_pattern=0.7, clothes_hue=0.2),
    "hat": dict(roll=6, skin_tone=0.75, eye_colour=0.5, eyeglasses=1, hat=1, style=0.3, mouth_curve=-0.2,
        hair_lightness=0.4, hair_warmth=0.9, hair_length=0.45, light_x=0.5, background_hue=0.95,
        background_pattern=0.9, clothes_hue=0.05),
    "strands": dict(yaw=-5, skin_tone=0.4, eye_colour=0.45, brow_thickness=1.0, rosy_cheeks=1,
        hair_lightness=0.9, hair_warmth=0.1, hair_length=1, hair_volume=1, background_hue=0.75,
        background_pattern=0.5, clothes_pattern=0.9),
    "waves": dict(yaw=6, skin_tone=0.6, eye_colour=0.1, mouth_curve=0.9, mouth_opening=0.7, lipstick=1,
        hair_lightness=0.1, hair_length=0.75, wavy_hair=1, hair_volume=0.8, background_hue=0.7,
        background_lightness=0.95, background_pattern=0.5, clothes_hue=0.9),
    "curls": dict(skin_tone=0.08, eye_colour=0.4, mouth_curve=0.8, mouth_opening=0.5, hair_lightness=0.8,
        hair_length=0.7, wavy_hair=1, hair_volume=0.9, background_hue=0.05, background_lightness=0.6,
        clothes_hue=0.6),
}  # fmt: skip
SOMEBODY_ELSE = {"brow_thickness": 1.0, "eye_colour": 0.45, "hair_lightness": 0.05, "hair_length": 0.15}


def shift(x: Tensor, pixels: int) -> Tensor:
    """To the right; the pixels of the left border are repeated. x: (N, 3, S, S)."""
    return F.pad(x, (pixels, 0, 0, 0), mode="replicate")[..., : x.shape[-1]]


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, sigma in pixels; the border's pixels are repeated. x: (N, 3, S, S)."""
    reach = round(3 * sigma)
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    return gaussian_blur(padded, 2 * reach + 1, sigma)[..., reach:-reach, reach:-reach]


def noisy(x: Tensor, sigma: float = 0.05, seed: int = 0) -> Tensor:
    """With Gaussian noise of standard deviation ``sigma``, kept in [0, 1]. x: (N, 3, S, S)."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return (x + sigma * noise).clamp(0, 1)


class Round(NamedTuple):
    """original, a, b: float (1, 3, 64, 64) in [0, 1]; of_a, of_b: what was done to the original."""

    original: Tensor
    a: Tensor
    b: Tensor
    of_a: str
    of_b: str


def which_is_closer() -> dict[int, Round]:
    """The five rounds by number, the same pictures on every machine."""

    def draw(name: str, **changed: float) -> Tensor:
        return faces.draw(PEOPLE[name] | changed).float() / 255

    def somebody_else(name: str) -> Tensor:
        """In the same place: skin tone, clothes and wall stay, to be fair."""
        kept = {k: v for k, v in PEOPLE[name].items() if k.startswith(("skin_tone", "clothes", "background"))}
        return faces.draw(SOMEBODY_ELSE | kept).float() / 255

    glasses, hat, strands, waves, curls = map(draw, PEOPLE)
    others, darker = draw("strands", hair_seed=5, texture_seed=7), draw("hat", light_level=0.85)
    wall = draw("waves", background_lightness=0.1)
    return {
        1: Round(glasses, shift(glasses, 2), blur(glasses, 2.0), "shifted by 2 pixels", "blurred"),
        2: Round(hat, draw("hat", eyeglasses=0), darker, "glasses taken off", "light turned down"),
        3: Round(strands, others, blur(strands, 2.0), "other strands and threads", "blurred"),
        4: Round(waves, somebody_else("waves"), wall, "another person", "another wall"),
        5: Round(curls, noisy(curls), somebody_else("curls"), "a little noise", "another person"),
    }
