"""DFC-VAE: the presets, the terms of the loss and their weights, and what is not in a checkpoint."""

import math

import pytest
import torch
from conftest import CALIBRATION

from dfcvae import DFCVAE, PRESETS, PerceptualLoss, VGGFeatures, kl_divergence
from dfcvae.dfc import VAE_123, VAE_345
from dfcvae.vae import VAEOutput


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32)


def test_presets_are_those_of_the_paper():
    assert PRESETS["vae-123"].layers == VAE_123 == ("relu1_1", "relu2_1", "relu3_1")
    assert PRESETS["vae-345"].layers == VAE_345 == ("relu3_1", "relu4_1", "relu5_1")
    for name in ("paper-123", "paper-345"):
        paper = PRESETS[name]
        assert (paper.alpha, paper.beta, paper.reduction, paper.calibrated) == (1, 0.5, "paper", False)


@pytest.mark.parametrize("preset", PRESETS)
def test_loss_is_alpha_kl_plus_beta_times_the_terms(build, x, preset):
    model = build(preset, alpha=0.7, beta=3.0)
    out = model(x)
    terms = model.loss_function(out, x)
    if preset == "pixel":
        expected = {"pixels": sum(((out.reconstruction[i] - x[i]) ** 2).sum() for i in range(4)) / 4}
    else:
        expected = model.perceptual.per_layer(out.reconstruction, x)
        assert tuple(expected) == PRESETS[preset].layers
    expected["kl"], expected["reconstruction"] = kl_divergence(out.mu, out.log_var), sum(expected.values())
    expected["loss"] = 0.7 * expected["kl"] + 3.0 * expected["reconstruction"]
    torch.testing.assert_close(terms, expected)
    twice = VAEOutput(*(torch.cat([part, part]) for part in out))
    torch.testing.assert_close(model.loss_function(twice, torch.cat([x, x])), terms)
    perfect = VAEOutput(x.clone(), torch.ones(4, 5), torch.zeros(4, 5))
    assert model.loss_function(perfect, x)["loss"] == pytest.approx(0.7 * 2.5)


@pytest.mark.parametrize("preset", PRESETS)
def test_effective_weights_say_what_a_nat_is_worth(build, x, preset):
    """loss / alpha = KL + sum of lambda times the mean squared difference, whatever the preset's form."""
    model = build(preset, alpha=2.5)
    out = model(x)
    with torch.no_grad():
        if preset == "pixel":
            means = {"pixels": (out.reconstruction - x).square().mean()}
        else:
            phi_hat, phi = model.perceptual.vgg(out.reconstruction), model.perceptual.vgg(x)
            means = {layer: (phi_hat[layer] - phi[layer]).square().mean() for layer in phi}
    terms, weights = model.loss_function(out, x), model.effective_weights
    assert weights.keys() == means.keys()
    expected = terms["kl"] + sum(weights[name] * means[name] for name in means)
    torch.testing.assert_close(terms["loss"] / 2.5, expected)


def test_weights_at_the_edges(build):
    assert build("paper-123").effective_weights == dict.fromkeys(VAE_123, 0.25)  # equation 5 and 1/2 of 3
    assert build("pixel", alpha=0).effective_weights == {"pixels": math.inf}


def test_layer_weights_are_calibrated_except_those_that_are_given(build):
    calibrated = {layer: 1 / CALIBRATION[layer] for layer in VAE_123}
    assert build("vae-123").perceptual.layer_weights == calibrated
    given = build("vae-123", layer_weights={"relu1_1": 7.0}).perceptual.layer_weights
    assert given == calibrated | {"relu1_1": 7.0}
    assert build("paper-123").perceptual.layer_weights == dict.fromkeys(VAE_123, 1.0)


def test_a_vgg_of_ones_own_is_used_as_it_is(build, vgg_file):
    vgg = VGGFeatures(layers=["relu2_1"], weights=vgg_file)
    model = build("vae-123", features=vgg)
    assert isinstance(model.perceptual, PerceptualLoss) and model.perceptual.vgg is vgg
    assert model.features_name == "tiny VGG" and list(model.effective_weights) == ["relu2_1"]
    assert build("pixel").features_name == "pixels" and build("pixel").perceptual is None


def test_only_the_vae_trains_is_saved_and_moves(build, x):
    model, plain = build("vae-123").train(), build("pixel")
    assert list(model.state_dict()) == list(plain.state_dict())
    names = [name for name, _ in model.named_parameters()]
    assert names == [name for name, _ in plain.named_parameters()]
    before = {name: buffer.clone() for name, buffer in model.perceptual.named_buffers()}
    model.loss_function(model(x), x)["loss"].backward()
    torch.optim.Adam(model.parameters()).step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if not name.endswith("0.bias"):  # a batch norm cancels the bias before it
            assert parameter.grad.abs().sum() > 0, name
    assert model.training and not any(module.training for module in model.perceptual.vgg.modules())
    for name, buffer in model.perceptual.named_buffers():
        assert buffer.grad is None and buffer.equal(before[name]), name


def test_every_preset_starts_from_the_same_vae(build):
    pixel, *others = (build(preset, seed=4).state_dict() for preset in ("pixel", "vae-123", "vae-345"))
    for other in others:
        assert all(other[name].equal(tensor) for name, tensor in pixel.items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "vae-12"}, "unknown preset 'vae-12': expected one of pixel, vae-123, vae-345"),
        ({"alpha": -1.0}, "alpha is -1"),
        ({"beta": math.nan}, "beta is nan"),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DFCVAE(**({"preset": "pixel"} | options))
