"""``dfcvae doctor``."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata

import torch

from dfcvae import VGGFeatures, __version__
from dfcvae.course.profiles import profile
from dfcvae.device import available_threads, describe, pick_device, pick_precision
from dfcvae.download import cached_trunk
from dfcvae.files import cache_dir

LAB = ("matplotlib", "jupyterlab", "ipywidgets", "scikit-learn")


def doctor(options: argparse.Namespace) -> None:
    """what this machine would use, and what to do about what is missing"""
    for name, found, *advice in _findings():
        print(f"{name:>14}  {found}")
        for line in filter(None, advice):
            print(f"{'':>14}  -> {line}")


def _findings() -> Iterator[tuple[str, ...]]:
    """(what, what was found), and where something is missing, what to do about it."""
    yield "dfcvae", f"{__version__} on Python {platform.python_version()}, {platform.system()}"
    yield "torch", f"{torch.__version__}, torchvision {metadata.version('torchvision')}"
    device, chosen = pick_device(), profile()
    yield "device", f"{describe(device)}, computing in {pick_precision(device)}"
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        yield "CUDA", "not used", "this torch cannot use the NVIDIA card: install a CUDA build of torch"
    yield "threads", f"{torch.get_num_threads()} in use, {available_threads()} allowed"
    source = "from DFCVAE_PROFILE" if os.environ.get("DFCVAE_PROFILE") else "chosen by the machine"
    yield "profile", f"{chosen.name} ({source}): {chosen.faces:,} drawn faces, {chosen.steps:,} steps"
    try:
        yield "loss network", f"{VGGFeatures(layers=('relu1_1',)).weights_name} (what 'auto' takes)"
    except (OSError, ValueError) as error:
        yield "loss network", "none that can be read", str(error)
    if cached_trunk("vgg19") is None:
        advice = "--features torchvision downloads it (548 MB, 80 MB kept); the mini VGG works without"
        yield "VGG-19", "not on this machine", advice
    folder = cache_dir()
    free = shutil.disk_usage(next(part for part in (folder, *folder.parents) if part.exists())).free
    small = "CelebA, packed, needs 2.5 GB: point DFCVAE_CACHE to a larger disk"
    yield "cache", f"{folder}, {free / 1e9:.0f} GB free", small if free < 2.5e9 else ""
    packed = sorted(path.name for path in (folder / "packs").glob("*") if path.is_dir())
    how = "CelebA: see data/README.md, then  dfcvae prepare celeba --root FOLDER"
    yield "data", f"drawn faces (always there); packed before: {', '.join(packed) or 'nothing yet'}", how
    for package in (*LAB, "pytest"):
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            extra = "lab" if package in LAB else "test"
            yield package, "not installed", f'pip install "dfcvae[{extra}]", for the notebooks or the tests'
