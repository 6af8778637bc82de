"""The perceptual loss and its gradient in one pass, a few images at a time, on a CPU.

Autograd keeps every feature map of a batch until the backward pass, before and after each ReLU, with float32
copies of those that are compared. But the loss network is frozen and only x_hat needs a gradient, so some
images can go through the network and back before the next ones are looked at: ReLUs work in place, and
nothing stays but the gradient. The arithmetic is that of ``PerceptualLoss.per_layer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules import module as of_all_modules

from dfcvae.perceptual import PerceptualLoss
from dfcvae.vgg import VGGFeatures

PIXELS_AT_ONCE = 32 * 64**2  # 32 images of 64 x 64; of more at once, convolutions are slower
PUBLISHED = {name: getattr(VGGFeatures, name) for name in ("forward", "normalise", "__call__")}
KNOWN = {nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d}  # among which a ReLU may work in place
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


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
    if not torch.is_grad_enabled() or not x_hat.requires_grad or x.requires_grad:
        return False
    if x_hat.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if not x_hat.dtype == x.dtype == torch.float32 == vgg.mean.dtype or type(vgg) is not VGGFeatures:
        return False
    replaced = vars(vgg).keys() & PUBLISHED or any(
        getattr(VGGFeatures, k) is not f for k, f in PUBLISHED.items()
    )
    hooked = any(getattr(of_all_modules, f"_global{name}", None) for name in HOOKS)
    if replaced or hooked or any(map(watched, vgg.modules())):
        return False
    return KNOWN.issuperset(map(type, vgg.trunk))


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
    at_once = max(1, PIXELS_AT_ONCE // x_hat[0, 0].numel())
    gradient = torch.empty_like(x_hat, memory_format=torch.channels_last)
    terms = {layer: torch.zeros(()) for layer in factors}

    def features(h: Tensor) -> dict[str, Tensor]:
        """Phi_l of each wanted layer."""
        found = {}
        for name, layer in vgg.trunk.named_children():
            h = h.relu_() if isinstance(layer, nn.ReLU) else layer(h)
            if name in factors:  # a ReLU may write over what a convolution gave
                found[name] = h.clone() if isinstance(layer, nn.Conv2d) else h
        return found

    for first in range(0, len(x), at_once):
        some = slice(first, first + at_once)
        start, target = (
            vgg.normalise(pictures[some]).contiguous(memory_format=torch.channels_last)
            for pictures in (x_hat, x)
        )
        targets = features(target)
        with torch.enable_grad():
            found = features(start.requires_grad_())
        differences = []
        for layer, phi in found.items():
            difference = phi.detach() - targets.pop(layer)
            scale = factors[layer] * len(difference) / (difference.numel() * len(x))
            terms[layer] += scale * _squares(difference)
            differences.append(difference.mul_(2 * scale))
        (flow,) = torch.autograd.grad(list(found.values()), start, differences)
        gradient[some] = flow / vgg.std
    return torch.stack(list(terms.values())), gradient


@torch.autocast("cpu", enabled=False)
def _squares(difference: Tensor) -> Tensor:
    """The sum of the squares in float32, some at a time, so that the wider copy stays in the cache."""
    parts = difference.permute(0, 2, 3, 1).reshape(-1).split(1 << 18)
    return torch.stack([wide.dot(wide) for wide in (part.float() for part in parts)]).sum()
