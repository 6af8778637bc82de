"""DFC-VAE: the presets, the terms of the loss and their weights, and what is not in a checkpoint."""

import math

import pytest
import torch
from dfcvae.checkpoint import save_checkpoint

from dfcvae import DFCVAE, PRESETS, PerceptualLoss, VGGFeatures
from dfcvae.dfc import VAE_123, VAE_345
from dfcvae.vae import VAEOutput, kl_divergence

FEATURE_PRESETS = [name for name, preset in PRESETS.items() if preset.layers]


@pytest.fixture(autouse=True)
def _quick_calibration(monkeypatch):
    """The real one, which draws faces, is tested in test_perceptual.py."""
    monkeypatch.setattr(
        "dfcvae.dfc.calibrate", lambda vgg: {layer: 0.5 + i for i, layer in enumerate(vgg.layers)}
    )


@pytest.fixture
def build(vgg_file):
    def build(preset: str = "vae-123", **options) -> DFCVAE:
        options = {"features": vgg_file, "image_size": 32, "latent_dim": 5, "channels": (4, 6)} | options
        return DFCVAE(preset, **options)

    return build


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32)


def test_presets_are_those_of_the_design():
    assert {"pixel", "vae-123", "vae-345"} <= set(PRESETS)
    assert PRESETS["vae-123"].layers == VAE_123 == ("relu1_1", "relu2_1", "relu3_1")
    assert PRESETS["vae-345"].layers == VAE_345 == ("relu3_1", "relu4_1", "relu5_1")
    for name in ("paper-123", "paper-345"):
        paper = PRESETS[name]
        assert (paper.alpha, paper.beta, paper.reduction, paper.calibrated) == (1, 0.5, "paper", False)


@pytest.mark.parametrize("preset", FEATURE_PRESETS)
def test_loss_is_alpha_kl_plus_beta_features_and_nothing_else(build, x, preset):
    model = build(preset, alpha=0.7, beta=3.0)
    out = model(x)
    terms = model.loss_function(out, x)
    layers = PRESETS[preset].layers
    assert set(terms) == {"loss", "kl", "reconstruction", *layers}
    torch.testing.assert_close(terms["kl"], kl_divergence(out.mu, out.log_var))
    torch.testing.assert_close(terms["reconstruction"], sum(terms[layer] for layer in layers))
    torch.testing.assert_close(terms["loss"], 0.7 * terms["kl"] + 3.0 * terms["reconstruction"])
    apart = model.perceptual.per_layer(out.reconstruction, x)
    assert all(terms[layer].equal(apart[layer]) for layer in layers)


@pytest.mark.parametrize("preset", ["paper-123", "paper-345"])
def test_paper_presets_are_equation_5_on_raw_features(build, x, preset):
    model = build(preset)
    out = model(x)
    with torch.no_grad():
        phi_hat, phi = model.perceptual.vgg(out.reconstruction), model.perceptual.vgg(x)
    features = sum((phi_hat[layer] - phi[layer]).square().mean() / 2 for layer in PRESETS[preset].layers)
    expected = kl_divergence(out.mu, out.log_var) + 0.5 * features
    torch.testing.assert_close(model.loss_function(out, x)["loss"], expected)


def test_pixel_preset_sums_squares_over_the_image(build, x):
    model = build("pixel")
    out = model(x)
    expected = sum(((out.reconstruction[i] - x[i]) ** 2).sum() for i in range(4)) / 4
    terms = model.loss_function(out, x)
    torch.testing.assert_close(terms["reconstruction"], expected)
    torch.testing.assert_close(terms["loss"], terms["kl"] + PRESETS["pixel"].beta * expected)
    assert model.features_name == "pixels" and model.perceptual is None


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


def test_paper_effective_weight_is_a_quarter(build):
    assert build("paper-123").effective_weights == dict.fromkeys(VAE_123, 0.25)


@pytest.mark.parametrize("preset", PRESETS)
def test_loss_does_not_depend_on_the_batch_size(build, x, preset):
    model = build(preset)
    out = model(x)
    twice = VAEOutput(*(torch.cat([part, part]) for part in out))
    once, doubled = model.loss_function(out, x), model.loss_function(twice, torch.cat([x, x]))
    for name in once:
        torch.testing.assert_close(doubled[name], once[name], msg=lambda m, name=name: f"{name}: {m}")


def test_perfect_reconstruction_costs_the_kl_alone(build, x):
    model = build()
    terms = model.loss_function(VAEOutput(x.clone(), torch.ones(4, 5), torch.zeros(4, 5)), x)
    assert terms["reconstruction"] == 0 and terms["loss"] == terms["kl"] == 2.5


