"""Drawn faces with known factors: a data set that needs no download and is no one's photograph.

`sample_factors` draws the numbers that make a face, `draw` paints them, `attributes` says what is to be
seen. Since the factors are ours we can ask what no photograph answers: the *same* face with glasses.

    factors = sample_factors(8, seed=0)
    pictures = draw(factors, size=64)      # uint8 (8, 3, 64, 64)
    labels = attributes(factors)           # bool (8, 20), columns ATTRIBUTE_NAMES
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from dfcvae.drawing import DRAWING_VERSION, paint
from dfcvae.drawing.factors import FACTOR_NAMES, FACTORS, FIRST_OF_SEEDS, factors_of_stream, sample_factors

__all__ = [
    "ATTRIBUTE_NAMES",
    "DRAWING_VERSION",
    "FACTORS",
    "FACTOR_NAMES",
    "attributes",
    "draw",
    "sample_factors",
    "split_factors",
]

SIZES = range(32, 257)
SPLITS = ("train", "validation", "test")
BLOCK = 1_000  # faces of a split that come from one random stream, so that a few do not cost all
MOST = 1_000_000  # faces of a split
CHUNK_PIXELS = 2**17  # faces painted at a time: few enough to stay in the processor's cache
ATTRIBUTE_NAMES = (
    "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows", "Eyeglasses", "Freckles",
    "Goatee", "Gray_Hair", "Long_Hair", "Mouth_Slightly_Open", "Mustache", "Pale_Skin", "Rosy_Cheeks",
    "Smiling", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
)  # fmt: skip


def attributes(factors: Tensor | dict) -> Tensor:
    """What is to be seen in the pictures of these factors, under CelebA's names where CelebA has one.

    factors: (n, F) as for `draw` -> bool (n, A), columns `ATTRIBUTE_NAMES`. A fringe under a hat is not
    seen, so it is no `Bangs`. Pure: nothing but the factors decides. ValueError as for `draw`.
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


def draw(factors: Tensor | dict, size: int = 64) -> Tensor:
    """The pictures of given factors. -> uint8 (n, 3, size, size).

    factors: (n, F) with the columns `FACTOR_NAMES`, or a dict of some of them, each a number or an (n,)
    tensor; what is missing is the neutral face's. The same factors give the same bytes in any company.
    ValueError for a wrong number of columns, an unknown name, a value that is not finite or out of its
    range, and a size not in 32 to 256.
    """
    if size not in SIZES:
        raise ValueError(
            f"faces of size {size} asked for: take a whole number from {SIZES[0]} to {SIZES[-1]}"
        )
    f = _by_name(factors)
    n, chunk = len(f["x"]), max(1, CHUNK_PIXELS // size**2)
    pictures = torch.empty(n, 3, size, size, dtype=torch.uint8)

    @torch.no_grad()
    def paint_chunk(start: int) -> None:
        part = {name: value[start : start + chunk] for name, value in f.items()}  # each (chunk,)
        pictures[start : start + chunk] = paint(part, size)  # (chunk, 3, size, size)

    _each(paint_chunk, range(0, n, chunk))
    return pictures


def _each(work: Callable[[int], None], starts: range) -> None:
    """Do the work for each start, side by side in as many threads as torch may use."""
    threads = torch.get_num_threads()
    if min(threads, len(starts)) < 2:
        for start in starts:
            work(start)
        return
    # One chunk to a thread, and each thread by itself: thousands of small operations that wait for each
    # other's halves are slow on a busy machine.
    try:
        with ThreadPoolExecutor(min(threads, 8), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(work, starts))
    finally:
        torch.set_num_threads(threads)


def split_factors(split: str, n: int, distribution: str = "correlated", seed: int = 0) -> Tensor:
    """Factors of the first n faces of a split, up to a million. -> float32 (n, F)

    A smaller n gives the first rows of a larger one. Splits share no face, and `sample_factors` never gives
    these faces. ValueError for another split, distribution, n, or a seed for which there are no streams.
    """
    streams = len(SPLITS) * MOST // BLOCK  # of one seed
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: take one of {', '.join(SPLITS)}")
    if not 0 <= n <= MOST:
        raise ValueError(f"{n} faces asked for: take 0 to {MOST:,}")
    if not 0 <= seed < FIRST_OF_SEEDS // streams:
        raise ValueError(f"seed {seed} found: take a whole number from 0 to {FIRST_OF_SEEDS // streams - 1}")
    first = seed * streams + SPLITS.index(split) * MOST // BLOCK
    blocks = range(first, first + max(1, math.ceil(n / BLOCK)))
    factors = [factors_of_stream(BLOCK, stream, distribution) for stream in blocks]
    return torch.cat(factors)[:n]  # blocks of (1000, F) -> (n, F)


def _by_name(factors: Tensor | dict) -> dict[str, Tensor]:
    """Checked factors, (n, F) or a dict of some -> name: float32 (n,)."""
    factors = _complete(factors) if isinstance(factors, dict) else factors
    factors = torch.as_tensor(factors, dtype=torch.float32)
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise ValueError(
            f"factors of shape {tuple(factors.shape)} found: expected (n, {len(FACTORS)}), the columns of "
            "faces.FACTOR_NAMES, or a dict of some of them"
        )
    low = torch.tensor([float(factor.low) for factor in FACTORS])  # (F,)
    high = torch.tensor([float(factor.high) for factor in FACTORS])
    slack = 1e-4 * (high - low)
    fits = (factors >= low - slack) & (factors <= high + slack)  # false for NaN too
    if not fits.all():
        row, column = (~fits).nonzero()[0].tolist()
        factor = FACTORS[column]
        raise ValueError(
            f"{factor.name} of face {row} is {factors[row, column]:g}: "
            f"take a number from {factor.low:g} to {factor.high:g}"
        )
    columns = factors.clamp(low, high).unbind(1)  # (n, F) -> F of (n,)
    return dict(zip(FACTOR_NAMES, columns, strict=True))


def _complete(named: dict) -> Tensor:
    """A dict of some factors -> all of them, (n, F); those left out are the neutral face's."""
    unknown = sorted(set(named) - set(FACTOR_NAMES))
    if unknown:
        raise ValueError(f"unknown factor {unknown[0]!r}: take names from faces.FACTOR_NAMES")
    values = {name: torch.as_tensor(value, dtype=torch.float32).reshape(-1) for name, value in named.items()}
    n = max((len(value) for value in values.values()), default=1)
    for name, value in values.items():
        if len(value) not in (1, n):
            raise ValueError(
                f"{name} has {len(value)} values where another factor has {n}: "
                "give every factor one value or the same number of them"
            )
    neutral = {factor.name: torch.tensor([float(factor.default)]) for factor in FACTORS}
    return torch.stack([value.expand(n) for value in (neutral | values).values()], dim=1)
