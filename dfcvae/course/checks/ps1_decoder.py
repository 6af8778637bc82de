"""Self-check of problem set 1: the decoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from dfcvae_classroom.grading.ps1_decoder import (
    DECODER,
    by_width,
    decode_by_parts,
    enlarge_and_convolve,
    of_type,
)
from torch import Tensor, nn
from torch.nn import functional as F

from dfcvae.course.checks.trial import Mistake, Tried, expect_shape, recognise, same, tell


def decoder(up_block: Callable, make_decoder: Callable) -> None:
    """Try ``up_block(c_in, c_out)`` and ``make_decoder(latent_dim, channels, image_size)``."""
    tried = "pixels and border of a block, layers and pictures of a decoder"
    tell("decoder", _decoder, [up_block, make_decoder], DECODER.poisoned, tried)


def _decoder(up_block: Tried, make_decoder: Tried) -> None:
    _block(up_block)
    torch.manual_seed(3)
    latent_dim, channels, size = 5, (10, 7, 4), 40
    network = make_decoder(latent_dim, channels, size)
    if not isinstance(network, nn.Module):
        raise Mistake(f"make_decoder gives {type(network).__name__}: expected an nn.Module.")
    z = 3 * torch.randn(4, latent_dim)
    x_hat = Tried(network.train())(z)
    expect_shape(x_hat, (4, 3, size, size), "pictures with three colours")
    if x_hat.min() < 0 or x_hat.max() > 1:
        raise Mistake(
            f"brightness goes from {x_hat.min():.1f} to {x_hat.max():.1f}: expected between 0 and 1."
        )
    if (x_hat[0] - x_hat[1]).abs().max() < 1e-4:
        raise Mistake("two different z give the same picture.")
    _layers(network, channels)
    _end(network, z)
    _as_its_parts(network, z)
    if any(p.grad is None for p in _after_backward(network, z)):
        raise Mistake("some parameters get no gradient: are all layers used?")


def _block(up_block: Tried) -> None:
    block, generator = up_block(2, 3), torch.Generator().manual_seed(1)
    if not isinstance(block, nn.Module):
        raise Mistake(f"up_block gives {type(block).__name__}: expected an nn.Module.")
    shapes = sorted(tuple(parameter.shape) for parameter in block.parameters())
    if shapes != [(3,), (3, 2, 3, 3)]:
        raise Mistake(
            f"up_block(2, 3) has parameters {shapes}: expected one 3x3 convolution with a bias, (3, 2, 3, 3) "
            "and (3,), and nothing else (a transposed convolution turns the first two round)."
        )
    weight, bias = torch.randn(3, 2, 3, 3, generator=generator), torch.randn(3, generator=generator)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(weight if parameter.ndim == 4 else bias)
    h = torch.randn(2, 2, 3, 5, generator=generator)
    out = Tried(block)(h)
    expect_shape(out, (2, 3, 6, 10), "twice as high and twice as wide")
    recognise(out, enlarge_and_convolve(h, weight, bias), _wrong_blocks(h, weight, bias))


def _wrong_blocks(h: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    def convolve(h: Tensor, mode: str = "replicate") -> Tensor:
        return F.conv2d(F.pad(h, (1, 1, 1, 1), mode=mode), weight, bias)

    def smooth(mode: str, corners: bool) -> Tensor:
        return F.interpolate(h, scale_factor=2, mode=mode, align_corners=corners)

    nearest = F.interpolate(h, scale_factor=2)
    at_border = "the border is filled with zeros: repeat the outermost pixels beyond it."
    tiled = "the whole map is repeated side by side (repeat): repeat each pixel instead."
    early = "the convolution comes before the pixels are repeated: the order is turned round."
    smoothed = "new pixels look interpolated (bilinear): repeat the old ones."
    return {
        at_border: convolve(nearest, "constant"),
        "the border is mirrored: repeat the outermost pixels beyond it.": convolve(nearest, "reflect"),
        "the border goes round to the other side: repeat the outermost pixels.": convolve(
            nearest, "circular"
        ),
        tiled: convolve(h.repeat(1, 1, 2, 2)),
        early: F.interpolate(convolve(h), scale_factor=2),
        smoothed: convolve(smooth("bilinear", False)),
        f"{smoothed} (align_corners)": convolve(smooth("bilinear", True)),
        f"{smoothed} And {at_border}": convolve(smooth("bilinear", False), "constant"),
        "a ReLU stands in up_block: it belongs into make_decoder, behind the norm.": convolve(nearest).relu(),
        "a LeakyReLU stands in up_block: it belongs into make_decoder, behind the norm.": (
            F.leaky_relu(convolve(nearest), 0.2)
        ),
    }


def _layers(network: nn.Module, channels: tuple[int, ...]) -> None:
    outputs = (*channels[1:], 3)
    found = [tuple(p.shape)[:2] for p in network.parameters() if p.ndim == 4]
    expected = [(c_out, c_in) for c_in, c_out in zip(channels, outputs, strict=True)]
    if sorted(found) != sorted(expected):
        raise Mistake(
            f"convolutions (out, in) are {found}: expected {expected}, one a level, from wide to narrow."
        )
    norms = len(of_type(network, nn.BatchNorm2d))
    if norms == len(channels):
        raise Mistake("the last level has a batch norm as well: it fixes how bright pictures are on average.")
    if norms != len(channels) - 1:
        raise Mistake(
            f"there are {norms} batch norms: expected {len(channels) - 1}, after all levels but the last."
        )


def _end(network: nn.Module, z: Tensor) -> None:
    """The last convolution alone sets how dark a picture may be."""
    last = by_width(network, nn.Conv2d)[-1].bias
    before = last.detach().clone()
    with torch.no_grad():
        last.fill_(-6.0)
        dark = network(z)
        last.copy_(before)
    if dark.min() <= 0:
        raise Mistake("pictures are cut off at 0: a sigmoid only comes near it, so that a gradient is left.")
    if dark.mean() > 0.05:
        raise Mistake(
            "pictures cannot become dark: does something stand between last convolution and sigmoid?"
        )


def _as_its_parts(network: nn.Module, z: Tensor) -> None:
    x_hat = network(z)
    if same(x_hat, decode_by_parts(network, z)):
        return
    for slope, name in (0.0, "ReLU"), (0.01, "LeakyReLU with slope 0.01"), (1.0, "nothing"):
        if same(x_hat, decode_by_parts(network, z, slope)):
            raise Mistake(f"between the levels stands {name}: expected LeakyReLU with slope 0.2.")
    raise Mistake(
        "the layers are there, but not put together as asked: linear, then up_block, norm and LeakyReLU a "
        "level, at last an up_block and the sigmoid. Is one made and not used?"
    )


def _after_backward(network: nn.Module, z: Tensor) -> list[nn.Parameter]:
    network(z).square().sum().backward()
    return [*network.parameters()]
