"""What the command says of warnings and failures: one line each on stderr, with nothing of Python's."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from dfcvae.files import one_line

LONGEST = 1500  # characters of a line
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # torch's words for it


class Parser(argparse.ArgumentParser):
    """argparse's, with one line for what it does not understand."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"dfcvae: {one_line(message, LONGEST)}: see {self.prog} --help\n")


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings inside are printed as lines of the command, and names that cannot be encoded with escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where somebody has put another in its place
            stream.reconfigure(errors="backslashreplace")
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"dfcvae: {one_line(str(message), LONGEST)}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def exit_status(work: Callable[[], int | None], goes_on: str = "") -> int:
    """Do it and return its exit status, 0 for None; what goes wrong is told in one line.

    goes_on: what to add after Ctrl-C. What no user can mend, a bug, is raised.
    """
    try:
        return work() or 0
    except KeyboardInterrupt as stop:
        print(file=sys.stderr)  # the terminal has shown ^C
        return _tell(str(stop) or f"stopped.{goes_on}", 130)
    except OSError as error:
        if error.errno is None or error.strerror is None:  # a sentence of our own
            return _tell(str(error))
        if error.filename is None or error.strerror != os.strerror(error.errno):
            return _tell(error.strerror)
        return _tell(f"{str(error.filename)!r}: {error.strerror}; give another path.")
    except (ValueError, ArithmeticError) as error:
        return _tell(str(error))
    except (MemoryError, RuntimeError) as error:  # torch's OutOfMemoryError is a RuntimeError
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY):
            return _tell("out of memory: give a smaller --batch-size, or fewer or smaller images.")
        if str(error).startswith("Symlink loop"):  # pathlib's, of Python 3.10 to 3.12
            return _tell(f"{error}: give another path.")
        raise


def _tell(failure: str, status: int = 1) -> int:
    print(f"dfcvae: {one_line(failure, LONGEST)}", file=sys.stderr)
    return status
