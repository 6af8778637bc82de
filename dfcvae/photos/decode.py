"""Picture files to squares of RGB bytes, many at a time and in order.

Any picture becomes upright (EXIF) 8-bit RGB: transparency is laid on white, 16-bit grey is scaled (65535 is
white), CMYK is converted without a colour profile, and of an animation the first frame is taken. Scaling is
Pillow's bicubic filter, which widens with the scale and so does not alias.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MOST_PIXELS = 89_478_485  # from here on Pillow warns of a decompression bomb
MANY_PIXELS = 16_000_000
NAMED = 5

# Pictures of many pixels are decoded one at a time, so that memory stays bounded on any number of cores.
_one_large_picture = threading.Lock()


def decode(source: Path | BinaryIO, size: int, crop: int | None = None) -> tuple[Tensor, tuple[int, int]]:
    """Centre square of a picture as uint8 (3, size, size), and the (width, height) that the file had.

    The square has `crop` pixels a side, or as many as fit. Raises ValueError or what Pillow raises when the
    file cannot be read whole; a picture of more than 89 million pixels is refused before it is decoded.
    """
    from PIL import Image

    with _opened(source) as picture:
        width, height = picture.size
        if not width * height:
            raise ValueError("has no pixels")
        if width * height > MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels are more than the {MOST_PIXELS:,} that we decode")
        with _one_large_picture if width * height > MANY_PIXELS else nullcontext():
            if crop is None:
                # JPEG can be decoded at 1/2, 1/4 or 1/8: far faster, and four times `size` is left to scale.
                picture.draft(None, (4 * size, 4 * size))
            picture.load()
            square = _rgb(_centre_square(_upright(picture), crop))
    square = square.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    return pixels.view(size, size, 3).permute(2, 0, 1), (width, height)  # (S*S*3,) -> (3, S, S)


def _opened(source: Path | BinaryIO) -> Image:
    """Pillow's picture, not decoded yet; of a PNG the checksums are right."""
    from PIL import Image

    if isinstance(source, os.PathLike) and not os.path.isfile(source):
        raise ValueError("is no file")  # a pipe would be waited for
    picture = Image.open(source)
    if picture.format != "PNG":
        return picture
    picture.verify()  # decoding does not look at them, and is not possible afterwards
    if not isinstance(source, os.PathLike):
        source.seek(0)
    return Image.open(source)


def decode_all(
    names: Sequence[str],
    read: Callable[[str], Path | BinaryIO],
    size: int,
    crop: int | None = None,
    usual: tuple[int, int] | None = None,
    limit: int | None = None,
    title: str = "",
    notes: list[str] | None = None,
    progress: bool = True,
) -> Iterator[tuple[list[int], Tensor]]:
    """Decode `read(name)` for each name by a pool of threads: ([row], uint8 (1, 3, size, size)) in order.

    Stops after `limit` pictures. Files that cannot be decoded are passed over; at the end `notes` gets one
    sentence that names them, and one on pictures that had to be enlarged, or are not as wide and high as
    ``usual`` says that all of them are. Raises ValueError if no file can be decoded.
    """
    from tqdm import tqdm

    def job(name: str) -> tuple[Tensor, tuple[int, int]] | str:
        try:
            return decode(read(name), size, crop)
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            return f"{name} ({_reason(error)})"

    tally = _Tally(size, crop, usual)
    workers = _cores()
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=min(limit or len(names), len(names)), desc=title, unit="img", disable=not progress) as bar,
    ):
        # What Pillow warns of names no file, and is no concern where the picture can be read all the same.
        warnings.filterwarnings("ignore", module="PIL")
        for row, result in enumerate(_in_order(pool, job, names, ahead=8 * workers)):
            if isinstance(result, str):
                tally.failures.append(result)
                continue
            tally.count(*result[1])
            bar.update()
            yield [row], result[0][None]
            if tally.decoded == limit:
                break
    if not tally.decoded:
        raise ValueError(f"{title}: none of {len(names):,} picture files could be read: {tally.named()}")
    if notes is not None:
        notes += tally.sentences(title)


class _Tally:
    def __init__(self, size: int, crop: int | None, usual: tuple[int, int] | None):
        self.size, self.crop, self.usual = size, crop, usual
        self.decoded = self.enlarged = self.unusual = 0
        self.failures: list[str] = []

    def count(self, width: int, height: int) -> None:
        self.decoded += 1
        self.enlarged += min(width, height, self.crop or width) < self.size
        self.unusual += self.usual not in (None, (width, height))

    def sentences(self, title: str) -> Iterator[str]:
        if self.failures:
            count = len(self.failures)
            yield f"{title}: {count:,} files could not be read and were passed over: {self.named()}"
        if self.unusual:
            yield (
                f"{title}: {self.unusual:,} pictures are not {self.usual[0]} x {self.usual[1]} pixels, as "
                f"all should be; their middle {self.crop} pixels, or as many as fit, were taken and may miss "
                "the face"
            )
        if self.enlarged:
            counted = f"{self.enlarged:,} of {self.decoded:,}"
            yield f"{title}: {counted} pictures had fewer than {self.size} pixels a side and were enlarged"

    def named(self) -> str:
        """The first few files that failed, with the reasons."""
        return ", ".join(self.failures[:NAMED]) + (", ..." if len(self.failures) > NAMED else "")


def _in_order(pool: ThreadPoolExecutor, job: Callable, items: Sequence[str], ahead: int) -> Iterator:
    """`pool.map` with no more than `ahead` results held in memory."""
    waiting: deque = deque()
    for item in items:
        waiting.append(pool.submit(job, item))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _upright(picture: Image) -> Image:
    from PIL.Image import Transpose

    try:
        orientation = picture.getexif().get(0x0112)
    except Exception:  # a broken EXIF block does not make the picture unreadable
        return picture
    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _centre_square(picture: Image, crop: int | None) -> Image:
    width, height = picture.size
    side = min(width, height, crop or width)
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _rgb(picture: Image) -> Image:
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bit(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _eight_bit(picture: Image) -> Image:
    """Grey of 16 bits (which Pillow may call 32) or of floats in [0, 1], to 8 bits."""
    import numpy as np
    from PIL import Image

    values = np.asarray(picture)
    white = 1 if picture.mode == "F" else 65535
    low, high = values.min(), values.max()
    if not (0 <= low and high <= white):
        raise ValueError(f"grey values from {low} to {high}, where 0 to {white} were expected")
    return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "not a picture, whatever its name says"
    return str(error) or type(error).__name__


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