def test_gradient_reaches_every_parameter_and_no_buffer_of_the_vgg(build, x):
    model = build().train()
    before = {name: buffer.clone() for name, buffer in model.perceptual.named_buffers()}
    model.loss_function(model(x), x)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if not name.endswith("1.bias") and "0.bias" not in name:  # a batch norm cancels the bias before it
            assert parameter.grad.abs().sum() > 0, name
    assert model.training and not any(module.training for module in model.perceptual.vgg.modules())
    assert all(buffer.grad is None for buffer in model.perceptual.buffers())
    assert all(buffer.equal(before[name]) for name, buffer in model.perceptual.named_buffers())


def test_vgg_is_in_no_state_dict_no_parameters_and_no_optimizer(build, x):
    model, plain = build(), build("pixel")
    assert set(model.state_dict()) == set(plain.state_dict())
    assert not any("perceptual" in name for name in model.state_dict())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    optimizer = torch.optim.Adam(model.parameters())
    model.loss_function(model(x), x)["loss"].backward()
    optimizer.step()
    held = {id(p) for group in optimizer.param_groups for p in group["params"]} | {
        id(p) for p in optimizer.state
    }
    assert held == {id(p) for p in plain_parameters(model)}


def plain_parameters(model: DFCVAE) -> list[torch.nn.Parameter]:
    parts = (model.encoder, model.to_mu, model.to_log_var, model.from_z, model.decoder)
    return [parameter for part in parts for parameter in part.parameters()]


def test_checkpoint_of_the_papers_network_stays_under_30_megabytes(tmp_path):
    """With a full-sized VGG beside it (40 MB to relu5_1), as it would be in a leaking state dict."""
    weights = dict.fromkeys(VAE_345, 1.0)
    model = DFCVAE("vae-345", features="random", layer_weights=weights)
    assert sum(buffer.numel() for buffer in model.perceptual.buffers()) > 10_000_000
    optimizer = torch.optim.Adam(model.parameters())
    out = model(torch.rand(2, 3, 64, 64))
    kl_divergence(out.mu, out.log_var).add(out.reconstruction.mean()).backward()
    optimizer.step()
    save_checkpoint(tmp_path, model, optimizer, step=1, seconds=0.0)
    size = (tmp_path / "checkpoint.pt").stat().st_size
    assert 3 * 4 * 2_312_811 < size < 30_000_000
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    saved = sum(tensor.numel() for tensor in state["model"].values())
    assert saved < 2_312_811 + 3000 and len(state["optimizer"]["state"]) == len(list(model.parameters()))


def test_layer_weights_are_calibrated_unless_given(build):
    calibrated = dict(zip(VAE_123, (0.5, 1.5, 2.5), strict=True))
    assert build().perceptual.layer_weights == calibrated
    given = {"relu1_1": 1.0, "relu2_1": 2.0, "relu3_1": 3.0}
    assert build(layer_weights=given).perceptual.layer_weights == given
    assert build("paper-123").perceptual.layer_weights == dict.fromkeys(VAE_123, 1.0)


def test_a_vgg_of_ones_own_is_used_as_it_is(build, vgg_file):
    vgg = VGGFeatures(layers=["relu2_1"], weights=vgg_file)
    model = build(features=vgg)
    assert isinstance(model.perceptual, PerceptualLoss) and model.perceptual.vgg is vgg
    assert model.features_name == "tiny VGG" and list(model.effective_weights) == ["relu2_1"]


def test_every_preset_starts_from_the_same_vae(build):
    starts = []
    for preset in ("pixel", "vae-123", "vae-345"):
        torch.manual_seed(4)
        starts.append(build(preset).state_dict())
    for other in starts[1:]:
        assert all(other[name].equal(tensor) for name, tensor in starts[0].items())


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="unknown preset 'vae-12': expected one of pixel, vae-123, vae-345"):
        DFCVAE("vae-12", features="random")


def test_without_a_weight_on_kl_the_features_weigh_infinitely_more():
    weights = DFCVAE("pixel", alpha=0).effective_weights
    assert weights == {"pixels": math.inf}


def test_layer_weights_replace_only_those_that_they_name():
    calibrated = DFCVAE("vae-123", features="mini").perceptual.layer_weights
    changed = DFCVAE("vae-123", features="mini", layer_weights={"relu1_1": 7.0}).perceptual.layer_weights
    assert changed == calibrated | {"relu1_1": 7.0}
