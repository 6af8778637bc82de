"""One training at a time in a run folder."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dfcvae import ranks

LOCK = ".lock"


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make the run folder and hold its lock; BlockingIOError where another training does.

    The lock is the operating system's and goes with the process, however that ends; the file stays, and says
    nothing. Of several ranks the first holds it. Where a file system knows no locks, a warning says so.
    """
    with ExitStack() as stack:
        ranks.from_first(lambda: _hold(_made(out), stack))
        yield


def _made(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{str(out)!r} cannot be a run folder ({error.strerror}): give another.") from None
    return out


def _hold(out: Path, stack: ExitStack) -> None:
    from filelock import FileLock, Timeout

    # Its stand-in, where the system has no locks, is a file that a process leaves behind when it is killed.
    known = inspect.signature(FileLock.__init__).parameters
    never_left = {"fallback_to_soft": False} if "fallback_to_soft" in known else {}
    try:
        stack.enter_context(FileLock(out / LOCK, timeout=0, **never_left))
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
