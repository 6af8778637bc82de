"""Where figures come from: data, weights, commit, versions, device, date."""

from __future__ import annotations

import datetime
import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

import dfcvae
from dfcvae.datasets import Images
from dfcvae.photos import lfw
from dfcvae.photos.celeba import CROP

PACKAGES = ("torchvision", "torchmetrics", "scikit-learn", "numpy")
ROWS = 4096  # pictures hashed at a time: 50 MB of 64 x 64


def sha256_of_pixels(images: Images) -> str:
    """SHA-256 of the bytes of all pictures, in their order; labels do not enter."""
    digest = hashlib.sha256()
    for part in images.pixels.split(ROWS):
        digest.update(memoryview(part.contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def sha256_of_network(network: nn.Module) -> str:
    """SHA-256 of a frozen network's tensors, names and normalisation included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.named_buffers()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def crop(images: Images) -> str:
    """What was cut out of the pictures, in words."""
    side = images.pixels.shape[-1]
    scaled = f"scaled to {side} × {side} pixels (bicubic)"
    known = {
        "faces": f"none: drawn at {side} × {side} pixels",
        "celeba": f"the centre {CROP} × {CROP} of 178 × 218 pixels, {scaled}",
        "lfw": f"the centre {lfw.CROP} × {lfw.CROP} of 250 × 250 pixels, {scaled}",
        "folder": f"the centre square, {scaled}",
    }
    return known.get(images.name, f"that of dfcvae.load({images.name!r}), {scaled}")


def commit() -> str:
    """The short hash of the checkout that this package runs from, "+changes" where it differs from it.

    Without git, or where the package was installed, the package's version.
    """
    folder = Path(dfcvae.__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # not so where it is installed in another checkout
        head, changed = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return f"not known (no git checkout); dfcvae {dfcvae.__version__}"
    return head + ("+changes" if changed else "")


def versions() -> dict[str, str]:
    """Of dfcvae, Python and what the figures depend on."""
    found = {"dfcvae": dfcvae.__version__, "Python": platform.python_version()}
    found["torch"] = torch.__version__  # with the CUDA that it was built for
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def today() -> str:
    """The date in UTC, 2016-10-02."""
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
