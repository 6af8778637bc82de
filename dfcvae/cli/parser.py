"""The command ``dfcvae``: training, evaluation, pictures, data, the course and its classroom."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dfcvae.cli import commands
from dfcvae.cli import errors as telling
from dfcvae.cli import measuring as measuring_commands
from dfcvae.datasets import NAMES, SPLITS
from dfcvae.training import SCHEDULES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is told in one line. Returns the exit status."""
    with telling.plainly():
        options = _parser().parse_args(arguments)
        training = options.command in (commands.train, measuring_commands.reproduce)
        goes_on = " The same command goes on from the last checkpoint." if training else ""
        return telling.told(lambda: _run(options), goes_on)


def _run(options: argparse.Namespace) -> None:
    options.command(options)


def _parser() -> argparse.ArgumentParser:
    parser = telling.Parser(prog="dfcvae", description="Train and look at a Deep Feature Consistent VAE.")
    added = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, text: str) -> argparse.ArgumentParser:
        parser_of_one = added.add_parser(name, help=text, description=text)
        parser_of_one.set_defaults(command=function)
        return parser_of_one

    train = command(
        "train", commands.train, "train a model; without arguments, compare a plain VAE with a DFC-VAE"
    )
    _add_data(train)
    train.add_argument(
        "--preset", help="pixel, vae-123 or vae-345 (paper-123, paper-345: the paper's weights)"
    )
    train.add_argument("--features", default="auto", help="auto, torchvision, mini, random or a weights file")
    _add_length(train, "length of the training in passes over the images")
    train.add_argument("--batch-size", type=int, help="images a step (16 on a CPU, 64 on a GPU)")
    train.add_argument("--size", type=int, default=64, help="side of the images in pixels (64)")
    train.add_argument("--learning-rate", type=float, help="of Adam (0.0005)")
    train.add_argument("--schedule", choices=SCHEDULES, help="of the learning rate")
    train.add_argument("--alpha", type=float, help="weight of the KL, in place of the preset's")
    train.add_argument("--beta", type=float, help="weight of the reconstruction, in place of the preset's")
    train.add_argument("--flip", action="store_true", help="mirror half of the images (for photographs)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    train.add_argument("--compile", action="store_true", help="torch.compile: a slow start, faster steps")
    train.add_argument("--precision", default="auto", help="auto, bf16, fp16 or fp32")
    train.add_argument("--out", type=Path, help="run folder; the same command goes on in it")

    evaluate = command(
        "evaluate",
        measuring_commands.evaluate,
        "measure a run: psnr, ssim, sharpness, kl, spectra; or several beside",
    )
    evaluate.add_argument(
        "--run",
        type=Path,
        required=True,
        action="append",
        help="run folder; given several times, a curve of rate and distortion through them",
    )
    _add_measured(evaluate)
    evaluate.add_argument("--fid", action="store_true", help="FID, where Inception's weights are at hand")
    evaluate.add_argument("--attributes", action="store_true", help="attributes, read by linear SVMs")
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")

    reproduce = command(
        "reproduce",
        measuring_commands.reproduce,
        "the paper's trainings, and one table beside the paper's numbers",
    )
    reproduce.add_argument("--data", choices=NAMES, default="faces", help="drawn faces (default), CelebA ...")
    reproduce.add_argument("--root", type=Path, help="where the photographs are")
    presets = ("pixel", "vae-123", "vae-345")
    reproduce.add_argument(
        "--presets", nargs="+", default=presets, help="pixel vae-123 vae-345 (also paper-123, paper-345)"
    )
    reproduce.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2), help="0 1 2")
    reproduce.add_argument(
        "--multiples",
        nargs="+",
        type=float,
        default=(),
        help="of beta: train the first seed at these too, for the curve of rate and distortion",
    )
    reproduce.add_argument("--features", default="auto", help="auto, torchvision, mini, random or a file")
    _add_length(reproduce, "length of each training in passes over the images (5)")
    reproduce.add_argument("--batch-size", type=int, default=64, help="images a step (64)")
    reproduce.add_argument("--size", type=int, default=64, help="side of the images in pixels (64)")
    reproduce.add_argument("--codes", type=int, default=50_000, help="training codes for the SVMs (50000)")
    reproduce.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    reproduce.add_argument(
        "--out", type=Path, default=Path("runs/reproduce"), help="folder; the same command goes on in it"
    )

    reconstruct = command(
        "reconstruct", commands.reconstruct, "picture of originals and their reconstructions"
    )
    _add_run(reconstruct)
    reconstruct.add_argument("-n", type=int, default=8, help="number of images (8)")
    reconstruct.add_argument("--out", type=Path, default=Path("reconstructions.png"))

    sample = command("sample", commands.sample, "picture of samples from the prior")
    sample.add_argument("--run", type=Path, required=True, help="run folder")
    sample.add_argument("-n", type=int, default=32, help="number of images (32)")
    sample.add_argument("--temperature", type=float, default=1.0, help="standard deviation of z (1)")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--out", type=Path, default=Path("samples.png"))

    prepare = command(
        "prepare", commands.prepare, "decode a data set once, ahead of its first use; lfw is downloaded"
    )
    prepare.add_argument("name", choices=("celeba", "lfw", "folder"))
    prepare.add_argument(
        "--root", type=Path, help="where the photographs are (lfw: scikit-learn's folder of data)"
    )
    prepare.add_argument(
        "--download",
        action="store_true",
        help="celeba: fetch what is missing (1.3 GB) to --root; you agree to its terms: data/README.md",
    )
    prepare.add_argument("--size", type=int, default=64)

    command("doctor", commands.doctor, "what this machine would use, and what to do about what is missing")

    badges = command(
        "badges", commands.badges, "point Colab badges and set-up cells at one GitHub repository"
    )
    badges.add_argument("--repo", metavar="OWNER/NAME", help="the address; it is written to pyproject.toml")
    badges.add_argument("--branch", help="the branch that Colab opens; it is written to pyproject.toml")
    badges.add_argument("--check", action="store_true", help="change nothing; fail if one points elsewhere")

    classroom = command("classroom", commands.classroom, "problem sets for a class, graded by nbgrader")
    _add_classroom(classroom)
    return parser


