"""``dfcvae train``: one model into a run folder, or a plain VAE and a DFC-VAE side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

import dfcvae
from dfcvae.cli.data import load_images
from dfcvae.course.compare import compare
from dfcvae.course.profiles import profile
from dfcvae.device import pick_device
from dfcvae.dfc import PRESETS
from dfcvae.fast import accelerate
from dfcvae.training import Settings

LENGTHS = ("steps", "epochs", "minutes")
SETTINGS = ("batch_size", "learning_rate", "schedule", "flip", "seed", "precision")


def train(options: argparse.Namespace) -> None:
    """train a model; without arguments, compare a plain VAE with a DFC-VAE"""
    options.batch_size = profile().batch_size if options.batch_size is None else options.batch_size
    settings = {key: getattr(options, key) for key in SETTINGS}
    length = {key: getattr(options, key) for key in LENGTHS if getattr(options, key) is not None}
    length = length or {"steps": profile().steps}
    # What is wrong with these is told before anything is loaded.
    Settings(**settings, **length)
    pick_device(options.device)
    settings["device"] = options.device
    if options.preset is None and options.data in (None, "faces"):
        _compare(options, settings, length)
    elif None in (options.preset, options.out, options.data):
        raise ValueError(
            "give --data, --preset and --out together, or neither --data nor --preset to compare both models."
        )
    else:
        _train_one(options, settings, length)


def _train_one(options: argparse.Namespace, settings: dict[str, Any], length: dict[str, Any]) -> None:
    torch.manual_seed(options.seed)
    weights = {"alpha": options.alpha, "beta": options.beta}
    model = accelerate(
        dfcvae.DFCVAE(options.preset, options.features, options.size, **weights), options.compile
    )
    images, validation = _images(options)
    print(f"{options.preset} on {len(images):,} images of {images.name}; loss network: {model.features_name}")
    run = dfcvae.train(model, images, options.out, validation=validation, **settings, **length)
    print(f"done: look at {run.out / 'reconstructions.png'} and {run.out / 'samples.png'}")


def _compare(options: argparse.Namespace, settings: dict[str, Any], length: dict[str, Any]) -> None:
    if options.alpha is not None or options.beta is not None:
        raise ValueError("--alpha and --beta are of one model: give --data, --preset and --out with them.")
    out, options.data, options.root = options.out or Path("runs/compare"), "faces", None
    features = dfcvae.VGGFeatures(layers=PRESETS["vae-123"].layers, weights=options.features)
    images, shown = _images(options)
    print(f"plain VAE and DFC-VAE on {len(images):,} drawn faces; loss network: {features.weights_name}")
    compare(images, shown, out, features, compile=options.compile, **settings, **length)
    print(f"done: look at {out / 'comparison.png'}")


def _images(options: argparse.Namespace) -> list[dfcvae.Images]:
    return [load_images(options.data, part, options.size, options.root) for part in ("train", "validation")]
