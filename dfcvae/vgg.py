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

import torch
from torch import Tensor, nn

from dfcvae import download
from dfcvae.download import IMAGENET_MEAN, IMAGENET_STD
from dfcvae.weights import MINI_FILE, Weights, read_weights

CONVS_PER_BLOCK = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4), "vgg19_bn": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)  # channels of each block in the published networks


def build_layers(
    arch: str = "vgg19", last: str | None = None, widths: Sequence[int] = WIDTHS
) -> nn.Sequential:
    """The convolutional part of a VGG, from the image to layer ``last``, every layer under its name.

    ``widths`` are the channels of the five blocks. ReLUs are not in place, so a captured feature map
    stays what it was. Raises ValueError for an unknown ``arch`` or ``last``.
    """
    if arch not in CONVS_PER_BLOCK:
        raise ValueError(f"unknown VGG {arch!r}: expected one of {', '.join(CONVS_PER_BLOCK)}.")
    layers, channels = nn.Sequential(), 3
    for block, (convs, width) in enumerate(zip(CONVS_PER_BLOCK[arch], widths, strict=True), start=1):
        for i in range(1, convs + 1):
            layers.add_module(f"conv{block}_{i}", nn.Conv2d(channels, width, 3, padding=1))
            if arch.endswith("_bn"):
                layers.add_module(f"bn{block}_{i}", nn.BatchNorm2d(width))
            layers.add_module(f"relu{block}_{i}", nn.ReLU())
            channels = width
        layers.add_module(f"pool{block}", nn.MaxPool2d(2))
    names = [name for name, _ in layers.named_children()]
    if last is None:
        return layers
    if last not in names:
        raise ValueError(f"{arch} has no layer {last!r}: its layers are {', '.join(names)}.")
    return layers[: names.index(last) + 1]


def layer_names(arch: str) -> list[str]:
    """Every layer of a VGG, from the image on: "conv1_1", "relu1_1", ... "pool5"."""
    return [name for name, _ in build_layers(arch, widths=(1,) * 5).named_children()]


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

    ``vgg.weights_name`` says what was loaded. Raises ValueError for unknown layers or unfit weights.
    """

    def __init__(
        self,
        arch: str = "vgg19",
        layers: Sequence[str] = ("relu1_1", "relu2_1", "relu3_1"),
        weights: str | Path = "auto",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(layers, str) or not layers:
            raise ValueError(
                f"layers is {layers!r}: expected a list of names such as ['relu1_1', 'relu2_1']."
            )
        self.arch, self.layers = arch, tuple(layers)
        with torch.random.fork_rng(devices=[]):  # layers are made with random tensors before they are filled
            last = _deepest(arch, self.layers)
            found = _find(weights, arch, mean, std)
            if found is None:
                self.trunk, self.weights_name = _random_trunk(arch, last, seed), f"random (seed {seed})"
                mean, std = mean or IMAGENET_MEAN, std or IMAGENET_STD
            else:
                self.trunk, self.weights_name = _fill(arch, last, found), found.name
                mean, std = found.mean, found.std
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).view(3, 1, 1), persistent=False)
        freeze(self.trunk)
        self.register_load_state_dict_post_hook(_forget_counters)
        super().train(False)

    def train(self, mode: bool = True) -> VGGFeatures:
        """Stays in eval whatever ``mode`` says: a loss network must not move while it measures."""
        return super().train(False)

    @property
    def stride(self) -> int:
        """Pixels from one feature of the deepest layer to the next: 4 at relu3_1, 16 at relu5_1."""
        return 2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in self.trunk)

    def normalise(self, x: Tensor) -> Tensor:
        """RGB in [0, 1] -> the scale that the weights were trained on."""
        return (x - self.mean) / self.std

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
            raise ValueError(f"images are {tuple(x.shape)} {x.dtype}: expected float (N, 3, H, W) in [0, 1].")
        h, features = self.normalise(x), {}
        for name, layer in self.trunk.named_children():
            h = layer(h)
            if name in self.layers:
                features[name] = h
        return {name: features[name] for name in self.layers}

    def extra_repr(self) -> str:
        return f"arch={self.arch}, layers={self.layers}, weights={self.weights_name}"


def _deepest(arch: str, layers: Sequence[str]) -> str:
    names = layer_names(arch)
    unknown = [name for name in layers if name not in names]
    if unknown:
        raise ValueError(f"{arch} has no layer {', '.join(unknown)}: its layers are {', '.join(names)}.")
    return max(layers, key=names.index)


def freeze(module: nn.Module) -> None:
    """Turn every parameter and buffer into a buffer that no state dict saves."""
    for part in module.modules():
        for name, tensor in list(part._parameters.items()) + list(part._buffers.items()):
            delattr(part, name)
            part.register_buffer(name, None if tensor is None else tensor.detach(), persistent=False)


def _forget_counters(vgg: nn.Module, incompatible) -> None:
    """Batch norm adds its counter to a state dict without versions, such as one from safetensors."""
    unexpected = incompatible.unexpected_keys
    unexpected[:] = [key for key in unexpected if not (".bn" in key and key.endswith("num_batches_tracked"))]


def _random_trunk(arch: str, last: str, seed: int) -> nn.Sequential:
    torch.random.default_generator.manual_seed(seed)  # that of the CPU alone
    trunk = build_layers(arch, last)
    for layer in trunk:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return trunk


def _find(
    weights: str | Path, arch: str, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Weights | None:
    """Where ``weights`` leads to: tensors with their normalisation, or None for random ones."""
    if weights == "random":
        return None
    if weights in ("torchvision", "auto", "mini"):
        if mean or std:
            raise ValueError(f"weights={weights!r} know their normalisation: leave out mean and std.")
        cached = download.fetch_trunk(arch) if weights == "torchvision" else download.cached_trunk(arch)
        try:
            return read_weights(cached if cached and weights != "mini" else MINI_FILE)
        except ValueError as error:
            raise ValueError(f"{error} Delete {str(cached or MINI_FILE)!r} and fetch it again.") from None
    if mean is None and std is None and download.known_arch(Path(weights)):
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    return read_weights(Path(weights), mean, std)


def _fill(arch: str, last: str, weights: Weights) -> nn.Sequential:
    """A trunk of the file's own widths with the file's tensors in it, up to layer ``last``."""
    if weights.arch not in (None, arch):
        raise ValueError(f"{weights.name} holds a {weights.arch}, asked for was {arch}: name that arch.")
    names = layer_names(arch)
    keys = {f"features.{index}": name for index, name in enumerate(names[: names.index(last) + 1])}
    state, widths = {}, list(WIDTHS)
    for key, tensor in weights.tensors.items():
        stem, _, kind = key.rpartition(".")
        if stem in keys:
            state[f"{keys[stem]}.{kind}"] = tensor.float()
            if keys[stem].startswith("conv") and tensor.ndim == 4:
                widths[int(keys[stem][4]) - 1] = tensor.shape[0]
    trunk = build_layers(arch, last, widths)
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
