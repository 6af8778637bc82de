"""The numbers that a face is made of, and the two distributions that they are sampled from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SEEDS = 2**24  # whole numbers that float32 holds exactly


class Factor(NamedTuple):
    """One number that a face is made of; `default` is the neutral face's."""

    name: str
    low: float
    high: float
    default: float
    meaning: str


FACTORS = (
    Factor("x", -0.06, 0.06, 0, "place of the head, to the right, in picture widths"),
    Factor("y", -0.06, 0.06, 0, "place of the head, downwards, in picture heights"),
    Factor("size", 0.85, 1.1, 1, "size of the head, 1 = the neutral one"),
    Factor("roll", -12, 12, 0, "tilt of the head in degrees, clockwise"),
    Factor("yaw", -18, 18, 0, "turn of the head in degrees, to the picture's right"),
    Factor("pitch", -12, 12, 0, "nod of the head in degrees, downwards"),
    Factor("light_x", -1, 1, -0.5, "where the light comes from: -1 left, 1 right"),
    Factor("light_y", -1, 0.3, -0.6, "where the light comes from: -1 above, 0 in front"),
    Factor("light_contrast", 0.2, 1, 0.6, "how much darker the far side is"),
    Factor("light_level", 0.58, 1.06, 1, "brightness of the whole scene"),
    Factor("light_warmth", -1, 1, 0.2, "colour of the light: -1 blue, 1 orange"),
    Factor("skin_tone", 0, 1, 0.6, "0 the deepest, 1 the lightest"),
    Factor("skin_undertone", -1, 1, 0, "-1 cool, 1 golden"),
    Factor("face_width", 0.9, 1.1, 1, "width of the face, 1 = the neutral one"),
    Factor("rosy_cheeks", 0, 1, 0, "1: red cheeks"),
    Factor("freckles", 0, 1, 0, "1: freckles on cheeks and nose"),
    Factor("eye_colour", 0, 1, 0.3, "0 dark brown, hazel, green, 1 blue"),
    Factor("eye_opening", 0.75, 1.15, 1, "height of the eyes, 1 = the neutral one"),
    Factor("gaze_x", -1, 1, 0, "where the eyes look: -1 left, 1 right"),
    Factor("gaze_y", -1, 1, 0, "where the eyes look: -1 up, 1 down"),
    Factor("brow_raise", -1, 1, 0, "-1 lowered, 1 raised"),
    Factor("brow_thickness", 0.5, 2, 0.8, "thickness of the eyebrows; bushy from 1.35"),
    Factor("nose_size", 0.85, 1.2, 1, "size of the nose, 1 = the neutral one"),
    Factor("mouth_width", 0.85, 1.15, 1, "width of the mouth, 1 = the neutral one"),
    Factor("mouth_curve", -0.5, 1, 0, "corners of the mouth: -0.5 down, 1 up; a smile from 0.35"),
    Factor("mouth_opening", 0, 1, 0, "0 closed, 1 wide open; open from 0.25"),
    Factor("lipstick", 0, 1, 0, "1: painted lips"),
    Factor("mustache", 0, 1, 0, "1: a mustache"),
    Factor("goatee", 0, 1, 0, "1: a beard on the chin"),
    Factor("hair_lightness", 0, 1, 0.3, "0 black, brown from 0.2, blond from 0.62, 1 the lightest"),
    Factor("hair_warmth", 0, 1, 0.3, "0 ash, 1 red"),
    Factor("hair_grey", 0, 1, 0, "0 full colour, 1 grey; grey from 0.5"),
    Factor("hair_length", 0, 1, 0.35, "0 above the ears, 0.4 to the chin, 1 below the shoulders"),
    Factor("hair_volume", 0, 1, 0.5, "0 flat, 1 full"),
    Factor("hair_parting", -1, 1, 0.4, "where the hair parts: -1 left, 1 right"),
    Factor("wavy_hair", 0, 1, 0, "1: wavy, 0: straight"),
    Factor("bangs", 0, 1, 0, "1: hair over the forehead"),
    Factor("bald", 0, 1, 0, "1: no hair"),
    Factor("eyeglasses", 0, 1, 0, "1: wears glasses"),
    Factor("hat", 0, 1, 0, "1: wears a hat"),
    Factor("earrings", 0, 1, 0, "1: wears earrings"),
    Factor("style", 0, 1, 0.2, "shape and colour of glasses, hat, lipstick and earrings"),
    Factor("clothes_hue", 0, 1, 0.55, "colour of the clothes, once round a palette"),
    Factor("clothes_pattern", 0, 1, 0.3, "quarters: plain, stripes, checks, knitted"),
    Factor("background_hue", 0, 1, 0.1, "colour of the wall, once round a palette"),
    Factor("background_lightness", 0, 1, 0.7, "0 a dark wall, 1 a light one"),
    Factor("background_pattern", 0, 1, 0.1, "fifths: plain, diagonals, stripes, dots, checks"),
    Factor("hair_seed", 0, SEEDS - 1, 1, "whole number: every strand of the hair"),
    Factor("skin_seed", 0, SEEDS - 1, 2, "whole number: every freckle"),
    Factor("texture_seed", 0, SEEDS - 1, 3, "whole number: every thread of clothes and wall"),
)
FACTOR_NAMES = tuple(factor.name for factor in FACTORS)
SWITCHES = ("rosy_cheeks", "freckles", "lipstick", "mustache", "goatee", "wavy_hair", "bangs", "bald",
            "eyeglasses", "hat", "earrings")  # fmt: skip
