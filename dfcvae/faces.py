"""Drawn faces with known factors: a data set that needs no download and is no one's photograph.

`sample_factors` draws the numbers that make a face, `draw` paints them, `attributes` says what is to be seen. Since the
factors are ours we can ask what no photograph answers: the *same* face with glasses.

    factors = sample_factors(8, seed=0)
    pictures = draw(factors, size=64)      # uint8 (8, 3, 64, 64)
    labels = attributes(factors)           # bool (8, 20), columns ATTRIBUTE_NAMES
"""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Callable, NamedTuple

import torch
from torch import Tensor

from dfcvae.drawing import DRAWING_VERSION, paint

SIZES = range(32, 257)
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
    Factor("light_level", 0.64, 1.06, 1, "brightness of the whole scene"),
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
SEED_NAMES = ("hair_seed", "skin_seed", "texture_seed")
SPLITS = ("train", "validation", "test")
CHUNK_PIXELS = 2**17  # faces painted at a time: few enough to stay in the processor's cache

# chance of each, from the most reserved picture to the most outgoing one
CHANCES = {
    "correlated": {
        "smiling": (0.25, 0.75), "mouth_open": (0.2, 0.6), "bushy_brows": (0.25, 0.05), "grey_hair": (0.06, 0.02),
        "black_hair": (0.35, 0.25), "blond_hair": (0.15, 0.4),
        "long_hair": (0.2, 0.7), "eyeglasses": (0.20, 0.08), "hat": (0.12, 0.04), "bald": (0.05, 0.01),
        "freckles": (0.12, 0.12), "rosy_cheeks": (0.02, 0.18), "lipstick": (0.05, 0.85), "earrings": (0.02, 0.42),
        "mustache": (0.08, 0.01), "goatee": (0.14, 0.0), "wavy_hair": (0.2, 0.5), "bangs": (0.10, 0.25),
    },
    "independent": {
        "smiling": (0.5, 0.5), "mouth_open": (0.5, 0.5), "bushy_brows": (0.4, 0.4), "grey_hair": (0.15, 0.15),
        "black_hair": (0.33, 0.33), "blond_hair": (0.5, 0.5),
        "long_hair": (0.5, 0.5), "eyeglasses": (0.4, 0.4), "hat": (0.2, 0.2), "bald": (0.05, 0.05),
        "freckles": (0.4, 0.4), "rosy_cheeks": (0.4, 0.4), "lipstick": (0.5, 0.5), "earrings": (0.4, 0.4),
        "mustache": (0.04, 0.04), "goatee": (0.2, 0.2), "wavy_hair": (0.5, 0.5), "bangs": (0.4, 0.4),
    },
}

ATTRIBUTE_NAMES = (
    "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows", "Eyeglasses", "Freckles", "Goatee",
    "Gray_Hair", "Long_Hair", "Mouth_Slightly_Open", "Mustache", "Pale_Skin", "Rosy_Cheeks", "Smiling", "Wavy_Hair",
    "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
)


