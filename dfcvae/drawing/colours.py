"""The colours of a face, and what else follows from its factors."""

from __future__ import annotations

import torch
from torch import Tensor

from dfcvae.drawing.textures import cosine, fraction, grey, mix, palette, ramp, rgb, sine, wheel

SKIN = palette("4a2c20", "6b4130", "8f5b40", "b57f5a", "d6a37c", "ecc3a0", "f8e2d4")
HAIR = palette("17131a", "3a251f", "6b402a", "9a6840", "cfa05c", "ecd08c")
EYES = palette("3b2318", "6e4a25", "5d7a44", "3f7f9c")
CLOTHES = palette("c8553d", "e0a13a", "6a8d4f", "2f7f86", "34558b", "6b4a86", "b04a6f", "3b3a45", "e8ddca")
LIPSTICKS = palette("b3122f", "d8433f", "8e1f4f", "c42a6b")
JEWELS = palette("f2c24c", "e8e6ea", "3f9f93", "f2c24c", "d8453f", "f3e7d6", "4a6cc0")
RIMS = palette("2b2320", "7a3b22", "20324f", "5c1f2c", "1f3f3a")


def dress(looks: dict[str, Tensor]) -> None:
    """Add to the factors what follows from them: turns of the head, colours, and what hides what."""
    looks["turn"], looks["face_turn"] = sine(looks["yaw"]), cosine(looks["yaw"])
    looks["nod"] = sine(looks["pitch"])
    looks["smile"] = looks["mouth_curve"].clamp(min=0)
    skin = ramp(SKIN, looks["skin_tone"])
    tint = looks["skin_undertone"].unsqueeze(1) * rgb(0.0, 0.01, -0.07)
    looks["skin"] = (skin + tint).clamp(0, 1)
    looks["skin_shadow"] = looks["skin"] * rgb(0.70, 0.58, 0.58)
    looks["skin_light"] = looks["skin"] + (1 - looks["skin"]) * rgb(0.20, 0.17, 0.13)
    hair = ramp(HAIR, looks["hair_lightness"])
    pigment = (0.2 + 2.6 * looks["hair_lightness"]).clamp(max=1)  # black hair stays black, however warm
    red = ((looks["hair_warmth"] - 0.3) * pigment).unsqueeze(1) * rgb(0.16, -0.03, -0.10)
    silver = (0.35 + 0.5 * looks["hair_lightness"]).unsqueeze(1) * rgb(1.0, 1.0, 1.04)
    looks["hair"] = mix((hair + red).clamp(0.05, 1), silver, looks["hair_grey"].unsqueeze(1)).clamp(0, 1)
    choose_colours(looks)
    looks["iris"] = ramp(EYES, looks["eye_colour"])
    looks["clothes"] = wheel(CLOTHES, looks["clothes_hue"])
    looks["hat_colour"] = wheel(CLOTHES, fraction(looks["style"] * 3))
    looks["has_hair"] = (looks["bald"] <= 0.5).float()
    looks["fringe"] = ((looks["bangs"] > 0.5) & (looks["hat"] <= 0.5)).float()


def choose_colours(looks: dict[str, Tensor]) -> None:
    """Colours of what grows or is painted on the face, each told apart from the skin beneath it."""
    skin, hair = looks["skin"], looks["hair"]
    looks["hair_gloss"] = hair * 0.30 + 0.13
    brow = hair * 0.7
    looks["brow"] = brow * ((grey(skin) - 0.16) / grey(brow)).clamp(0.1, 1)
    beard = hair * 0.8
    looks["beard"] = beard * ((grey(skin) - 0.2).clamp(min=0.05) / grey(beard)).clamp(0.1, 1)
    natural = skin * rgb(0.84, 0.54, 0.55) + rgb(0.03, 0, 0.01)
    painted = wheel(LIPSTICKS, looks["style"])
    looks["lips"] = mix(natural, painted, looks["lipstick"].unsqueeze(1))
    looks["blush"] = (skin * rgb(1.04, 0.64, 0.66) + rgb(0.14, 0.0, 0.02)).clamp(max=1)
    looks["freckle"] = skin * rgb(0.64, 0.50, 0.44)
    looks["jewel"] = wheel(JEWELS, fraction(looks["style"] * 4))
    rim = wheel(RIMS, looks["style"])
    looks["rim"] = torch.where(grey(skin) < 0.34, rim * 0.5 + 0.45, rim)
