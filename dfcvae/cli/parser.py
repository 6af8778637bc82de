"""The command ``dfcvae``: what can be asked for. What each command does stands in the file of its name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dfcvae.cli import aliases
from dfcvae.cli.doctor import doctor
from dfcvae.cli.errors import Parser, exit_status, plain_warnings
from dfcvae.cli.evaluate import evaluate
from dfcvae.cli.pictures import reconstruct, sample
from dfcvae.cli.prepare import prepare
from dfcvae.cli.reproduce import reproduce
from dfcvae.cli.train import train
from dfcvae.datasets import NAMES, SPLITS
from dfcvae.device import PRECISIONS, use_available_threads
from dfcvae.dfc import PRESETS
from dfcvae.reproduction.recipe import Recipe
from dfcvae.training import SCHEDULES, Settings

MOVED = {"badges": aliases.badges, "classroom": aliases.classroom}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is told in one line. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with plain_warnings():
        if words and words[0] in MOVED:
            return exit_status(lambda: MOVED[words[0]](words[1:]))
        options = build_parser().parse_args(words)
        use_available_threads()
        resumed = options.command in (train, reproduce)
        goes_on = " The same command goes on from the last checkpoint." if resumed else ""
        return exit_status(lambda: options.command(options), goes_on)


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="dfcvae", description="Train and look at a Deep Feature Consistent VAE.")
    added = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        made = added.add_parser(function.__name__, help=text, description=text)
        made.set_defaults(command=function)
        return made

    _train(command(train, "train a model; without arguments, compare a plain VAE with a DFC-VAE"))
    _evaluate(command(evaluate, "measure a run: psnr, ssim, sharpness, kl, spectra; or several beside"))
    _reproduce(command(reproduce, "the paper's trainings, and one table beside the paper's numbers"))
    _reconstruct(command(reconstruct, "picture of originals and their reconstructions"))
    _sample(command(sample, "picture of samples from the prior"))
    _prepare(command(prepare, "decode a data set once, ahead of its first use; lfw is downloaded"))
    command(doctor, "what this machine would use, and what to do about what is missing")
    return parser


def _train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_data(parser)
    add("--preset", choices=list(PRESETS), help="pixel: the plain VAE; paper-...: with the paper's weights")
    _add_training(parser, "length of the training in passes over the images")
    add("--batch-size", type=int, help="images a step (16 on a CPU, 64 on a GPU)")
    add("--learning-rate", type=float, default=Settings.learning_rate, help="of Adam (0.0005)")
    add("--schedule", choices=SCHEDULES, default=Settings.schedule, help="of the learning rate")
    add("--alpha", type=float, help="weight of the KL, in place of the preset's")
    add("--beta", type=float, help="weight of the reconstruction, in place of the preset's")
    add("--flip", action="store_true", help="mirror half of the images (for photographs)")
    add("--seed", type=int, default=0)
    add("--compile", action="store_true", help="torch.compile: a slow start, faster steps")
    add("--precision", choices=("auto", *PRECISIONS), default="auto")
    add("--out", type=Path, help="run folder; the same command goes on in it")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    curve = "run folder; given several times, a curve of rate and distortion through them"
    add("--run", type=Path, required=True, action="append", help=curve)
    _add_data(parser)
    add("--split", choices=SPLITS, default="test")
    add("--fid", action="store_true", help="FID, where Inception's weights are at hand")
    add("--attributes", action="store_true", help="attributes, read by linear SVMs")
    add("--device", default="auto")
    add("--json", action="store_true", help="print one JSON object")


def _reproduce(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_data(parser, default=Recipe.data)
    add("--presets", nargs="+", choices=list(PRESETS), default=Recipe.presets)
    add("--seeds", nargs="+", type=int, default=Recipe.seeds, help="0 1 2")
    beta = "of beta: train the first seed at these too, for the curve of rate and distortion"
    add("--multiples", nargs="+", type=float, default=Recipe.multiples, help=beta)
    _add_training(parser, "length of each training in passes over the images (5)")
    add("--batch-size", type=int, default=Recipe.batch_size, help="images a step (64)")
    add("--pictures", type=int, help="train on the first so many (drawn faces: as the profile says)")
    add("--tested", type=int, help="measure on the first so many test images")
    add("--codes", type=int, default=Recipe.codes, help="training codes for the SVMs (50000)")
    add("--out", type=Path, default=Recipe.out, help="folder; the same command goes on in it")


def _reconstruct(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    _add_data(parser)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("-n", type=int, default=8, help="number of images (8)")
    parser.add_argument("--out", type=Path, default=Path("reconstructions.png"))


def _sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("-n", type=int, default=32, help="number of images (32)")
    parser.add_argument("--temperature", type=float, default=1.0, help="standard deviation of z (1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("samples.png"))


def _prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=[name for name in NAMES if name != "faces"])
    parser.add_argument("--root", type=Path, help="where the photographs are (lfw: scikit-learn's folder)")
    fetch = "celeba: fetch what is missing (1.3 GB) to --root; you agree to its terms: data/README.md"
    parser.add_argument("--download", action="store_true", help=fetch)
    parser.add_argument("--size", type=int, default=64)


def _add_data(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    sets = "drawn faces, CelebA, LFW, or a folder of photographs"
    parser.add_argument("--data", choices=NAMES, default=default, help=sets)
    parser.add_argument("--root", type=Path, help="where the photographs are")


def _add_training(parser: argparse.ArgumentParser, epochs: str) -> None:
    features = "loss network: auto, torchvision, mini, random or a weights file"
    parser.add_argument("--features", default="auto", help=features)
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels (64)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=float, help=epochs)
    minutes = "length in minutes, made a number of steps at the start"
    length.add_argument("--minutes", type=float, help=minutes)
    length.add_argument("--steps", type=int, help="length in steps")
