"""The images that a command works on."""

from __future__ import annotations

import argparse
from pathlib import Path

import dfcvae
from dfcvae.course.profiles import profile
from dfcvae.datasets import Images
from dfcvae.runs import read_config
from dfcvae.vae import VAE


def load_images(name: str, split: str, size: int, root: Path | None) -> Images:
    """Photographs all, drawn faces in the profile's number: a tenth of it for validation and test."""
    drawn = profile().faces if split == "train" else profile().faces // 10
    return dfcvae.load(name, split, size=size, root=root, n=drawn if name == "faces" else None)


def load_model_and_images(run: Path, options: argparse.Namespace) -> tuple[VAE, Images]:
    """The model of a run folder, and images of its size: those of --data, or of what it was trained on."""
    name, model = read_config(run)["data"].get("name"), dfcvae.load_run(run)
    return model, load_images(options.data or name, options.split, model.image_size, options.root)
