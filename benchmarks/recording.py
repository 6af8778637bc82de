"""The convolutions and matrix products of a training step, as they reach PyTorch's kernels, and their FLOPs.

Seen are also those of the backward pass, and those within the one-pass loss of ``dfcvae.fast``.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dfcvae.training import Trainer

aten = torch.ops.aten
FORWARD, BACKWARD = aten.convolution.default, aten.convolution_backward.default
PRODUCTS = {aten.mm.default: 0, aten.bmm.default: 0, aten.addmm.default: 1}  # place of the first factor


class Shape(NamedTuple):
    """What a tensor is without its numbers."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    def fresh(self, device: torch.device, images: int | None = None) -> Tensor:
        """Random numbers, for the first ``images`` rows where given."""
        sizes = self.sizes if images is None else (images, *self.sizes[1:])
        length = 1 + sum((size - 1) * stride for size, stride in zip(sizes, self.strides, strict=True))
        return torch.randn(length, device=device).to(self.dtype).as_strided(sizes, self.strides)


class Call(NamedTuple):
    """A call of a kernel, with a Shape in the place of every tensor."""

    kernel: Any
    arguments: tuple

    @property
    def images(self) -> int | None:
        """How many images it takes at once; a matrix product is not split."""
        return None if self.kernel in PRODUCTS else self.arguments[0].sizes[0]

    @property
    def flops(self) -> int:
        """Two for each product and its sum; a backward pass counts what it was asked for."""
        if self.kernel in PRODUCTS:
            first, second = self.arguments[PRODUCTS[self.kernel] :][:2]
            return 2 * math.prod(first.sizes) * second.sizes[-1]
        if self.kernel is FORWARD:
            x, weight, stride, padding = (self.arguments[i] for i in (0, 1, 3, 4))
            places = _places(x.sizes[2:], weight.sizes[2:], stride, padding)
            return 2 * x.sizes[0] * places * math.prod(weight.sizes)
        gradient, weight, (of_input, of_weight, _) = (self.arguments[i] for i in (0, 2, -1))
        once = 2 * gradient.sizes[0] * math.prod(gradient.sizes[2:]) * math.prod(weight.sizes)
        return once * (of_input + of_weight)

    def __str__(self) -> str:
        if self.kernel in PRODUCTS:
            first, second = self.arguments[PRODUCTS[self.kernel] :][:2]
            return f"product, {_by(first.sizes)} with {_by(second.sizes)}"
        weight = self.arguments[1 if self.kernel is FORWARD else 2].sizes
        name = f"{weight[1]} to {weight[0]} channels, kernel {_by(weight[2:])}"
        if self.kernel is FORWARD:
            return f"convolution, {name}, from {_by(self.arguments[0].sizes[2:])}"
        wanted = [what for what, asked in zip(("input", "weight"), self.arguments[-1], strict=False) if asked]
        return f"its gradient by {' and '.join(wanted)}, {name}, from {_by(self.arguments[1].sizes[2:])}"


def _places(sizes: tuple, kernel: tuple, stride: tuple, padding: tuple) -> int:
    each = zip(sizes, kernel, stride, padding, strict=True)
    return math.prod((size + 2 * pad - taps) // step + 1 for size, taps, step, pad in each)


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


class Recorder(TorchDispatchMode):
    """Counts the calls of convolutions and matrix products inside: ``calls``."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Call] = Counter()

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        if kernel in (FORWARD, BACKWARD, *PRODUCTS):
            self.calls[Call(kernel, tuple(_described(a) for a in args))] += 1
        return kernel(*args, **(kwargs or {}))


def _described(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return Shape(tuple(argument.shape), argument.stride(), argument.dtype)
    return tuple(argument) if isinstance(argument, list) else argument


def record(trainer: Trainer) -> Counter[Call]:
    """The calls of one training step, and how often each is made."""
    with Recorder() as recorder:
        trainer.step(0)
    return recorder.calls


def flops(calls: Counter[Call]) -> int:
    return sum(call.flops * count for call, count in calls.items())
