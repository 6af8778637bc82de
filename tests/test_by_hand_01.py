"""What notebook 01 builds by hand, pulled out of it by name, against the package and torch.distributions."""

import math

import pytest
import torch
from by_hand import definitions
from torch import nn
from torch.distributions import Normal, kl_divergence

import dfcvae
from dfcvae import faces
from dfcvae.course import lesson_01


@pytest.fixture(scope="module")
def by_hand():
    return definitions("01_plain_vae.ipynb", math=math, torch=torch, nn=nn, dfcvae=dfcvae)


@pytest.mark.parametrize(("size", "channels"), [(32, (3, 5)), (64, (4, 6, 8, 10))])
def test_networks(by_hand, size, channels):
    vae = dfcvae.VAE(size, latent_dim=3, channels=channels)
    vae(torch.rand(4, 3, size, size))  # moves the running statistics off 0 and 1
    vae.eval()
    encoder = by_hand["with_weights_of"](vae.encoder, by_hand["encoder_by_hand"](channels))
    decoder = by_hand["with_weights_of"](vae.decoder, by_hand["decoder_by_hand"](channels))
    x = torch.rand(2, 3, size, size)
    h = vae.encoder(x)
    torch.testing.assert_close(encoder(x), h)
    torch.testing.assert_close(decoder(h), vae.decoder(h))


def test_reparameterisation(by_hand):
    mu, log_var, noise = torch.randn(3, 6, 5)
    z = dfcvae.VAE(32, 5, (4,)).reparameterize(mu, log_var, epsilon=noise)
    torch.testing.assert_close(by_hand["reparameterize_by_hand"](mu, log_var, noise), z)


def test_kl(by_hand):
    mu, log_var = torch.randn(2, 6, 5)
    expected = kl_divergence(Normal(mu, (0.5 * log_var).exp()), Normal(0.0, 1.0))  # (N, latents)
    torch.testing.assert_close(by_hand["kl_by_hand"](mu, log_var), expected.sum(1).mean())
    torch.testing.assert_close(by_hand["kl_by_hand"](mu, log_var), dfcvae.kl_divergence(mu, log_var))
    torch.testing.assert_close(by_hand["kl_per_latent"](mu, log_var), expected.mean(0))
    drawn = by_hand["kl_from_draws"](mu, log_var, 20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), expected.sum(1), rtol=0.05, atol=0.1)


@pytest.mark.parametrize(("mu", "log_var"), [(0.7, -1.0), (-0.4, 0.5), (1.2, math.log(0.2))])
def test_elbo(by_hand, mu, log_var):
    """By numerical integration over q, without a closed form; and log p(x) = ELBO + KL(q || posterior)."""
    x, sigma = torch.tensor(1.5), 0.5
    q = Normal(torch.tensor(mu), math.exp(0.5 * log_var))
    z = torch.linspace(-12, 12, 48_001)
    integrand = Normal(z, sigma).log_prob(x) + Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
    expected = torch.trapezoid(q.log_prob(z).exp() * integrand, z)
    elbo = by_hand["elbo_by_hand"](x, torch.tensor(mu), torch.tensor(log_var), sigma)
    torch.testing.assert_close(elbo, expected, rtol=1e-4, atol=1e-4)
    posterior = Normal(x / (1 + sigma**2), math.sqrt(sigma**2 / (1 + sigma**2)))
    evidence = Normal(0.0, math.sqrt(1 + sigma**2)).log_prob(x)
    torch.testing.assert_close(evidence, elbo + kl_divergence(q, posterior), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 10.0), (0.0, 3.0), (2.5, 0.5)])
def test_loss(by_hand, alpha, beta):
    model = dfcvae.DFCVAE("pixel", image_size=32, latent_dim=5, channels=(4,), alpha=alpha, beta=beta)
    x, out = torch.rand(3, 3, 32, 32), model(torch.rand(3, 3, 32, 32))
    ours = by_hand["plain_loss_by_hand"](out.reconstruction, x, out.mu, out.log_var, alpha, beta)
    torch.testing.assert_close(ours, model.loss_function(out, x)["loss"])


def test_sigma_is_the_noise_that_beta_claims(by_hand):
    """The loss is the negative log-likelihood up to a constant: its gradients are the same."""
    x, x_hat = torch.rand(2, 12), torch.rand(2, 12, requires_grad=True)
    sigma = by_hand["sigma_of"](7.0)
    (claimed,) = torch.autograd.grad(-Normal(x_hat, sigma).log_prob(x).sum(), x_hat)
    torch.testing.assert_close(claimed, 2 * 7.0 * (x_hat - x).detach())


def test_active_units_and_a_sample(by_hand):
    mu = torch.randn(500, 3) * torch.tensor([1.0, 0.2, 0.01])
    assert by_hand["active_units"](mu).tolist() == [True, True, False]
    noisy = by_hand["sample_by_hand"](torch.full((100, 100), 0.5), 0.3, torch.Generator().manual_seed(0))
    assert abs(noisy.mean() - 0.5) < 0.02 and abs(noisy.std() - 0.3) < 0.02


def test_faces_of_three_kinds_and_the_nearest_of_them(by_hand):
    small = lesson_01.three_kinds(12)
    assert small.pixels.shape == (12, 3, 32, 32) and small.attribute_names == lesson_01.KINDS
    assert small.attributes.int().argmax(1).tolist() == [0, 1, 2] * 4
    x = small.float()
    errors = [(x[0] - x[i]).square().mean().sqrt() for i in (1, 2)]
    torch.testing.assert_close(by_hand["error_to_nearest"](x[:1], x[1:3])[0], min(errors), rtol=1e-3, atol=0)


def test_the_grid_of_the_plane_goes_as_one_reads(by_hand):
    grid = by_hand["plane_grid"](3.0, side=3)
    assert grid.tolist() == [[x, y] for y in (2.0, 0.0, -2.0) for x in (-2.0, 0.0, 2.0)]


def test_the_face_drawn_many_times():
    factors = lesson_01.one_face_many_times(5)
    differ = {name for name, value in factors.items() if torch.as_tensor(value).unique().numel() > 1}
    assert differ == {"x", "y", "hair_seed", "texture_seed"} and factors["x"].abs().max() <= 2 / 64
    assert faces.draw(factors).shape == (5, 3, 64, 64)
