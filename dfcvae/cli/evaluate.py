"""``dfcvae evaluate``: one run with all its figures, or several as a curve of rate and distortion."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from dfcvae import evaluation, fid
from dfcvae.cli.data import load_images, load_model_and_images
from dfcvae.device import pick_device
from dfcvae.reproduction.measure import measure, without_nan


def evaluate(options: argparse.Namespace) -> None:
    """measure a run: psnr, ssim, sharpness, kl, spectra; or several beside"""
    options.device = pick_device(options.device)
    one = len(options.run) == 1
    if not one and (options.fid or options.attributes):
        raise ValueError("--fid and --attributes are of one run: give a single --run with them.")
    figures = _one_run(options) if one else _several_runs(options)
    if options.json:
        print(json.dumps(without_nan(figures)))
        return
    points = figures.pop("rate_distortion", [])  # by rising rate
    for name, value in figures.items():
        print(f"{name:>18}  {_for_people(value)}")
    if points:
        print("by rising KL (nats an image):")
    for name in points[0] if points else ():
        print(f"{name:>18}  " + "  ".join(f"{_for_people(point[name]):>12}" for point in points))


def _one_run(options: argparse.Namespace) -> dict[str, Any]:
    (run,) = options.run
    model, images = load_model_and_images(run, options)
    train = None
    if options.fid or options.attributes:
        train = load_images(images.name, "train", model.image_size, options.root)
    inception = fid.inception() if options.fid else None
    figures = measure(model.to(options.device), images, train, options.attributes, inception).figures
    if options.fid and inception is None:
        figures["fid"] = None
        print(f"dfcvae: {fid.what_fid_needs()}", file=sys.stderr)
    return {"run": str(run), "data": images.name, "split": images.split} | figures


def _several_runs(options: argparse.Namespace) -> dict[str, Any]:
    measured, seen = {}, {}
    for run in options.run:
        model, images = load_model_and_images(run, options)
        seen[images.name, tuple(images.pixels.shape)] = str(run)
        if len(seen) > 1:
            learnt = " and ".join(f"{of!r} learnt {name!r} of {shape}" for (name, shape), of in seen.items())
            raise ValueError(f"{learnt}: a curve needs the same images for all.")
        measured[str(run)] = evaluation.evaluate(model.to(options.device), images)
    points = evaluation.rate_distortion(measured)
    about = {"data": images.name, "split": images.split, "images": len(images)}
    return about | {"rate_distortion": points}


def _for_people(value: Any) -> str:
    """Four digits, and of a long list its ends."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_for_people(entry)}" for key, entry in value.items() if key != "each")
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} values, {_for_people(min(value))} to {_for_people(max(value))} (--json has all)"
    if isinstance(value, list):
        return "[" + ", ".join(map(_for_people, value)) + "]"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"
    return "not measured" if value is None else str(value)
