"""Small networks and comparisons for the hidden tests of problem set 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def named_vgg(
    counts: Sequence[int], norm: bool = False, inplace: bool = False, pool: type[nn.Module] = nn.MaxPool2d
) -> tuple[nn.Sequential, list[str]]:
    """A narrow VGG without names in it, of ``counts`` convolutions a block, and the names of its layers."""
    layers, names, channels = [], [], 3
    for block, count in enumerate(counts, start=1):
        for i in range(1, count + 1):
            layers.append(nn.Conv2d(channels, 3 + block, 3, padding=1))
            names.append(f"conv{block}_{i}")
            channels = 3 + block
            if norm:
                layers.append(nn.BatchNorm2d(channels))
                names.append(f"bn{block}_{i}")
            layers.append(nn.ReLU(inplace=inplace))
            names.append(f"relu{block}_{i}")
        layers.append(pool(2))
        names.append(f"pool{block}")
    return nn.Sequential(*layers), names


class Branched(nn.Module):
    """A network that is no chain: head(left(h) + right(h)) with h = stem(x)."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace))
        self.left = nn.Conv2d(6, 5, 1)
        self.right = nn.Sequential(nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(inplace))
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return self.head(self.left(h) + self.right(h))

    def every_output(self, x: Tensor) -> dict[str, Tensor]:
        """What each part gives, by its name, nothing overwritten."""
        found = {"stem.0": self.stem[0](x)}
        found["stem"] = found["stem.1"] = torch.relu(found["stem.0"])
        found |= {"left": self.left(found["stem"]), "right.0": self.right[0](found["stem"])}
        found["right"] = found["right.1"] = torch.relu(found["right.0"])
        return found | {"head": self.head(found["left"] + found["right"])}


class Trap(nn.Module):
    """A layer that should not be reached: it counts who comes, or raises ArithmeticError."""

    def __init__(self, raises: bool = False) -> None:
        super().__init__()
        self.raises, self.calls = raises, 0

    def __deepcopy__(self, _: dict) -> Trap:
        return self  # so that a copy of the network counts here, too

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.raises:
            raise ArithmeticError("this layer is broken")
        return x


@torch.no_grad()
def filled(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """The network with weights, and averages of batch norm, from the generator."""
    for tensor in network.parameters():
        tensor.copy_(0.4 * torch.randn(tensor.shape, generator=generator))
    for name, tensor in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network


def close(found: Any, right: Tensor, rtol: float = 1e-3) -> bool:
    """Whether it is a tensor of that shape and, to float32's precision, those numbers."""
    if not isinstance(found, Tensor) or found.shape != right.shape:
        return False
    found, right = found.detach().double(), right.detach().double()
    return torch.allclose(found, right, rtol=rtol, atol=rtol * max(right.abs().max().item(), 1e-6))


def gradient(run: Callable[..., Tensor], x: Tensor, *given: Any) -> Tensor:
    """Of a sum of run(x, ...) in which no two numbers weigh alike, with respect to x."""
    x = x.detach().clone().requires_grad_(True)
    out = run(x, *given)
    weights = torch.linspace(0.5, 1.5, out.numel(), dtype=out.dtype).view(out.shape)
    (weights * out).sum().backward()
    return x.grad
