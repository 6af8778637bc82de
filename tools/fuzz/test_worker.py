"""The harness itself: one that notices nothing would find nothing. ``python -m pytest tools/fuzz``."""

import os
import re
from pathlib import Path

import pytest

from fuzz import worker
from fuzz.worker import Case, run


def raises():
    raise KeyError("a bug")


def says(text: str, status: int) -> int:
    os.write(2, text.encode())
    return status


def spins():
    while True:
        pass


CASES = {
    "": Case("", lambda: 0),
    "KeyError": Case("", raises),
    "hung|ended with": Case("", spins),
    "0 lines": Case("", lambda: says("", 1)),
    "unclear": Case("", lambda: says("dfcvae: failed\n", 1)),
    "said": Case("", lambda: says("x.py:3: UserWarning: something\n", 0)),
    "wrong numbers": Case("", lambda: 0, lambda: "wrong numbers"),
    "outside": Case("", lambda: (Path("../evil").write_text(""), 0)[1]),
    "ended with": Case("", lambda: len(bytearray(8 << 30))),
}


@pytest.mark.parametrize("expected", CASES)
def test_the_harness_notices_what_it_is_there_for(tmp_path, monkeypatch, expected):
    monkeypatch.setattr(worker, "SECONDS", 1)
    found = run("x", lambda *_: CASES[expected], 0, tmp_path).failure
    assert re.search(expected, found) if expected else found == ""