def attributes(factors: Tensor) -> Tensor:
    """What is to be seen in the pictures of these factors, under CelebA's names where CelebA has one.

    factors: (n, F) as for `draw` -> bool (n, A), columns `ATTRIBUTE_NAMES`. A fringe under a hat is not seen, so it is
    no `Bangs`. Pure: nothing but the factors decides. ValueError as for `draw`.
    """
    f = _by_name(factors)
    hat, bald = f["hat"] > 0.5, f["bald"] > 0.5
    hair = ~bald & (~hat | (f["hair_length"] > 0.3))  # enough hair in sight to tell its colour
    grey, lightness = f["hair_grey"] > 0.5, f["hair_lightness"]
    seen = {
        "Bald": bald & ~hat,
        "Bangs": (f["bangs"] > 0.5) & ~hat & ~bald,
        "Black_Hair": hair & ~grey & (lightness < 0.2),
        "Blond_Hair": hair & ~grey & (lightness >= 0.62),
        "Brown_Hair": hair & ~grey & (lightness >= 0.2) & (lightness < 0.62),
        "Bushy_Eyebrows": f["brow_thickness"] > 1.35,
        "Eyeglasses": f["eyeglasses"] > 0.5,
        "Freckles": f["freckles"] > 0.5,
        "Goatee": f["goatee"] > 0.5,
        "Gray_Hair": hair & grey,
        "Long_Hair": ~bald & (f["hair_length"] > 0.6),
        "Mouth_Slightly_Open": f["mouth_opening"] > 0.25,
        "Mustache": f["mustache"] > 0.5,
        "Pale_Skin": f["skin_tone"] > 0.88,
        "Rosy_Cheeks": f["rosy_cheeks"] > 0.5,
        "Smiling": f["mouth_curve"] > 0.35,
        "Wavy_Hair": (f["wavy_hair"] > 0.5) & hair,
        "Wearing_Earrings": f["earrings"] > 0.5,
        "Wearing_Hat": hat,
        "Wearing_Lipstick": f["lipstick"] > 0.5,
    }
    return torch.stack([seen[name] for name in ATTRIBUTE_NAMES], dim=1)


def sample_factors(n: int, seed: int, distribution: str = "correlated") -> Tensor:
    """Factors of n faces, always consistent: no bangs under a hat. -> float32 (n, F), columns `FACTOR_NAMES`.

    distribution: "correlated" has CelebA-like imbalance and dependence, "independent" tosses every coin by itself.
    Skin tone is uniform and independent of all else in both. ValueError for another distribution or n < 0.
    """
    if distribution not in CHANCES:
        raise ValueError(f"unknown distribution {distribution!r}: take one of {', '.join(CHANCES)}")
    if n < 0:
        raise ValueError(f"{n} faces asked for: take 0 or more")
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    f = {factor.name: uniform(factor.low, factor.high) for factor in FACTORS}
    for name in SEED_NAMES:
        f[name] = f[name].floor().clamp(max=SEEDS - 1)
    chances = CHANCES[distribution]
    reserve = uniform()  # how outgoing the picture is: what the correlated faces share

    def coin(name: str) -> Tensor:
        low, high = chances[name]
        return uniform() < low + (high - low) * reserve

    smiling, mouth_open = coin("smiling"), coin("mouth_open")
    if distribution == "correlated":
        mouth_open = torch.where(uniform() < 0.5, smiling, mouth_open)
    f["mouth_curve"] = torch.where(smiling, uniform(0.5, 1), uniform(-0.5, 0.15))
    f["mouth_opening"] = uniform(0.4, 1) * mouth_open
    f["brow_thickness"] = torch.where(coin("bushy_brows"), uniform(1.6, 2), uniform(0.5, 1.1))
    black, blond = coin("black_hair"), coin("blond_hair")
    f["hair_lightness"] = torch.where(black, uniform(0, 0.14), torch.where(blond, uniform(0.7, 1), uniform(0.27, 0.54)))
    f["hair_grey"] = torch.where(coin("grey_hair"), uniform(0.75, 1), uniform(0, 0.1))
    f["hair_length"] = torch.where(coin("long_hair"), uniform(0.68, 1), uniform(0, 0.5))
    for name in ("eyeglasses", "hat", "bald", "freckles", "rosy_cheeks", "lipstick", "earrings", "mustache", "goatee",
                 "wavy_hair", "bangs"):
        f[name] = coin(name).float()
    _settle(f)
    return torch.stack([f[name] for name in FACTOR_NAMES], dim=1)


def _settle(f: dict[str, Tensor]) -> None:
    """Where two things cannot both be seen, let one go."""
    f["bald"] *= 1 - f["hat"]
    f["bangs"] *= (1 - f["hat"]) * (1 - f["bald"])
    f["hair_length"] = torch.where(f["bald"] > 0.5, f["hair_length"] * 0.5, f["hair_length"])


