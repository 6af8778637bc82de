"""The DFC-VAE class of PyTorch-VAE with its faults repaired.

AntixK/PyTorch-VAE, models/dfcvae.py, is the version that most people read. Its network and its interface are
kept, so that its checkpoints load and its training scripts run; its loss is that of Hou et al., arXiv
1610.00291. Sentences on "the original" name a fault where it is repaired.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfcvae.vae import kl_divergence
from dfcvae.vgg import VGGFeatures, freeze

# By number in vgg19_bn: conv3_1, bn3_4, bn4_3 and conv5_2. The paper compares none of them.
LEGACY_LAYERS = ("14", "24", "34", "43")
LOG_VAR_BOUND = 20.0  # far outside what a trained encoder gives, far inside what exp() bears


class BaseVAE(nn.Module, ABC):
    """What a model must offer to PyTorch-VAE's training scripts."""

    @abstractmethod
    def encode(self, input: Tensor) -> list[Tensor]: ...
    @abstractmethod
    def decode(self, z: Tensor) -> Tensor: ...
    @abstractmethod
    def loss_function(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]: ...
    @abstractmethod
    def sample(self, num_samples: int, current_device: torch.device | str | int, **kwargs: Any) -> Tensor: ...

    def generate(self, x: Tensor, **kwargs: Any) -> Tensor:
        """x from its mu. The original sampled z, so that two calls differed, and ran the VGG for nothing."""
        return self.decode(self.encode(x)[0])


