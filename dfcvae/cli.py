"""The command ``dfcvae``: train, evaluate, reconstruct, sample, prepare, doctor, badges."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from dfcvae.datasets import NAMES, SPLITS
from dfcvae.settings import SCHEDULES, Settings

COMPARISON = Path("runs/compare")
LENGTHS = ("epochs", "minutes", "steps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is told in one sentence. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt:
        training = options.command is _train
        goes_on = " The same command goes on from the last checkpoint." if training else ""
        print(f"\ndfcvae: stopped.{goes_on}", file=sys.stderr)
        return 130
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"dfcvae: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:  # of which torch's OutOfMemoryError is one
        if "out of memory" not in str(error).lower():
            raise
        print("dfcvae: the memory of the device is full: give a smaller --batch-size.", file=sys.stderr)
        return 1
    return 0


def _train(options: argparse.Namespace) -> None:
    from dfcvae.course.profiles import profile

    batch_size = profile().batch_size if options.batch_size is None else options.batch_size
    settings = {"batch_size": batch_size, "seed": options.seed}
    settings |= {"device": options.device, "flip": options.flip}
    settings |= {
        key: getattr(options, key)
        for key in ("learning_rate", "schedule")
        if getattr(options, key) is not None
    }
    Settings(**{key: getattr(options, key) for key in LENGTHS}, schedule=options.schedule or SCHEDULES[0])
    if options.preset is None and options.data in (None, "faces"):
        _train_comparison(options, settings)
    elif options.preset is None or options.out is None or options.data is None:
        raise ValueError(
            "give --data, --preset and --out together, or neither --data nor --preset to compare both models."
        )
    else:
        _train_one(options, settings)


def _train_one(options: argparse.Namespace, settings: dict) -> None:
    import torch

    from dfcvae import DFCVAE, train

    images = _load(options, "train")
    torch.manual_seed(options.seed)
    model = DFCVAE(options.preset, options.features, options.size, alpha=options.alpha, beta=options.beta)
    print(
        f"{options.preset} on {len(images):,} images of {options.data}; loss network: {model.features_name}"
    )
    length = {key: getattr(options, key) for key in LENGTHS}
    if all(value is None for value in length.values()):
        length["steps"] = _default_steps()
    run = train(model, images, options.out, validation=_load(options, "validation"), **length, **settings)
    print(f"done: look at {run.out / 'reconstructions.png'} and {run.out / 'samples.png'}")


def _train_comparison(options: argparse.Namespace, settings: dict) -> None:
    from dfcvae.compare import compare, steps_for
    from dfcvae.dfc import PRESETS
    from dfcvae.vgg import VGGFeatures

    if options.alpha is not None or options.beta is not None:
        raise ValueError("--alpha and --beta are of one model: give --data, --preset and --out with them.")
    options.data = "faces"
    out, images, shown = options.out or COMPARISON, _load(options, "train"), _load(options, "validation")
    features = VGGFeatures(layers=PRESETS["vae-123"].layers, weights=options.features)
    steps = _default_steps() if options.steps is None else options.steps
    if options.epochs is not None:
        steps = max(1, round(options.epochs * (len(images) // settings["batch_size"])))
    if options.minutes is not None:
        steps = steps_for(options.minutes, images, features, out, **settings)
        if (out / "pixel" / "config.json").is_file():
            print(
                f"{out} was begun with {steps:,} steps and keeps them; give another --out for another length."
            )
    print(
        f"plain VAE and DFC-VAE on {len(images):,} drawn faces, {steps:,} steps each; "
        f"loss network: {features.weights_name}"
    )
    compare(images, shown, out, steps, features, **settings)
    print(f"done: look at {out / 'comparison.png'}")


def _evaluate(options: argparse.Namespace) -> None:
    from dfcvae.evaluation import evaluate
    from dfcvae.hardware import pick_device

    model, images = _model_and_images(options)
    figures = evaluate(model.to(pick_device(options.device)), images)
    figures = {"run": str(options.run), "data": images.name, "split": images.split} | figures
    if options.json:
        print(json.dumps({name: _without_nan(value) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        shown = [round(v, 4) for v in value] if isinstance(value, list) else value
        print(f"{name:>18}  {round(shown, 4) if isinstance(shown, float) else shown}")


def _without_nan(value):
    """NaN and infinity, which a flat picture gives, are no JSON."""
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reconstruct(options: argparse.Namespace) -> None:
    from dfcvae import pictures

    if options.n < 1:
        raise ValueError(f"-n is {options.n}: expected 1 image or more.")
    model, images = _model_and_images(options)
    x = images.float(slice(0, options.n))
    rows = [("originals", x), ("reconstructions", model.generate(x))]
    print(f"done: look at {pictures.save_png(options.out, pictures.labelled_rows(rows))}")


def _sample(options: argparse.Namespace) -> None:
    import torch

    from dfcvae import load_run, pictures

    model, generator = load_run(options.run), torch.Generator().manual_seed(options.seed)
    images = model.sample(options.n, options.temperature, generator)
    print(f"done: look at {pictures.save_png(options.out, pictures.grid(images, zoom=2))}")


def _prepare(options: argparse.Namespace) -> None:
    from dfcvae import load

    for split in SPLITS:
        images = load(options.name, split=split, root=options.root, size=options.size)
        print(f"{options.name}, {split}: {len(images):,} images of {options.size} x {options.size} pixels")


def _doctor(options: argparse.Namespace) -> None:
    from dfcvae.doctor import report

    print(report())


def _badges(options: argparse.Namespace) -> None:
    from dfcvae.course import badges

    badges.run(options.repo, options.branch, options.check)


def _load(options: argparse.Namespace, split: str):
    from dfcvae import load

    return load(options.data, split=split, size=options.size, root=options.root)


def _model_and_images(options: argparse.Namespace):
    from dfcvae import load_run
    from dfcvae.checkpoint import read_config

    config = read_config(Path(options.run))
    options.data, options.size = options.data or config["data"].get("name"), config["model"]["image_size"]
    return load_run(options.run), _load(options, options.split)


def _default_steps() -> int:
    from dfcvae.course.profiles import profile

    return profile().steps


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dfcvae", description="Train and look at a Deep Feature Consistent VAE."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function)
        return added

    train = command("train", _train, "train a model; without arguments, compare a plain VAE with a DFC-VAE")
    _add_data(train)
    train.add_argument(
        "--preset", help="pixel, vae-123 or vae-345 (paper-123, paper-345: the paper's weights)"
    )
    train.add_argument("--features", default="auto", help="auto, torchvision, mini, random or a weights file")
    length = train.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=float, help="length of the training in passes over the images")
    length.add_argument(
        "--minutes", type=float, help="length in minutes, made a number of steps at the start"
    )
    length.add_argument("--steps", type=int, help="length in steps")
    train.add_argument("--batch-size", type=int, help="images a step (16 on a CPU, 64 on a GPU)")
    train.add_argument("--size", type=int, default=64, help="side of the images in pixels (64)")
    train.add_argument("--learning-rate", type=float, help="of Adam (0.0005)")
    train.add_argument("--schedule", choices=SCHEDULES, help="of the learning rate")
    train.add_argument("--alpha", type=float, help="weight of the KL, in place of the preset's")
    train.add_argument("--beta", type=float, help="weight of the reconstruction, in place of the preset's")
    train.add_argument("--flip", action="store_true", help="mirror half of the images (for photographs)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    train.add_argument("--out", type=Path, help="run folder; the same command goes on in it")

    evaluate = command("evaluate", _evaluate, "measure a run: psnr, ssim, sharpness, kl, spectra")
    _add_run(evaluate)
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")

    reconstruct = command("reconstruct", _reconstruct, "picture of originals and their reconstructions")
    _add_run(reconstruct)
    reconstruct.add_argument("-n", type=int, default=8, help="number of images (8)")
    reconstruct.add_argument("--out", type=Path, default=Path("reconstructions.png"))

    sample = command("sample", _sample, "picture of samples from the prior")
    sample.add_argument("--run", type=Path, required=True, help="run folder")
    sample.add_argument("-n", type=int, default=32, help="number of images (32)")
    sample.add_argument("--temperature", type=float, default=1.0, help="standard deviation of z (1)")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--out", type=Path, default=Path("samples.png"))

    prepare = command("prepare", _prepare, "decode a data set once, ahead of its first use")
    prepare.add_argument("name", choices=("celeba", "folder"))
    prepare.add_argument("--root", type=Path, required=True, help="where the photographs are")
    prepare.add_argument("--size", type=int, default=64)

    command("doctor", _doctor, "what this machine would use, and what to do about what is missing")

    badges = command("badges", _badges, "point Colab badges and set-up cells at one GitHub repository")
    badges.add_argument("--repo", metavar="OWNER/NAME", help="the address; it is written to pyproject.toml")
    badges.add_argument("--branch", help="the branch that Colab opens; it is written to pyproject.toml")
    badges.add_argument("--check", action="store_true", help="change nothing; fail if one points elsewhere")
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", choices=NAMES, help="drawn faces, CelebA, or a folder of photographs")
    parser.add_argument("--root", type=Path, help="where the photographs are")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    _add_data(parser)
    parser.add_argument("--split", default="test", choices=SPLITS)
