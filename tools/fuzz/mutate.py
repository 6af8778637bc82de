"""Damage to bytes, as disks, networks and editors do it, aimed behind the header two times of three."""

from __future__ import annotations

import random

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


def damaged(random_: random.Random, content: bytes, header: int = 64) -> tuple[str, bytes]:
    """(what was done, the bytes). header: how many bytes are left whole most of the time."""
    start = min(header, len(content) - 1) if random_.random() < 0.67 else 0
    how = random_.choice(list(DAMAGES))
    return f"{how} from byte {start}", bytes(DAMAGES[how](random_, bytearray(content), start))


def _place(random_: random.Random, content: bytearray, start: int) -> int:
    return random_.randrange(start, len(content))


def _flip(random_, content, start):
    for _ in range(random_.choice((1, 1, 2, 8, 40))):
        content[_place(random_, content, start)] ^= 1 << random_.randrange(8)
    return content


def _overwrite(random_, content, start):
    place, length = _place(random_, content, start), random_.choice((1, 4, 16, 512))
    content[place : place + length] = random_.randbytes(len(content[place : place + length]))
    return content


def _zero(random_, content, start):
    place, length = _place(random_, content, start), random_.choice((4, 64, 512))
    content[place : place + length] = bytes(len(content[place : place + length]))
    return content


def _truncate(random_, content, start):
    return content[: _place(random_, content, start)]


def _insert(random_, content, start):
    place = _place(random_, content, start)
    return content[:place] + random_.randbytes(random_.choice((1, 3, 100))) + content[place:]


def _repeat(random_, content, start):
    place, length = _place(random_, content, start), random_.choice((8, 100, 1000))
    return content[: place + length] + content[place:]


def _extreme(random_, content, start):
    """A whole number in the file becomes one at the edge of its range."""
    place, length = _place(random_, content, start), random_.choice((1, 2, 4, 8))
    edge = random_.choice(
        (b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\xff" * 7 + b"\x7f", b"\0" * 8, b"\x80" + b"\0" * 7)
    )
    content[place : place + length] = edge[: len(content[place : place + length])]
    return content


def _append(random_, content, start):
    return content + random_.randbytes(random_.choice((1, 100, 5000)))


def _another(random_, content, start):
    return random_.choice((b"", PAGE, b"version https://git-lfs.github.com/spec/v1\n", bytes(2000)))


DAMAGES = {
    "bits flipped": _flip,
    "bytes overwritten": _overwrite,
    "bytes zeroed": _zero,
    "cut": _truncate,
    "bytes put in": _insert,
    "a piece twice": _repeat,
    "a number at its edge": _extreme,
    "bytes added": _append,
    "another file": _another,
}
