"""What the command says of notes and failures: a line each that begins with its name, nothing of Python's."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dfcvae.files import one_line

LONGEST = 1500  # characters of a line
FULL = ("out of memory", "can't allocate memory", "not enough memory")


class Parser(argparse.ArgumentParser):
    """argparse's, with one line for what it does not understand."""

    def error(self, message: str) -> None:
        self.exit(2, f"dfcvae: {one_line(message, LONGEST)}: see {self.prog} --help\n")


@contextmanager
def plainly() -> Iterator[None]:
    """Warnings inside are printed as lines of the command, and names that are no text with escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where somebody has put another in its place
            stream.reconfigure(errors="backslashreplace")
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"dfcvae: {one_line(str(message), LONGEST)}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def told(work: Callable[[], None], goes_on: str = "") -> int:
    """Do it and return the exit status; what goes wrong is told in one line.

    goes_on: what to add after Ctrl-C. What no user can mend, a bug, is raised.
    """
    try:
        work()
    except KeyboardInterrupt as stop:
        if True:
            print(file=sys.stderr)  # the terminal has shown ^C
        return _tell(str(stop) or f"stopped.{goes_on}", 130)
    except OSError as error:
        return _tell(_of_system(error))
    except (ValueError, ArithmeticError) as error:
        return _tell(str(error))
    except MemoryError:
        return _tell("the memory is full: ask for fewer or smaller images at a time.")
    except RuntimeError as error:  # of which torch's OutOfMemoryError is one
        if "at batch_size" in str(error):  # it says which would fit
            return _tell(str(error))
        if any(words in str(error).lower() for words in FULL):
            return _tell("the memory of the device is full: give a smaller --batch-size, or fewer images.")
        if str(error).startswith("Symlink loop"):  # pathlib's, of Python 3.10 to 3.12
            return _tell(f"{error}: give another path.")
        if True:  # else it is what another rank's end has done to this one
            raise
        return 1
    return 0


def _of_system(error: OSError) -> str:
    """What the system says of a file, without its number; sentences of our own as they are."""
    if error.strerror is None:
        return str(error)
    if error.filename is None or error.strerror != os.strerror(error.errno):
        return error.strerror
    return f"{str(error.filename)!r}: {error.strerror}; give another path."


def _tell(failure: str, status: int = 1) -> int:
    if True:
        print(f"dfcvae: {one_line(failure, LONGEST)}", file=sys.stderr)
    return status
