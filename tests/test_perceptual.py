"""The perceptual loss: the paper's formula, both images alike, one weight a layer, calibration."""

import json

import numpy as np
import pytest
import torch
from conftest import CALIBRATION, NORMALISATION
from safetensors.torch import save_file
from torch import nn

from dfcvae import DFCVAE, PerceptualLoss, VGGFeatures, faces
from dfcvae.dfc import VAE_123
from dfcvae.perceptual import calibrate, convert_weights

LAYERS = VAE_123


@pytest.fixture
def vgg(vgg_file) -> VGGFeatures:
    return VGGFeatures(layers=LAYERS, weights=vgg_file)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(3, 3, 32, 32), torch.rand(3, 3, 32, 32)


def test_paper_formula_layer_by_layer(vgg, pair):
    with torch.no_grad():
        phi_hat, phi = vgg(pair[0]), vgg(pair[1])
    found, mean = PerceptualLoss(vgg).per_layer(*pair), PerceptualLoss(vgg, "mean").per_layer(*pair)
    for layer in LAYERS:
        a, b = phi_hat[layer].double().numpy(), phi[layer].double().numpy()
        n, c, h, w = a.shape
        by_image = [np.sum((a[i] - b[i]) ** 2) / (2 * c * h * w) for i in range(n)]
        assert found[layer].item() == pytest.approx(sum(by_image) / n, rel=1e-5)
        torch.testing.assert_close(mean[layer], 2 * found[layer])
    torch.testing.assert_close(PerceptualLoss(vgg)(*pair), sum(found.values()))
    one_by_one = torch.stack([PerceptualLoss(vgg)(a[None], b[None]) for a, b in zip(*pair, strict=True)])
    torch.testing.assert_close(one_by_one.mean(), PerceptualLoss(vgg)(*pair))


def test_one_layer_computed_from_the_pixels_by_hand(tmp_path, pair):
    """conv1_1 passes on red, so Phi = relu((red - mean) / std): both images must be normalised for this."""
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, 0, 1, 1] = 1
    mean, std = [0.4, 0.5, 0.6], [0.25, 0.5, 0.75]
    tensors = {"features.0.weight": weight, "features.0.bias": torch.zeros(1)}
    save_file(tensors, tmp_path / "red.safetensors", {"mean": str(mean), "std": str(std)})
    loss = PerceptualLoss(VGGFeatures(layers=["relu1_1"], weights=tmp_path / "red.safetensors"))
    red_hat, red = (np.maximum((images[:, 0].numpy().astype(float) - 0.4) / 0.25, 0) for images in pair)
    expected = np.mean([np.sum((a - b) ** 2) / (2 * 1 * 32 * 32) for a, b in zip(red_hat, red, strict=True)])
    assert loss(*pair).item() == pytest.approx(expected, rel=1e-5)


def test_every_layer_has_a_weight_of_its_own(vgg, pair):
    plain = PerceptualLoss(vgg).per_layer(*pair)
    found = PerceptualLoss(vgg, layer_weights={"relu2_1": 3, "relu3_1": 0.0}).per_layer(*pair)
    expected = {"relu1_1": plain["relu1_1"], "relu2_1": 3 * plain["relu2_1"], "relu3_1": torch.tensor(0.0)}
    torch.testing.assert_close(found, expected)


def test_gradient_is_that_of_finite_differences_and_reaches_x_hat_only(vgg, pair):
    loss = PerceptualLoss(vgg.double())
    x_hat, x = (images[:1].double().requires_grad_() for images in pair)
    loss(x_hat, x).backward()
    assert x.grad is None and all(buffer.grad is None for buffer in vgg.buffers())
    with torch.no_grad():
        direction = torch.randn_like(x_hat)
        rise = loss(x_hat + 1e-4 * direction, x) - loss(x_hat - 1e-4 * direction, x)
    assert (x_hat.grad * direction).sum().item() == pytest.approx(rise.item() / 2e-4, rel=0.02)


def test_squares_do_not_overflow_where_the_network_runs_in_half_precision():
    class Half(nn.Module):
        layers = ("relu1_1",)

        def forward(self, x):
            return {"relu1_1": x.half()}

    value = PerceptualLoss(Half(), "mean")(torch.full((1, 3, 8, 8), 400.0), torch.zeros(1, 3, 8, 8))
    assert value.dtype == torch.float32 and value.item() == pytest.approx(160_000)


