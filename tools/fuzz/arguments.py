"""Command lines from a grammar: a valid one, of which one to three words become odd, go, or come twice."""

from __future__ import annotations

import os
import random
from pathlib import Path

from dfcvae.cli import parser as cli
from fuzz import configuration
from fuzz.worker import Case

RUN, PICTURE, FOLDER = "<run>", "<picture>", "<folder>"
VALID = (
    "train --data faces --preset pixel --size 32 --steps 1 --batch-size 4 --device cpu --out <folder>/run",
    "train --data folder --root <folder> --preset vae-123 --features random --steps 1 --out <folder>/run",
    "train --data celeba --root <folder> --preset pixel --steps 1 --flip --seed 3 --out <folder>/run",
    "train --data faces --preset pixel --size 32 --steps 1 --beta 0.5 --learning-rate 0.1 --out <folder>/run",
    "evaluate --run <run> --json --device cpu",
    "evaluate --run <run> --run <run> --split validation --data faces",
    "reconstruct --run <run> -n 3 --out <picture>",
    "reconstruct --run <run> --data folder --root <folder> -n 3 --split train --out <picture>",
    "sample --run <run> -n 4 --temperature 0.7 --seed 5 --out <picture>",
    "sample --run <run> -n 4 --temperature 0.7 --seed 5 --out <picture>",
    "prepare folder --root <folder> --size 16",
    "prepare celeba --root <folder> --size 16",
    "reproduce --data folder --root <folder> --presets pixel --seeds 0 --size 32 --out <folder>/all",
    "doctor",
)
# Every place is one of the case's own folder: what is tried here may also be written to.
ODD = (
    "", " ", "-1", "0", "1", "3", "nan", "inf", "-inf", "1e400", "9" * 400, "1.5", "0x10", "1_0",
    "\u0663", "\u2212" + "1", "--", "-", "--unknown", "--size", "--help me", "-n", "a\nb", "\x1b[31mred",
    "\x7f", "caf\u00e9", os.fsdecode(b"\xff\xfe"), "nowhere", "<folder>/file", "<folder>/pipe",
    "<folder>/loop", "<folder>/file/below", ".", "x" * 300, "x/" * 3000, "cuda:99", "mps", "meta",
    "cpu:7", "faces", "celeba", "folder", "torchvision", "random", "mini", "vae-345", "paper-123", "%s",
    "{}", "$HOME", "'", '"', "@file", "\u202e",
)  # fmt: skip
WHOLE = ("-1", "0", "1", "2", "7", "9" * 400, "-" + "9" * 30, "99999999999", "\u0663", "4294967296")
REAL = ("-1", "0", "nan", "inf", "-inf", "1e400", "1e-400", "-0.0", "1e30", "0.5")
SHORT = ("-1", "0", "nan", "-inf", "1e-400", "-5")  # of a training; a long one is no fault
STRANGE_PLACES = tuple(odd for odd in ODD if not odd.startswith("-"))
NUMBERS = {
    "--size": (*WHOLE, "16", "33", "48"),
    "-n": WHOLE,
    "--seed": WHOLE,
    "--batch-size": WHOLE,
    "--steps": ("-1", "0"),
}
NUMBERS |= {
    "--temperature": REAL,
    "--alpha": REAL,
    "--beta": REAL,
    "--learning-rate": REAL,
    "--epochs": SHORT,
}
NUMBERS |= {"--seeds": WHOLE}
PLACES = dict.fromkeys(
    ("--out", "--run", "--root", "--features", "--device", "--preset", "new"), STRANGE_PLACES
)


def prepare() -> None:
    configuration.prepare()


def make(random_: random.Random, folder: Path) -> Case:
    for name, content in configuration.checkpoints.FILES.items():
        (folder / "in" / name).write_bytes(content)
    places = {RUN: str(folder / "in"), PICTURE: str(folder / "out" / "p.png"), FOLDER: str(folder / "out")}
    words = random_.choice(VALID).split()
    for _ in range(random_.choice((1, 1, 1, 2, 3))):
        words = _change(random_, words)
    (folder / "out" / "file").write_bytes(b"\x89PNG")
    os.mkfifo(folder / "out" / "pipe")
    (folder / "out" / "loop").symlink_to("loop")
    for place, real in places.items():
        words = [word.replace(place, real) for word in words]
    if random_.random() < 0.05 and "--run" in words:  # a file in the place of the folder
        words[-1] = str(folder / "in" / "config.json")
    return Case(" ".join(words)[:300], lambda: _status(words), past=_parses(words))


def _change(random_: random.Random, words: list[str]) -> list[str]:
    words, how = list(words), random_.random()
    place = random_.randrange(1, len(words)) if len(words) > 1 else 0
    if how < 0.45:  # a value of the right type
        values = [i for i in range(1, len(words)) if words[i - 1] in NUMBERS or words[i - 1] in PLACES] or [
            place
        ]
        place = random_.choice(values)
        words[place] = random_.choice(NUMBERS.get(words[place - 1]) or PLACES.get(words[place - 1], ODD))
    elif how < 0.65:  # of a value rather than of an option
        values = [i for i in range(1, len(words)) if not words[i].startswith("--")] or [place]
        words[random_.choice(values)] = random_.choice(ODD)
    elif how < 0.75:
        del words[place]
    elif how < 0.85:
        words.insert(place, random_.choice(ODD))
    elif how < 0.9:
        words[0] = random_.choice(ODD)
    else:
        words += words[place : place + 2]
    return words or [""]


def _status(words: list[str]) -> int:
    try:
        return cli.main(words)
    except SystemExit as end:  # argparse's, as the interpreter takes it
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1


def _parses(words: list[str]) -> bool:
    """argparse takes it, and the command begins."""
    import contextlib
    import io

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.build_parser().parse_args(words)
            return True
        except SystemExit:
            return False
