"""load("faces" | "celeba" | "lfw" | "folder") -> Images: pictures as bytes, with what is known of them.

Photographs are decoded once and faces are drawn once; both are kept as packs (packing.py) in `cache_dir()`.
"""

from __future__ import annotations

import operator
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dfcvae import faces
from dfcvae.files import checksum
from dfcvae.photos import pack as packing
from dfcvae.photos.celeba import celeba
from dfcvae.photos.folder import folder
from dfcvae.photos.lfw import lfw
from dfcvae.photos.pack import Contents, Key, Pack

NAMES = ("faces", "celeba", "lfw", "folder")
PLACED = {"celeba": celeba, "folder": folder}  # photographs that the user has brought to a place
SPLITS = ("train", "validation", "test")
DRAWN_AT_ONCE = 128

Index = int | slice | Sequence[int] | Tensor


@dataclass(eq=False, repr=False)
class Images:
    """N square pictures of S x S pixels and their labels; what a data set does not have, has no columns.

    pixels: uint8 (N, 3, S, S), perhaps mapped from a file. attributes: bool (N, A). factors: float32 (N, F),
    the numbers that drawn faces were drawn from. `name` and `split` say where the pictures come from.
    """

    pixels: Tensor
    attributes: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    attribute_names: tuple[str, ...] = ()
    factors: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    factor_names: tuple[str, ...] = ()
    name: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4 or self.pixels.shape[1] != 3:
            found = f"{self.pixels.dtype} {tuple(self.pixels.shape)}"
            raise ValueError(f"pixels are {found}, expected torch.uint8 (N, 3, S, S)")
        self.attributes = _table("attributes", self.attributes, self.attribute_names, len(self)).bool()
        self.factors = _table("factors", self.factors, self.factor_names, len(self)).float()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Index) -> Images:
        """The chosen pictures: a number gives Images of length 1, a slice shares the memory."""
        rows = _rows(index, len(self))
        return Images(
            self.pixels[rows],
            self.attributes[rows],
            self.attribute_names,
            self.factors[rows],
            self.factor_names,
            self.name,
            self.split,
        )

    def float(self, indices: Index | None = None) -> Tensor:
        """All pictures, or the chosen ones, as float32 (N, 3, S, S) in [0, 1]."""
        rows = slice(None) if indices is None else _rows(indices, len(self))
        return self.pixels[rows].float() / 255

    def __repr__(self) -> str:
        *_, height, width = self.pixels.shape
        parts = [f"{len(self):,} pictures of {width} x {height}"]
        for kind, names in (("attributes", self.attribute_names), ("factors", self.factor_names)):
            if names:
                parts.append(
                    f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                )
        return f"Images({self.name or 'unnamed'} {self.split or 'images'}: {', '.join(parts)})"


def _table(what: str, table: Tensor, names: tuple[str, ...], count: int) -> Tensor:
    if not names and not table.numel():
        return table.new_empty(count, 0)
    if tuple(table.shape) != (count, len(names)):
        expected = f"({count}, {len(names)}): a row a picture, a column a name"
        raise ValueError(f"{what} are {tuple(table.shape)}, expected {expected}")
    return table


def _rows(index: Index, count: int) -> slice | Sequence[int] | Tensor:
    if getattr(index, "ndim", 0):
        return index
    try:
        index = operator.index(index)  # an int of Python, numpy or torch
    except TypeError:
        return index
    if not -count <= index < count:
        raise IndexError(f"there is no picture {index}: expected {-count} to {count - 1}")
    return slice(index % count, index % count + 1)


def cache_dir() -> Path:
    """Where the package keeps files: $DFCVAE_CACHE, else `dfcvae` in the user's cache folder."""
    if os.environ.get("DFCVAE_CACHE"):
        return Path(os.environ["DFCVAE_CACHE"]).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "dfcvae"


_default_cache = cache_dir  # inside load() the argument has its name


