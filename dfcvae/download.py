"""torchvision's VGGs and CelebA from the network, and the cache of truncated VGGs."""

from __future__ import annotations

import json
from pathlib import Path

from dfcvae.fetching import Source, fetch
from dfcvae.files import checksum_of_all, write_whole
from dfcvae.locks import one_at_a_time

HELP = 'x'
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OFFLINE = "fetch it in a browser and give its path, or work offline with the mini VGG (features='mini')"


def _of_torchvision(name: str) -> Source:
    """torchvision names its files by the first eight digits of their SHA-256."""
    return Source(f"https://download.pytorch.org/models/{name}.pth", name.rpartition("-")[2], OFFLINE)


VGG = {
    "vgg16": _of_torchvision("vgg16-397923af"),
    "vgg19": _of_torchvision("vgg19-dcbb9e9d"),
    "vgg19_bn": _of_torchvision("vgg19_bn-c79401a0"),
}


def _of_celeba(file_id: str, md5: str) -> Source:
    address = f"https://drive.usercontent.google.com/download?id={file_id}&export=download&confirm=t"
    return Source(address, md5, f"{HELP} by hand, Kaggle's mirror among others", "md5")


# The authors' Google Drive; the MD5 sums are those that torchvision.datasets.CelebA expects.
CELEBA = {
    "list_attr_celeba.txt": _of_celeba("0B7EVK8r0v71pblRyaVFSWGxPY0U", "75e246fa4810816ffd6ee81facbd244c"),
    "list_eval_partition.txt": _of_celeba("0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668"),
    "img_align_celeba.zip": _of_celeba("0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"),
}


def fetch_celeba(root: Path, progress: bool = True) -> None:
    """Download CelebA's zip (1.3 GB) and its two lists into ``root``, where they are not there and whole.

    Who calls it agrees to CelebA's terms (data/README.md). Raises OSError that names the way by hand.
    """
    root.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(
        root / ".download.lock", f"another process downloads CelebA to {root}: waiting for it"
    ):
        for name, source in CELEBA.items():
            if not source.is_whole(root / name):
                fetch(source, root / name, progress)


def cached_trunk(arch: str) -> Path | None:
    """The truncated torchvision VGG of an earlier download, or None. Never downloads."""
    path = _trunk_path(arch)
    return path if path.is_file() else None


def fetch_trunk(arch: str) -> Path:
    """torchvision's VGG without its classifier, downloaded once (half a gigabyte) and kept truncated.

    Returns a .safetensors file with its normalisation in the metadata. Two processes may ask at once: one
    downloads, the other waits. Raises OSError that names the manual way when the download fails.
    """
    if arch not in VGG:
        raise ValueError(f"torchvision has no {arch!r}: expected one of {', '.join(VGG)}.")
    trunk = _trunk_path(arch)
    trunk.parent.mkdir(parents=True, exist_ok=True)
    waiting = f"another process downloads {arch}: waiting for it"
    with one_at_a_time(trunk.with_suffix(".lock"), waiting):
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


def _trunk_path(arch: str) -> Path:
    from dfcvae.files import cache_dir

    return cache_dir() / f"{arch}-torchvision-features.safetensors"


def _torchvision_copy(arch: str) -> Path | None:
    """The file that torchvision itself may have downloaded before."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG[arch].url.rpartition("/")[2]
    return path if known_arch(path) == arch else None


def known_arch(path: Path) -> str | None:
    """Which of torchvision's VGGs a file is, by its name and checksum, or None."""
    for arch, source in VGG.items():
        if path.name == source.url.rpartition("/")[2] and source.is_whole(path):
            return arch
    return None


def _keep_trunk(whole: Path, trunk: Path, arch: str) -> None:
    """Write the convolutional part alone (80 MB of 548 for VGG-19), with the normalisation it needs."""
    import torch
    from safetensors.torch import save_file

    tensors = torch.load(whole, map_location="cpu", weights_only=True)
    kept = {key: tensors[key].contiguous() for key in tensors if key.startswith("features.")}
    metadata = {"name": f"{arch} (torchvision, ImageNet)", "arch": arch}
    metadata |= {"mean": json.dumps(IMAGENET_MEAN), "std": json.dumps(IMAGENET_STD)}
    metadata["crc32"] = str(checksum_of_all(kept))
    write_whole(trunk, lambda part: save_file(kept, part, metadata))


