"""One training at a time in a run folder, one download at a time of a file."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make the run folder and hold its lock; BlockingIOError where another training does.

    The lock is the operating system's and goes with the process, however that ends; the file stays, and says
    nothing. Of several ranks the first holds it. Where a file system knows no locks, a warning says so.
    """
    with ExitStack() as stack:
        _hold(_made(out), stack)
        yield


@contextmanager
def one_at_a_time(lock: Path, waiting: str) -> Iterator[None]:
    """Hold the lock of that name; while another process does, say ``waiting`` and wait for it."""
    from filelock import Timeout

    with ExitStack() as stack:
        try:
            try:
                stack.enter_context(_lock(lock, timeout=0))
            except Timeout:
                print(f"{waiting} ...", file=sys.stderr, flush=True)
                stack.enter_context(_lock(lock, timeout=-1))
        except (OSError, NotImplementedError) as error:
            if not lock.parent.is_dir() or isinstance(error, PermissionError):
                raise
            told = f"{str(lock)!r} cannot be locked ({error}): see to it that no other process downloads it."
            warnings.warn(told, stacklevel=3)
        yield


def _made(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{str(out)!r} cannot be a run folder ({error.strerror}): give another.") from None
    return out


def _hold(out: Path, stack: ExitStack) -> None:
    from filelock import Timeout

    try:
        stack.enter_context(_lock(out / LOCK, timeout=0))
    except Timeout:
        raise BlockingIOError(
            f"another training is under way in {str(out)!r}: wait for it, stop it (in another "
            "notebook: restart its kernel), or give another folder."
        ) from None
    except (OSError, NotImplementedError) as error:
        warnings.warn(
            f"{str(out)!r} cannot be locked ({error}): see to it that no other training uses it.",
            stacklevel=2,
        )


def _lock(path: Path, timeout: float):
    from filelock import FileLock

    # Its stand-in, where the system has no locks, is a file that a process leaves behind when it is killed.
    known = inspect.signature(FileLock.__init__).parameters
    never_left = {"fallback_to_soft": False} if "fallback_to_soft" in known else {}
    return FileLock(path, timeout=timeout, **never_left)
