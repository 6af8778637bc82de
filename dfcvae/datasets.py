"""load("faces" | "celeba" | "lfw" | "folder") -> Images: pictures as bytes, with what is known of them.

Photographs are decoded once and faces are drawn once; both are kept as packs (photos/pack.py) in the cache.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from dfcvae import faces, files

NAMES = ("faces", "celeba", "lfw", "folder")
SPLITS = faces.SPLITS
FACES = {"train": 8_000, "validation": 800, "test": 800}  # drawn faces, unless n says another number
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
        shape, dtype = tuple(self.pixels.shape), self.pixels.dtype
        if dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3:
            raise ValueError(f"pixels are {dtype} {shape}, expected torch.uint8 (N, 3, S, S)")
        self.attributes = _table("attributes", self.attributes, self.attribute_names, len(self)).bool()
        self.factors = _table("factors", self.factors, self.factor_names, len(self)).float()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Index) -> Images:
        """The chosen pictures: a number gives Images of length 1, a slice shares the memory."""
        rows = _rows(index, len(self))
        pixels, attributes, factors = (t[rows] for t in (self.pixels, self.attributes, self.factors))
        return replace(self, pixels=pixels, attributes=attributes, factors=factors)

    def float(self, indices: Index = slice(None)) -> Tensor:
        """All pictures, or the chosen ones, as float32 (N, 3, S, S) in [0, 1]."""
        return self.pixels[_rows(indices, len(self))].float() / 255

    def __repr__(self) -> str:
        *_, height, width = self.pixels.shape
        parts = [f"{len(self):,} pictures of {width} x {height}"]
        for kind, names in (("attributes", self.attribute_names), ("factors", self.factor_names)):
            if names:
                more = ", ..." if len(names) > 3 else ""
                parts.append(f"{len(names)} {kind} ({', '.join(names[:3])}{more})")
        return f"Images({self.name or 'unnamed'} {self.split or 'images'}: {', '.join(parts)})"


def _table(what: str, table: Tensor, names: tuple[str, ...], count: int) -> Tensor:
    if not names and not table.numel():
        return table.new_empty(count, 0)
    if tuple(table.shape) != (count, len(names)):
        expected = f"({count}, {len(names)}): a row a picture, a column a name"
        raise ValueError(f"{what} are {tuple(table.shape)}, expected {expected}")
    return table


def _rows(index: Index, count: int) -> slice | Sequence[int] | Tensor:
    """A whole number, of Python, numpy or torch, becomes a slice of length 1."""
    if not isinstance(index, int) and getattr(index, "ndim", True):
        return index
    number = operator.index(index)  # type: ignore[arg-type]
    if not -count <= number < count:
        raise IndexError(f"there is no picture {number}: expected {-count} to {count - 1}")
    return slice(number % count, number % count + 1)


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
    """The pictures of one split, `size` x `size` pixels each, the same ones on every machine.

    name: "faces", drawn here, from one `distribution` ("correlated" or "independent"); "celeba", the centre
    148 pixels of the copy in `root`, in any of three layouts (photos/celeba.py); "lfw", the same square of
    Labeled Faces in the Wild, downloaded at the first call, to scikit-learn's folder of data unless `root` is
    given (photos/lfw.py); "folder", the centre squares of all pictures below `root`, split 80 / 10 / 10 by a
    hash of their paths (photos/folder.py). Photographs come in the order of their names.
    split: "train", "validation" or "test". n: the first n, or as many as can be read. Without it photographs
    come complete, and of faces 8,000 for train and 800 for validation and test.

    The first call draws or decodes, with a progress bar, into `cache_dir`; later ones map the result into
    memory. Files that cannot be read are passed over, and named in a warning at every call. Raises ValueError
    for an unknown name, split or size, FileNotFoundError for what is missing in `root`, OSError when the disk
    is full or a download fails.
    """
    from dfcvae.photos.celeba import celeba
    from dfcvae.photos.folder import folder
    from dfcvae.photos.lfw import lfw

    _check(name, split, size, root, n)
    cache = (Path(cache_dir).expanduser() if cache_dir else files.cache_dir()) / "packs"
    if name == "faces":
        return _faces(cache, split, size, n or FACES[split], distribution, progress)
    place = Path(root).expanduser().resolve() if root is not None else None
    if name == "lfw":
        source = lfw(place, split, progress)
    elif place is None:
        raise ValueError(f"load({name!r}) needs root=, the folder that holds the pictures")
    else:
        source = celeba(place, split) if name == "celeba" else folder(place, split)
    pixels, labels = source.pack(cache, size, n, progress)
    for note in labels.notes:
        warnings.warn(note, stacklevel=2)
    return Images(pixels, labels.attributes, labels.attribute_names, name=name, split=split)[:n]


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
        raise ValueError(f"faces are drawn and have no root, found {root}; for photographs load 'folder'")


def _faces(cache: Path, split: str, size: int, n: int, distribution: str, progress: bool) -> Images:
    from tqdm import tqdm

    from dfcvae.photos.pack import Contents, Labels, packed

    factors = faces.split_factors(split, n, distribution)  # (n, F)

    def drawn() -> Iterator[tuple[int, Tensor]]:
        with tqdm(total=n, desc=f"drawing faces ({split})", unit="img", disable=not progress) as bar:
            for start in range(0, n, DRAWN_AT_ONCE):
                pictures = faces.draw(factors[start : start + DRAWN_AT_ONCE], size)  # (128, 3, size, size)
                yield from enumerate(pictures, start)
                bar.update(len(pictures))

    def contents() -> Contents:
        return (n, 3, size, size), drawn(), Labels(torch.empty(n, 0))  # the labels follow from the factors

    # A change of the sampling changes the first block, by which packs of earlier versions are found outdated.
    state = f"{faces.DRAWING_VERSION} {files.checksum(faces.split_factors(split, faces.BLOCK, distribution))}"
    pixels, _ = packed(cache, f"faces-{split}-{size}-{distribution}", state, n, contents)
    labels = faces.attributes(factors), faces.ATTRIBUTE_NAMES, factors, faces.FACTOR_NAMES
    return Images(pixels[:n], *labels, "faces", split)
