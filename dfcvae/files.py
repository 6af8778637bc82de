"""Files that are whole or not there at all, and checksums that tell whether they still are."""

from __future__ import annotations

import contextlib
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


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to disk, then rename: whole or not there at all."""
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        with part.open("rb+") as file:
            flush(file)
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if not isinstance(error, (OSError, RuntimeError)):  # torch.save raises RuntimeError on a full disk
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OSError(
            f"{str(path)!r} could not be written ({reason}): is its folder there, and room on the disk?"
        ) from None


def flush(file: BinaryIO) -> None:
    """Not only handed to the system: on the disk."""
    file.flush()
    os.fsync(file.fileno())


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
