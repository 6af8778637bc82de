"""Anybody's folder of photographs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dfcvae.photos.decode import SUFFIXES
from dfcvae.photos.source import Source, part, stat, unlabelled

FEW = 10  # a folder with fewer pictures is not divided


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
    names = sorted(name for name in files if _suffix(name) in SUFFIXES)
    if not names:
        others = f" ({', '.join(sorted(set(map(_suffix, files))))})" if files else ""
        told = "; ".join([", ".join(sorted(SUFFIXES)), *notes])
        raise FileNotFoundError(f"found {len(files):,} files{others} below {root}, none of them {told}")
    if len(names) < FEW:
        notes.append(f"{root} has only {len(names)} pictures: train, validation and test are the same ones")
    else:
        names = part(names, split)
    state = repr([(name, *stat(root / name)) for name in names])
    return Source("folder", split, root, state, lambda: unlabelled(names, root, notes))


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
