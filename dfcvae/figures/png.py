"""Pictures as plain PNG files: grids of images, written without a plotting library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dfcvae.files import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

GAP = 2  # pixels between images
PAPER, INK = 255, (40, 40, 48)


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [0, 1] -> uint8; uint8 images pass."""
    if images.dtype == torch.uint8:
        return images
    return (images.detach().float().clamp(0, 1) * 255).round().byte()


def enlarged(images: Tensor, zoom: int) -> Tensor:
    """Images (..., H, W) as uint8 on the CPU, each pixel a square: (..., zoom * H, zoom * W)."""
    return to_uint8(images).cpu().repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)


def grid(images: Tensor, columns: int = 8, zoom: int = 1, gap: int = GAP) -> Tensor:
    """Images (N, 3, H, W) side by side, row after row: uint8 (3, rows * H', columns * W') with white gaps."""
    images = enlarged(images, zoom)
    blank = images.new_full((-len(images) % columns, *images.shape[1:]), PAPER)  # fills the last row
    tiles = F.pad(torch.cat([images, blank]), (0, gap, 0, gap), value=PAPER)  # (rows * columns, 3, H', W')
    sheet = tiles.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)  # -> (3, rows, H', columns, W')
    return F.pad(sheet.flatten(3, 4).flatten(1, 2), (gap, 0, gap, 0), value=PAPER)


def save_png(path: str | Path, image: Tensor) -> Path:
    """Write a uint8 image (3, H, W), whole or not at all."""
    write_whole(Path(path), lambda part: _picture(image).save(part, format="PNG"))
    return Path(path)


def save_previews(out: Path, originals: Tensor, rebuilt: Tensor, samples: Tensor) -> None:
    """reconstructions.png: originals above their reconstructions; samples.png: pictures from the prior."""
    both = torch.stack([originals, rebuilt])  # (2, N, 3, S, S)
    both = F.pad(both, (*[0] * 7, -len(originals) % 8), value=1)  # white, so that every row is a whole one
    rows = both.unflatten(1, (-1, 8)).transpose(0, 1)  # (rows, 2, 8, 3, S, S)
    save_png(out / "reconstructions.png", grid(rows.flatten(0, 2), zoom=2))
    save_png(out / "samples.png", grid(samples, zoom=2))


def png_bytes(image: Tensor) -> bytes:
    """The bytes of a uint8 image (3, H, W) as a PNG, packed fast rather than small."""
    buffer = io.BytesIO()
    _picture(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _picture(image: Tensor) -> PillowImage:
    from PIL import Image

    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())  # (3, H, W) -> (H, W, 3)


def labelled_rows(rows: Sequence[tuple[str, Tensor]], zoom: int = 2, note: str = "") -> Tensor:
    """A labelled row of images for each pair (label, images (N, 3, H, W)), and a note under the last.

    Returns uint8 (3, height, width).
    """
    parts = []
    for text, images in rows:
        sheet = grid(images, columns=len(images), zoom=zoom)
        parts += [_line(text, sheet.shape[2]), sheet]
    return torch.cat([*parts, _line(note, sheet.shape[2])] if note else parts, dim=1)


def _line(text: str, width: int, height: int = 26) -> Tensor:
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (width, height), (PAPER,) * 3)
    ImageDraw.Draw(strip).text((2 * GAP, 5), text, fill=INK, font=ImageFont.load_default(size=15))
    return torch.from_numpy(np.array(strip)).permute(2, 0, 1)  # (height, width, 3) -> (3, height, width)
