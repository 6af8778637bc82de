"""Ctrl-C in a training: the step is finished and saved first; a second one stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dfcvae import ranks

NOTE = b"\nfinishing this step and saving; Ctrl-C again stops at once\n"


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only makes ``asked()`` true: whoever asks saves and raises KeyboardInterrupt.

    Left to Python are threads other than the main one, which no signal reaches, programs that have a handler
    of their own, and several ranks: their steps are waits for each other, and torchrun ends them by itself.
    """
    asked = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    usual = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or ranks.count() > 1:
        yield asked.is_set
        return

    def note(*_) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asked.set()
        with suppress(OSError):
            os.write(2, NOTE)  # print may be in the middle of a line, and raises then

    signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
