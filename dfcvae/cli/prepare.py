"""``dfcvae prepare``."""

from __future__ import annotations

import argparse

import dfcvae
from dfcvae.datasets import SPLITS
from dfcvae.download import fetch_celeba


def prepare(options: argparse.Namespace) -> None:
    """decode a data set once, ahead of its first use; lfw is downloaded"""
    if options.download:
        if options.name != "celeba" or options.root is None:
            raise ValueError("--download is of celeba, with the --root to put it into.")
        print("CelebA is for non-commercial research only; data/README.md has the terms you agree to.")
        fetch_celeba(options.root)
    for split in SPLITS:
        images = dfcvae.load(options.name, split=split, root=options.root, size=options.size)
        print(f"{options.name}, {split}: {len(images):,} images of {options.size} x {options.size} pixels")
