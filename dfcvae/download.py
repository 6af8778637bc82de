"""Files from the network: progress, checksum, lock, and the cache of truncated VGGs."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from dfcvae.files import sha256, write_whole
from dfcvae.vgg import IMAGENET_MEAN, IMAGENET_STD, build_layers, layer_names

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Source:
    """A file of the network: its address and the first digits of its SHA-256."""

    url: str
    sha256: str


# torchvision names its files by the first eight digits of their SHA-256.
VGG = {
    "vgg16": Source("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af"),
    "vgg19": Source("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d"),
    "vgg19_bn": Source("https://download.pytorch.org/models/vgg19_bn-c79401a0.pth", "c79401a0"),
}


def cached_vgg_trunk(arch: str) -> Path | None:
    """The truncated torchvision VGG of an earlier download, or None. Never downloads."""
    path = _trunk_path(arch)
    return path if path.is_file() else None


def vgg_trunk(arch: str) -> Path:
    """torchvision's VGG without its classifier, downloaded once (half a gigabyte) and kept truncated.

    Returns a .safetensors file with its normalisation in the metadata. Two processes may ask at once: one
    downloads, the other waits. Raises OSError that names the manual way when the download fails.
    """
    from filelock import FileLock

    if arch not in VGG:
        raise ValueError(f"torchvision has no {arch!r}: expected one of {', '.join(VGG)}.")
    trunk = _trunk_path(arch)
    trunk.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(trunk.with_suffix(".lock")):
        if trunk.is_file():
            return trunk
        whole = _torchvision_copy(arch)
        downloaded = whole is None
        if downloaded:
            whole = trunk.with_name(VGG[arch].url.rpartition("/")[2])
            fetch(VGG[arch], whole)
        _keep_trunk(whole, trunk, arch)
        if downloaded:
            whole.unlink()
    return trunk


def fetch(source: Source, path: Path, progress: bool = True) -> None:
    """Download ``source`` to ``path``: written beside it, checked, and only then renamed."""
    from tqdm import tqdm

    part, digest = path.with_name(path.name + ".part"), hashlib.sha256()
    try:
        with urllib.request.urlopen(source.url, timeout=TIMEOUT) as reply, part.open("wb") as file:
            total = int(reply.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=path.name, disable=not progress) as bar:
                while chunk := reply.read(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
        if total and part.stat().st_size != total:
            raise OSError(f"{part.stat().st_size:,} of {total:,} bytes came")
        if not digest.hexdigest().startswith(source.sha256):
            raise OSError(
                f"its checksum is {digest.hexdigest()[:8]}, expected {source.sha256}: another file was sent"
            )
        os.replace(part, path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        part.unlink(missing_ok=True)
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = " ".join(str(reason).split())
        raise OSError(
            f"could not download {source.url} ({reason}): fetch it in a browser and give its path, "
            "or work offline with the mini VGG (features='mini')."
        ) from None


def _trunk_path(arch: str) -> Path:
    from dfcvae.datasets import cache_dir

    return cache_dir() / f"{arch}-torchvision-features.safetensors"


def _torchvision_copy(arch: str) -> Path | None:
    """The file that torchvision itself may have downloaded before."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG[arch].url.rpartition("/")[2]
    return path if published_arch(path) == arch else None


def published_arch(path: Path) -> str | None:
    """Which of torchvision's VGGs a file is, by its name and checksum, or None."""
    for arch, source in VGG.items():
        known = path.name == source.url.rpartition("/")[2] and path.is_file()
        if known and sha256(path).startswith(source.sha256):
            return arch
    return None


def _keep_trunk(whole: Path, trunk: Path, arch: str) -> None:
    """Write the convolutional part alone (80 MB of 548 for VGG-19), with the normalisation it needs."""
    import torch
    from safetensors.torch import save_file

    tensors = torch.load(whole, map_location="cpu", weights_only=True)
    wanted = _trunk_keys(arch)
    kept = {key: tensors[key].contiguous() for key in wanted if key in tensors}
    if len(kept) != len(wanted):
        raise ValueError(
            f"{whole.name} is no {arch} of torchvision: it has no {next(k for k in wanted if k not in kept)}."
        )
    metadata = {"name": f"{arch} (torchvision, ImageNet)", "arch": arch}
    metadata |= {"mean": json.dumps(IMAGENET_MEAN), "std": json.dumps(IMAGENET_STD)}
    write_whole(trunk, lambda part: save_file(kept, part, metadata))


def _trunk_keys(arch: str) -> list[str]:
    names = layer_names(arch)
    parts = [key.rpartition(".") for key in build_layers(arch, widths=(1,) * 5).state_dict()]
    return [
        f"features.{names.index(name)}.{kind}" for name, _, kind in parts if kind != "num_batches_tracked"
    ]
