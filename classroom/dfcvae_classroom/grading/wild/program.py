"""The program of problem set 4 without a fault: ``faults.py`` puts the dealt ones into this very text.

A DFC-VAE as one finds it, in the shape of published ports, written anew. Its promises stand in the notebook.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def small_vgg(widths=(8, 12, 16, 16, 16), seed=0):
    """A stand-in for torchvision's vgg19_bn().features: the same 53 layers, few channels, drawn weights."""
    generator, layers, c_in = torch.Generator().manual_seed(seed), [], 3
    for convs, width in zip((2, 2, 4, 4, 4), widths, strict=True):
        for _ in range(convs):
            conv, norm = nn.Conv2d(c_in, width, 3, padding=1), nn.BatchNorm2d(width)
            nn.init.normal_(conv.weight, std=(2 / (9 * c_in)) ** 0.5, generator=generator)
            nn.init.normal_(conv.bias, std=0.1, generator=generator)
            norm.running_mean.normal_(std=0.2, generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
            layers += [conv, norm, nn.ReLU(inplace=True)]
            c_in = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers).eval()


class Judge(nn.Module):
    """The loss network: what chosen layers of a VGG make of images.

    trunk: the .features of a vgg19_bn, which is copied. layers: numbers of layers in it.
    """

    def __init__(self, trunk, layers):
        super().__init__()
        self.layers = sorted(layers)
        self.trunk = copy.deepcopy(trunk[: self.layers[-1] + 1]).eval()
        for part in self.trunk:
            for name, tensor in [*part.named_parameters(), *part.named_buffers()]:
                delattr(part, name)
                part.register_buffer(name, tensor.detach(), persistent=False)

    def train(self, mode=True):
        return super().train(False)

    def forward(self, x):
        """A list with one (N, C_l, H_l, W_l) a layer."""
        mean = x.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = x.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        h, seen = (x - mean) / std, []
        for number, layer in enumerate(self.trunk):
            h = layer(h)
            if number in self.layers:
                seen.append(h.clone())
        return seen


class WildDFCVAE(nn.Module):
    """Deep Feature Consistent VAE (Hou et al., arXiv 1610.00291).

    trunk, layers: of the judge. channels: of the encoder's levels, each of which halves the side.
    alpha, beta: weights of the KL and of the features.
    """

    def __init__(
        self, trunk, image_size=64, latent_dim=32, channels=None, layers=(2, 9, 16), alpha=1.0, beta=0.5
    ):
        super().__init__()
        channels = [16, 32, 64, 128] if channels is None else channels
        self.latent_dim, self.alpha, self.beta = latent_dim, alpha, beta
        self.judge = Judge(trunk, layers)

        levels, c_in = [], 3
        for c_out in channels:
            levels += [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
            c_in = c_out
        self.encoder = nn.Sequential(*levels, nn.Flatten())

        grid = image_size // 2 ** len(channels)
        self.start = (channels[-1], grid, grid)
        flat = channels[-1] * grid * grid
        self.to_mu, self.to_log_var = nn.Linear(flat, latent_dim), nn.Linear(flat, latent_dim)
        self.from_z = nn.Linear(latent_dim, flat)

        channels, levels = channels[::-1], []
        for c_in, c_out in zip(channels, channels[1:], strict=False):
            levels += [nn.Upsample(scale_factor=2), nn.Conv2d(c_in, c_out, 3, padding=1)]
            levels += [nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
        levels += [nn.Upsample(scale_factor=2), nn.Conv2d(channels[-1], 3, 3, padding=1)]
        self.decoder = nn.Sequential(*levels, nn.Sigmoid())

    def encode(self, x):
        """mu and log_var, each (N, latent_dim)."""
        h = self.encoder(x)
        return self.to_mu(h), self.to_log_var(h).clamp(-20, 20)

    def reparameterize(self, mu, log_var):
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z):
        return self.decoder(self.from_z(z).view(-1, *self.start))

    def forward(self, x):
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var)), mu, log_var

    def features(self, x):
        return self.judge(x)

    def loss_function(self, x, x_hat, mu, log_var):
        """loss = alpha * kl + beta * features; all three are scalars."""
        kl = -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(dim=1).mean()
        with torch.no_grad():
            target = self.features(x)
        pairs = zip(self.features(x_hat), target, strict=True)
        features = sum(0.5 * F.mse_loss(phi_hat, phi) for phi_hat, phi in pairs)
        return {"loss": self.alpha * kl + self.beta * features, "kl": kl, "features": features}

    def generate(self, x):
        """Reconstructions to show and to measure."""
        return self.decode(self.encode(x)[0])

    @torch.no_grad()
    def sample(self, n):
        return self.decode(torch.randn(n, self.latent_dim).to(self.from_z.weight))
