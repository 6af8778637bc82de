"""Notebook 00: which is closer? Five questions to the eye, on which the squared error has its own opinion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dfcvae import faces

# Written down, not sampled: so the rounds stay what the text says of them.
PEOPLE = {
    "glasses": {
        "yaw": -8, "skin_tone": 0.5, "eye_colour": 0.8, "eyeglasses": 1, "style": 0.1, "mouth_curve": 0.5,
        "lipstick": 1, "earrings": 1, "hair_lightness": 0.8, "hair_warmth": 0.4, "hair_length": 0.42,
        "background_hue": 0.6, "background_pattern": 0.7, "clothes_hue": 0.2,
    },
    "hat": {
        "roll": 6, "skin_tone": 0.75, "eye_colour": 0.5, "eyeglasses": 1, "hat": 1, "style": 0.3,
        "mouth_curve": -0.2, "hair_lightness": 0.4, "hair_warmth": 0.9, "hair_length": 0.45, "light_x": 0.5,
        "background_hue": 0.95, "background_pattern": 0.9, "clothes_hue": 0.05,
    },
    "strands": {
        "yaw": -5, "skin_tone": 0.4, "eye_colour": 0.45, "brow_thickness": 1.0, "rosy_cheeks": 1,
        "hair_lightness": 0.9, "hair_warmth": 0.1, "hair_length": 1, "hair_volume": 1,
        "background_hue": 0.75, "background_pattern": 0.5, "clothes_pattern": 0.9,
    },
    "waves": {
        "yaw": 6, "skin_tone": 0.6, "eye_colour": 0.1, "mouth_curve": 0.9, "mouth_opening": 0.7,
        "lipstick": 1, "hair_lightness": 0.1, "hair_length": 0.75, "wavy_hair": 1, "hair_volume": 0.8,
        "background_hue": 0.7, "background_lightness": 0.95, "background_pattern": 0.5, "clothes_hue": 0.9,
    },
    "curls": {
        "skin_tone": 0.08, "eye_colour": 0.4, "mouth_curve": 0.8, "mouth_opening": 0.5, "hair_lightness": 0.8,
        "hair_length": 0.7, "wavy_hair": 1, "hair_volume": 0.9, "background_hue": 0.05,
        "background_lightness": 0.6, "clothes_hue": 0.6,
    },
}  # fmt: skip
SOMEBODY_ELSE = {"brow_thickness": 1.0, "eye_colour": 0.45, "hair_lightness": 0.05, "hair_length": 0.15}


def shift(x: Tensor, pixels: int) -> Tensor:
    """To the right; the pixels of the left border are repeated. x: (N, 3, S, S)."""
    return F.pad(x, (pixels, 0, 0, 0), mode="replicate")[..., : x.shape[-1]]


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, sigma in pixels; the border's pixels are repeated. x: (N, 3, S, S)."""
    reach = round(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype)
    weights = torch.softmax(-offsets.square() / (2 * sigma**2), dim=0)
    kernel = (weights[:, None] * weights).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(x, (reach,) * 4, mode="replicate"), kernel, groups=3)


def noisy(x: Tensor, sigma: float = 0.05, seed: int = 0) -> Tensor:
    """With Gaussian noise of standard deviation ``sigma``, kept in [0, 1]. x: (N, 3, S, S)."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return (x + sigma * noise).clamp(0, 1)


@dataclass(frozen=True)
class Round:
    """original, a, b: float (1, 3, 64, 64) in [0, 1]; of_a, of_b: what was done to the original."""

    original: Tensor
    a: Tensor
    b: Tensor
    of_a: str
    of_b: str


def which_is_closer() -> dict[int, Round]:
    """The five rounds by number, the same pictures on every machine."""
    x = {name: _draw(factors) for name, factors in PEOPLE.items()}
    no_glasses, darker = _draw(PEOPLE["hat"], eyeglasses=0), _draw(PEOPLE["hat"], light_level=0.85)
    strands = _draw(PEOPLE["strands"], hair_seed=5, texture_seed=7)
    wall = _draw(PEOPLE["waves"], background_lightness=0.1)
    other, another = (_draw(SOMEBODY_ELSE | _scene(PEOPLE[name])) for name in ("waves", "curls"))
    return {
        1: Round(
            x["glasses"], shift(x["glasses"], 2), blur(x["glasses"], 2.0), "shifted by 2 pixels", "blurred"
        ),
        2: Round(x["hat"], no_glasses, darker, "glasses taken off", "light turned down"),
        3: Round(x["strands"], strands, blur(x["strands"], 2.0), "other strands and threads", "blurred"),
        4: Round(x["waves"], other, wall, "another person", "another wall"),
        5: Round(x["curls"], noisy(x["curls"]), another, "a little noise", "another person"),
    }


def _draw(factors: dict[str, float], **changed: float) -> Tensor:
    return faces.draw(factors | changed).float() / 255


def _scene(factors: dict[str, float]) -> dict[str, float]:
    """What stays when somebody else sits down in the same place: skin tone, clothes and wall, to be fair."""
    kept = ("skin_tone", "clothes", "background")
    return {name: value for name, value in factors.items() if name.startswith(kept)}
