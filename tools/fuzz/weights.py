"""Weights of a loss network: .safetensors with and without checksum, .pth; damaged, made up, with code."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save

from dfcvae import VGGFeatures
from dfcvae.cli.errors import exit_status
from dfcvae.files import checksum_of_all
from dfcvae.vgg import build_layers, layer_names
from fuzz.mutate import damaged
from fuzz.worker import Case

LAYERS = ("relu1_1", "relu2_1", "relu3_1")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TENSORS: dict[str, torch.Tensor] = {}
WHOLE: dict[str, bytes] = {}  # by how it was saved


class Trap:
    """Unpickled, it makes a file: the mark of code that was run."""

    def __init__(self, mark: Path, how: int) -> None:
        self.calls = (
            (os.mkdir, (str(mark),)),
            (exec, (f"open({str(mark)!r}, 'w')",)),
            (os.system, (f"touch {mark}",)),
            (eval, (f"open({str(mark)!r}, 'w')",)),
        )[how]

    def __reduce__(self):
        return self.calls


def prepare() -> None:
    torch.manual_seed(0)
    names = layer_names("vgg19")
    trunk = build_layers("vgg19", "relu3_1", (4, 6, 8, 10, 10))
    for key, tensor in trunk.state_dict().items():
        layer, _, kind = key.rpartition(".")
        TENSORS[f"features.{names.index(layer)}.{kind}"] = tensor.contiguous()
    said = {"mean": json.dumps(MEAN), "std": json.dumps(STD), "arch": "vgg19", "name": "tiny"}
    WHOLE["with a checksum.safetensors"] = save(TENSORS, said | {"crc32": str(checksum_of_all(TENSORS))})
    WHOLE["without.safetensors"] = save(TENSORS, said)
    WHOLE["zip.pth"] = _saved(TENSORS)
    WHOLE["old.pth"] = _saved(TENSORS, _use_new_zipfile_serialization=False)


def _saved(content: object, **options) -> bytes:
    made = io.BytesIO()
    torch.save(content, made, **options)
    return made.getvalue()


def make(random_: random.Random, folder: Path) -> Case:
    name, mark = random_.choice(list(WHOLE)), folder / "code was run"
    path, checked = folder / "in" / f"bad{Path(name).suffix}", False
    if random_.random() < 0.5:
        what, content = damaged(random_, WHOLE[name], header=_header(name))
        checked = name in ("with a checksum.safetensors", "zip.pth")
    elif path.suffix == ".pth":
        what, content = _bad_pth(random_, mark)
    else:
        what, content = _bad_safetensors(random_)
    path.write_bytes(content)
    if random_.random() < 0.02:
        path.rename(path.with_suffix(".pth" if path.suffix == ".safetensors" else ".safetensors"))
        path = next((folder / "in").iterdir())
    given = (MEAN, STD) if path.suffix == ".pth" else (None, None)
    read: list[VGGFeatures] = []
    return Case(
        f"{name}: {what}",
        lambda: exit_status(lambda: read.append(VGGFeatures("vgg19", LAYERS, path, *given))),
        lambda: _check(read[0], checked),
        past=_opens(path),
    )


def _header(name: str) -> int:
    """Where the tensors begin."""
    whole = WHOLE[name]
    return 8 + struct.unpack("<Q", whole[:8])[0] if name.endswith("safetensors") else 600


def _opens(path: Path) -> bool:
    """The safetensors header is read, or of a .pth the zip's directory and the names in its pickle."""
    from safetensors import safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return bool(list(file.keys()))
        if zipfile.is_zipfile(path):
            return any(name.endswith("data.pkl") for name in zipfile.ZipFile(path).namelist())
        return path.read_bytes()[:1] == b"\x80"  # a pickle of before there were zips
    except Exception:
        return False


def _check(vgg: VGGFeatures, checked: bool) -> str:
    with torch.no_grad():
        features = vgg(torch.rand(1, 3, 16, 16))
    shapes = [tuple(features[layer].shape[2:]) for layer in LAYERS]
    if shapes != [(16, 16), (8, 8), (4, 4)] or any(f.dtype != torch.float32 for f in features.values()):
        return f"features are {shapes}"
    names = layer_names("vgg19")
    for key, tensor in TENSORS.items():
        _, index, kind = key.split(".")
        if checked and not getattr(getattr(vgg.trunk, names[int(index)]), kind).equal(tensor):
            return f"{key} fails its checksum and was read with other numbers"
    return ""


