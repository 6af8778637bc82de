"""What `load` needs to know of photographs, wherever they come from: which ones, and whether they changed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from dfcvae.photos.decode import decode_in_order
from dfcvae.photos.pack import Contents, Labels, digest, packed

NAMED = 5  # files that a note names


@dataclass(frozen=True)
class Listing:
    """The pictures of one split by name, in order; `read(name)` gives what Pillow can open."""

    names: list[str]
    read: Callable[[str], Path | BinaryIO]
    labels: Labels


@dataclass(frozen=True)
class Source:
    """One split of the photographs below `root`.

    state: changes when they do. listing: called only when they are to be decoded. crop: pixels of the centre
    square to take, None for as many as there are. usual: (width, height) of all, where they are alike.
    """

    name: str
    split: str
    root: Path
    state: str
    listing: Callable[[], Listing]
    crop: int | None = None
    usual: tuple[int, int] | None = None

    def pack(self, cache: Path, size: int, n: int | None, progress: bool) -> tuple[Tensor, Labels]:
        """The pictures, decoded now or mapped from `cache`: all, or at least the first n that can be read."""

        def contents() -> Contents:
            found = self.listing()
            count = min(n or len(found.names), len(found.names))
            return (count, 3, size, size), self._decoded(found, size, count, progress), found.labels

        place = f"{self.name}-{self.split}-{size}-{digest(str(self.root))}"
        return packed(cache, place, self.state, n, contents)

    def _decoded(self, found: Listing, size: int, count: int, progress: bool) -> Iterator[tuple[int, Tensor]]:
        """(row, uint8 (3, size, size)) of the first `count` files that can be read.

        The others are named in a note, as are pictures that had to be enlarged or are not of the usual size.
        Raises ValueError if no file can be read.
        """
        from tqdm import tqdm

        title = f"{self.name} ({self.split}) from {self.root}"
        failures: list[str] = []
        sizes: list[tuple[int, int]] = []
        bar = tqdm(total=count, desc=title, unit="img", disable=not progress)
        with warnings.catch_warnings(), bar:
            # Pillow's warnings name no file, and are no concern where the picture can be read all the same.
            warnings.filterwarnings("ignore", module="PIL")
            for row, result in enumerate(decode_in_order(found.names, found.read, size, self.crop)):
                if isinstance(result, str):
                    failures.append(result)
                    continue
                yield row, result[0]
                sizes.append(result[1])
                bar.update()
                if len(sizes) == count:
                    break
        named = ", ".join(failures[:NAMED]) + (", ..." if len(failures) > NAMED else "")
        if not sizes:
            raise ValueError(f"{title}: none of {len(found.names):,} picture files could be read: {named}")
        usual = f"{' x '.join(map(str, self.usual or ()))} pixels, as all should be"
        middle = f"their middle {self.crop} pixels, or as many as fit, were taken and may miss the face"
        counted = {
            f"files could not be read and were passed over: {named}": len(failures),
            f"pictures are not {usual}; {middle}": sum(self.usual not in (None, pair) for pair in sizes),
            f"of {len(sizes):,} pictures had fewer than {size} pixels a side and were enlarged": sum(
                min(*pair, self.crop or size) < size for pair in sizes
            ),
        }
        found.labels.notes += [f"{title}: {number:,} {what}" for what, number in counted.items() if number]


def unlabelled(names: list[str], folder: Path, notes: list[str]) -> Listing:
    """The files of those names in a folder, of which nothing else is known."""
    return Listing(names, lambda name: folder / name, Labels(torch.empty(len(names), 0), notes=notes))


def part(names: Iterable[str], split: str) -> list[str]:
    """A tenth of the names each for test and validation, the rest for train; the same on every machine."""
    ranked = sorted(names, key=lambda name: sha256(os.fsencode(name)).digest())
    tenth = len(ranked) // 10
    parts = {"test": ranked[:tenth], "validation": ranked[tenth : 2 * tenth], "train": ranked[2 * tenth :]}
    return sorted(parts[split])


def stat(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; zeros for a link that leads nowhere."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
