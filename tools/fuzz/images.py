"""Image files: damage to eight formats, PNGs made up, sizes that they declare, other suffixes, no files."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dfcvae import load
from dfcvae.cli import main
from dfcvae.photos.decode import decode
from fuzz.mutate import damaged
from fuzz.worker import Case

SIZE = 16
FORMATS = {
    "png": {},
    "jpg": {"quality": 80},
    "webp": {"quality": 80},
    "gif": {},
    "bmp": {},
    "tif": {"compression": "tiff_lzw"},
    "tiff": {"compression": "tiff_adobe_deflate"},
    "jpeg": {"quality": 80, "progressive": True},
}


def prepare() -> None:
    """What the forked processes share: a picture in every format, and what it looks like."""
    rows = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(rows).resize((48, 40), Image.Resampling.BICUBIC)
    for mode in ("RGB", "RGBA", "P", "L"):
        for suffix, options in FORMATS.items():
            made, exif = io.BytesIO(), Image.Exif()
            exif[0x0112] = 6
            plain = picture if mode == "RGB" or suffix in ("jpg", "jpeg") else picture.convert(mode)
            extra = {"exif": exif} if suffix in ("jpg", "png", "webp") else {}
            plain.save(made, Image.registered_extensions()[f".{suffix}"], **options, **extra)
            WHOLE[suffix, mode] = made.getvalue()
            SEEN[suffix, mode] = decode(io.BytesIO(made.getvalue()), SIZE)[0]


WHOLE: dict[tuple[str, str], bytes] = {}
SEEN: dict[tuple[str, str], torch.Tensor] = {}


def make(random_: random.Random, folder: Path) -> Case:
    suffix, mode = random_.choice(list(WHOLE))
    whole, seen = WHOLE[suffix, mode], None
    draw = random_.random()
    path = folder / "in" / f"bad.{suffix}"
    if draw < 0.7:
        what, content = damaged(random_, whole, header=64)
        seen = SEEN[suffix, mode] if suffix == "png" else None  # whose chunks have checksums
    elif draw < 0.9:
        what, content = _crafted(random_)
        path = path.with_suffix(".png")
    elif draw < 0.95:
        path = path.with_name(
            random_.choice(("bad.png", "a\nb.jpg", "b\x1b[31m.gif", os.fsdecode(b"\xff.webp")))
        )
        what, content = "another suffix or a strange name", whole
    else:
        what, content = _no_file(random_, path), None
    if content is not None:
        path.write_bytes(content)
    good = random_.choice((0, 0, 2))
    for i in range(good):
        (folder / "in" / f"good{i}.png").write_bytes(WHOLE["png", "RGB"])
    command = ["prepare", "folder", "--root", str(folder / "in"), "--size", str(SIZE)]
    return Case(
        f"{path.suffix} {mode}: {what}",
        lambda: main(command),
        lambda: _check(folder / "in", good, seen),
        past=content is not None and _opens(path),
    )


def _opens(path: Path) -> bool:
    """Pillow knows the format and has read the size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path).close()
        return True
    except Exception:
        return False


def _check(root: Path, good: int, seen: torch.Tensor | None) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = load("folder", "train", SIZE, root, progress=False).pixels
    if pixels.dtype != torch.uint8 or tuple(pixels.shape[1:]) != (3, SIZE, SIZE):
        return f"read as {pixels.dtype} {tuple(pixels.shape)}"
    if not good <= len(pixels) <= good + 1:
        return f"{len(pixels)} pictures read of {good} good ones and a bad one"
    # In the order of their names, the bad one is the first.
    if seen is not None and len(pixels) > good and not pixels[0].equal(seen):
        return "a PNG that fails its checksums was read with other pixels"
    return ""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _crafted(random_: random.Random) -> tuple[str, bytes]:
    """A PNG whose checksums are right and whose contents are not."""
    edge = (0, 1, 7, 5000, 30_000, 9_000_000, 2**31 - 1, 2**32 - 1)
    size = random_.choice(((48, 40), (random_.choice(edge), random_.choice(edge))))
    depth, colour = random_.choice((8, 8, 1, 16, 3)), random_.choice((2, 2, 0, 3, 4, 6, 9))
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, random_.choice((0, 0, 1)))
    rows = random_.choice((b"\0" * 200, random_.randbytes(6000), b"\0" * 10_000_000))
    chunks = [_chunk(b"IHDR", header)]
    extras = {
        "an iTXt bomb": _chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"\0" * 5_000_000)),
        "a zTXt bomb": _chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 5_000_000)),
        "an iCCP bomb": _chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 5_000_000)),
        "a short tRNS": _chunk(b"tRNS", b"\1"),
        "a broken EXIF": _chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        "a palette of none": _chunk(b"PLTE", b""),
        "frames": _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        "nothing": b"",
    }
    extra = random_.choice(list(extras))
    chunks += [extras[extra], _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    if random_.random() < 0.2:
        random_.shuffle(chunks)
    return f"{size[0]} x {size[1]}, depth {depth}, colour {colour}, {extra}", b"\x89PNG\r\n\x1a\n" + b"".join(
        chunks
    )


def _no_file(random_: random.Random, path: Path) -> str:
    kind = random_.choice(
        ("folder", "fifo", "dangling link", "link to itself", "endless device", "link outside")
    )
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        places = {"dangling link": "nowhere", "link to itself": path.name, "endless device": "/dev/zero"}
        path.symlink_to(places.get(kind, "/etc/passwd"))
    return kind