POSE = FACTORS[:6]  # place, size and turn of the head
SEED_NAMES = ("hair_seed", "skin_seed", "texture_seed")

# Chance of each: for the most reserved and the most outgoing correlated face, and for independent ones.
CHANCES = {
    "smiling": (0.25, 0.75, 0.5), "mouth_open": (0.2, 0.6, 0.5), "bushy_brows": (0.25, 0.05, 0.4),
    "grey_hair": (0.06, 0.02, 0.15), "black_hair": (0.35, 0.25, 0.33), "blond_hair": (0.15, 0.4, 0.5),
    "long_hair": (0.2, 0.7, 0.5), "eyeglasses": (0.20, 0.08, 0.4), "hat": (0.12, 0.04, 0.2),
    "bald": (0.05, 0.01, 0.05), "freckles": (0.12, 0.12, 0.4), "rosy_cheeks": (0.02, 0.18, 0.4),
    "lipstick": (0.0, 0.94, 0.5), "earrings": (0.0, 0.46, 0.4), "mustache": (0.08, 0.01, 0.04),
    "goatee": (0.14, 0.0, 0.2), "wavy_hair": (0.2, 0.5, 0.5), "bangs": (0.10, 0.25, 0.4),
}  # fmt: skip
DISTRIBUTIONS = ("correlated", "independent")

# A generator reads 32 bits of its seed. Streams below this one belong to the splits of the data set, the
# others to the seeds of `sample_factors`, so that no seed gives a face of a split.
FIRST_OF_SEEDS = 2**31


def sample_factors(n: int, seed: int, distribution: str = "correlated") -> Tensor:
    """Factors of n faces, always consistent: no bangs under a hat. -> float32 (n, F), columns `FACTOR_NAMES`.

    distribution: "correlated" has CelebA-like imbalance and dependence, "independent" tosses every coin
    by itself. Skin tone is uniform and independent of all else in both. No seed gives a face of the splits
    that `load` draws; another n gives other faces. ValueError for another distribution, n < 0, or a seed that
    is not 0 to 2^31 - 1.
    """
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed {seed} found: take a whole number from 0 to {2**31 - 1}")
    return factors_of_stream(n, FIRST_OF_SEEDS + seed, distribution)


def factors_of_stream(n: int, stream: int, distribution: str) -> Tensor:
    """As `sample_factors`, from the random stream of that number, below 2^32."""
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"unknown distribution {distribution!r}: take one of {', '.join(DISTRIBUTIONS)}")
    if n < 0:
        raise ValueError(f"{n} faces asked for: take 0 or more")
    generator, correlated = torch.Generator().manual_seed(stream), distribution == "correlated"

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:  # (n,)
        return torch.rand(n, generator=generator) * (high - low) + low

    f = {factor.name: uniform(factor.low, factor.high) for factor in FACTORS}
    for name in SEED_NAMES:
        f[name] = f[name].floor().clamp(max=SEEDS - 1)
    if correlated:
        for name, low, high, *_ in POSE:  # most people look into the camera: a bell instead of a box
            f[name] = (f[name] + uniform(low, high) + uniform(low, high)) / 3
    outgoing = uniform()  # what the coins of a correlated face have in common

    def coin(name: str) -> Tensor:  # bool (n,)
        low, high, alone = CHANCES[name]
        return uniform() < (low + (high - low) * outgoing if correlated else alone)

    smiling, mouth_open = coin("smiling"), coin("mouth_open")
    if correlated:
        mouth_open = torch.where(uniform() < 0.5, smiling, mouth_open)
    f["mouth_curve"] = torch.where(smiling, uniform(0.5, 1), uniform(-0.5, 0.15))
    f["mouth_opening"] = uniform(0.4, 1) * mouth_open
    f["brow_thickness"] = torch.where(coin("bushy_brows"), uniform(1.6, 2), uniform(0.5, 1.1))
    black, blond = coin("black_hair"), coin("blond_hair")
    dark, light_or_brown = uniform(0, 0.17), torch.where(blond, uniform(0.65, 1), uniform(0.23, 0.58))
    f["hair_lightness"] = torch.where(black, dark, light_or_brown)
    f["hair_grey"] = torch.where(coin("grey_hair"), uniform(0.75, 1), uniform(0, 0.1))
    f["hair_length"] = torch.where(coin("long_hair"), uniform(0.68, 1), uniform(0, 0.5))
    for name in SWITCHES:
        f[name] = coin(name).float()
    # Where two things cannot both be seen, one goes.
    f["bald"] *= 1 - f["hat"]
    f["bangs"] *= (1 - f["hat"]) * (1 - f["bald"])
    f["hair_length"] *= 1 - 0.5 * f["bald"]
    return torch.stack([f[name] for name in FACTOR_NAMES], dim=1)  # F columns of (n,) -> (n, F)