def draw(factors: Tensor | dict, size: int = 64) -> Tensor:
    """The pictures of given factors. -> uint8 (n, 3, size, size).

    factors: (n, F) with the columns `FACTOR_NAMES`, or a dict of some of them, each a number or an (n,) tensor; what is
    missing is the neutral face's. The same factors give the same bytes in any company. ValueError for a wrong number of
    columns, an unknown name, a value that is not finite or out of its range, and a size not in 32 to 256.
    """
    if size not in SIZES:
        raise ValueError(f"faces of size {size} asked for: take a whole number from {SIZES[0]} to {SIZES[-1]}")
    f = _by_name(factors)
    n = len(f["x"])
    chunk = max(1, CHUNK_PIXELS // size**2)
    pictures = torch.empty(n, 3, size, size, dtype=torch.uint8)

    @torch.no_grad()
    def paint_chunk(start: int) -> None:
        part = {name: value[start:start + chunk] for name, value in f.items()}
        pictures[start:start + chunk] = paint(part, size)

    _each(paint_chunk, range(0, n, chunk))
    return pictures


def _each(work: Callable[[int], None], starts: range) -> None:
    """Do the work for each start, side by side in as many threads as torch may use."""
    threads = torch.get_num_threads()
    if threads == 1 or len(starts) < 2:
        for start in starts:
            work(start)
        return
    # One chunk to a thread, and each thread by itself: thousands of small operations that wait for each other's
    # halves are slow on a busy machine.
    try:
        with ThreadPoolExecutor(min(threads, 8), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(work, starts))
    finally:
        torch.set_num_threads(threads)


def split_factors(split: str, n: int, distribution: str = "correlated", seed: int = 0) -> Tensor:
    """Factors of one split, from a random stream of its own: no face of one split is in another. -> float32 (n, F)"""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: take one of {', '.join(SPLITS)}")
    return sample_factors(n, len(SPLITS) * seed + SPLITS.index(split), distribution)


def _by_name(factors: Tensor | dict) -> dict[str, Tensor]:
    """Checked factors, name -> float32 (n,)."""
    if isinstance(factors, dict):
        factors = _complete(factors)
    factors = torch.as_tensor(factors, dtype=torch.float32)
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise ValueError(f"factors of shape {tuple(factors.shape)} found: expected (n, {len(FACTORS)}), the columns of "
                         "faces.FACTOR_NAMES, or a dict of some of them")
    low, high = (torch.tensor([getattr(factor, end) for factor in FACTORS]) for end in ("low", "high"))
    slack = 1e-4 * (high - low)
    wrong = ~((factors >= low - slack) & (factors <= high + slack))  # so that NaN is wrong too
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        factor = FACTORS[column]
        raise ValueError(f"{factor.name} of face {row} is {factors[row, column]:g}: take a number from {factor.low:g} to "
                         f"{factor.high:g}")
    return dict(zip(FACTOR_NAMES, factors.clamp(low, high).unbind(1)))


def _complete(named: dict) -> Tensor:
    """A dict of some factors -> all of them, (n, F)."""
    unknown = sorted(set(named) - set(FACTOR_NAMES))
    if unknown:
        raise ValueError(f"unknown factor {unknown[0]!r}: take names from faces.FACTOR_NAMES")
    values = {name: torch.as_tensor(value, dtype=torch.float32).reshape(-1) for name, value in named.items()}
    n = max((len(value) for value in values.values()), default=1)
    wrong = [name for name, value in values.items() if len(value) not in (1, n)]
    if wrong:
        raise ValueError(f"{wrong[0]} has {len(values[wrong[0]])} values where another factor has {n}: give every factor "
                         "one value or the same number of them")
    neutral = {factor.name: torch.tensor([float(factor.default)]) for factor in FACTORS}
    return torch.stack([value.expand(n) for value in (neutral | values).values()], dim=1)
