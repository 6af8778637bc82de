"""Pictures are decoded once into a *pack*, which every later run maps into memory.

A pack is a folder in the cache:

    pixels.u8             N x 3 x S x S bytes, C order, nothing else
    labels.safetensors    "attributes" bool (N, A) and "factors" float32 (N, F)
    manifest.json         what was packed, shapes, names, notes, checksums (and a checksum of its own)

What is promised. A pack is written in a folder of another name and renamed when it is complete and on disk,
so a half-written one is never taken for a whole one. Two programs that want the same pack wait for each
other. The name and the manifest hold a digest of the source, so a changed source is packed anew, and the
outdated pack goes. On opening, the length of the pixels, the manifest, the labels and up to 64 blocks of 1
MiB of the pixels (all of them in packs up to 64 MiB) are checked; what fails is packed anew. Damage elsewhere
in a larger file is not looked for.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from dfcvae.files import block_checksums, flush, sampled_blocks_agree

VERSION = 1
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# Python names this flag only from 3.13 on. Without it Linux refuses to map a file larger than the memory.
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


@dataclass(frozen=True)
class Pack:
    """An opened pack: pixels uint8 (N, 3, S, S), attributes bool (N, A), factors float32 (N, F)."""

    pixels: Tensor
    attributes: Tensor
    attribute_names: tuple[str, ...]
    factors: Tensor
    factor_names: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class Contents:
    """What goes into a pack, with labels for all `total` candidates.

    `pictures` yields (rows, uint8 (len(rows), 3, S, S)); rows that it leaves out are left out of the labels
    too. It may append to `notes` until it is exhausted: sentences for the user, kept in the pack.
    """

    total: int
    pictures: Iterator[tuple[list[int], Tensor]]
    attributes: Tensor
    attribute_names: tuple[str, ...] = ()
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Key:
    """What a pack holds: `title` for people, `what` (root, split, size, ...), `state` of the source."""

    title: str
    what: dict
    state: str

    @property
    def place(self) -> str:
        """The pack's name but for the state of its source."""
        return f"{self.title}-{_digest(self.what)}"

    @property
    def folder(self) -> str:
        return f"{self.place}-{_digest(self.state)}"

    def as_json(self) -> dict:
        return {"what": self.what, "state": self.state, "version": VERSION}


def packed(cache: Path, key: Key, contents: Callable[[], Contents]) -> Pack:
    """The pack for `key`, made from `contents()` if `cache` holds no sound one.

    Raises OSError (ENOSPC) with the bytes needed and free when the disk is too full, and PermissionError when
    the cache cannot be written to. Nothing half-written is left behind.
    """
    from filelock import FileLock

    pack = find(cache, key)
    if pack:
        return pack
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / f"{key.place}.lock").acquire()
    except OSError as error:
        raise type(error)(
            f"cannot write to the cache {cache} ({error.strerror}); set DFCVAE_CACHE to a folder of your own"
        ) from error
    with lock:
        return find(cache, key) or _pack(cache, key, contents())


def find(cache: Path, key: Key) -> Pack | None:
    """The pack for `key` if `cache` holds a sound one, else None."""
    folder = cache / key.folder
    try:
        manifest = _unseal((folder / "manifest.json").read_text("utf-8"))
        labels = (folder / "labels.safetensors").read_bytes()
        pixels = folder / "pixels.u8"
        sound = (
            manifest["key"] == key.as_json()
            and manifest["labels_crc32"] == zlib.crc32(labels)
            and sampled_blocks_agree(pixels, manifest["bytes"], manifest["blocks_crc32"])
        )
        return _opened(pixels, labels, manifest) if sound else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _opened(pixels: Path, labels: bytes, manifest: dict) -> Pack:
    from safetensors.torch import load

    tensors = load(labels)
    return Pack(
        _mapped(pixels, manifest["shape"]),
        tensors["attributes"],
        tuple(manifest["attribute_names"]),
        tensors["factors"],
        tuple(manifest["factor_names"]),
        tuple(manifest["notes"]),
    )


def _mapped(path: Path, shape: list[int]) -> Tensor:
    """Copy-on-write: a picture changed in place changes in this process only, never in the cache."""
    with open(path, "rb") as file:
        if sys.platform == "linux":
            flags, protection = mmap.MAP_PRIVATE | NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            view = mmap.mmap(file.fileno(), 0, flags=flags, prot=protection)
        else:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return torch.frombuffer(view, dtype=torch.uint8).view(shape)


def _pack(cache: Path, key: Key, contents: Contents) -> Pack:
    # We hold the lock of this place: what else is here is outdated, or was left by a program that was killed.
    for outdated in cache.glob(f"{key.place}-*"):
        shutil.rmtree(outdated, ignore_errors=True)
    size = key.what["size"]
    needed = contents.total * 3 * size * size
    if shutil.disk_usage(cache).free < needed:
        raise _disk_full(cache, key, needed)
    partial = cache / f"{key.folder}.partial"
    try:
        partial.mkdir()
        _write(partial, key, contents, size)
        os.replace(partial, cache / key.folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno not in DISK_FULL:
            raise
        raise _disk_full(cache, key, needed) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    pack = find(cache, key)
    if pack is None:
        raise OSError(f"{cache / key.folder} was written and does not read back the same; is the disk sound?")
    return pack


def _write(folder: Path, key: Key, contents: Contents, size: int) -> None:
    from safetensors.torch import save

    kept: list[int] = []
    pixels = folder / "pixels.u8"
    with open(pixels, "wb") as file:
        for rows, pictures in contents.pictures:
            file.write(memoryview(pictures.contiguous().numpy()))
            kept += rows
        flush(file)
    factors = torch.empty(contents.total, 0) if contents.factors is None else contents.factors
    labels = save({"attributes": contents.attributes[kept], "factors": factors[kept]})
    manifest = {
        "key": key.as_json(),
        "shape": [len(kept), 3, size, size],
        "attribute_names": contents.attribute_names,
        "factor_names": contents.factor_names,
        "notes": contents.notes,
        "bytes": pixels.stat().st_size,
        "blocks_crc32": list(block_checksums(pixels)),
        "labels_crc32": zlib.crc32(labels),
    }
    for name, data in ("labels.safetensors", labels), ("manifest.json", _seal(manifest).encode("utf-8")):
        with open(folder / name, "wb") as file:
            file.write(data)
            flush(file)


def _seal(manifest: dict) -> str:
    return json.dumps({"crc32": zlib.crc32(json.dumps(manifest).encode()), "manifest": manifest})


def _unseal(text: str) -> dict:
    sealed = json.loads(text)
    if sealed["crc32"] != zlib.crc32(json.dumps(sealed["manifest"]).encode()):
        raise ValueError("the manifest was changed after it was written")
    return sealed["manifest"]


def _disk_full(cache: Path, key: Key, needed: int) -> OSError:
    free = shutil.disk_usage(cache).free
    return OSError(
        errno.ENOSPC,
        f"packing {key.title} needs {needed:,} bytes and the disk has {free:,} free; make room, or set "
        "DFCVAE_CACHE to a folder on a larger disk",
        str(cache),
    )


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
