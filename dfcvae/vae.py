"""The variational autoencoder of the course.

Kingma and Welling, "Auto-Encoding Variational Bayes", arXiv 1312.6114; the network of Hou et al.,
arXiv 1610.00291, section 3.1 and figure 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOG_VAR_BOUND = 10.0  # the standard deviation of z stays between exp(-5) and exp(5)


class VAEOutput(NamedTuple):
    """What a forward pass gives: reconstruction (N, 3, S, S) in [0, 1]; mu and log_var (N, latent_dim)."""

    reconstruction: Tensor
    mu: Tensor
    log_var: Tensor


class Prior(Protocol):
    """Where codes are drawn from: ``dfcvae.latent.fit_prior`` makes some."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes: (n, latent_dim)."""


def kl_divergence(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(q(z|x) || N(0, I)) in nats per image: summed over latents, mean over the batch. A scalar.

    -1/2 sum_j (1 + log_var_j - mu_j^2 - exp(log_var_j)); Kingma and Welling, appendix B.
    mu, log_var: (N, latent_dim).
    """
    mu, log_var = mu.float(), log_var.float()
    per_image = -0.5 * (1 + log_var - mu.square() - log_var.exp()).sum(dim=1)  # (N, latent_dim) -> (N,)
    return per_image.mean()


class VAE(nn.Module):
    """The paper's convolutional VAE; 2,312,811 parameters at 64 x 64 with 100 latents.

    image_size: side of the square image, 32 to 256 pixels, divisible by 2 ** len(channels).
    latent_dim: dimensions of z. channels: feature maps of the encoder's levels, first to last; the
    decoder goes back through them. Raises ValueError for sizes that do not fit.
    """

    def __init__(
        self, image_size: int = 64, latent_dim: int = 100, channels: Sequence[int] = (32, 64, 128, 256)
    ) -> None:
        super().__init__()
        self.image_size, self.latent_dim, self.channels = image_size, latent_dim, tuple(channels)
        _check_sizes(image_size, latent_dim, self.channels)
        self.grid = image_size // 2 ** len(self.channels)  # side of the last feature maps
        self.encoder = _encoder(self.channels)
        flat = self.channels[-1] * self.grid**2  # numbers in the last feature maps: 256 * 4 * 4 = 4,096
        self.to_mu = nn.Linear(flat, latent_dim)
        self.to_log_var = nn.Linear(flat, latent_dim)
        self.from_z = nn.Linear(latent_dim, flat)
        self.decoder = _decoder(self.channels)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log_var of q(z|x), each (N, latent_dim). x: float (N, 3, S, S) in [0, 1].

        log_var is bounded by +-10, smoothly, so that a bad step cannot send exp(log_var) to infinity.
        """
        expected = (3, self.image_size, self.image_size)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected or not x.is_floating_point():
            raise ValueError(
                f"images are {tuple(x.shape)} {x.dtype}: expected float (N, {str(expected)[1:]} in [0, 1]."
            )
        h = self.encoder(x)  # (N, 3, 64, 64) -> (N, 256, 4, 4)
        h = h.flatten(1)  # -> (N, 4096)
        log_var = LOG_VAR_BOUND * torch.tanh(self.to_log_var(h).float() / LOG_VAR_BOUND)
        return self.to_mu(h).float(), log_var

    def decode(self, z: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [0, 1] from z (N, latent_dim)."""
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z is {tuple(z.shape)}: expected (N, {self.latent_dim}).")
        h = self.from_z(z.to(self.from_z.weight.dtype))  # (N, 100) -> (N, 4096)
        h = h.view(-1, self.channels[-1], self.grid, self.grid)  # -> (N, 256, 4, 4)
        return torch.sigmoid(self.decoder(h).float())  # -> (N, 3, 64, 64)

    def reparameterize(
        self,
        mu: Tensor,
        log_var: Tensor,
        generator: torch.Generator | None = None,
        epsilon: Tensor | None = None,
    ) -> Tensor:
        """z = mu + exp(log_var / 2) * epsilon, epsilon ~ N(0, I); Kingma and Welling, section 2.4.

        ``generator`` draws epsilon on its own device: one of the CPU gives the same z on every device.
        ``epsilon`` (N, latent_dim): drawn already, as in training, where it belongs to the step's images.
        """
        if epsilon is None:
            device = mu.device if generator is None else generator.device
            epsilon = torch.randn(mu.shape, generator=generator, device=device, dtype=mu.dtype).to(mu.device)
        return mu + torch.exp(0.5 * log_var) * epsilon

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, epsilon: Tensor | None = None
    ) -> VAEOutput:
        """The reconstruction of x (N, 3, S, S) from a z that is drawn from q(z|x)."""
        mu, log_var = self.encode(x)
        z = self.reparameterize(mu, log_var, generator, epsilon)
        return VAEOutput(self.decode(z), mu, log_var)

    @torch.no_grad()
    def generate(self, x: Tensor) -> Tensor:
        """The reconstruction from mu, without noise: (N, 3, S, S) in [0, 1]. In eval, whatever the mode."""
        with evaluating(self):
            mu, _ = self.encode(x)
            return self.decode(mu)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        temperature: float = 1.0,
        prior: Prior | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """n images (n, 3, S, S) in [0, 1] from z ~ N(0, I), or from ``prior``. In eval, whatever the mode.

        temperature: standard deviations are multiplied by it; it goes with N(0, I) only. A generator of the
        CPU gives the same images on every device. ValueError for n under 1, or a temperature with a prior.
        """
        if n < 1:
            raise ValueError(f"n is {n}: expected 1 image or more.")
        if prior is not None and temperature != 1.0:
            raise ValueError(f"temperature is {temperature}: it goes with N(0, I), and a prior was given.")
        if prior is not None:
            z = prior.sample(n, generator).to(self.from_z.weight.device)
        else:
            zero = self.from_z.weight.new_zeros(n, self.latent_dim)  # mu = 0 and log_var = 0: N(0, I)
            z = temperature * self.reparameterize(zero, zero, generator)
        with evaluating(self):
            return self.decode(z)


class UpsampleConv2d(nn.Conv2d):
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution: (N, c_in, H, W) -> (N, c_out, 2H, 2W).

    The border is replicated, so that no dark frame is learnt away. Nearest-neighbour upsampling gives every
    output pixel the same number of inputs; a transposed convolution may not, which draws a checkerboard
    (Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016).
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, kernel_size=3, padding=1, padding_mode="replicate")

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(F.interpolate(h, scale_factor=2, mode="nearest"))


def _encoder(channels: tuple[int, ...]) -> nn.Sequential:
    """Each level: conv 4x4 stride 2, batch norm, LeakyReLU; it halves the side."""
    levels = nn.Sequential()
    for c_in, c_out in zip((3, *channels), channels, strict=False):
        convolution = nn.Conv2d(c_in, c_out, kernel_size=4, stride=2, padding=1)
        levels.append(nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)))
    return levels


def _decoder(channels: tuple[int, ...]) -> nn.Sequential:
    """Each level doubles the side: UpsampleConv2d, batch norm, LeakyReLU; the last one is the first alone."""
    levels = nn.Sequential()
    outputs = (*reversed(channels[:-1]), 3)
    for c_in, c_out in zip(reversed(channels), outputs, strict=True):
        level = nn.Sequential(UpsampleConv2d(c_in, c_out))
        if len(levels) < len(channels) - 1:
            level.extend([nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)])
        levels.append(level)
    return levels


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode, and afterwards each part in the mode in which it was: no statistics move."""
    were_training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in were_training:
            part.training = True


def _check_sizes(image_size: int, latent_dim: int, channels: tuple[int, ...]) -> None:
    if latent_dim < 1 or not channels or min(channels) < 1:
        raise ValueError(f"latent_dim is {latent_dim} and channels {channels}: expected positive numbers.")
    step = 2 ** len(channels)
    if not 32 <= image_size <= 256 or image_size % step:
        fitting = [str(size) for size in (32, 48, 64, 80, 96, 128, 160, 192, 224, 256) if size % step == 0]
        raise ValueError(
            f"image_size is {image_size}: {len(channels)} levels need a multiple of {step} from 32 to 256, "
            f"such as {', '.join(fitting) or 'none: give fewer levels'}."
        )
