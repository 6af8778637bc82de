"""What notebook 05 builds by hand is what the package, torch and scipy-free formulas give."""

import pytest
import torch
from by_hand import definitions

from dfcvae import VAE, latent


@pytest.fixture(scope="module")
def by_hand():
    return definitions("05_latent_space.ipynb", torch=torch)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_samples(by_hand):
    model = VAE(32, latent_dim=7, channels=(4, 6)).eval()
    for temperature in (0.0, 0.4, 1.0):
        ours = by_hand["sample_by_hand"](model, 3, temperature, seeded())
        torch.testing.assert_close(ours, model.sample(3, temperature, generator=seeded()))


def test_the_straight_way(by_hand):
    a, b = torch.randn(2, 9)
    ours = by_hand["interpolate_by_hand"](a, b, 6)
    torch.testing.assert_close(ours, latent.interpolate(a, b, 6))
    torch.testing.assert_close(ours, torch.stack([torch.lerp(a, b, i / 5) for i in range(6)]))


def test_attribute_vectors(by_hand):
    mu, has = torch.randn(50, 4), torch.rand(50, 3) < 0.4
    for n in (5, 1000):
        ours = torch.stack([by_hand["attribute_vector_by_hand"](mu, column, n) for column in has.T])
        torch.testing.assert_close(ours, latent.attribute_vectors(mu, has, n))


def test_correlations(by_hand):
    table = torch.randn(60, 3) @ torch.randn(3, 3)
    for i in range(3):
        ours = by_hand["correlation_by_hand"](table[:, i], table[:, 1])
        torch.testing.assert_close(ours, latent.correlations(table)[i, 1])
        torch.testing.assert_close(ours, torch.corrcoef(table.T)[i, 1])


def test_wilson(by_hand):
    for hits, n in ((0, 5), (3, 7), (95, 100), (50, 50)):
        assert by_hand["wilson_by_hand"](hits, n) == pytest.approx(latent.wilson(hits, n), abs=1e-4)