def _bad_pth(random_: random.Random, mark: Path) -> tuple[str, bytes]:
    tensors, key = dict(TENSORS), random_.choice(list(TENSORS))
    options = {"_use_new_zipfile_serialization": random_.random() < 0.7}
    tricks = {
        "gone": lambda t: None,
        "another shape": lambda t: torch.zeros(random_.choice(((3,), (), (0,), (4, 3, 3), (4, 3, 3, 3, 1)))),
        "whole numbers": lambda t: (t * 100).to(random_.choice((torch.int64, torch.uint8, torch.bool))),
        "complex": lambda t: t.to(torch.complex64),
        "half": lambda t: t.to(random_.choice((torch.half, torch.bfloat16, torch.float64))),
        "no numbers": lambda t: t * random_.choice((float("nan"), float("inf"))),
        "sparse": lambda t: t.to_sparse(),
        "without storage": lambda t: t.to("meta"),
        "enormous and empty": lambda t: torch.zeros(1).expand(*([10**4] * 4)),
        "large and empty": lambda t: torch.zeros(1).expand(random_.choice((10**5, 2**31)), 3, 3, 3),
        "a parameter": lambda t: torch.nn.Parameter(t),
        "backwards": lambda t: t.transpose(0, -1),
        "a list": lambda t: t.tolist(),
        "code": lambda t: Trap(mark, random_.randrange(4)),
        "quantised": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    }
    how = random_.choice(
        (*tricks, "code", "extra keys", "strange keys", "nested", "a bare pickle", "many keys")
    )
    if how in tricks:
        tensors[key] = tricks[how](tensors[key])
        tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    elif how == "extra keys":
        tensors |= {"classifier.0.weight": torch.zeros(9, 9), "features.999.weight": torch.zeros(2)}
    elif how == "strange keys":
        tensors |= {0: torch.zeros(1)} if random_.random() < 0.5 else {"features.0.": torch.zeros(1)}
    elif how == "nested":
        tensors = {"state_dict": tensors}
    elif how == "many keys":
        tensors |= {f"features.{i}.weight": torch.zeros(1) for i in range(100, 2000)}
    elif how == "a bare pickle":
        return how, pickle.dumps({"features.0.weight": Trap(mark, random_.randrange(4))})
    return f"{key} {how}", _saved(tensors, **options)


def _bad_safetensors(random_: random.Random) -> tuple[str, bytes]:
    whole = WHOLE[random_.choice(("with a checksum.safetensors", "without.safetensors"))]
    length = struct.unpack("<Q", whole[:8])[0]
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    key = random_.choice([name for name in header if name != "__metadata__"])
    odd = random_.choice((-1, 0, 2**63, 2**31, "F32", None, [], {}, [[1]], 1e400, "\0"))
    how = random_.choice(
        (
            "shape",
            "dtype",
            "offsets",
            "field",
            "metadata",
            "normalisation",
            "gone",
            "length",
            "nested",
            "overlap",
            "name",
        )
    )
    if how == "shape":
        header[key]["shape"] = random_.choice(
            ([odd], [2**40, 2**40], [4, 3, 3], [0], header[key]["shape"][::-1])
        )
    elif how == "dtype":
        header[key]["dtype"] = random_.choice(("F64", "I8", "BOOL", "F8_E4M3", "C64", odd))
    elif how == "offsets":
        header[key]["data_offsets"] = random_.choice(
            ([0, 2**50], [-4, 4], [8, 4], [0], [0, len(body) + 4], odd)
        )
    elif how == "field":
        header[key] = odd
    elif how == "metadata":
        header["__metadata__"] = random_.choice((odd, {"mean": odd}, {"crc32": "1"}))
    elif how == "normalisation":
        field = random_.choice(("mean", "std", "arch", "name", "crc32"))
        header["__metadata__"][field] = random_.choice(
            ("[1]", "[1,2,NaN]", "x" * 9000, "[" * 50_000, "{}", "a\nb", "\x1b[")
        )
    elif how == "gone":
        del header[key]
    elif how == "overlap":
        header[key]["data_offsets"] = header[random_.choice([k for k in header if k != "__metadata__"])][
            "data_offsets"
        ]
    elif how == "name":
        header[random_.choice(("features.0.weight\n", "x" * 10_000, ""))] = header.pop(key)
    text = b"[" * 100_000 if how == "nested" else json.dumps(header).encode()
    told = random_.choice((0, 1, 2**63, 2**64 - 1, len(whole), 10**8)) if how == "length" else len(text)
    return how, struct.pack("<Q", told) + text + body