def load(
    name: str,
    split: str = "train",
    size: int = 64,
    root: str | Path | None = None,
    n: int | None = None,
    distribution: str = "correlated",
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Images:
    """The pictures of one split, `size` x `size` pixels each, in the order of their file names.

    name: "faces", drawn here, from one `distribution` ("correlated" or "independent"); "celeba", the centre
    148 pixels of the copy in `root`, in any of three layouts (celeba.py); "lfw", the same square of Labeled
    Faces in the Wild, downloaded at the first call, to scikit-learn's folder of data unless `root` is given
    (lfw.py); "folder", the centre squares of all
    pictures below `root`, split 80 / 10 / 10 by a hash of their paths (photographs.py).
    split: "train", "validation" or "test". n: the first n that can be read, or all if there are fewer; of
    drawn faces n, and other ones for another n. Without it, photographs come complete and faces in the number
    of the profile, a tenth of it for validation and test.

    The first call draws or decodes, with a progress bar, into `cache_dir`; later ones map the result into
    memory. Files that cannot be read are passed over, and named in a warning at every call. Raises ValueError
    for an unknown name, split or size, FileNotFoundError for what is missing in `root`, OSError when the disk
    is full or a download fails.
    """
    _check(name, split, size, root, n)
    cache = (Path(cache_dir).expanduser() if cache_dir else _default_cache()) / "packs"
    if name == "faces":
        pack = _faces(cache, split, size, n, distribution, progress)
    else:
        place = Path(root).expanduser().resolve() if root is not None else None
        source = lfw(place, split, progress) if name == "lfw" else PLACED[name](place, split)
        pack = source.pack(cache, size, n, progress)
    for note in pack.notes:
        warnings.warn(note, stacklevel=2)
    images = Images(
        pack.pixels, pack.attributes, pack.attribute_names, pack.factors, pack.factor_names, name, split
    )
    return images[:n]


def _check(name: str, split: str, size: int, root: str | Path | None, n: int | None) -> None:
    if name not in NAMES:
        raise ValueError(f"no data set is called {name!r}; expected one of {', '.join(NAMES)}")
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r}; expected one of {', '.join(SPLITS)}")
    if not isinstance(size, int) or not 8 <= size <= 1024:
        raise ValueError(f"size is {size!r}, expected a whole number of pixels from 8 to 1024")
    if n is not None and n < 1:
        raise ValueError(f"n is {n}, expected at least 1 picture, or None for all")
    if name == "faces" and root is not None:
        raise ValueError(
            f"faces are drawn and have no root, found {str(root)!r}; for photographs load 'folder'"
        )
    if name in PLACED and root is None:
        raise ValueError(f"load({name!r}) needs root=, the folder that holds the pictures")


def _faces(cache: Path, split: str, size: int, n: int | None, distribution: str, progress: bool) -> Pack:
    count = n or _profile_count(split)
    factors = faces.split_factors(split, count, distribution)
    attributes = faces.attributes(factors)
    what = {"data": "faces", "split": split, "size": size, "n": count, "distribution": distribution}
    # The labels stand in the state too, so that a change of the sampling alone is noticed.
    state = f"{faces.DRAWING_VERSION} {checksum(factors)} {checksum(attributes)}"

    def contents() -> Contents:
        pictures = _drawn(factors, size, f"drawing faces ({split})", progress)
        return Contents(
            count, pictures, attributes, faces.ATTRIBUTE_NAMES, factors, tuple(faces.FACTOR_NAMES)
        )

    return packing.packed(cache, Key(f"faces-{split}-{size}", what, state), contents)


def _profile_count(split: str) -> int:
    from dfcvae.course.profiles import profile

    count = profile().faces
    return count if split == "train" else count // 10


def _drawn(factors: Tensor, size: int, title: str, progress: bool) -> Iterator[tuple[list[int], Tensor]]:
    from tqdm import tqdm

    with tqdm(total=len(factors), desc=title, unit="img", disable=not progress) as bar:
        for start in range(0, len(factors), DRAWN_AT_ONCE):
            some = factors[start : start + DRAWN_AT_ONCE]
            yield list(range(start, start + len(some))), faces.draw(some, size)
            bar.update(len(some))
