"""The perceptual loss: the paper's formula, both images alike, one weight a layer, exact conversion."""

import numpy as np
import pytest
import torch
from conftest import NORMALISATION
from safetensors.torch import save_file
from torch import nn

from dfcvae import PerceptualLoss, VGGFeatures, faces
from dfcvae.perceptual import calibrate, convert_weights

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


@pytest.fixture
def vgg(vgg_file) -> VGGFeatures:
    return VGGFeatures(layers=LAYERS, weights=vgg_file)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(3, 3, 32, 32), torch.rand(3, 3, 32, 32)


class Stub(nn.Module):
    """A loss network that returns its input under one name, in a dtype of choice."""

    layers, dtype = ("relu1_1",), torch.float32

    def forward(self, x):
        return {"relu1_1": x.to(self.dtype)}


def test_paper_formula_layer_by_layer(vgg, pair):
    x_hat, x = pair
    with torch.no_grad():
        phi_hat, phi = vgg(x_hat), vgg(x)
    found = PerceptualLoss(vgg).per_layer(x_hat, x)
    for layer in LAYERS:
        a, b = phi_hat[layer].double().numpy(), phi[layer].double().numpy()
        n, c, h, w = a.shape
        by_image = [np.sum((a[i] - b[i]) ** 2) / (2 * c * h * w) for i in range(n)]
        assert found[layer].item() == pytest.approx(sum(by_image) / n, rel=1e-5)
    assert PerceptualLoss(vgg)(x_hat, x).item() == pytest.approx(
        sum(v.item() for v in found.values()), rel=1e-6
    )


def test_one_layer_computed_from_the_pixels_by_hand(tmp_path, pair):
    """conv1_1 passes on red, so Phi = relu((red - mean) / std): both images must be normalised for this."""
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, 0, 1, 1] = 1
    mean, std = [0.4, 0.5, 0.6], [0.25, 0.5, 0.75]
    tensors = {"features.0.weight": weight, "features.0.bias": torch.zeros(1)}
    save_file(tensors, tmp_path / "red.safetensors", {"mean": str(mean), "std": str(std)})
    loss = PerceptualLoss(VGGFeatures(layers=["relu1_1"], weights=tmp_path / "red.safetensors"))
    x_hat, x = pair
    red_hat, red = (np.maximum((images[:, 0].numpy().astype(float) - 0.4) / 0.25, 0) for images in pair)
    expected = np.mean([np.sum((a - b) ** 2) / (2 * 1 * 32 * 32) for a, b in zip(red_hat, red, strict=True)])
    assert loss(x_hat, x).item() == pytest.approx(expected, rel=1e-5)


def test_both_images_are_normalised(vgg, pair, monkeypatch):
    normalised, normalise = [], vgg.normalise
    monkeypatch.setattr(vgg, "normalise", lambda x: normalised.append(x) or normalise(x))
    x_hat, x = pair
    PerceptualLoss(vgg)(x_hat, x)
    assert len(normalised) == 2 and any(seen.equal(x) for seen in normalised)
    assert any(seen.equal(x_hat) for seen in normalised)


def test_plain_mean_squares_are_twice_the_papers(vgg, pair):
    paper, mean = PerceptualLoss(vgg).per_layer(*pair), PerceptualLoss(vgg, "mean").per_layer(*pair)
    for layer in LAYERS:
        torch.testing.assert_close(mean[layer], 2 * paper[layer])
        expected = (vgg(pair[0])[layer] - vgg(pair[1])[layer]).square().mean()
        torch.testing.assert_close(mean[layer], expected)


def test_every_layer_has_a_weight_of_its_own(vgg, pair):
    plain = PerceptualLoss(vgg).per_layer(*pair)
    weighted = PerceptualLoss(vgg, layer_weights={"relu2_1": 3, "relu3_1": 0.0})
    found = weighted.per_layer(*pair)
    torch.testing.assert_close(found["relu1_1"], plain["relu1_1"])
    torch.testing.assert_close(found["relu2_1"], 3 * plain["relu2_1"])
    assert found["relu3_1"] == 0
    torch.testing.assert_close(weighted(*pair), plain["relu1_1"] + 3 * plain["relu2_1"])


def test_loss_of_an_image_with_itself_is_zero(vgg, pair):
    assert PerceptualLoss(vgg)(pair[0], pair[0].clone()).item() == 0
    assert PerceptualLoss(vgg)(*pair).item() > 0


def test_gradient_reaches_the_reconstruction_and_never_the_original_or_the_network(vgg, pair):
    x_hat, x = (image.requires_grad_() for image in pair)
    PerceptualLoss(vgg)(x_hat, x).backward()
    assert x_hat.grad.abs().sum() > 0 and x.grad is None
    assert all(buffer.grad is None and not buffer.requires_grad for buffer in vgg.buffers())


def test_gradient_is_that_of_finite_differences(vgg, pair):
    loss = PerceptualLoss(vgg)
    loss.vgg.double()
    x_hat, x = pair[0][:1].double().requires_grad_(), pair[1][:1].double()
    direction = torch.randn_like(x_hat)
    (slope,) = torch.autograd.grad(sum(loss.per_layer(x_hat, x).values()), x_hat)
    step = 1e-4 * direction
    rise = loss(x_hat.detach() + step, x) - loss(x_hat.detach() - step, x)
    assert (slope * direction).sum().item() == pytest.approx(rise.item() / 2e-4, rel=0.02)


