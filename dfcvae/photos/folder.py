"""Photographs on disk: which files they are, whether they have changed, and anybody's folder of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from dfcvae.photos import pack as packing
from dfcvae.photos.decode import SUFFIXES, decode_all
from dfcvae.photos.pack import Contents, Key, Pack

FEW = 10  # a folder with fewer pictures is not divided


@dataclass(frozen=True)
class Listing:
    """The pictures of one split by name, in order; `read(name)` gives what Pillow can open."""

    names: list[str]
    read: Callable[[str], Path | BinaryIO]
    attributes: Tensor
    attribute_names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """One split of the photographs below `root`.

    state: a digest that changes when they do. listing: called only when they are to be decoded.
    crop: pixels of the centre square to take, None for as many as there are. usual: the (width, height) of
    all pictures, where they are alike.
    """

    name: str
    split: str
    root: Path
    crop: int | None
    state: str
    listing: Callable[[], Listing]
    usual: tuple[int, int] | None = None

    def pack(self, cache: Path, size: int, n: int | None = None, progress: bool = True) -> Pack:
        """The pictures, decoded now or mapped from `cache`: all, or at least the first n that can be read."""

        def contents() -> Contents:
            found = self.listing()
            title = f"{self.name} ({self.split}) from {self.root}"
            pictures = decode_all(
                found.names, found.read, size, self.crop, self.usual, n, title, found.notes, progress
            )
            total = len(found.names)
            return Contents(
                total if n is None else min(n, total),
                pictures,
                found.attributes,
                found.attribute_names,
                notes=found.notes,
            )

        complete = n and packing.find(cache, self._key(size, None))
        return complete or packing.packed(cache, self._key(size, n), contents)

    def _key(self, size: int, n: int | None) -> Key:
        what = {"data": self.name, "root": str(self.root), "split": self.split, "crop": self.crop, "n": n}
        return Key(f"{self.name}-{self.split}-{size}", {**what, "size": size}, self.state)


def folder(root: Path, split: str) -> Source:
    """All pictures below `root`, hidden ones left out, with their centre squares and without labels.

    In the order of a hash of their relative paths, a tenth goes to test, the next tenth to validation and the
    rest to train: the same on every machine, whatever the dates of the files. Adding pictures moves a few
    between the splits. Fewer than 10 pictures are not divided: each split has them all, and a note says so.
    Raises FileNotFoundError if there is no folder or no picture in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; root= must be the folder of the pictures")
    notes: list[str] = []
    files = list(_files_below(root, notes))
    named = sorted(name for name in files if _suffix(name) in SUFFIXES)
    names = [name for name in named if os.path.isfile(root / name)]
    if len(names) < len(named):
        other = min(set(named) - set(names))
        notes.append(
            f"{len(named) - len(names):,} names in {root} lead to no file (for example {other}, a broken "
            "link or a pipe) and were passed over"
        )
    if not names:
        others = f" ({', '.join(sorted(set(map(_suffix, files))))})" if files else ""
        expected = ", ".join(sorted(SUFFIXES))
        told = "".join(f"; {note}" for note in notes)
        raise FileNotFoundError(
            f"found {len(files):,} files{others} below {root}, none of them {expected} that can be "
            f"opened{told}"
        )
    if len(names) < FEW:
        notes.append(f"{root} has only {len(names)} pictures: train, validation and test are the same ones")
    else:
        names = part(names, split)
    state = fingerprint((name, *stat(root / name)) for name in names)
    unlabelled = torch.empty(len(names), 0, dtype=torch.bool)

    def listing() -> Listing:
        return Listing(names, lambda name: root / name, unlabelled, notes=notes)

    return Source("folder", split, root, None, state, listing)


def _files_below(root: Path, notes: list[str]) -> Iterator[str]:
    """Paths relative to `root`, with slashes, as the hash of a path must not depend on the machine."""

    def unreadable(error: OSError) -> None:
        notes.append(f"the folder {error.filename} could not be read ({error.strerror}) and was passed over")

    for base, folders, names in os.walk(root, onerror=unreadable):
        # macOS leaves ._name.jpg and __MACOSX behind, which hold no pictures.
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        prefix = "" if base == str(root) else Path(base).relative_to(root).as_posix() + "/"
        yield from (prefix + name for name in names if not name.startswith("."))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def part(names: Iterable[str], split: str) -> list[str]:
    """A tenth of the names each for test and validation, the rest for train; the same on every machine."""
    ranked = sorted(names, key=lambda name: sha256(name.encode("utf-8", "surrogateescape")).digest())
    tenth = len(ranked) // 10
    parts = {"test": ranked[:tenth], "validation": ranked[tenth : 2 * tenth], "train": ranked[2 * tenth :]}
    return sorted(parts[split])


def stat(path: Path | os.DirEntry) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def fingerprint(files: Iterable[tuple]) -> str:
    """A digest of file names, sizes and times: another one means that something has changed."""
    digest = sha256()
    for file in files:
        digest.update(repr(file).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
