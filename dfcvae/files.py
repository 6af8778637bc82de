"""Files that are whole or not there at all, and checksums that tell whether they still are.

A file is written beside its place, flushed, renamed, and its folder flushed: after a power cut between any
two of these there is the old file or the new one. What a file system cannot do (a Drive mounted by FUSE may
neither flush a folder nor link) is left out, and the run goes on with what is left of the promise.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

BLOCK = 2**20
BLOCKS_CHECKED = 64
# What a file system answers that does not know how to flush; Windows denies to open a folder at all.
CANNOT_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}


def write_whole(path: Path, write: Callable[[Path], object], previous: Path | None = None) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to disk, then rename: whole or not there at all.

    previous: another name, under which the file that was there before is kept.
    """
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        with part.open("rb+") as file:
            flush(file)
        if previous and path.is_file():
            _keep(path, previous)
        os.replace(part, path)
        _flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if not isinstance(error, (OSError, RuntimeError)):  # torch.save raises RuntimeError on a full disk
            raise
        raise could_not_write(path, error) from None


def could_not_write(path: Path, error: Exception) -> OSError:
    """What to raise in place of what the system or torch says of a disk that is full, or gone."""
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    if "enforce fail" in reason:  # how torch says that fewer bytes are there than it has written
        reason = "not all of it was taken"
    return OSError(
        f"{str(path)!r} could not be written ({reason}): is its folder there, and room on the disk?"
    )


def _keep(path: Path, previous: Path) -> None:
    """Give a file a second name, so that no moment is without the first; without links, rename it."""
    link = previous.with_name(previous.name + ".part")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
    except OSError:
        os.replace(path, previous)
        return
    os.replace(link, previous)
    link.unlink(missing_ok=True)  # two names of one file are not renamed onto each other


def flush(file: BinaryIO) -> None:
    """Not only handed to the system: on the disk."""
    file.flush()
    _fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """A rename is an entry of the folder, which has to reach the disk too."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        _fsync(number)
    finally:
        os.close(number)


def _fsync(number: int) -> None:
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in CANNOT_FLUSH:
            raise


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(BLOCK):
            digest.update(chunk)
    return digest.hexdigest()


def record_checksum(path: Path) -> None:
    """Enter a file's sha256 and length into the ``checksums.json`` beside it."""
    table = path.parent / "checksums.json"
    sums = json.loads(table.read_text(encoding="utf-8")) if table.is_file() else {}
    sums[path.name] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    table.write_text(json.dumps(dict(sorted(sums.items())), indent=2) + "\n", encoding="utf-8")


def checksum(tensor: Tensor) -> int:
    """CRC-32 of the bytes of a tensor."""
    return zlib.crc32(memoryview(tensor.contiguous().numpy()))


def block_checksums(path: Path) -> Iterator[int]:
    """CRC-32 of each MiB of a file."""
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield zlib.crc32(block)


def sampled_blocks_agree(path: Path, length: int, checksums: list[int]) -> bool:
    """Whether a file has its length, and up to 64 blocks spread over it their checksums."""
    if path.stat().st_size != length:
        return False
    count = min(len(checksums), BLOCKS_CHECKED)
    sample = torch.linspace(0, len(checksums) - 1, count, dtype=torch.float64).round().long().tolist()
    with open(path, "rb") as file:
        for index in sample:
            file.seek(index * BLOCK)
            if zlib.crc32(file.read(BLOCK)) != checksums[index]:
                return False
    return True
