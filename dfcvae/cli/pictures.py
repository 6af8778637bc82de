"""``dfcvae reconstruct`` and ``dfcvae sample``: a picture of what a run has learnt."""

from __future__ import annotations

import argparse

import torch

import dfcvae
from dfcvae.cli.data import load_model_and_images
from dfcvae.figures import png


def reconstruct(options: argparse.Namespace) -> None:
    if options.n < 1:
        raise ValueError(f"-n is {options.n}: expected 1 image or more.")
    model, images = load_model_and_images(options.run, options)
    x = images.float(slice(0, options.n))
    rows = [("originals", x), ("reconstructions", model.generate(x))]
    print(f"done: look at {png.save_png(options.out, png.labelled_rows(rows))}")


def sample(options: argparse.Namespace) -> None:
    model, generator = dfcvae.load_run(options.run), torch.Generator().manual_seed(options.seed)
    images = model.sample(options.n, options.temperature, generator=generator)
    print(f"done: look at {png.save_png(options.out, png.grid(images, zoom=2))}")
