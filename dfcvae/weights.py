"""Weight files of loss networks: read with the normalisation they expect, and never executed."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dfcvae.files import checksum_of_all, is_state_dict, recorded_sha256, sha256, torn

MINI_FILE = Path(__file__).parent / "pretrained" / "vgg_mini.safetensors"


@dataclass(frozen=True)
class Weights:
    """Tensors under torchvision's keys (``features.0.weight``), and the normalisation they expect."""

    tensors: Mapping[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str
    arch: str | None = None


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
    metadata, tensors = _read_tensors(path)
    _check(path, metadata, tensors)
    try:
        mean = tuple(map(float, mean or json.loads(metadata.get("mean", "null"))))
        std = tuple(map(float, std or json.loads(metadata.get("std", "null"))))
        usable = len(mean) == len(std) == 3 and min(std) > 0 and all(map(math.isfinite, mean + std))
    except (TypeError, ValueError, RecursionError):
        usable = False
    if not usable:
        raise ValueError(
            f"{path.name} does not say which normalisation its network expects: give mean=(r, g, b) and "
            "std=(r, g, b) of images in [0, 1], or write them into the file's metadata as JSON lists."
        )
    return Weights(tensors, tuple(mean), tuple(std), metadata.get("name", path.name), metadata.get("arch"))


def _check(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Against the checksum kept in the file, or in the checksums.json beside it; most files have neither."""
    kept, recorded = metadata.get("crc32"), recorded_sha256(path)
    if kept is not None and kept != str(checksum_of_all(tensors)):
        raise ValueError(f"{path.name} is damaged: its tensors are not those of its checksum.")
    if recorded is not None and recorded != sha256(path):
        raise ValueError(f"{path.name} is damaged: its checksum is not that of checksums.json beside it.")


def _read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        _refuse_torn(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles of another protocol, which it reads or refuses
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError, ImportError) as error:
        reason = _first_line(error)
        if "weights_only" in reason:  # torch's advice is to switch the protection off
            reason = "it is neither a zip archive nor a pickle of tensors"
        raise ValueError(f"{path.name} cannot be read as weights ({reason}).") from None
    except Exception:  # torch.load raises pickle.UnpicklingError on anything but tensors
        raise ValueError(
            f"{path.name} is refused: it holds more than tensors, or is no weights file: "
            "save the state dict alone, or fetch the file again."
        ) from None
    if not is_state_dict(tensors):
        raise ValueError(f"{path.name} holds no state dict: expected names with tensors of real numbers.")
    return {}, tensors


def _refuse_torn(path: Path) -> None:
    """torch.save writes a zip archive with checksums, and torch.load does not look at them."""
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    broken = torn(path) if zipped else ""
    if broken:
        raise ValueError(broken)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