def _add_classroom(parser: argparse.ArgumentParser) -> None:
    added = parser.add_subparsers(required=True, dest="what", metavar="new|release|grade|restore|table")
    new = added.add_parser("new", help="make an instructor's private course folder")
    new.add_argument("folder", type=Path)
    release = added.add_parser("release", help="write what students get; without a folder, the repository's")
    release.add_argument("folder", type=Path, nargs="?")
    release.add_argument("--check", action="store_true", help="change nothing; fail where it is out of date")
    grade = added.add_parser("grade", help="grade notebooks: feedback pages, tables, a report")
    grade.add_argument("folder", type=Path, help="the course folder, or in it a folder of notebooks")
    grade.add_argument("--submitted", type=Path, help="folder of notebooks (else the course's submitted/)")
    grade.add_argument("--seconds", type=float, default=60, help="that a cell or a task may take (60)")
    restore = added.add_parser("restore", help="put lost grading metadata back into notebooks")
    restore.add_argument("notebooks", type=Path, nargs="+")
    restore.add_argument("--course", type=Path, help="course folder (else the repository's release)")
    table = added.add_parser("table", help="write objectives, minutes and points into docs/teaching.md")
    table.add_argument("--check", action="store_true", help="change nothing; fail where it is out of date")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", choices=NAMES, help="drawn faces, CelebA, LFW, or a folder of photographs")
    parser.add_argument("--root", type=Path, help="where the photographs are")


def _add_length(parser: argparse.ArgumentParser, epochs: str) -> None:
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=float, help=epochs)
    length.add_argument(
        "--minutes", type=float, help="length in minutes, made a number of steps at the start"
    )
    length.add_argument("--steps", type=int, help="length in steps")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    _add_measured(parser)


def _add_measured(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    parser.add_argument("--split", default="test", choices=SPLITS)
