"""Hidden tests of problem set 1: the decoder that upsamples by repeating pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dfcvae.vae
from dfcvae.fast.upsampling import FoldedUpsampleConv2d
from dfcvae.vae import VAE, UpsampleConv2d
from dfcvae_classroom.grading import Check, Deal, Task


def enlarge_and_convolve(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each pixel four times, then a 3x3 convolution on a replicated border: (N, O, 2H, 2W)."""
    h = h[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).flatten(2, 3).flatten(3, 4)
    rows = torch.arange(-1, h.shape[-2] + 1).clamp(0, h.shape[-2] - 1)
    columns = torch.arange(-1, h.shape[-1] + 1).clamp(0, h.shape[-1] - 1)
    return F.conv2d(h[..., rows, :][..., columns], weight, bias)


def of_type(network: nn.Module, kind: type) -> list:
    return [module for module in network.modules() if isinstance(module, kind)]


def by_width(network: nn.Module, kind: type) -> list:
    """Its convolutions or norms from wide to narrow: a student may register them in any order."""
    return sorted(of_type(network, kind), key=lambda layer: -layer.weight.shape[:2].numel())


def decode_by_parts(network: nn.Module, z: Tensor, slope: float = 0.2) -> Tensor:
    """What the decoder's own layers give when they are put together as the task says; needs train mode.

    slope: of the LeakyReLU.
    """
    (linear,), convolutions = of_type(network, nn.Linear), by_width(network, nn.Conv2d)
    norms = by_width(network, nn.BatchNorm2d)
    channels = convolutions[0].weight.shape[1]
    side = math.isqrt(linear.weight.shape[0] // channels)
    h = F.linear(z, linear.weight, linear.bias).view(-1, channels, side, side)
    for i, convolution in enumerate(convolutions):
        h = enlarge_and_convolve(h, convolution.weight, convolution.bias)
        if i < len(convolutions) - 1:
            h = F.batch_norm(h, None, None, norms[i].weight, norms[i].bias, training=True)
            h = F.leaky_relu(h, slope)
    return torch.sigmoid(h)


def _decoder(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    up_block, make_decoder = answers["up_block"], answers["make_decoder"]
    dealt, generator = deal.random("ps1", "decoder"), deal.generator("ps1", "decoder")
    c_in, c_out = dealt.randint(2, 4), dealt.randint(5, 7)
    weight, bias = (torch.randn(shape, generator=generator) for shape in ((c_out, c_in, 3, 3), (c_out,)))
    h = torch.randn(2, c_in, 3, 5, generator=generator)
    latents, first = dealt.randint(3, 7), dealt.choice([12, 20])
    cases = [(latents, (first, 9, 6), 8 * dealt.choice([3, 4])), (latents + 2, (first, 8), 16)]

    def block() -> nn.Module:
        made = up_block(c_in, c_out)
        parameters = {parameter.shape: parameter for parameter in made.parameters()}
        assert len(parameters) == len([*made.parameters()]) == 2
        with torch.no_grad():
            parameters[weight.shape].copy_(weight)
            parameters[bias.shape].copy_(bias)
        return made

    def flat_stays_flat() -> bool:
        flat = torch.randn(2, c_in, 1, 1, generator=generator).expand(2, c_in, 4, 4)
        out = block()(flat)
        expected = torch.einsum("oc,nc->no", weight.sum(dim=(2, 3)), flat[..., 0, 0]) + bias
        return out.shape == (2, c_out, 8, 8) and _near(out, expected[..., None, None].expand_as(out))

    def pictures(latent_dim: int, channels: tuple[int, ...], size: int) -> tuple[nn.Module, Tensor, Tensor]:
        torch.manual_seed(deal.seed("ps1", "decoder", size) % 2**31)
        network = make_decoder(latent_dim, channels, size).train()
        z = 3 * torch.randn(4, latent_dim, generator=generator)
        x_hat = network(z)
        assert x_hat.shape == (4, 3, size, size) and (x_hat[0] - x_hat[1]).abs().max() > 1e-3
        return network, z, x_hat

    def layers(latent_dim: int, channels: tuple[int, ...], size: int) -> bool:
        """No layer too many and none too few: a linear one, a convolution a level, norms between them."""
        parameters = [tuple(p.shape) for p in pictures(latent_dim, channels, size)[0].parameters()]
        outputs, grid = (*channels[1:], 3), size // 2 ** len(channels)
        flat = channels[0] * grid**2
        expected = [(flat, latent_dim), (flat,), (3,)] + [(c,) for c in channels[1:]] * 3
        expected += [(c_out, c_in, 3, 3) for c_in, c_out in zip(channels, outputs, strict=True)]
        return sorted(parameters) == sorted(expected)

    def reaches_all_colours(latent_dim: int, channels: tuple[int, ...], size: int) -> bool:
        """Without a norm or a ReLU at its end the last convolution alone sets the brightness."""
        network, z, x_hat = pictures(latent_dim, channels, size)
        bounded = 0 <= x_hat.min() and x_hat.max() <= 1
        last = next(p for p in reversed([*network.parameters()]) if p.shape == (3,))
        with torch.no_grad():
            last.fill_(-6.0)
            dark = network(z)
            last.fill_(6.0)
            bright = network(z)
        return bounded and 0 < dark.min() and dark.mean() < 0.05 and 0.95 < bright.mean() and bright.max() < 1

    def as_its_parts(latent_dim: int, channels: tuple[int, ...], size: int) -> bool:
        network, z, x_hat = pictures(latent_dim, channels, size)
        return _near(x_hat, decode_by_parts(network, z))

    def everything_learns(latent_dim: int, channels: tuple[int, ...], size: int) -> bool:
        network, z, _ = pictures(latent_dim, channels, size)
        z.requires_grad_()
        (network(z) * torch.rand(4, 3, size, size, generator=generator)).sum().backward()
        learn = [z.grad, *(parameter.grad for parameter in network.parameters())]
        return len(learn) > 3 and all(grad is not None and grad.any() for grad in learn)

    yield 1.5, lambda: _near(block()(h), enlarge_and_convolve(h, weight, bias))
    yield 1, flat_stays_flat
    yield 1, lambda: all(layers(*case) for case in cases)
    yield 1, lambda: all(reaches_all_colours(*case) for case in cases)
    yield 1, lambda: all(as_its_parts(*case) for case in cases)
    yield 0.5, lambda: everything_learns(*cases[0])


def _near(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


LAYERS = (UpsampleConv2d.forward, FoldedUpsampleConv2d.forward)
DECODER = Task(6, _decoder, (VAE.decode, *LAYERS, dfcvae.vae._decoder))
