"""The command ``dfcvae``: what can be asked for. What each command does stands in the file of its name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from dfcvae.cli.aliases import MOVED, run_moved
from dfcvae.cli.doctor import doctor
from dfcvae.cli.errors import Parser, exit_status, plain_warnings
from dfcvae.cli.evaluate import evaluate
from dfcvae.cli.pictures import reconstruct, sample
from dfcvae.cli.prepare import prepare
from dfcvae.cli.reproduce import reproduce
from dfcvae.cli.train import LENGTHS, train
from dfcvae.datasets import NAMES, SPLITS
from dfcvae.device import PRECISIONS, use_available_threads
from dfcvae.dfc import PRESETS
from dfcvae.reproduction.recipe import Recipe
from dfcvae.training import SCHEDULES, Settings


def _of(kind: type | Collection[str], help: str = "", default: Any = None, **more: Any) -> dict[str, Any]:
    """What argparse is told of an argument of this kind: a type, some choices, or bool for a switch."""
    if kind is bool:
        return {"action": "store_true", "help": help}
    values = {"type": kind} if isinstance(kind, type) else {"choices": tuple(kind)}
    several = {"nargs": "+"} if isinstance(default, tuple) else {}
    return values | several | {"default": default, "help": help} | more


ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": _of([name for name in NAMES if name != "faces"]),
    "--run": _of(Path, "run folder (evaluate: or several, for a curve)", required=True, action="append"),
    "--data": _of(NAMES, "drawn faces, CelebA, LFW, or a folder of photographs"),
    "--root": _of(Path, "where the photographs are (lfw: scikit-learn's folder)"),
    "--download": _of(bool, "celeba: fetch what is missing (1.3 GB); you agree to its terms: data/README.md"),
    "--split": _of(SPLITS, "which images (test)", "test"),
    "--size": _of(int, "side of the images in pixels (64)", 64),
    "--preset": _of(PRESETS, "pixel: the plain VAE; paper-...: with the paper's weights"),
    "--presets": _of(PRESETS, "pixel vae-123 vae-345", Recipe.presets),
    "--features": _of(str, "loss network: auto, torchvision, mini, random or a weights file", "auto"),
    "--epochs": _of(float, "length of a training in passes over the images"),
    "--minutes": _of(float, "length in minutes, made a number of steps at the start"),
    "--steps": _of(int, "length in steps"),
    "--batch-size": _of(int, "images a step (16 on a CPU, 64 on a GPU, 64 to reproduce)"),
    "--learning-rate": _of(float, "of Adam (0.0005)", Settings.learning_rate),
    "--schedule": _of(SCHEDULES, "of the learning rate", Settings.schedule),
    "--alpha": _of(float, "weight of the KL, in place of the preset's"),
    "--beta": _of(float, "weight of the reconstruction, in place of the preset's"),
    "--multiples": _of(float, "of beta: train the first seed at these too", Recipe.multiples),
    "--flip": _of(bool, "mirror half of the images (for photographs)"),
    "--seed": _of(int, "of the random numbers (0)", 0),
    "--seeds": _of(int, "0 1 2", Recipe.seeds),
    "--compile": _of(bool, "torch.compile: a slow start, faster steps"),
    "--precision": _of(("auto", *PRECISIONS), "of the training (auto)", "auto"),
    "--device": _of(str, "auto, cpu, cuda, cuda:1 or mps", "auto"),
    "--pictures": _of(int, "train on the first so many (drawn faces: as the profile says)"),
    "--tested": _of(int, "measure on the first so many test images"),
    "--codes": _of(int, "training codes for the SVMs (50000)", Recipe.codes),
    "--fid": _of(bool, "FID, where Inception's weights are at hand"),
    "--attributes": _of(bool, "attributes, read by linear SVMs"),
    "--json": _of(bool, "print one JSON object"),
    "-n": _of(int, "number of images (%(default)s)"),
    "--temperature": _of(float, "standard deviation of z (1)", 1.0),
    "--out": _of(Path, "what is written; the same command goes on in a run folder"),
}
COMMANDS = {
    train: "--data --root --preset --features --size --epochs --minutes --steps --batch-size --learning-rate "
    "--schedule --alpha --beta --flip --seed --compile --device --precision --out",
    evaluate: "--run --data --root --split --fid --attributes --device --json",
    reproduce: "--data --root --presets --seeds --multiples --features --size --epochs --minutes --steps "
    "--batch-size --device --pictures --tested --codes --out",
    reconstruct: "--run --data --root --split -n --out",
    sample: "--run -n --temperature --seed --out",
    prepare: "name --root --download --size",
    doctor: "",
}
DEFAULTS: dict[Any, dict[str, Any]] = {
    reproduce: {"data": Recipe.data, "batch_size": Recipe.batch_size, "out": Recipe.out},
    reconstruct: {"n": 8, "out": Path("reconstructions.png")},
    sample: {"n": 32, "out": Path("samples.png")},
}


def build_parser() -> argparse.ArgumentParser:
    """A subcommand for each function of COMMANDS, described by its docstring."""
    parser = Parser(prog="dfcvae", description="Train and look at a Deep Feature Consistent VAE.")
    added = parser.add_subparsers(required=True, metavar="COMMAND")
    for function, names in COMMANDS.items():
        command = added.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        length = command.add_mutually_exclusive_group() if "--steps" in names else command
        for name in names.split():
            (length if name.removeprefix("--") in LENGTHS else command).add_argument(name, **ARGUMENTS[name])
        command.set_defaults(command=function, **DEFAULTS.get(function, {}))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is told in one line. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with plain_warnings():
        if words and words[0] in MOVED:
            return exit_status(lambda: run_moved(*words))
        options = build_parser().parse_args(words)
        use_available_threads()
        resumed = options.command in (train, reproduce)
        goes_on = " The same command goes on from the last checkpoint." if resumed else ""
        return exit_status(lambda: options.command(options), goes_on)
