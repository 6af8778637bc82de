"""What ``dfcvae evaluate`` and ``dfcvae reproduce`` do with their options, and how they show figures."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys

from dfcvae.cli.commands import LENGTHS, load_images, model_and_images


def evaluate(options: argparse.Namespace) -> None:
    """One run: all its figures. Several: a point each, by rising rate."""
    if len(options.run) > 1:
        _rate_distortion(options)
        return
    from dfcvae import fid as frechet
    from dfcvae.device import pick_device
    from dfcvae.reproduction.measure import measure, without_nan

    model, images = model_and_images(options, options.run[0])
    train = load_images(options, "train", images.name) if options.fid or options.attributes else None
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
    from dfcvae.device import pick_device
    from dfcvae.evaluation import evaluate, rate_distortion
    from dfcvae.reproduction.measure import without_nan

    if options.fid or options.attributes:
        raise ValueError("--fid and --attributes are of one run: give a single --run with them.")
    device, measured, met = pick_device(options.device), {}, None
    for run in options.run:
        model, images = model_and_images(options, run)
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
    from dfcvae import fid as frechet
    from dfcvae.reproduction import report
    from dfcvae.reproduction.recipe import Recipe, reproduce

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
    from dfcvae.reproduction.draw import draw

    return draw(done), []
