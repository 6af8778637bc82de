"""Networks that self-checks hand to an answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dfcvae.course.checks.trial import filled
from dfcvae.vae import VAE


class WatchedVAE(VAE):
    """A small VAE that keeps what passes through it, a line for each step, and the gradients of it.

    shift: added to log_var, which makes the clouds narrow.
    """

    def __init__(self, shift: float) -> None:
        super().__init__(32, 5, (6, 8))
        filled(self, 9)
        self.shift = shift
        self.seen: list[dict[str, Any]] = []

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = super().encode(x)
        self.seen.append({"x": x.detach(), "training": self.training})
        return self._noted("mu", mu), self._noted("log_var", log_var + self.shift)

    def decode(self, z: Tensor) -> Tensor:
        return self._noted("x_hat", super().decode(self._noted("z", z)))

    def _noted(self, name: str, tensor: Tensor) -> Tensor:
        line = self.seen[-1]
        line[name] = tensor.detach()
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: line.update({f"by {name}": gradient}))
        return tensor


class Branched(nn.Module):
    """A network that is no chain: head(left(h) + right(h)) with h = stem(x)."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace))
        self.left = nn.Conv2d(6, 5, 1)
        self.right = nn.Sequential(nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(inplace))
        self.head: nn.Module = nn.Conv2d(5, 2, 1)
        filled(self, 21)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return self.head(self.left(h) + self.right(h))


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


class ThreeLayers(nn.Module):
    """A frozen network that gives the features of three layers, channels and sides all different."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(c, c + 1, 3, padding=1) for c in (3, 4, 5))
        filled(self, 22).requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = {}
        for i, block in enumerate(self.blocks, start=1):
            found[f"relu{i}_1"] = block(x).relu()
            x = nn.functional.max_pool2d(found[f"relu{i}_1"], 2)
        return found


class PaleCopy(nn.Module):
    """Latents are pixels, drawn again a little paler; batch statistics are played by a shift in training."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu = x.flatten(1) * self.scale + (0.3 if self.training else 0.0)
        return mu, torch.zeros_like(mu)

    def decode(self, z: Tensor) -> Tensor:
        return 0.9 * z.unflatten(1, (3, 2, 2)) / self.scale

    def reparameterize(self, mu: Tensor, log_var: Tensor) -> Tensor:
        return mu + torch.randn_like(mu) * (0.5 * log_var).exp()

    def generate(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0]).detach()


def small_vgg(wider: int = 1) -> nn.Sequential:
    """The layers of torchvision's vgg19_bn().features with few channels."""
    layers: list[nn.Module] = []
    c_in = 3
    for convolutions, width in zip((2, 2, 4, 4, 4), (4, 6, 5, 7, 5), strict=True):
        for _ in range(convolutions):
            c_out = wider * width
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
            c_in = c_out
        layers.append(nn.MaxPool2d(2))
    return filled(nn.Sequential(*layers), 41).eval()
