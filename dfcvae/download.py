"""torchvision's VGGs and CelebA from the network: checked, and whole or not there at all.

Of a VGG only the convolutions are kept (80 MB of 548 for VGG-19), in a cache of the package's own.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from dfcvae.files import cache_dir, checksum_of_all, digest, one_line, write_whole

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ATTEMPTS = 3
TIMEOUT = 30.0  # seconds without a byte


class Published(NamedTuple):
    """A file of the network: its address, the first digits of its checksum, the way to it by hand."""

    url: str
    checksum: str
    by_hand: str
    algorithm: str = "sha256"

    def is_whole(self, path: Path) -> bool:
        """Whether there is a file of that content, under whatever name."""
        return path.is_file() and digest(path, self.algorithm).startswith(self.checksum)


# torchvision names its files by the first eight digits of their SHA-256.
VGG = {
    name.rpartition("-")[0]: Published(
        f"https://download.pytorch.org/models/{name}.pth",
        name.rpartition("-")[2],
        "fetch it in a browser and give its path, or work offline with the mini VGG (features='mini')",
    )
    for name in ("vgg16-397923af", "vgg19-dcbb9e9d", "vgg19_bn-c79401a0")
}
# The authors' Google Drive; the MD5 sums are those that torchvision.datasets.CelebA expects.
CELEBA = {
    name: Published(
        f"https://drive.usercontent.google.com/download?id={file_id}&export=download&confirm=t",
        md5,
        "data/README.md says how to get CelebA by hand, Kaggle's mirror among others",
        "md5",
    )
    for name, file_id, md5 in (
        ("list_attr_celeba.txt", "0B7EVK8r0v71pblRyaVFSWGxPY0U", "75e246fa4810816ffd6ee81facbd244c"),
        ("list_eval_partition.txt", "0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668"),
        ("img_align_celeba.zip", "0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"),
    )
}


def fetch_celeba(root: Path, progress: bool = True) -> None:
    """Download CelebA's zip (1.3 GB) and its two lists into `root`, where they are not there and whole.

    Who calls it agrees to CelebA's terms (data/README.md). Raises OSError that names the way by hand.
    """
    root.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(root / ".download.lock", f"CelebA to {root}"):
        for name, published in CELEBA.items():
            if not published.is_whole(root / name):
                fetch(published, root / name, progress)


def cached_trunk(arch: str) -> Path | None:
    """The convolutions of torchvision's VGG from an earlier download, or None. Never downloads."""
    path = _trunk(arch)
    return path if path.is_file() else None


def fetch_trunk(arch: str) -> Path:
    """torchvision's VGG without its classifier, downloaded once (half a gigabyte) and then kept.

    arch: "vgg16", "vgg19" or "vgg19_bn". Returns a .safetensors file with torchvision's keys
    ("features.0.weight") and its normalisation in the metadata. Two processes may ask at once: one downloads,
    the other waits. Raises ValueError for another arch, OSError that names the way by hand.
    """
    from safetensors.torch import save_file

    if arch not in VGG:
        raise ValueError(f"torchvision has no {arch!r}: expected one of {', '.join(VGG)}.")
    trunk, name = _trunk(arch), VGG[arch].url.rpartition("/")[2]
    trunk.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(trunk.with_suffix(".lock"), arch):
        if trunk.is_file():
            return trunk
        whole = Path(torch.hub.get_dir()) / "checkpoints" / name  # where torchvision itself downloads to
        downloaded = not VGG[arch].is_whole(whole)
        if downloaded:
            whole = trunk.with_name(name)
            fetch(VGG[arch], whole)
        tensors = torch.load(whole, map_location="cpu", weights_only=True)
        kept = {key: tensor.contiguous() for key, tensor in tensors.items() if key.startswith("features.")}
        metadata = {"name": f"{arch} (torchvision, ImageNet)", "arch": arch}
        metadata |= {"mean": json.dumps(IMAGENET_MEAN), "std": json.dumps(IMAGENET_STD)}
        metadata["crc32"] = str(checksum_of_all(kept))  # safetensors has no checksum of its own
        write_whole(trunk, lambda part: save_file(kept, part, metadata))
        if downloaded:
            whole.unlink()
    return trunk


def _trunk(arch: str) -> Path:
    return cache_dir() / f"{arch}-torchvision-features.safetensors"


def known_arch(path: Path) -> str | None:
    """Which of torchvision's VGGs a file is, by the checksum of its content, or None."""
    return next((arch for arch, published in VGG.items() if published.is_whole(path)), None)


def fetch(published: Published, path: Path, progress: bool = True) -> None:
    """Download a file to `path`: written beside it, checked, and only then renamed.

    What is cut, stalls, or has another checksum is begun anew, three times in all. Raises OSError with the
    reason and the way by hand. Callers that may be two at once hold a lock.
    """
    part = path.with_name(path.name + ".part")
    for left in part.parent.glob(f"{part.name}*"):  # by a process that was killed
        left.unlink()
    why = ""
    for _ in range(ATTEMPTS):
        try:
            with impatient():
                torch.hub.download_url_to_file(published.url, str(part), progress=progress)
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = reason(error)
            continue
        if published.is_whole(part):
            os.replace(part, path)
            return
        part.unlink()
        why = f"its {published.algorithm} checksum is not {published.checksum}: it was cut, or another file "
        why += "came, perhaps a web page in its place, on which the network wants a sign-in"
    raise OSError(f"could not download {published.url} ({why}): {published.by_hand}.")


def reason(error: Exception) -> str:
    """Why a download failed, in the words of the server or the system, on one line."""
    cause = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"nothing came for {TIMEOUT:g} seconds"
    return one_line(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)


@contextmanager
def impatient() -> Iterator[None]:
    """Downloads end after TIMEOUT seconds of silence; torch.hub and scikit-learn would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def one_at_a_time(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock file while we download; while another process holds it, say so and wait."""
    from filelock import FileLock, Timeout

    try:
        held = FileLock(lock).acquire(timeout=0)
    except Timeout:
        print(f"another process downloads {what}: waiting for it ...", file=sys.stderr, flush=True)
        held = FileLock(lock).acquire()
    with held:
        yield
