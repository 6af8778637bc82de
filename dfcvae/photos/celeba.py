"""CelebA as people have it on disk: its own layout, Kaggle's, or the zip left unextracted.

    its own    img_align_celeba/*.jpg, list_attr_celeba.txt, list_eval_partition.txt
    Kaggle's   img_align_celeba/img_align_celeba/*.jpg, list_attr_celeba.csv, list_eval_partition.csv
    the zip    img_align_celeba.zip beside either pair of lists; it is read in place and nothing is extracted

each in `root` or in `root/celeba`, where torchvision puts its download.

Z. Liu, P. Luo, X. Wang, X. Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch

from dfcvae.files import web_page
from dfcvae.photos.folder import Listing, Source, fingerprint, stat

SIZE = (178, 218)  # of every picture, in pixels
CROP = 148  # of 178 x 218 pixels: the centre square that most work on CelebA takes
PARTITION = {"train": "0", "validation": "1", "test": "2"}
FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba")
ZIP = "img_align_celeba.zip"
HELP = "data/README.md says how to get CelebA"
LARGEST_MEMBER = 2**26  # bytes; CelebA's pictures have about 8,000


class Layout(NamedTuple):
    """Where one copy of CelebA has its pictures (a folder or a zip) and its two lists."""

    pictures: Path
    attributes: Path
    partition: Path


def celeba(root: Path, split: str) -> Source:
    """One split of the copy of CelebA in `root`, with its attributes; pictures in the order of their names.

    Raises FileNotFoundError for pictures or lists that are missing, and ValueError for lists or a zip that
    cannot be read. Pictures without a line and lines without a picture are counted in a note.
    """
    layout = find(root)
    files = [(path.name, *stat(path)) for path in layout]
    if layout.pictures.is_dir():
        files += [(entry.name, *stat(entry)) for entry in _entries(layout.pictures)]
    state = fingerprint(sorted(files))
    return Source("celeba", split, root, CROP, state, lambda: _listing(layout, split), SIZE)


def find(root: Path) -> Layout:
    """Look for CelebA in `root` and in `root/celeba`. Raises FileNotFoundError that names what is missing."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; root= must hold img_align_celeba, and {HELP}")
    for base in (root, root / "celeba"):
        pictures = _pictures(base)
        if pictures:
            return Layout(
                pictures,
                _list(base, "list_attr_celeba", "with the attributes of each picture"),
                _list(base, "list_eval_partition", "which divides them into train, validation and test"),
            )
    raise FileNotFoundError(
        f"found neither a folder img_align_celeba with .jpg files nor {ZIP} in {root}; {HELP}"
    )


def _pictures(base: Path) -> Path | None:
    for folder in (base / name for name in FOLDERS):
        if folder.is_dir() and next(_entries(folder), None):
            return folder
    return base / ZIP if (base / ZIP).is_file() else None


def _entries(folder: Path) -> Iterator[os.DirEntry]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if _is_picture(entry.name) and _is_file(entry))


def _is_file(entry: os.DirEntry) -> bool:
    """Not a broken link, nor a pipe, which would be waited for."""
    return entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(".jpg") and not name.startswith(".")


def _list(base: Path, stem: str, purpose: str) -> Path:
    for path in (base / f"{stem}.txt", base / f"{stem}.csv"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"found CelebA's pictures in {base} but neither {stem}.txt nor {stem}.csv, {purpose}; it "
        f"comes with CelebA and belongs into this folder, {HELP}"
    )


def _listing(layout: Layout, split: str) -> Listing:
    pictures, read = _open(layout.pictures)
    _, partition = _rows(layout.partition)
    names, attributes = _rows(layout.attributes)
    notes = _mismatches(layout.partition, partition, pictures) + _mismatches(
        layout.attributes, attributes, pictures
    )
    chosen = sorted(
        name
        for name in pictures & partition.keys() & attributes.keys()
        if partition[name] == [PARTITION[split]]
    )
    if not chosen:
        raise ValueError(
            f"none of the {len(pictures):,} pictures in {layout.pictures} is listed as {PARTITION[split]} "
            f"({split}) in {layout.partition} with a line in {layout.attributes.name}; do the lists fit?"
        )
    flags = [_flags(layout.attributes, name, attributes[name], len(names)) for name in chosen]
    table = torch.tensor(flags, dtype=torch.bool).view(len(chosen), len(names))
    return Listing(chosen, read, table, names, notes)


def _open(pictures: Path) -> tuple[set[str], Callable[[str], Path | BinaryIO]]:
    """The names of the pictures, and a function that gives Pillow what it reads one from."""
    if pictures.is_dir():
        return {entry.name for entry in _entries(pictures)}, lambda name: pictures / name
    try:
        archive = zipfile.ZipFile(pictures)
    except zipfile.BadZipFile as error:
        with pictures.open("rb") as file:
            found = web_page(file.read(4096)) or f"not a whole zip file ({error})"
        raise ValueError(f"{pictures} is {found}; download it again, {HELP}") from error
    names = {info.filename.rpartition("/")[2]: info for info in archive.infolist()}
    members = {name: info for name, info in names.items() if _is_picture(name)}

    def read(name: str) -> BinaryIO:
        if members[name].file_size > LARGEST_MEMBER:
            raise ValueError(f"would unpack to {members[name].file_size:,} bytes")
        return io.BytesIO(archive.read(members[name]))

    return set(members), read


def _rows(path: Path) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The columns' names, and {picture: values}, of CelebA's text or Kaggle's CSV."""
    try:
        lines = path.read_text("utf-8-sig").replace(",", " ").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error}); download it again, {HELP}") from error
    page = web_page("\n".join(lines[:50]).encode())
    if page:
        raise ValueError(f"{path} is {page}; download it again, {HELP}")
    rows = [line.split() for line in lines if line.strip()]
    if rows and len(rows[0]) == 1 and rows[0][0].isdigit():
        del rows[0]  # CelebA's text begins with the number of pictures
    header = rows.pop(0) if rows and not _is_picture(rows[0][0]) else []
    if not rows:
        raise ValueError(
            f"{path} lists no picture, expected lines that begin with 000001.jpg; download it again, {HELP}"
        )
    # Only Kaggle's CSV names the first column.
    return tuple(name for name in header if name != "image_id"), {row[0]: row[1:] for row in rows}


def _mismatches(path: Path, rows: dict, pictures: set[str]) -> list[str]:
    counted = f"{path} has {len(rows):,} lines for {len(pictures):,} pictures"
    return [
        f"{counted}: {len(rest):,} {what} (for example {min(rest)}) and were passed over"
        for what, rest in (
            ("pictures have no line", pictures - rows.keys()),
            ("lines have no picture", rows.keys() - pictures),
        )
        if rest
    ]


def _flags(path: Path, picture: str, values: list[str], columns: int) -> list[bool]:
    if len(values) != columns:
        raise ValueError(
            f"{path}: the line of {picture} has {len(values)} values, expected {columns}; is the file whole?"
        )
    strange = set(values) - {"1", "-1", "0"}
    if strange:
        raise ValueError(f"{path}: the line of {picture} has the value {min(strange)!r}, expected 1 or -1")
    return [value == "1" for value in values]
