"""``dfcvae doctor``: what this machine would use, and what to do about each thing that is missing."""

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

EXTRAS = {
    "matplotlib": "lab",
    "jupyterlab": "lab",
    "ipywidgets": "lab",
    "scikit-learn": "lab",
    "pytest": "test",
}
CELEBA_BYTES = 202_599 * 3 * 64 * 64  # packed at 64 x 64


def doctor(options: argparse.Namespace) -> None:
    """A line for each thing found, and under it, where something is missing, what to do."""
    for name, found, advice in _findings():
        print(f"{name:>14}  {found}")
        if advice:
            print(f"{'':>14}  -> {advice}")


def _findings() -> Iterator[tuple[str, str, str]]:
    """(what, what was found, what to do about it or nothing)."""
    yield "dfcvae", f"{__version__} on Python {platform.python_version()}, {platform.system()}", ""
    yield "torch", f"{torch.__version__}, torchvision {metadata.version('torchvision')}", ""
    yield from _machine()
    yield from _loss_network()
    yield from _data()
    for package, extra in EXTRAS.items():
        try:
            yield package, metadata.version(package), ""
        except metadata.PackageNotFoundError:
            yield package, "not installed", f'pip install "dfcvae[{extra}]", for the notebooks or the tests'


def _machine() -> Iterator[tuple[str, str, str]]:
    device = pick_device()
    advice = ""
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        advice = "there is an NVIDIA card, but this torch cannot use it: install a CUDA build of torch"
    yield "device", f"{describe(device)}, computing in {pick_precision(device)}", advice
    yield "threads", f"{torch.get_num_threads()} in use, {available_threads()} allowed", ""
    chosen = profile()
    source = "from DFCVAE_PROFILE" if os.environ.get("DFCVAE_PROFILE") else "chosen by the machine"
    yield "profile", f"{chosen.name} ({source}): {chosen.faces:,} drawn faces, {chosen.steps:,} steps", ""


def _loss_network() -> Iterator[tuple[str, str, str]]:
    try:
        yield "loss network", f"{VGGFeatures(layers=('relu1_1',)).weights_name} (what 'auto' takes)", ""
    except (OSError, ValueError) as error:
        yield "loss network", "none that can be read", str(error)
    if cached_trunk("vgg19") is None:
        advice = "--features torchvision downloads it (548 MB, 80 MB kept); the mini VGG works without"
        yield "VGG-19", "not on this machine", advice


def _data() -> Iterator[tuple[str, str, str]]:
    folder = cache_dir()
    free = shutil.disk_usage(next(part for part in (folder, *folder.parents) if part.exists())).free
    small = "CelebA, packed, needs 2.5 GB: point DFCVAE_CACHE to a larger disk"
    yield "cache", f"{folder}, {free / 1e9:.0f} GB free", small if free < CELEBA_BYTES else ""
    packed = sorted(path.name for path in (folder / "packs").glob("*") if path.is_dir())
    yield "data", f"drawn faces (always there); packed before: {', '.join(packed) or 'nothing yet'}", ""
    how = "data/README.md tells how to get it: dfcvae prepare celeba --root FOLDER"
    yield "CelebA", "given by its folder", how
