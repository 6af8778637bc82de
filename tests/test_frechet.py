"""The Fréchet distance in a stream: known Gaussians, scipy's matrix root, and what FID needs."""

import importlib.util

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from dfcvae import VAE
from dfcvae.evaluation import fid, frechet_distance
from dfcvae.fid import FrechetDistance, inception, what_fid_needs
from dfcvae.latent import Gaussian


class Linear(torch.nn.Module):
    """Features that are known: the first three numbers of a picture."""

    def forward(self, x):
        return x.flatten(1)[:, :3]


def whitened(n: int, seed: int) -> torch.Tensor:
    """Rows with mean 0 and covariance the identity, exactly: (n, 3), float64."""
    a = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)).double()
    return (a - a.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(a.T))).T


def pictures(features: torch.Tensor) -> torch.Tensor:
    x = torch.rand(len(features), 3, 4, 4).double()
    x.view(len(features), -1)[:, :3] = features
    return x


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    gap, c, d = a.mean(0) - b.mean(0), np.cov(a.T), np.cov(b.T)
    return float(gap @ gap + np.trace(c + d - 2 * sqrtm(c @ d).real))


def test_a_stream_of_pictures_with_an_extractor_of_ones_own():
    distance = FrechetDistance(Linear())
    a = pictures(whitened(501, seed=1))
    b = pictures(whitened(300, seed=2) * torch.tensor([1.0, 1.0, 4.0]) + 1000)
    for part in a.split(64):  # the last has 53
        distance.add(part, real=True)
    for part in b.split(299):  # the last is a single one
        distance.add(part, real=False)
    assert distance.compute() == pytest.approx(3 * 1000**2 + (4 - 1) ** 2, rel=1e-9)
    distance.forget_made()
    distance.add(a, real=False)
    assert distance.compute() == pytest.approx(0, abs=1e-9)


def test_frechet_distance_is_scipys():
    mixing = torch.randn(6, 6).double()
    a, b = torch.randn(200, 6).double() @ mixing, torch.rand(150, 6).double()
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a.numpy(), b.numpy()), rel=1e-6)


def test_too_few_pictures_and_features_that_are_no_rows_are_refused():
    with pytest.raises(ValueError, match=r"features \(5, 3, 4, 4\) of 5 pictures"):
        FrechetDistance(torch.nn.Identity()).add(torch.rand(5, 3, 4, 4), real=True)
    distance = FrechetDistance(Linear())
    with pytest.raises(ValueError, match="0 originals and 0 pictures made"):
        distance.compute()
    distance.add(torch.rand(5, 3, 4, 4), real=True)
    distance.add(torch.rand(1, 3, 4, 4), real=False)
    with pytest.raises(ValueError, match="5 originals and 1 pictures made: a Gaussian needs two"):
        distance.compute()
    distance.forget_made()
    with pytest.raises(ValueError, match="5 originals and 0"):
        distance.compute()


class Pooled(torch.nn.Module):
    def forward(self, x):
        assert not self.training
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def test_fid_of_a_model_is_that_of_all_its_pictures_at_once(images):
    model, extractor = VAE(32, 4, (4, 6)).train(), Pooled()
    far = Gaussian(torch.full((4,), 2.0), 0.1 * torch.eye(4))
    found = fid(model, images, extractor, {"far": far}, seed=3, batch_size=64)
    assert model.training and extractor.training
    model.eval(), extractor.eval()
    generator = torch.Generator().manual_seed(3)
    made = {"reconstructions": model.generate(images.float()), "prior": model.sample(40, generator=generator)}
    with torch.no_grad():
        made["far"] = model.decode(far.sample(40, generator))
    real = extractor(images.float())
    expected = {name: frechet_distance(real, extractor(x)) for name, x in made.items()}
    assert found == pytest.approx(expected, rel=1e-4)
    in_parts = fid(model, images, extractor, batch_size=7)
    assert in_parts.keys() == {"reconstructions", "prior"}
    assert in_parts["reconstructions"] == pytest.approx(expected["reconstructions"], rel=1e-4)
    with pytest.raises(ValueError, match="1 originals"):
        fid(model, images[0], extractor)


def test_what_fid_needs_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("DFCVAE_INCEPTION", str(tmp_path / "inception.pth"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert inception() is None
    for words in ("pip install torch-fidelity", "inception.pth", "nothing is downloaded"):
        assert words in what_fid_needs()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert "pip install" not in what_fid_needs()
    (tmp_path / "inception.pth").write_bytes(b"")
    assert what_fid_needs() == ""


def test_weights_that_would_be_executed_are_refused(monkeypatch, tmp_path):
    path = tmp_path / "inception.pth"
    torch.save({"print": print}, path)
    monkeypatch.setenv("DFCVAE_INCEPTION", str(path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ValueError, match="inception.pth is refused"):
        inception()
