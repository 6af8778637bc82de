"""``dfcvae reconstruct`` and ``dfcvae sample``."""

from __future__ import annotations

import argparse

import torch

import dfcvae
from dfcvae.cli.data import load_model_and_images
from dfcvae.figures import png


def reconstruct(options: argparse.Namespace) -> None:
    """picture of originals and their reconstructions"""
    if options.n < 1:
        raise ValueError(f"-n is {options.n}: expected 1 image or more.")
    model, images = load_model_and_images(options.run[-1], options)
    x = images.float(slice(0, options.n))
    rows = [("originals", x), ("reconstructions", model.generate(x))]
    print(f"done: look at {png.save_png(options.out, png.labelled_rows(rows))}")


def sample(options: argparse.Namespace) -> None:
    """picture of samples from the prior"""
    model, generator = dfcvae.load_run(options.run[-1]), torch.Generator().manual_seed(options.seed)
    images = model.sample(options.n, options.temperature, generator=generator)
    print(f"done: look at {png.save_png(options.out, png.grid(images, zoom=2))}")
