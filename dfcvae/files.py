"""Files that are whole or not there at all, and checksums that tell whether they still are.

A file is written beside its place, flushed, renamed, and its folder flushed: after a power cut between any
two of these there is the old file or the new one. A file system that cannot flush (a Drive mounted by FUSE)
is written to all the same, and promises no more than it can.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

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
            os.replace(path, previous)  # for a moment there is the previous one only, and it is whole
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


def digest(path: Path, algorithm: str = "sha256") -> str:
    found = hashlib.new(algorithm, usedforsecurity=algorithm != "md5")
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            found.update(chunk)
    return found.hexdigest()


def checksum(tensor: Tensor) -> int:
    """CRC-32 of the bytes of a tensor."""
    return zlib.crc32(tensor.contiguous().numpy().tobytes())


def checksum_of_all(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of the names and bytes of tensors, in the order of their names."""
    found = 0
    for name, tensor in sorted(tensors.items()):
        numbers = tensor.detach().contiguous().reshape(-1).view(torch.uint8)  # (bytes,), of any type
        found = zlib.crc32(numbers.numpy().tobytes(), zlib.crc32(name.encode(), found))
    return found


def cache_dir() -> Path:
    """Where the package keeps files: $DFCVAE_CACHE, else ``dfcvae`` in the user's cache folder."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("DFCVAE_CACHE") or user_cache_dir("dfcvae", appauthor=False)).expanduser()


def load_checked(path: Path) -> Any:
    """What torch.save has written to ``path``, on the CPU; nothing in it is executed.

    torch.load does not look at a zip archive's checksums: of 2,000 checkpoints with one flipped bit it took
    1,937, and 1,872 of these with other numbers. So they are checked first. Raises ValueError, with the
    reason, for a damaged file and for one that holds more than tensors, numbers and texts; OSError for what
    the disk does.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"  # PyTorch before 1.6 wrote a pickle alone
    if zipped and (reason := torn(path)):
        raise ValueError(f"it is damaged: {reason}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles of another protocol, which it reads or refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except pickle.UnpicklingError:
        raise ValueError("it is an unsafe pickle: it holds more than tensors, or is damaged") from None
    except Exception as error:  # torch.load raises what the damage happens to hit
        raise ValueError((str(error).strip() or type(error).__name__).splitlines()[0][:120]) from None


def torn(path: Path) -> str:
    """What is wrong with a zip archive, such as torch.save writes, by its checksums, or "" if nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:
            record = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # zipfile raises what the damage happens to hit
        return str(error) or type(error).__name__
    return f"the checksum of {record} is another" if record else ""


def is_state_dict(found: object) -> bool:
    """Names with tensors that have all their real numbers in memory: none sparse, on "meta" or expanded."""

    def is_whole(t: object) -> bool:
        if not isinstance(t, Tensor) or t.layout != torch.strided or t.is_complex() or t.device.type != "cpu":
            return False
        return t.numel() * t.element_size() <= t.untyped_storage().nbytes()

    return isinstance(found, dict) and all(isinstance(k, str) and is_whole(t) for k, t in found.items())


def one_line(text: str, longest: int = 300) -> str:
    """Text of others (a name, a reason, a title) as it can stand in a sentence: one line, printable."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 4] + " ..."