def test_what_does_not_fit_is_refused(vgg):
    with pytest.raises(ValueError, match="unknown reduction 'sum': expected one of paper, mean"):
        PerceptualLoss(vgg, "sum")
    with pytest.raises(ValueError, match=r"\['relu4_1'\].*relu1_1, relu2_1, relu3_1"):
        PerceptualLoss(vgg, layer_weights={"relu4_1": 1.0})
    with pytest.raises(ValueError, match=r"x_hat is \(1, 3, 32, 32\) and x \(1, 3, 16, 16\)"):
        PerceptualLoss(vgg)(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 16, 16))


# --- networks of different scales


@pytest.fixture
def scaled(vgg_tensors, tmp_path):
    """The tests' VGG with features s_l times as large in the first three blocks: ReLUs and pools pass on."""

    def build(*scales: float) -> VGGFeatures:
        tensors, before = vgg_tensors(), 1.0
        for index, block in {0: 0, 2: 0, 5: 1, 7: 1, 10: 2}.items():
            scale = scales[block]
            tensors[f"features.{index}.weight"] *= scale / before
            tensors[f"features.{index}.bias"] *= scale
            before = scale
        save_file(tensors, tmp_path / "scaled.safetensors", NORMALISATION)
        return VGGFeatures(layers=LAYERS, weights=tmp_path / "scaled.safetensors")

    return build


@pytest.mark.parametrize("scales", [(4.0, 0.25, 32.0), (3.7, 0.11, 41.0)])
def test_weights_convert_exactly_between_networks_that_differ_by_a_scalar_a_layer(vgg, scaled, pair, scales):
    """Powers of two change no rounding, so equal means equal to the last bit."""
    other, by_layer = scaled(*scales), dict(zip(LAYERS, scales, strict=True))
    weights = {"relu1_1": 2.0, "relu2_1": 0.5, "relu3_1": 7.0}
    expected = PerceptualLoss(vgg, layer_weights=weights).per_layer(*pair)
    converted = PerceptualLoss(other, layer_weights=convert_weights(weights, by_layer)).per_layer(*pair)
    exact = {"rtol": 0, "atol": 0} if scales[0] == 4 else {}
    torch.testing.assert_close(converted, expected, **exact)


def test_calibration_puts_two_drawn_faces_at_distance_one_whatever_the_scale(vgg, scaled, pair):
    vgg.calibration.clear()  # made up
    weights = calibrate(vgg)
    x = faces.draw(faces.split_factors("train", 64, distribution="independent"), size=64).float() / 255
    terms = PerceptualLoss(vgg, "mean", weights).per_layer(x, x.roll(1, dims=0))
    assert [term.item() for term in terms.values()] == pytest.approx([1.0] * 3, rel=1e-4)
    other = scaled(8.0, 0.5, 64.0)
    found = PerceptualLoss(other, "mean", calibrate(other)).per_layer(*pair)
    torch.testing.assert_close(found, PerceptualLoss(vgg, "mean", weights).per_layer(*pair))


def test_faces_are_drawn_for_a_network_without_constants_and_once(vgg_tensors, tmp_path, monkeypatch):
    drawn, draw = [], faces.draw
    monkeypatch.setattr(faces, "draw", lambda *a, **k: drawn.append(1) or draw(*a, **k))
    options = {"image_size": 32, "latent_dim": 5, "channels": (4, 6)}
    for metadata, calls in (NORMALISATION, 1), (NORMALISATION | {"calibration": json.dumps(CALIBRATION)}, 0):
        save_file(vgg_tensors(), tmp_path / "vgg.safetensors", metadata)
        network = VGGFeatures(layers=LAYERS, weights=tmp_path / "vgg.safetensors")
        weights = [DFCVAE("vae-123", network, **options).perceptual.layer_weights for _ in range(2)]
        assert len(drawn) == calls and weights[0] == weights[1]
        drawn.clear()
    assert weights[0] == {layer: 1 / CALIBRATION[layer] for layer in LAYERS}


def test_a_network_that_sees_nothing_is_refused(vgg_tensors, tmp_path):
    dead = {key: torch.zeros_like(tensor) for key, tensor in vgg_tensors().items()}
    save_file(dead, tmp_path / "dead.safetensors", NORMALISATION | {"name": "dead VGG"})
    with pytest.raises(ValueError, match="dead VGG gives the same relu1_1 for every face"):
        calibrate(VGGFeatures(layers=LAYERS, weights=tmp_path / "dead.safetensors"))