class DFCVAE(BaseVAE):
    """PyTorch-VAE's network under PyTorch-VAE's names, trained with the paper's loss.

    in_channels: 3, or 1 for grey images, which the VGG sees repeated to three channels. hidden_dims:
    channels of the encoder's levels; the decoder goes back through them. image_size: side of the square
    images, divisible by 2 ** len(hidden_dims). alpha, beta: weights of the KL and of the features.
    data_range: (low, high) of the images, in and out; the Tanh's own is [-1, 1]. The original was fed [0, 1],
    and ``save_image(normalize=True)`` hid it. name: not used; the original's configuration files pass it.
    features: the loss network, as ``VGGFeatures(weights=...)``, or a VGGFeatures of one's own; frozen, and in
    no ``state_dict()`` and no ``parameters()``. The original downloaded a VGG when it was constructed, kept
    its 575 MB in every checkpoint, and gave it to Adam. legacy_loss: compute the original's loss, faults
    included, on legacy_features, the ``.features`` of a vgg19_bn; torchvision's, downloaded, unless given.

    A state dict of the original loads with ``load_state_dict``, its VGG dropped; in its trainer's checkpoints
    "model." stands before every key. Raises ValueError for channels, sizes or ranges that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        latent_dim: int,
        hidden_dims: Sequence[int] | None = None,
        alpha: float = 1.0,
        beta: float = 0.5,
        *,
        image_size: int = 64,
        features: str | Path | VGGFeatures = "auto",
        data_range: tuple[float, float] = (-1.0, 1.0),
        legacy_loss: bool = False,
        legacy_features: nn.Module | None = None,
        name: str = "DFCVAE",
    ) -> None:
        super().__init__()
        # A copy: the original reversed the caller's list, so that the next model was built upside down.
        self.hidden_dims = tuple((32, 64, 128, 256, 512) if hidden_dims is None else hidden_dims)
        self.in_channels, self.latent_dim, self.image_size = in_channels, latent_dim, image_size
        self.alpha, self.beta, self.legacy_loss = alpha, beta, legacy_loss
        step, (low, high) = 2 ** len(self.hidden_dims), data_range
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels is {in_channels}: expected 3 (colour) or 1 (grey) for the VGG.")
        if image_size < step or image_size % step:
            raise ValueError(f"image_size is {image_size}: these hidden_dims need a multiple of {step}.")
        if not low < high or (legacy_loss and (low, high) != (-1, 1)):
            raise ValueError(f"data_range is {data_range}: expected (low, high), (-1, 1) with legacy_loss.")
        self.data_range, self.centre, self.half_width = (low, high), (low + high) / 2, (high - low) / 2
        # The original wrote 512 x 2 x 2 into its decoder: one size, one depth and one width could run.
        self.grid = image_size // step  # side of the last feature maps
        flat, width = self.hidden_dims[-1] * self.grid**2, self.hidden_dims[0]
        down, up = (in_channels, *self.hidden_dims), (*self.hidden_dims[::-1], width)
        self.encoder = nn.Sequential(*[_level(nn.Conv2d(*pair, 3, 2, 1)) for pair in pairwise(down)])
        self.fc_mu, self.fc_var = nn.Linear(flat, latent_dim), nn.Linear(flat, latent_dim)
        self.decoder_input = nn.Linear(latent_dim, flat)
        *levels, last = [_level(nn.ConvTranspose2d(*pair, 3, 2, 1, 1)) for pair in pairwise(up)]
        self.decoder = nn.Sequential(*levels)
        self.final_layer = last.extend([nn.Conv2d(width, in_channels, 3, 1, 1), nn.Tanh()])
        self.feature_network: nn.Module
        if legacy_loss:
            self.feature_network = _LegacyFeatures(legacy_features)
        elif isinstance(features, VGGFeatures):
            self.feature_network = features
        else:
            self.feature_network = VGGFeatures(weights=features)
        self.register_load_state_dict_post_hook(_pass_over_vgg)

    def encode(self, input: Tensor) -> list[Tensor]:
        """[mu, log_var], each (N, latent_dim). input: float (N, in_channels, S, S) in data_range.

        log_var is cut at +-20. The original's was unbounded (it still is with ``legacy_loss``), and with
        its learning rate of 0.005 the loss became NaN.
        """
        expected = (self.in_channels, self.image_size, self.image_size)
        if tuple(input.shape[1:]) != expected or not input.is_floating_point():
            found = f"images are {tuple(input.shape)} {input.dtype}"
            raise ValueError(f"{found}: expected float (N, {str(expected)[1:]} in {self.data_range}.")
        h = self.encoder((input - self.centre) / self.half_width).flatten(1)  # -> (N, C * grid * grid)
        mu, log_var = self.fc_mu(h), self.fc_var(h)
        if self.legacy_loss:
            return [mu, log_var]
        # The gradient passes uncut: a clamp's is zero outside, and what once is there would never come back.
        cut = log_var.clamp(-LOG_VAR_BOUND, LOG_VAR_BOUND)
        return [mu, cut.detach() + (log_var - log_var.detach())]

    def decode(self, z: Tensor) -> Tensor:
        """Images (N, in_channels, S, S) in data_range from z (N, latent_dim)."""
        h = self.decoder_input(z).unflatten(1, (-1, self.grid, self.grid))  # (N, D) -> (N, C, grid, grid)
        return self.centre + self.half_width * self.final_layer(self.decoder(h))

    def reparameterize(self, mu: Tensor, log_var: Tensor) -> Tensor:
        """z = mu + exp(log_var / 2) * epsilon, epsilon ~ N(0, I): (N, latent_dim)."""
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def forward(self, input: Tensor, **kwargs: Any) -> list[Tensor | list[Tensor]]:
        """[recons, input, recons_features, input_features, mu, log_var], with recons from a sampled z.

        Features: a list of (N, C_l, H_l, W_l). Other keywords (``labels`` of the trainer) are not used.
        """
        mu, log_var = self.encode(input)
        recons = self.decode(self.reparameterize(mu, log_var))
        recons_features = self.extract_features(recons)
        with torch.no_grad():
            input_features = self.extract_features(input)
        return [recons, input, recons_features, input_features, mu, log_var]

    def extract_features(self, input: Tensor, feature_layers: Sequence[str] | None = None) -> list[Tensor]:
        """Features of images in data_range, (N, C_l, H_l, W_l) each, in the order of the loss network.

        feature_layers: some of its layers by name, all unless given. ValueError for an unknown layer.
        ``VGGFeatures`` repairs five faults of the original: images are normalised as the VGG was trained; no
        in-place ReLU overwrites a captured tensor; ``train()`` leaves batch norm in eval, so that no image is
        normalised by its batch; its running statistics do not move; and the VGG ends at the last layer of the
        loss (460 million multiply-adds, not 1,592).
        """
        images = input.expand(-1, 3, -1, -1)  # grey -> three equal channels
        features = self.feature_network((images - self.data_range[0]) / (2 * self.half_width))
        wanted = feature_layers or features.keys()
        if unknown := set(wanted) - set(features):
            raise ValueError(f"no layers {sorted(unknown)}: the loss network gives {', '.join(features)}.")
        return [phi for layer, phi in features.items() if layer in wanted]

    def loss_function(self, *args: Any, M_N: float = 1.0, **kwargs: Any) -> dict[str, Tensor]:
        """Scalars from what ``forward`` returned: ``loss_function(*model(x), M_N=...)``.

        loss: alpha * M_N * KLD + beta * Feature_Loss, the paper's loss with M_N = 1. KLD: nats per image.
        Feature_Loss: sum over layers of 1 / (2 C_l H_l W_l) * squared differences, mean over the batch.
        Reconstruction_Loss: mean squared error of pixels; logged as in the original, not trained on.

        The original added the pixels to the loss, lost the 1/2, logged KLD with the wrong sign and the
        features never (``legacy_loss`` repairs the logs alone). With its M_N the features weigh 2000 times
        the KL in training and half of the KL in validation, so that the best checkpoint is the one with the
        lowest KL: give both the same M_N. ``dfcvae.dfc`` tells how to choose beta for a loss network.
        """
        recons, input, *features_of_both, mu, log_var = args
        pixels, kl = F.mse_loss(recons.float(), input.float()), kl_divergence(mu, log_var)
        pairs = zip(*features_of_both, strict=True)
        squares = torch.stack([F.mse_loss(r.float(), i.float()) for r, i in pairs]).sum()
        features = squares if self.legacy_loss else 0.5 * squares
        loss = self.alpha * M_N * kl + self.beta * (features + pixels if self.legacy_loss else features)
        return {"loss": loss, "Reconstruction_Loss": pixels, "Feature_Loss": features, "KLD": kl}

    def sample(self, num_samples: int, current_device: torch.device | str | int, **kwargs: Any) -> Tensor:
        """Images (num_samples, in_channels, S, S) from z ~ N(0, I). Call ``eval()`` first."""
        return self.decode(torch.randn(num_samples, self.latent_dim).to(current_device))


def _pass_over_vgg(model: DFCVAE, keys: Any) -> None:
    # The original's state dicts carry a VGG; to a dict without versions PyTorch adds batch norm's counters.
    keys.unexpected_keys[:] = [key for key in keys.unexpected_keys if "feature_network." not in key]


def _level(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.LeakyReLU())


class _LegacyFeatures(nn.Module):
    """A frozen copy of vgg19_bn's features whose batch norm follows ``train()``, as the original's did."""

    def __init__(self, features: nn.Module | None) -> None:
        from torchvision.models import vgg19_bn

        super().__init__()
        self.trunk = deepcopy(features or vgg19_bn(weights="IMAGENET1K_V1").features).eval()
        freeze(self.trunk)

    def forward(self, unit: Tensor) -> dict[str, Tensor]:
        """LEGACY_LAYERS of images in [0, 1], as the in-place ReLUs behind leave them; it runs to the end."""
        h, outputs = 2 * unit - 1, {}
        for name, layer in self.trunk.named_children():
            h = outputs[name] = layer(h)
        return {name: outputs[name] for name in LEGACY_LAYERS}
