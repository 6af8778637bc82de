"""What each command of ``dfcvae`` does with its options; torch is imported by those that need it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from dfcvae.datasets import SPLITS
from dfcvae.settings import SCHEDULES, Settings

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

    images = _load(options, "train")
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
        model, images, options.out, validation=_load(options, "validation"), **length, **settings
    )
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


def evaluate(options: argparse.Namespace) -> None:
    """One run: all its figures. Several: a point each, by rising rate."""
    if len(options.run) > 1:
        _rate_distortion(options)
        return
    from dfcvae import frechet
    from dfcvae.hardware import pick_device
    from dfcvae.measure import measure, without_nan

    model, images = _model_and_images(options, options.run[0])
    train = _load(options, "train", images.name) if options.fid or options.attributes else None
    network = frechet.inception() if options.fid else None
    model = model.to(pick_device(options.device))
    figures = measure(model, images, train, options.attributes, network).figures
    if options.fid and network is None:
        figures["fid"] = None
        print(f"dfcvae: {frechet.what_fid_needs()}", file=sys.stderr)
    figures = {"run": str(options.run[0]), "data": images.name, "split": images.split} | figures
    if options.json:
        print(json.dumps(without_nan(figures)))
        return
    for name, value in figures.items():
        print(f"{name:>18}  {_shown(value)}")


def _rate_distortion(options: argparse.Namespace) -> None:
    from dfcvae.evaluation import evaluate, rate_distortion
    from dfcvae.hardware import pick_device
    from dfcvae.measure import without_nan

    if options.fid or options.attributes:
        raise ValueError("--fid and --attributes are of one run: give a single --run with them.")
    device, measured, met = pick_device(options.device), {}, None
    for run in options.run:
        model, images = _model_and_images(options, run)
        if met and (images.name, images.pixels.shape) != met:
            raise ValueError(
                f"{str(run)!r} learnt {images.name!r} of {tuple(images.pixels.shape)}, and the run before it "
                f"{met[0]!r} of {tuple(met[1])}: a curve needs the same images for all."
            )
        met = images.name, images.pixels.shape
        measured[str(run)] = evaluate(model.to(device), images)
    points = [point._asdict() for point in rate_distortion(measured)]
    if options.json:
        about = {"data": images.name, "split": images.split, "images": len(images)}
        print(json.dumps(without_nan(about | {"rate_distortion": points})))
        return
    print(f"{images.name}, {images.split}, {len(images):,} images; by rising KL (nats an image)")
    for name, values in {key: [point[key] for point in points] for key in points[0]}.items():
        print(f"{name:>10}  " + "  ".join(f"{_shown(value):>12}" for value in values))


def _shown(value) -> str:
    """A figure for people: four digits, and of a long list its ends."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(entry)}" for key, entry in value.items() if key != "each")
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} values, {_shown(min(value))} to {_shown(max(value))} (--json has all)"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"
    return "not measured" if value is None else str(value)


def reproduce(options: argparse.Namespace) -> None:
    from dfcvae import frechet, report
    from dfcvae.reproduce import Recipe, reproduce

    length = {key: getattr(options, key) for key in LENGTHS}
    if all(value is None for value in length.values()):
        length["epochs"] = Recipe.epochs
    many = {key: tuple(getattr(options, key)) for key in ("presets", "seeds", "multiples")}
    one = {key: getattr(options, key) for key in ("data", "root", "out", "features", "size", "device")}
    one |= {key: getattr(options, key) for key in ("batch_size", "codes")}
    network = frechet.inception()
    done = reproduce(Recipe(**one, **many, **length), network)
    figures, notes = _figures(done)
    if network is None:
        notes.append(f"FID was not measured. {frechet.what_fid_needs()}")
    print(f"done: look at {report.write(done, figures, notes)}")


def _figures(done) -> tuple[dict[str, str], list[str]]:
    """What is drawn (file -> alt text), and what there is to say where it cannot be."""
    if importlib.util.find_spec("matplotlib") is None:
        return {}, ["The figures are left out: matplotlib is not installed (pip install matplotlib)."]
    from dfcvae.course.reproduction import draw

    return draw(done), []


def reconstruct(options: argparse.Namespace) -> None:
    from dfcvae import pictures

    if options.n < 1:
        raise ValueError(f"-n is {options.n}: expected 1 image or more.")
    model, images = _model_and_images(options, options.run)
    x = images.float(slice(0, options.n))
    rows = [("originals", x), ("reconstructions", model.generate(x))]
    print(f"done: look at {pictures.save_png(options.out, pictures.labelled_rows(rows))}")


def sample(options: argparse.Namespace) -> None:
    import torch

    from dfcvae import load_run, pictures

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
    from dfcvae.doctor import report

    print(report())


def badges(options: argparse.Namespace) -> None:
    from dfcvae.course.badges import run

    run(options.repo, options.branch, options.check)


def classroom(options: argparse.Namespace) -> None:
    from dfcvae.course.classroom.command import run

    run(options)


def _load(options: argparse.Namespace, split: str, otherwise: str | None = None):
    from dfcvae import load

    return load(options.data or otherwise, split=split, size=options.size, root=options.root)


def _model_and_images(options: argparse.Namespace, run: Path):
    from dfcvae import load_run
    from dfcvae.checkpoint import read_config

    config, model = read_config(Path(run)), load_run(run)
    options.size = model.image_size
    return model, _load(options, options.split, config["data"].get("name"))


def _default_steps() -> int:
    from dfcvae.course.profiles import profile

    return profile().steps
