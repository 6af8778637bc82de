"""Picture files to squares of RGB bytes, many at a time and in order.

Any picture becomes upright (EXIF) 8-bit RGB: transparency is laid on white, 16-bit grey is scaled (65535 is
white), CMYK is converted without a colour profile, and of an animation the first frame is taken. Scaling is
Pillow's bicubic filter, which widens with the scale and so does not alias.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from torch import Tensor

from dfcvae.device import available_threads

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MOST_PIXELS = 89_478_485  # from here on Pillow warns of a decompression bomb
MANY_PIXELS = 16_000_000

# Pictures of many pixels are decoded one at a time, so that memory stays bounded on any number of cores.
_one_large_picture = threading.Lock()


def decode(source: Path | BinaryIO, size: int, crop: int | None = None) -> tuple[Tensor, tuple[int, int]]:
    """Centre square of a picture as uint8 (3, size, size), and the (width, height) that the file had.

    The square has `crop` pixels a side, or as many as fit. Raises ValueError or what Pillow raises when the
    file cannot be read whole; a picture of more than 89 million pixels is refused before it is decoded.
    """
    from PIL import Image, ImageOps

    with _opened(source) as picture:
        width, height = picture.size
        if not 0 < width * height <= MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels, where 1 to {MOST_PIXELS:,} can be decoded")
        with _one_large_picture if width * height > MANY_PIXELS else nullcontext():
            if crop is None:
                # JPEG can be decoded at 1/2, 1/4 or 1/8: far faster, and four times `size` is left to scale.
                picture.draft(None, (4 * size, 4 * size))
            picture.load()
            with suppress(Exception):  # a broken EXIF block does not make the picture unreadable
                ImageOps.exif_transpose(picture, in_place=True)
            side = crop or min(picture.size)
            borders = tuple(max(0, length - side) // 2 for length in picture.size)
            square = _rgb(ImageOps.crop(picture, borders))
            square = ImageOps.fit(square, (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1), (width, height)  # (S, S, 3) -> (3, S, S)


def _opened(source: Path | BinaryIO) -> Image:
    """Pillow's picture, not decoded yet; of a PNG the checksums are right."""
    from PIL import Image

    if isinstance(source, Path) and not source.is_file():
        raise ValueError("not a file")  # a pipe would be waited for
    picture = Image.open(source)
    if picture.format == "PNG":
        with picture:
            picture.verify()  # decoding does not look at them, and is not possible afterwards
        if not isinstance(source, Path):
            source.seek(0)
        picture = Image.open(source)
    return picture


def _rgb(picture: Image) -> Image:
    from PIL import Image

    if (
        picture.mode.startswith("I") or picture.mode == "F"
    ):  # grey of 16 bits, also in 32, or floats in [0, 1]
        values, white = np.asarray(picture), 1 if picture.mode == "F" else 65535
        low, high = values.min(), values.max()
        if not (0 <= low and high <= white):
            raise ValueError(f"grey values from {low} to {high}, where 0 to {white} were expected")
        picture = Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def decode_in_order(
    names: Sequence[str], read: Callable[[str], Path | BinaryIO], size: int, crop: int | None
) -> Iterator[tuple[Tensor, tuple[int, int]] | str]:
    """`decode(read(name), size, crop)` for each name, by threads, with few results in memory at a time.

    A file that cannot be decoded gives its name with the reason.
    """
    from PIL import UnidentifiedImageError

    def job(name: str) -> tuple[Tensor, tuple[int, int]] | str:
        try:
            return decode(read(name), size, crop)
        except UnidentifiedImageError:
            return f"{name} (not a picture, whatever its name says)"
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            return f"{name} ({str(error) or type(error).__name__})"

    at_once = 8 * available_threads()
    with ThreadPoolExecutor(at_once // 8) as pool:
        for start in range(0, len(names), at_once):
            yield from pool.map(job, names[start : start + at_once])
