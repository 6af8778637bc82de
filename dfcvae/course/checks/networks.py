"""Networks that self-checks hand to an answer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dfcvae.course.checks.trial import filled
from dfcvae.vae import VAE
from dfcvae.vgg import build_layers


def small_vae() -> VAE:
    """For pictures of 32 pixels, with 5 latents."""
    return filled(VAE(32, 5, (6, 8)), 9)


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
        self.head = nn.Conv2d(5, 2, 1)
        filled(self, 21)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return self.head(self.left(h) + self.right(h))


def small_vgg(wider: int = 1) -> nn.Sequential:
    """The layers of torchvision's vgg19_bn().features with few channels."""
    layers = build_layers("vgg19_bn", widths=[wider * width for width in (4, 6, 5, 7, 5)])
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    return filled(nn.Sequential(*layers), 41).eval()
