"""What the commands of ``dfcvae`` do with their options; torch is imported by those that need it.

Those that measure, ``evaluate`` and ``reproduce``, stand in ``measuring_commands``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dfcvae.datasets import SPLITS
from dfcvae.training import SCHEDULES, Settings

COMPARISON = Path("runs/compare")
LENGTHS = ("epochs", "minutes", "steps")


def train(options: argparse.Namespace) -> None:
    from dfcvae.course.profiles import profile

    batch_size = profile().batch_size if options.batch_size is None else options.batch_size
    settings = {"batch_size": batch_size, "seed": options.seed}
    settings |= {"device": options.device, "flip": options.flip, "precision": options.precision}
    settings |= {"compile": options.compile}
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

    import dfcvae

    images = load_images(options, "train")
    torch.manual_seed(options.seed)
    model = dfcvae.DFCVAE(
        options.preset, options.features, options.size, alpha=options.alpha, beta=options.beta
    )
    print(
        f"{options.preset} on {len(images):,} images of {options.data}; loss network: {model.features_name}"
    )
    length = {key: getattr(options, key) for key in LENGTHS}
    if all(value is None for value in length.values()):
        length["steps"] = _default_steps()
    run = dfcvae.train(
        model, images, options.out, validation=load_images(options, "validation"), **length, **settings
    )
    print(f"done: look at {run.out / 'reconstructions.png'} and {run.out / 'samples.png'}")


def _train_comparison(options: argparse.Namespace, settings: dict) -> None:
    from dfcvae.course.compare import compare, steps_for
    from dfcvae.dfc import PRESETS
    from dfcvae.vgg import VGGFeatures

    if options.alpha is not None or options.beta is not None:
        raise ValueError("--alpha and --beta are of one model: give --data, --preset and --out with them.")
    options.data = "faces"
    out = options.out or COMPARISON
    images, shown = load_images(options, "train"), load_images(options, "validation")
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


def reconstruct(options: argparse.Namespace) -> None:
    from dfcvae.figures import png as pictures

    if options.n < 1:
        raise ValueError(f"-n is {options.n}: expected 1 image or more.")
    model, images = model_and_images(options, options.run)
    x = images.float(slice(0, options.n))
    rows = [("originals", x), ("reconstructions", model.generate(x))]
    print(f"done: look at {pictures.save_png(options.out, pictures.labelled_rows(rows))}")


def sample(options: argparse.Namespace) -> None:
    import torch

    from dfcvae import load_run
    from dfcvae.figures import png as pictures

    model, generator = load_run(options.run), torch.Generator().manual_seed(options.seed)
    images = model.sample(options.n, options.temperature, generator)
    print(f"done: look at {pictures.save_png(options.out, pictures.grid(images, zoom=2))}")


def prepare(options: argparse.Namespace) -> None:
    from dfcvae import load

    if options.download:
        _fetch_celeba(options)
    for split in SPLITS:
        images = load(options.name, split=split, root=options.root, size=options.size)
        print(f"{options.name}, {split}: {len(images):,} images of {options.size} x {options.size} pixels")


def _fetch_celeba(options: argparse.Namespace) -> None:
    from dfcvae.download import fetch_celeba

    if options.name != "celeba" or options.root is None:
        raise ValueError(
            "--download is of celeba, with the --root to put it into: lfw is downloaded without it, and a "
            "folder is yours."
        )
    print("CelebA is for non-commercial research only; data/README.md has the terms you agree to.")
    fetch_celeba(options.root)


def doctor(options: argparse.Namespace) -> None:
    from dfcvae.cli.doctor import report

    print(report())


def badges(options: argparse.Namespace) -> None:
    from badges import run

    run(options.repo, options.branch, options.check)


def classroom(options: argparse.Namespace) -> None:
    from dfcvae_classroom.command import run

    run(options)


def load_images(options: argparse.Namespace, split: str, otherwise: str | None = None):
    from dfcvae import load

    return load(options.data or otherwise, split=split, size=options.size, root=options.root)


def model_and_images(options: argparse.Namespace, run: Path):
    from dfcvae import load_run
    from dfcvae.runs import read_config

    config, model = read_config(Path(run)), load_run(run)
    options.size = model.image_size
    return model, load_images(options, options.split, config["data"].get("name"))


def _default_steps() -> int:
    from dfcvae.course.profiles import profile

    return profile().steps
