"""What a VGG network sees: frozen, truncated features under the paper's layer names.

VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv 1409.1556. Its use as the loss network Phi: Hou et al., arXiv 1610.00291, section 3.2.

A layer is named by its block and its place in the block: ``relu3_1`` is the ReLU after the first
convolution of the third block. Names of convolutions (``conv3_1``), batch norms (``bn3_1``) and
pools (``pool3``) are taken too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfcvae.download import IMAGENET_MEAN, IMAGENET_STD
from dfcvae.weights import Weights, find_weights

CONVS_PER_BLOCK = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4), "vgg19_bn": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)  # channels of each block in the published networks
POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


def build_layers(
    arch: str = "vgg19", last: str | None = None, widths: Sequence[int] = WIDTHS, pooling: str = "max"
) -> nn.Sequential:
    """The convolutional part of a VGG, from the image to layer ``last``, every layer under its name.

    widths: channels of the five blocks. pooling: "max" as published, or "average". ReLUs are not in place,
    so a captured feature map stays what it was. Raises ValueError for an unknown ``arch``, ``last`` or
    ``pooling``.
    """
    names = layer_names(arch)
    if last is not None and last not in names:
        raise ValueError(f"{arch} has no layer {last!r}: its layers are {', '.join(names)}.")
    if pooling not in POOLS:
        raise ValueError(f"unknown pooling {pooling!r}: expected one of {', '.join(POOLS)}.")
    layers, channels = nn.Sequential(), 3
    for name in names[: names.index(last or names[-1]) + 1]:
        kind = name.rstrip("_0123456789")  # "conv" of "conv3_1"
        width = widths[int(name[len(kind)]) - 1]
        if kind == "conv":
            layers.add_module(name, nn.Conv2d(channels, width, kernel_size=3, padding=1))
            channels = width
        elif kind == "bn":
            layers.add_module(name, nn.BatchNorm2d(width))
        elif kind == "relu":
            layers.add_module(name, nn.ReLU())
        else:
            layers.add_module(name, POOLS[pooling](2))  # halves height and width
    return layers


def layer_names(arch: str) -> list[str]:
    """Every layer of a VGG, from the image on: "conv1_1", "relu1_1", ... "pool5"."""
    if arch not in CONVS_PER_BLOCK:
        raise ValueError(f"unknown VGG {arch!r}: expected one of {', '.join(CONVS_PER_BLOCK)}.")
    kinds, names = ("conv", "bn", "relu") if arch.endswith("_bn") else ("conv", "relu"), []
    for block, convs in enumerate(CONVS_PER_BLOCK[arch], start=1):
        names += [f"{kind}{block}_{i}" for i in range(1, convs + 1) for kind in kinds]
        names.append(f"pool{block}")
    return names


class VGGFeatures(nn.Module):
    """Features of named VGG layers: ``vgg(x) -> {name: (N, C_l, H_l, W_l)}`` for x (N, 3, H, W) in [0, 1].

    The network ends at the last of ``layers`` and normalises its input itself. It is frozen in three
    senses at once: its tensors are buffers, so no optimizer finds them; they are not persistent, so no
    state dict carries them; and ``train()`` leaves it in eval, so batch norm never moves. Gradients
    still pass *through* it to x.

    weights: ``"auto"`` takes torchvision's VGG where it has been downloaded before and the mini VGG of
    this package else, and never downloads; ``"torchvision"`` downloads; ``"mini"``; ``"random"`` (seeded,
    He initialisation); or a file (.safetensors or .pth). A file must say which normalisation it was
    trained with, in its metadata or through ``mean`` and ``std`` (of RGB in [0, 1]); it is refused else.
    pooling: "max" as published, or "average", which draws fewer lattices: "Image Style Transfer Using
    Convolutional Neural Networks" (Gatys, Ecker and Bethge, CVPR 2016), section 2.

    ``vgg.weights_name`` says what was loaded; ``vgg.calibration`` has, by layer, the mean squared difference
    of two different drawn faces where it is known (``perceptual.calibrate``). Raises ValueError for unknown
    layers or unfit weights, FileNotFoundError for a missing file, OSError for a failed download.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        arch: str = "vgg19",
        layers: Sequence[str] = ("relu1_1", "relu2_1", "relu3_1"),
        weights: str | Path = "auto",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int = 0,
        pooling: str = "max",
    ) -> None:
        super().__init__()
        if isinstance(layers, str) or not layers:
            raise ValueError(
                f"layers is {layers!r}: expected a list of names such as ['relu1_1', 'relu2_1']."
            )
        self.arch, self.layers, self.pooling = arch, tuple(layers), pooling
        last = _deepest(arch, self.layers)
        with torch.random.fork_rng(devices=[]):  # layers are made with random tensors before they are filled
            if weights == "random":
                found = _random_weights(arch, last, seed, mean, std)
            else:
                found = find_weights(weights, arch, mean, std)
            self.trunk = _filled(found, arch, last, pooling)
        self.weights_name = found.name
        self.calibration = dict(found.calibration) if pooling == found.pooling else {}
        self.register_buffer("mean", torch.tensor(found.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(found.std).view(3, 1, 1), persistent=False)
        freeze(self.trunk)
        self.register_load_state_dict_post_hook(_forget_counters)
        super().train(False)

    def train(self, mode: bool = True) -> VGGFeatures:
        """Stays in eval whatever ``mode`` says: a loss network must not move while it measures."""
        return super().train(False)

    @property
    def stride(self) -> int:
        """Pixels from one feature of the deepest layer to the next: 4 at relu3_1, 16 at relu5_1."""
        return 2 ** sum(isinstance(layer, tuple(POOLS.values())) for layer in self.trunk)

    def normalise(self, x: Tensor) -> Tensor:
        """RGB in [0, 1] -> the scale that the weights were trained on."""
        return (x - self.mean) / self.std

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
            raise ValueError(f"images are {tuple(x.shape)} {x.dtype}: expected float (N, 3, H, W) in [0, 1].")
        h, features = self.normalise(x), {}
        for name, layer in self.trunk.named_children():
            h = layer(h)  # relu1_1: (N, 64, 64, 64), relu2_1: (N, 128, 32, 32), relu3_1: (N, 256, 16, 16)
            if name in self.layers:
                features[name] = h
        return {name: features[name] for name in self.layers}

    def extra_repr(self) -> str:
        return f"arch={self.arch}, layers={self.layers}, weights={self.weights_name}, pooling={self.pooling}"


def freeze(module: nn.Module) -> None:
    """Turn every parameter and buffer into a buffer that no state dict saves."""
    for part in module.modules():
        for name, tensor in list(part._parameters.items()) + list(part._buffers.items()):
            delattr(part, name)
            part.register_buffer(name, None if tensor is None else tensor.detach(), persistent=False)


def _deepest(arch: str, layers: Sequence[str]) -> str:
    names = layer_names(arch)
    unknown = [name for name in layers if name not in names]
    if unknown:
        raise ValueError(f"{arch} has no layer {', '.join(unknown)}: its layers are {', '.join(names)}.")
    return max(layers, key=names.index)


def _forget_counters(vgg: nn.Module, incompatible: Any) -> None:
    """Batch norm adds its counter to a state dict without versions, such as one from safetensors."""
    unexpected = incompatible.unexpected_keys
    unexpected[:] = [key for key in unexpected if not (".bn" in key and key.endswith("num_batches_tracked"))]


def _random_weights(
    arch: str, last: str, seed: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Weights:
    torch.random.default_generator.manual_seed(seed)  # that of the CPU alone
    trunk = build_layers(arch, last)
    tensors: dict[str, Tensor] = {}
    for index, layer in enumerate(trunk):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
        tensors |= {f"features.{index}.{key}": tensor for key, tensor in layer.state_dict().items()}
    normalisation = tuple(mean or IMAGENET_MEAN), tuple(std or IMAGENET_STD)
    return Weights(tensors, *normalisation, name=f"random (seed {seed})")


def _filled(weights: Weights, arch: str, last: str, pooling: str) -> nn.Sequential:
    """A trunk of the weights' own widths with their tensors in it, up to layer ``last``."""
    if weights.arch not in (None, arch):
        raise ValueError(f"{weights.name} holds a {weights.arch}, asked for was {arch}: name that arch.")
    names = layer_names(arch)
    keys = {f"features.{index}": name for index, name in enumerate(names[: names.index(last) + 1])}
    state, widths = {}, list(WIDTHS)
    for key, tensor in weights.tensors.items():
        stem, _, kind = key.rpartition(".")  # "features.0", "weight"
        if stem in keys:
            state[f"{keys[stem]}.{kind}"] = tensor.float()
            if keys[stem].startswith("conv") and tensor.ndim == 4:  # (C_out, C_in, 3, 3)
                widths[int(keys[stem][4]) - 1] = tensor.shape[0]
    trunk = build_layers(arch, last, widths, pooling)
    # torchvision's batch norms are older than the counter of batches, which eval mode does not need
    wanted = {key: tensor for key, tensor in trunk.state_dict().items() if not key.endswith("_tracked")}
    missing = [key for key in wanted if key not in state]
    if missing:
        raise ValueError(
            f"{weights.name} has no weights for {missing[0]} of {arch}: its layers end before {last}."
        )
    unfit = [key for key in wanted if state[key].shape != wanted[key].shape]
    if unfit:
        found, expected = tuple(state[unfit[0]].shape), tuple(wanted[unfit[0]].shape)
        raise ValueError(f"{weights.name} does not fit {arch}: {unfit[0]} is {found}, expected {expected}.")
    if not all(torch.isfinite(state[key]).all() for key in wanted):
        raise ValueError(f"{weights.name} holds NaN or infinity: it is damaged, fetch it again.")
    trunk.load_state_dict({key: state[key] for key in wanted}, strict=False)
    return trunk