@pytest.mark.parametrize("reduction", ["paper", "mean"])
def test_loss_does_not_depend_on_the_batch_size(vgg, pair, reduction):
    loss = PerceptualLoss(vgg, reduction)
    x_hat, x = pair
    torch.testing.assert_close(loss(x_hat.repeat(4, 1, 1, 1), x.repeat(4, 1, 1, 1)), loss(x_hat, x))
    one_by_one = torch.stack([loss(a[None], b[None]) for a, b in zip(x_hat, x, strict=True)])
    torch.testing.assert_close(one_by_one.mean(), loss(x_hat, x))


def test_squares_do_not_overflow_where_the_network_runs_in_half_precision():
    stub = Stub()
    stub.dtype = torch.float16
    value = PerceptualLoss(stub, "mean")(torch.full((1, 3, 8, 8), 400.0), torch.zeros(1, 3, 8, 8))
    assert value.dtype == torch.float32 and value.item() == pytest.approx(160_000)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduction": "sum"}, "unknown reduction 'sum': expected one of paper, mean"),
        ({"layer_weights": {"relu4_1": 1.0}}, r"\['relu4_1'\].*relu1_1, relu2_1, relu3_1"),
    ],
)
def test_unknown_options_are_refused(vgg, options, words):
    with pytest.raises(ValueError, match=words):
        PerceptualLoss(vgg, **options)


def test_images_of_two_sizes_are_refused(vgg):
    with pytest.raises(ValueError, match=r"x_hat is \(1, 3, 32, 32\) and x \(1, 3, 16, 16\)"):
        PerceptualLoss(vgg)(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 16, 16))


def scaled(tensors: dict[str, torch.Tensor], scales: dict[int, float]) -> dict[str, torch.Tensor]:
    """The same VGG-19 with block b's features scales[b] times as large: ReLUs and pools pass a factor on."""
    first, before, out = {1: 0, 2: 5, 3: 10}, 1.0, dict(tensors)
    block = 0
    for index in sorted({int(key.split(".")[1]) for key in tensors}):
        if index > 10:
            break
        block = max(b for b, start in first.items() if start <= index)
        factor = scales[block] / before
        out[f"features.{index}.weight"] = tensors[f"features.{index}.weight"] * factor
        out[f"features.{index}.bias"] = tensors[f"features.{index}.bias"] * scales[block]
        before = scales[block]
    return out


def test_conversion_between_networks_that_differ_by_a_scalar_a_layer_is_exact(vgg_tensors, tmp_path, pair):
    """Powers of two change no rounding, so equal means equal to the last bit."""
    scales = {1: 4.0, 2: 0.25, 3: 32.0}
    save_file(vgg_tensors(), tmp_path / "a.safetensors", NORMALISATION)
    save_file(scaled(vgg_tensors(), scales), tmp_path / "b.safetensors", NORMALISATION)
    a, b = (VGGFeatures(layers=LAYERS, weights=tmp_path / f"{name}.safetensors") for name in "ab")
    by_layer = {layer: scales[i] for i, layer in enumerate(LAYERS, start=1)}
    for layer, phi in b(pair[0]).items():
        assert phi.equal(a(pair[0])[layer] * by_layer[layer]), layer

    weights = {"relu1_1": 2.0, "relu2_1": 0.5, "relu3_1": 7.0}
    converted = PerceptualLoss(b, layer_weights=convert_weights(weights, by_layer)).per_layer(*pair)
    for layer, term in PerceptualLoss(a, layer_weights=weights).per_layer(*pair).items():
        assert term.item() == converted[layer].item() > 0, layer


def test_conversion_for_scales_that_round(vgg_tensors, tmp_path, pair):
    scales = {1: 3.7, 2: 0.11, 3: 41.0}
    save_file(vgg_tensors(), tmp_path / "a.safetensors", NORMALISATION)
    save_file(scaled(vgg_tensors(), scales), tmp_path / "b.safetensors", NORMALISATION)
    a, b = (VGGFeatures(layers=LAYERS, weights=tmp_path / f"{name}.safetensors") for name in "ab")
    by_layer = {layer: scales[i] for i, layer in enumerate(LAYERS, start=1)}
    converted = PerceptualLoss(b, layer_weights=convert_weights(dict.fromkeys(LAYERS, 1.0), by_layer))
    torch.testing.assert_close(converted(*pair), PerceptualLoss(a)(*pair))


def test_calibration_puts_two_drawn_faces_at_distance_one_in_every_layer(vgg):
    weights = calibrate(vgg)
    x = faces.draw(faces.split_factors("train", 64, distribution="independent"), size=64).float() / 255
    terms = PerceptualLoss(vgg, "mean", weights).per_layer(x, x.roll(1, dims=0))
    assert [term.item() for term in terms.values()] == pytest.approx([1.0] * 3, rel=1e-4)
    assert len(set(weights.values())) == 3


def test_calibration_takes_out_the_scale_of_the_features(vgg, vgg_tensors, tmp_path, pair):
    save_file(scaled(vgg_tensors(), {1: 8.0, 2: 0.5, 3: 64.0}), tmp_path / "b.safetensors", NORMALISATION)
    other = VGGFeatures(layers=LAYERS, weights=tmp_path / "b.safetensors")
    expected = PerceptualLoss(vgg, "mean", calibrate(vgg)).per_layer(*pair)
    for layer, term in PerceptualLoss(other, "mean", calibrate(other)).per_layer(*pair).items():
        torch.testing.assert_close(term, expected[layer])


def test_calibration_refuses_a_network_that_sees_nothing(vgg_tensors, tmp_path):
    dead = {key: torch.zeros_like(tensor) for key, tensor in vgg_tensors().items()}
    save_file(dead, tmp_path / "dead.safetensors", NORMALISATION | {"name": "dead VGG"})
    with pytest.raises(ValueError, match="dead VGG gives the same relu1_1 for every face"):
        calibrate(VGGFeatures(layers=LAYERS, weights=tmp_path / "dead.safetensors"))
