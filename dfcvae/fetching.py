"""A file from the network: resumed after a cut, checked; where it does not come, one sentence says why."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from dfcvae.files import digest, one_line, web_page

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
SLOWEST = 1024  # bytes a second, over as many seconds
LARGEST = 1 << 31  # bytes; CelebA's zip has 1.4e9
ATTEMPTS, PAUSE, LONGEST_PAUSE = 3, 1.0, 30.0  # seconds; what a server asks for beyond that, the user waits
BUSY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Source:
    """A file of the network: its address, its checksum (or first digits of it), the way to it by hand."""

    url: str
    checksum: str
    by_hand: str = "fetch it in a browser"
    algorithm: str = "sha256"

    def is_whole(self, path: Path) -> bool:
        return path.is_file() and digest(path, self.algorithm).startswith(self.checksum)


class Failed(OSError):
    """Why a file did not come. again: it may the next time, ``pause`` seconds from now."""

    def __init__(self, reason: str, again: bool = False, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.again, self.pause = again, pause


def fetch(source: Source, path: Path, progress: bool = True) -> None:
    """Download ``source`` to ``path``: written beside it, checked, and only then renamed.

    What came before a cut stays beside it as ``.part``; the next attempt, here or in a later call, asks for
    the rest. A server that cuts, stalls or is busy gets three attempts. Raises OSError with the reason, which
    names the way by hand. Callers that may be two at once hold a lock.
    """
    part = path.with_name(path.name + ".part")
    for left in reversed(range(ATTEMPTS)):
        try:
            _transfer(source, part, path.name, progress)
            os.replace(part, path)
            return
        except (OSError, ValueError, http.client.HTTPException) as error:
            failed = _failed(error)
        if not (left and failed.again and failed.pause <= LONGEST_PAUSE):
            break
        time.sleep(max(failed.pause, PAUSE * (ATTEMPTS - left)))
    have = _length(part)
    kept = f" The {have:,} bytes that came are kept, and the same call goes on from them." if have else ""
    raise OSError(
        f"could not download {source.url} ({one_line(str(failed))}): {source.by_hand}.{kept}"
    ) from None


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _transfer(source: Source, part: Path, name: str, progress: bool) -> None:
    """One attempt to bring ``part`` to its end. Raises Failed, or what urllib does."""
    have = _length(part)
    if have and source.is_whole(part):  # the process was ended before it could rename it
        return
    with _asked(source.url, have, part) as reply:
        resumed = have > 0 and reply.status == 206
        start, total = _span(reply, have if resumed else 0)
        if start != (have if resumed else 0):
            part.unlink(missing_ok=True)
            raise Failed(f"asked for byte {have:,} on, it sent byte {start:,} on", again=True)
        _check_room(part.parent, start, total)
        first = _read(reply)
        if not resumed:
            page = web_page(first)
            if page:
                raise Failed(f"{page} came in its place: sign in to the network, or try again later")
        with part.open("ab" if resumed else "wb") as file:
            _copy(first, reply, file, start, total, name, progress)
    if total is not None and _length(part) != total:
        raise Failed(f"{_length(part):,} of {total:,} bytes came", again=True)
    found = digest(part, source.algorithm)
    if not found.startswith(source.checksum):
        part.unlink()
        # After a resumption it may be two halves of different files.
        raise Failed(
            f"its checksum is {found[:8]}, expected {source.checksum[:8]}: another file was sent", resumed
        )


def _asked(url: str, have: int, part: Path) -> http.client.HTTPResponse:
    headers = {"User-Agent": "dfcvae"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is here already is no beginning of that file
            part.unlink(missing_ok=True)
        raise


def _span(reply: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """The first byte that a reply holds, and the length of the whole file where it is told."""
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range") or "")
    if reply.status == 206:
        if not told:
            return -1, None
        return int(told[1]), None if told[2] == "*" else int(told[2])
    length = reply.headers.get("Content-Length")
    if length and not length.isdigit():
        raise Failed(f"the server announces a length of {length!r}")
    return 0, int(length) if length else None


def _check_room(folder: Path, start: int, total: int | None) -> None:
    if total is not None and total > LARGEST:
        raise Failed(f"the server announces {total:,} bytes, and no file here has more than {LARGEST:,}")
    free = shutil.disk_usage(folder).free
    if total is not None and total - start > free:
        raise Failed(f"{total - start:,} bytes are to come, and the disk has {free:,} free")


def _read(reply: http.client.HTTPResponse) -> bytes:
    return reply.read1(CHUNK)


def _copy(chunk: bytes, reply, file, start: int, total: int | None, name: str, progress: bool) -> None:
    from tqdm import tqdm

    since, came, length = time.monotonic(), 0, start
    with tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name, disable=not progress) as bar:
        while chunk:
            file.write(chunk)
            bar.update(len(chunk))
            came, length = came + len(chunk), length + len(chunk)
            if length > LARGEST:
                raise Failed(f"more than {LARGEST:,} bytes came, and no file here has as many")
            seconds = time.monotonic() - since
            if seconds > TIMEOUT:
                if came < SLOWEST * seconds:
                    raise Failed(f"only {came:,} bytes came in {seconds:.0f} seconds", again=True)
                since, came = time.monotonic(), 0
            chunk = _read(reply)


def _failed(error: Exception) -> Failed:
    """An exception of urllib's, in words."""
    if isinstance(error, Failed):
        return error
    if isinstance(error, urllib.error.HTTPError):
        return _refused(error)
    if isinstance(error, urllib.error.URLError):
        return Failed(_words(error.reason))
    cut = isinstance(error, (http.client.IncompleteRead, ConnectionError, TimeoutError))
    reason = "the connection was cut" if isinstance(error, http.client.IncompleteRead) else _words(error)
    return Failed(reason, again=cut)


def _words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"nothing came for {TIMEOUT} seconds"
    return getattr(reason, "strerror", None) or str(reason)


def _refused(error: urllib.error.HTTPError) -> Failed:
    """A server's "no": for good, or until later."""
    with contextlib.closing(error):
        reason, asked = f"{error.code} {error.reason}", error.headers.get("Retry-After") or ""
    pause = float(asked) if asked.isdigit() else 0.0
    if asked:
        reason += f"; it asks to try again {'in ' + asked + ' seconds' if asked.isdigit() else 'on ' + asked}"
    return Failed(reason, error.code in BUSY or error.code == 416, pause)
