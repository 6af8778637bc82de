"""Pictures are decoded or drawn once into a *pack*, which every later run maps into memory.

A pack is a folder in the cache:

    pixels.u8             N x 3 x S x S bytes, C order, nothing else
    labels.safetensors    "attributes", bool (N, A); in its metadata names, notes and checksums

It is written under another name and renamed when it is complete, so half a pack is never taken for a whole
one. Two processes that want the same pack wait for each other. A changed source is packed anew, and the
outdated pack goes. A pack serves whoever asks for its first pictures too.

On opening, the labels and up to 64 MiB of pictures, spread evenly (all of them in smaller packs), are
compared with their checksums; what fails is packed anew. Damage elsewhere in a larger pack is not noticed.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from dfcvae.files import checksum, checksum_of_all, write_whole

VERSION = 2
CHECKED = 2**26  # bytes of pictures that are looked at on opening
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names it from 3.13 on


@dataclass
class Labels:
    """What is known of N pictures: attributes, bool (N, A), and sentences for the user."""

    attributes: Tensor
    attribute_names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


# The shape of all pictures, (N, 3, S, S); (row, uint8 (3, S, S)) of those that can be had; labels of all N.
# Notes may be added as long as the pictures come.
Contents = tuple[tuple[int, ...], Iterator[tuple[int, Tensor]], Labels]


def packed(
    cache: Path, place: str, state: str, n: int | None, contents: Callable[[], Contents]
) -> tuple[Tensor, Labels]:
    """The first n pictures or more, or all, uint8 (N, 3, S, S), from a pack, made where there is none.

    place: the pack's name, but for the `state` of its source, another one of which outdates it. Raises
    OSError when the cache cannot be written to or the disk is too full. Nothing half-written is left.
    """
    from filelock import FileLock

    name = f"{place}-{digest(f'{VERSION} {state}')}"
    if pack := _find(cache, name, n):
        return pack
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / f"{place}.lock").acquire()
    except OSError as error:
        where = f"cannot write to the cache {cache} ({error.strerror})"
        raise type(error)(f"{where}; set DFCVAE_CACHE to a folder of your own") from error
    with lock:
        pack = _find(cache, name, n)  # another process may have made it meanwhile
        if not pack:
            # While we hold the lock, what else is here is outdated, too short, or left by a killed process.
            for outdated in cache.glob(f"{place}-*"):
                shutil.rmtree(outdated, ignore_errors=True)
            partial = cache / f"{place}-partial"
            try:
                _write(partial, n, *contents())
                os.replace(partial, cache / f"{name}-{n or 'all'}")
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            pack = _find(cache, name, n)
    if not pack:
        raise OSError(f"{cache / name} was written and does not read back the same; is the disk sound?")
    return pack


def digest(text: str) -> str:
    """Twelve digits that tell texts apart, for names of files."""
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _find(cache: Path, name: str, n: int | None) -> tuple[Tensor, Labels] | None:
    """A pack of that name that is sound and has the first n pictures, or all for None."""
    from safetensors import safe_open

    for folder in cache.glob(f"{name}-*"):
        try:
            with safe_open(folder / "labels.safetensors", "pt") as file:
                facts, attributes = file.metadata(), file.get_tensor("attributes")
            first, shape, names, notes = json.loads(facts["facts"])
            if first is None or (n or math.inf) <= first:
                pixels = _mapped(folder / "pixels.u8", shape)
                if facts["crc32"] == _crc(facts["facts"], attributes, pixels):
                    return pixels, Labels(attributes, tuple(names), notes)
        except Exception:  # whatever damage may lead to: it is packed anew
            continue
    return None


def _mapped(path: Path, shape: Sequence[int]) -> Tensor:
    """The pictures, uint8 (N, 3, S, S), read from the file as they are used.

    A picture that is changed in place changes in this process only, never in the cache. For numpy's and
    torch's maps of this kind Linux wants as much free memory as the file is long, however little is read.
    """
    with open(path, "rb") as file:
        how: dict[str, int] = {"access": mmap.ACCESS_COPY}
        if sys.platform == "linux":
            how = {"flags": mmap.MAP_PRIVATE | NO_RESERVE, "prot": mmap.PROT_READ | mmap.PROT_WRITE}
        view = mmap.mmap(file.fileno(), 0, **how)
    return torch.frombuffer(view, dtype=torch.uint8).view(shape)  # (N*3*S*S,) -> (N, 3, S, S)


def _write(folder: Path, n: int | None, shape: tuple[int, ...], pictures: Iterator, labels: Labels) -> None:
    from safetensors.torch import save_file

    folder.mkdir()
    needed, free = math.prod(shape), shutil.disk_usage(folder).free
    if free < needed:
        short = f"the pictures need {needed:,} bytes and the disk has {free:,} free; make room, or set"
        raise OSError(errno.ENOSPC, f"{short} DFCVAE_CACHE to a folder on a larger disk", str(folder.parent))
    rows: list[int] = []

    def write_pixels(path: Path) -> None:
        with path.open("wb") as file:
            for row, picture in pictures:
                file.write(picture.contiguous().numpy().data)
                rows.append(row)

    write_whole(folder / "pixels.u8", write_pixels)
    shape = (len(rows), *shape[1:])
    attributes = labels.attributes[rows]  # (N, A) -> (rows, A)
    first = n if len(rows) == n else None  # None: there are no more
    facts = json.dumps([first, shape, labels.attribute_names, labels.notes])
    crc = _crc(facts, attributes, _mapped(folder / "pixels.u8", shape))
    metadata, tensors = {"facts": facts, "crc32": crc}, {"attributes": attributes}
    write_whole(folder / "labels.safetensors", lambda path: save_file(tensors, path, metadata))


def _crc(facts: str, attributes: Tensor, pixels: Tensor) -> str:
    """Of everything, but of no more than 64 MiB of pictures."""
    count = min(len(pixels), max(1, CHECKED // pixels[0].numel()))
    some = torch.linspace(0, len(pixels) - 1, count, dtype=torch.float64).round().long()
    return f"{zlib.crc32(facts.encode())} {checksum_of_all({'': attributes})} {checksum(pixels[some])}"
