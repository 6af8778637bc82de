"""Weights of loss networks: found by name or read from a file, with the normalisation that they expect.

Nothing in a file is executed, and a file that does not say its normalisation is refused: features of images
on another scale look plausible and are wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from dfcvae import download
from dfcvae.download import IMAGENET_MEAN, IMAGENET_STD
from dfcvae.files import checksum_of_all, is_state_dict, load_checked

MINI_FILE = Path(__file__).parent / "pretrained" / "vgg_mini.safetensors"


@dataclass(frozen=True)
class Weights:
    """tensors by torchvision's keys ("features.0.weight"); mean and std of RGB in [0, 1], by which it is
    normalised; pooling that the network was trained with; calibration as ``VGGFeatures`` has it.
    """

    tensors: Mapping[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str
    arch: str | None = None
    pooling: str = "max"
    calibration: Mapping[str, float] = field(default_factory=dict)


def find_weights(
    weights: str | Path, arch: str, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Weights:
    """What ``VGGFeatures(weights=...)`` means by a name or a path, but for "random"."""
    if weights in ("torchvision", "auto", "mini"):
        if mean or std:
            raise ValueError(f"weights={weights!r} know their normalisation: leave out mean and std.")
        trunk = {"torchvision": download.fetch_trunk, "auto": download.cached_trunk}.get(str(weights))
        path = (trunk and trunk(arch)) or MINI_FILE
        try:
            return read_weights(path)
        except ValueError as error:
            raise ValueError(f"{error} Delete {str(path)!r} and fetch it again.") from None
    if mean is None and std is None and download.known_arch(Path(weights)):
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    return read_weights(Path(weights), mean, std)


def read_weights(
    path: Path, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Weights:
    """Read VGG weights from a .safetensors file, or from a .pth of tensors only (nothing is unpickled).

    The normalisation comes from ``mean`` and ``std``, else from the file's metadata (JSON lists under
    these names). Raises FileNotFoundError, or ValueError with what is wrong with the file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights file at {str(path)!r}: give a .safetensors or .pth file, or one of "
            "'auto', 'torchvision', 'mini', 'random'."
        )
    try:
        metadata, tensors = _read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read as weights ({error}).") from None
    if not is_state_dict(tensors):
        raise ValueError(f"{path.name} holds no state dict: expected names with tensors of real numbers.")
    if metadata.get("crc32") not in (None, str(checksum_of_all(tensors))):
        raise ValueError(f"{path.name} is damaged: its tensors are not those of its checksum.")
    try:
        mean, std = (
            tuple(map(float, given or json.loads(metadata[name])))
            for name, given in (("mean", mean), ("std", std))
        )
        if not (len(mean) == len(std) == 3 and min(std) > 0 and all(map(math.isfinite, mean + std))):
            raise ValueError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError(
            f"{path.name} does not say which normalisation its network expects: give mean=(r, g, b) and "
            "std=(r, g, b) of images in [0, 1], or write them into the file's metadata as JSON lists."
        ) from None
    name, pooling = metadata.get("name", path.name), metadata.get("pooling", "max")
    calibration = json.loads(metadata.get("calibration", "{}"))
    return Weights(tensors, mean, std, name, metadata.get("arch"), pooling, calibration)


def _read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors. ValueError with the reason where the file is damaged or no weights file."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return {}, load_checked(path)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(str(error).splitlines()[0][:160]) from None
