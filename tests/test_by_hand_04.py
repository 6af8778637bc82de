"""What notebook 04 builds by hand is what the package computes."""

import pytest
import torch
import torch.nn.functional as F
from by_hand import definitions

import dfcvae
from dfcvae.evaluation import laplacian


@pytest.fixture(scope="module")
def by_hand():
    return definitions("04_dfc_vae.ipynb", torch=torch, F=F, dfcvae=dfcvae)


@pytest.fixture
def model(vgg_file):
    return dfcvae.DFCVAE(features=vgg_file, image_size=32, latent_dim=5, channels=(4, 6), alpha=0.7, beta=3.0)


def test_loss_and_its_gradient(by_hand, model):
    x = torch.rand(4, 3, 32, 32)
    out = model(x)
    perceptual = model.perceptual
    ours = by_hand["dfc_loss"](x, *out, perceptual.vgg, perceptual.layer_weights, model.alpha, model.beta)
    theirs = model.loss_function(out, x)["loss"]
    torch.testing.assert_close(ours, theirs)
    weight = model.decoder[-1][0].weight
    gradients = [torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (ours, theirs)]
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_laplacian_power(by_hand):
    x = torch.rand(3, 3, 20, 20)
    assert by_hand["laplacian_power"](x) == pytest.approx(laplacian(x).var().item(), rel=1e-5)


def test_small_models_start_alike(by_hand):
    a, b = by_hand["small_model"](), by_hand["small_model"]()
    assert all(p.equal(q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_wipe_goes_from_picture_to_picture(by_hand):
    three = torch.stack([torch.full((3, 8, 8), value) for value in (0.1, 0.2, 0.3)])
    for position in (0.0, 1.0, 2.0):
        assert by_hand["wipe"](three, position).equal(three[int(position)][None])
    half = by_hand["wipe"](three, 1.5)[0]
    assert half[..., :4].eq(three[2, 0, 0, 0]).all() and half[..., 5:].eq(three[1, 0, 0, 0]).all()
    assert half[..., 4].eq(1).all()
    assert three.unique().numel() == 3  # the row itself stays as it was
