"""The perceptual loss and its gradient in one pass, a few images at a time, on a CPU.

Autograd keeps every feature map of a batch until the backward pass, before and after each ReLU, with float32
copies of those that are compared. But the loss network is frozen and only x_hat needs a gradient, so the
chain rule can be followed for some images through the network and back before the next ones are looked at.
A difference is taken where its layer is reached, ReLUs work in place, and nothing stays but the gradient.
The arithmetic is that of ``PerceptualLoss.per_layer`` under autograd.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules import module as of_all_modules

from dfcvae.perceptual import PerceptualLoss
from dfcvae.vgg import VGGFeatures

PIXELS_AT_ONCE = 32 * 64**2  # 32 images of 64 x 64; of more at once, convolutions are slower
PUBLISHED = {name: getattr(VGGFeatures, name) for name in ("forward", "normalise", "__call__")}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _settings(layer: nn.Module) -> dict[str, Any]:
    names = getattr(layer, "__constants__", ())
    return {name: getattr(layer, name) for name in names if not name.endswith("channels")}


# Layers that this module can go back through: a VGG's, as published.
KNOWN: dict[type[nn.Module], dict[str, Any]] = {
    type(layer): _settings(layer)
    for layer in (nn.Conv2d(1, 1, 3, padding=1, device="meta"), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2))
}


class OnePassLoss(PerceptualLoss):
    """A ``PerceptualLoss`` that takes one pass where that gives the same, and is the plain one elsewhere."""

    def __init__(self, loss: PerceptualLoss) -> None:
        super().__init__(loss.vgg, loss.reduction, loss.layer_weights)

    def per_layer(self, x_hat: Tensor, x: Tensor) -> dict[str, Tensor]:
        if x_hat.shape == x.shape and _applies(self.vgg, x_hat, x):
            return dict(zip(self.factors, _WeightedSquares.apply(x_hat, x, self.vgg, self.factors)))  # noqa: B905
        return super().per_layer(x_hat, x)


def _applies(vgg: VGGFeatures, x_hat: Tensor, x: Tensor) -> bool:
    """Whether there is a gradient to compute, on a CPU, through a network that nobody looks into."""
    wanted = torch.is_grad_enabled() and x_hat.requires_grad and not x.requires_grad
    if not wanted or x_hat.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if not x_hat.dtype == x.dtype == torch.float32 == vgg.mean.dtype:
        return False
    return _untouched(vgg) and all(KNOWN.get(type(layer)) == _settings(layer) for layer in vgg.trunk)


def _untouched(vgg: VGGFeatures) -> bool:
    """No subclass, no method replaced, no hook on it, on one of its layers, or on all modules."""
    if type(vgg) is not VGGFeatures or any(name in vgg.__dict__ for name in PUBLISHED):
        return False
    if any(getattr(VGGFeatures, name) is not method for name, method in PUBLISHED.items()):
        return False
    if any(getattr(of_all_modules, f"_global{name}", None) for name in HOOKS):
        return False
    return not any(watched(part) for part in vgg.modules())


def watched(module: nn.Module) -> bool:
    """Whether there is a hook on it, or another ``forward`` in the place of its own."""
    return "forward" in vars(module) or any(getattr(module, name) for name in HOOKS)


class _WeightedSquares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_hat: Tensor, x: Tensor, vgg: VGGFeatures, factors: Mapping[str, float]) -> Tensor:
        """factor_l * mean squared difference of Phi_l, in the order of ``factors``: (L,)."""
        ctx.save_for_backward(x_hat, x)
        ctx.vgg, ctx.factors = vgg, factors
        terms, ctx.gradient = _there_and_back(vgg, x_hat, x, factors)
        return terms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_terms: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        if (of_terms == of_terms[0]).all():  # the terms were summed, as in the loss
            return ctx.gradient * of_terms[0], None, None, None
        x_hat, x = ctx.saved_tensors
        scaled = {layer: f * g for (layer, f), g in zip(ctx.factors.items(), of_terms.tolist(), strict=True)}
        return _there_and_back(ctx.vgg, x_hat, x, scaled)[1], None, None, None


def _there_and_back(
    vgg: VGGFeatures, x_hat: Tensor, x: Tensor, factors: Mapping[str, float]
) -> tuple[Tensor, Tensor]:
    """The terms (L,), and the gradient of their sum with respect to x_hat."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x_hat.dtype
    at_once = max(1, PIXELS_AT_ONCE // x_hat[0, 0].numel())
    gradient = torch.empty_like(x_hat, memory_format=torch.channels_last)
    terms = {layer: torch.zeros(()) for layer in factors}
    with torch.autocast("cpu", enabled=False):
        trunk = [_Layer(name, layer, dtype) for name, layer in vgg.trunk.named_children()]
        for first in range(0, len(x), at_once):
            some = slice(first, first + at_once)
            target = {}
            for layer, phi in _forwards(trunk, _prepared(vgg, x[some], dtype), factors, keep=False):
                target[layer] = phi.clone() if layer.startswith("conv") else phi  # a ReLU may follow
            flow: list[tuple[str, Tensor, float]] = []
            for layer, phi in _forwards(trunk, _prepared(vgg, x_hat[some], dtype), factors, keep=True):
                difference = phi - target[layer]
                scale = factors[layer] * len(difference) / (difference.numel() * len(x))
                terms[layer] += scale * _squares(difference)
                flow.append((layer, difference, 2 * scale))
            gradient[some] = _backwards(trunk, flow) / vgg.std
    return torch.stack(list(terms.values())), gradient


def _prepared(vgg: VGGFeatures, x: Tensor, dtype: torch.dtype) -> Tensor:
    return vgg.normalise(x).to(dtype, memory_format=torch.channels_last)


def _squares(difference: Tensor) -> Tensor:
    """The sum of the squares in float32, some at a time, so that the wider copy stays in the cache."""
    parts = difference.permute(0, 2, 3, 1).reshape(-1).split(1 << 18)
    return torch.stack([wide.dot(wide) for wide in (part.float() for part in parts)]).sum()


class _Layer:
    """A layer of the trunk, forwards and backwards, without a graph."""

    def __init__(self, name: str, layer: nn.Module, dtype: torch.dtype) -> None:
        self.name, self.layer = name, layer
        self.kept: tuple[Tensor, Tensor | None] | None = None
        if isinstance(layer, nn.Conv2d):
            self.weight = layer.weight.to(dtype)
            self.bias = None if layer.bias is None else layer.bias.to(dtype)

    def forwards(self, h: Tensor, keep: bool) -> Tensor:
        places = None
        if isinstance(self.layer, nn.Conv2d):
            out = torch.conv2d(h, self.weight, self.bias, padding=1)
        elif isinstance(self.layer, nn.ReLU):
            out = h = h.relu_()  # in place: what was wanted of h before it has been read
        elif isinstance(self.layer, nn.AvgPool2d):
            out = F.avg_pool2d(h, 2)
        else:
            out, places = F.max_pool2d(h, 2, return_indices=True)
        self.kept = (h, places) if keep else None
        return out

    def backwards(self, gradient: Tensor) -> Tensor:
        assert self.kept is not None, "forwards(keep=True) comes first"
        (h, places), self.kept = self.kept, None
        aten, zero, one, two = torch.ops.aten, [0, 0], [1, 1], [2, 2]
        if isinstance(self.layer, nn.Conv2d):
            only_h = [True, False, False]  # and not the weight or the bias
            return aten.convolution_backward(
                gradient, h, self.weight, None, one, one, one, False, zero, 1, only_h
            )[0]
        if isinstance(self.layer, nn.ReLU):
            return aten.threshold_backward(gradient, h, 0)
        if isinstance(self.layer, nn.AvgPool2d):
            return aten.avg_pool2d_backward(gradient, h, two, two, zero, False, True, None)
        return aten.max_pool2d_with_indices_backward(gradient, h, two, two, zero, one, False, places)


def _forwards(
    trunk: list[_Layer], h: Tensor, wanted: Mapping[str, float], keep: bool
) -> Iterator[tuple[str, Tensor]]:
    """(name, Phi_l) of each wanted layer, to be read before the next is asked for."""
    for layer in trunk:
        h = layer.forwards(h, keep)
        if layer.name in wanted:
            yield layer.name, h


def _backwards(trunk: list[_Layer], flow: list[tuple[str, Tensor, float]]) -> Tensor:
    """The gradient at the image. flow: difference and factor of each wanted layer; emptied on the way."""
    _, difference, scale = flow.pop()  # of the last layer, at which the trunk ends
    flowing = trunk[-1].backwards(difference.mul_(scale))
    for layer in reversed(trunk[:-1]):
        if flow and flow[-1][0] == layer.name:
            _, difference, scale = flow.pop()
            flowing = flowing.add_(difference, alpha=scale)
        flowing = layer.backwards(flowing)
    return flowing
