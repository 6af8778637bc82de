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
from itertools import product
from pathlib import Path
from typing import BinaryIO

import torch

from dfcvae.photos.pack import Labels
from dfcvae.photos.source import Listing, Source, stat

SIZE = (178, 218)  # of every picture, in pixels
CROP = 148  # of 178 x 218 pixels: the centre square that most work on CelebA takes
PARTITION = {"train": "0", "validation": "1", "test": "2"}
PLACES = ("img_align_celeba/img_align_celeba", "img_align_celeba", "img_align_celeba.zip")
LISTS = {
    "list_attr_celeba": "with the attributes of each picture",
    "list_eval_partition": "which divides them into train, validation and test",
}
HELP = "data/README.md says how to get CelebA"
AGAIN = f"download it again, {HELP}"
LARGEST_MEMBER = 2**26  # bytes; CelebA's pictures have about 8,000


def celeba(root: Path, split: str) -> Source:
    """One split of the copy of CelebA in `root`, with its attributes; pictures in the order of their names.

    A change of the lists, of the zip, or of which files are in the folder is noticed. A picture written over
    in place is not: nobody looks at 202,599 files at each call. Pictures without a line and lines without a
    picture are counted in a note. Raises FileNotFoundError for pictures or lists that are missing, and
    ValueError for lists or a zip that cannot be read.
    """
    places = _find(root)
    state = repr([(path.name, *stat(path)) for path in places])
    return Source("celeba", split, root, state, lambda: _listing(*places, split), CROP, SIZE)


def _find(root: Path) -> tuple[Path, Path, Path]:
    """The pictures (a folder or a zip), the attributes and the partition, in `root` or in `root/celeba`."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; root= must hold img_align_celeba, and {HELP}")
    for base, place in product((root, root / "celeba"), PLACES):
        path = base / place
        if path.is_file() or (path.is_dir() and any(_pictures_in(path))):
            return path, _list(base, "list_attr_celeba"), _list(base, "list_eval_partition")
    raise FileNotFoundError(
        f"found neither a folder img_align_celeba with .jpg files nor img_align_celeba.zip in {root}; {HELP}"
    )


def _list(base: Path, stem: str) -> Path:
    for path in (base / f"{stem}.txt", base / f"{stem}.csv"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"found CelebA's pictures in {base} but neither {stem}.txt nor {stem}.csv, {LISTS[stem]}; it comes "
        f"with CelebA and belongs into this folder, {HELP}"
    )


def _pictures_in(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if _is_picture(entry.name))


def _is_picture(name: str) -> bool:
    return name.lower().endswith(".jpg") and not name.startswith(".")


def _listing(pictures: Path, attributes: Path, partition: Path, split: str) -> Listing:
    found, read = _open(pictures)
    _, parts = read_list(partition)
    columns, flags = read_list(attributes)
    chosen = sorted(name for name in found & flags.keys() if parts.get(name) == [PARTITION[split]])
    if not chosen:
        raise ValueError(
            f"none of the {len(found):,} pictures in {pictures} is listed as {PARTITION[split]} ({split}) in "
            f"{partition} with a line in {attributes.name}; do the lists fit?"
        )
    for line, values in ((f"{attributes}: the line of {name} has", flags[name]) for name in chosen):
        if len(values) != len(columns):
            raise ValueError(f"{line} {len(values)} values, expected {len(columns)}; is the file whole?")
        if strange := set(values) - {"1", "-1", "0"}:
            raise ValueError(f"{line} the value {min(strange)!r}, expected 1 or -1")
    rows = [[value == "1" for value in flags[name]] for name in chosen]
    table = torch.tensor(rows, dtype=torch.bool).view(len(chosen), len(columns))  # (N, A)
    notes = [
        f"{path} has {len(lines):,} lines for {len(found):,} pictures: {len(rest):,} {what} (for example "
        f"{min(rest)}) and were passed over"
        for path, lines in ((partition, parts.keys()), (attributes, flags.keys()))
        for what, rest in (("pictures have no line", found - lines), ("lines have no picture", lines - found))
        if rest
    ]
    return Listing(chosen, read, Labels(table, columns, notes))


def _open(pictures: Path) -> tuple[set[str], Callable[[str], Path | BinaryIO]]:
    """The names of the pictures, and a function that gives Pillow what it reads one from."""
    if pictures.is_dir():
        return set(_pictures_in(pictures)), lambda name: pictures / name
    try:
        archive = zipfile.ZipFile(pictures)
    except zipfile.BadZipFile as error:
        with pictures.open("rb") as file:
            begins = file.read(40).decode("ascii", "replace")
        raise ValueError(
            f"{pictures} is not a whole zip file (it begins with {begins!r}); {AGAIN}"
        ) from error
    members = {info.filename.rpartition("/")[2]: info for info in archive.infolist()}

    def read(name: str) -> BinaryIO:
        if members[name].file_size > LARGEST_MEMBER:
            raise ValueError(f"would unpack to {members[name].file_size:,} bytes")
        return io.BytesIO(archive.read(members[name]))

    return set(filter(_is_picture, members)), read


def read_list(path: Path) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The columns' names, and {picture: values}, of CelebA's text or Kaggle's CSV. ValueError for neither."""
    try:
        lines = path.read_text("utf-8-sig").replace(",", " ").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error}); {AGAIN}") from error
    rows = [line.split() for line in lines if line.strip()]
    if rows and len(rows[0]) == 1 and rows[0][0].isdigit():
        del rows[0]  # CelebA's text begins with the number of pictures
    header = rows.pop(0) if rows and not _is_picture(rows[0][0]) else []
    if not rows or not _is_picture(rows[0][0]):
        found = f"expected lines that begin with 000001.jpg, found {''.join(lines[:1])[:40]!r}"
        raise ValueError(f"{path} lists no picture, {found}; {AGAIN}")
    # Only Kaggle's CSV names the first column.
    return tuple(name for name in header if name != "image_id"), {row[0]: row[1:] for row in rows}
