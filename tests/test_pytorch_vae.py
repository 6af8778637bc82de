"""The repaired PyTorch-VAE class: its interface, the original's state dicts, and a test for each fault."""

import socket
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from dfcvae.perceptual import PerceptualLoss
from dfcvae.pytorch_vae import DFCVAE, BaseVAE
from dfcvae.vgg import VGGFeatures

SMALL = {"hidden_dims": [8, 16, 24], "image_size": 32}


def small(vgg=None, **settings):
    torch.manual_seed(0)
    return DFCVAE(3, 10, features=vgg, **{**SMALL, **settings})


def images(n=2, channels=3, size=32):
    return 2 * torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(1)) - 1


@pytest.fixture(scope="module")
def vgg(vgg_file):
    return VGGFeatures("vgg19", weights=vgg_file)


@pytest.fixture(scope="module")
def vgg_bn(torchvision_features):
    """What the original measures with: the convolutional part of torchvision's vgg19_bn, few channels."""
    return torchvision_features("vgg19_bn").requires_grad_(False)


@pytest.fixture
def legacy(vgg_bn):
    return small(legacy_loss=True, legacy_features=vgg_bn, alpha=0.7, beta=0.3)


@pytest.fixture
def with_batch_norm():
    return small(VGGFeatures("vgg19_bn", ("relu1_1", "relu2_1"), weights="random"))


# ---------------------------------------------------------------- state dicts of the original


def original_state(dims=(8, 16, 24), latent_dim=10, grid=4):
    """A state dict with the original's keys and shapes, written down without the class under test."""
    state, generator = {}, torch.Generator().manual_seed(5)

    def layer(name, *shape, out):
        fan_in = shape[1] * (9 if len(shape) == 4 else 1)
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)

    def batch_norm(name, n):
        state[f"{name}.weight"] = 0.5 + torch.rand(n, generator=generator)
        for kind in ("bias", "running_mean"):
            state[f"{name}.{kind}"] = 0.1 * torch.randn(n, generator=generator)
        state[f"{name}.running_var"] = 0.5 + torch.rand(n, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    for i, (c_in, c_out) in enumerate(pairwise((3, *dims))):
        layer(f"encoder.{i}.0", c_out, c_in, 3, 3, out=c_out)
        batch_norm(f"encoder.{i}.1", c_out)
    flat = dims[-1] * grid**2
    for name in ("fc_mu", "fc_var"):
        layer(name, latent_dim, flat, out=latent_dim)
    layer("decoder_input", flat, latent_dim, out=flat)
    ups = {f"decoder.{i}": widths for i, widths in enumerate(pairwise(dims[::-1]))}
    for name, (c_in, c_out) in (ups | {"final_layer": (dims[0], dims[0])}).items():
        layer(f"{name}.0", c_in, c_out, 3, 3, out=c_out)
        batch_norm(f"{name}.1", c_out)
    layer("final_layer.3", 3, dims[0], 3, 3, out=3)
    return state


def with_vgg(state):
    """What a checkpoint of the original holds besides."""
    extra = {"features.0.weight": torch.zeros(64, 3, 3, 3), "classifier.6.bias": torch.zeros(1000)}
    return state | {f"feature_network.{key}": tensor for key, tensor in extra.items()}


def layers_by_hand(state, prefix, h, convolution, **options):
    """Each level: a convolution, batch norm in eval, LeakyReLU with PyTorch's default slope."""
    names = sorted({key.rpartition(".0.")[0] for key in state if key.startswith(prefix) and ".0.w" in key})
    for name in names:
        h = convolution(h, state[f"{name}.0.weight"], state[f"{name}.0.bias"], stride=2, padding=1, **options)
        norm = [state[f"{name}.1.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")]
        h = F.leaky_relu(F.batch_norm(h, *norm), 0.01)
    return h


def linear(state, name, h):
    return F.linear(h, state[f"{name}.weight"], state[f"{name}.bias"])


def encode_by_hand(state, x):
    h = layers_by_hand(state, "encoder", x, F.conv2d).flatten(1)
    return [linear(state, "fc_mu", h), linear(state, "fc_var", h)]


def decode_by_hand(state, z, grid):
    h = linear(state, "decoder_input", z).reshape(len(z), -1, grid, grid)
    for prefix in ("decoder.", "final_layer"):
        h = layers_by_hand(state, prefix, h, F.conv_transpose2d, output_padding=1)
    return torch.tanh(F.conv2d(h, state["final_layer.3.weight"], state["final_layer.3.bias"], padding=1))


@pytest.mark.parametrize(("dims", "latents", "size"), [(None, 16, 64), ((8, 16, 24), 10, 32)])
def test_a_state_dict_of_the_original_gives_the_same_encode_and_decode(vgg, dims, latents, size):
    all_dims = dims or (32, 64, 128, 256, 512)
    grid = size // 2 ** len(all_dims)
    state = original_state(all_dims, latents, grid)
    given = {f"model.{key}": tensor for key, tensor in with_vgg(state).items()}
    trainer = torch.nn.Module()
    trainer.model = model = DFCVAE(3, latents, dims, image_size=size, features=vgg)
    trainer.load_state_dict(given, strict=True)
    assert len(given) == len(state) + 2  # the caller's dict stays whole
    model.eval()
    x, z = images(size=size), 2 * torch.randn(4, latents)
    torch.testing.assert_close(model.encode(x), encode_by_hand(state, x), rtol=1e-4, atol=1e-5)
    x_hat = model.decode(z)
    torch.testing.assert_close(x_hat, decode_by_hand(state, z, grid), rtol=1e-4, atol=1e-5)
    assert x_hat.min() < -0.5 and x_hat.max() > 0.5  # the Tanh's range, not a sigmoid's


def test_the_state_dict_loads_whatever_the_loss_network_and_no_other_keys_do(legacy, with_batch_norm):
    for model in (legacy, with_batch_norm):
        model.load_state_dict(with_vgg(original_state()))
        with pytest.raises(RuntimeError, match="surprise"):
            model.load_state_dict(original_state() | {"surprise": torch.zeros(1)})
        with pytest.raises(RuntimeError, match="fc_var.bias"):
            model.load_state_dict({k: tensor for k, tensor in original_state().items() if k != "fc_var.bias"})


# ---------------------------------------------------------------- the interface


def test_the_originals_calls_run_as_its_trainer_makes_them(vgg):
    model, x = (
        DFCVAE(**{"name": "DFCVAE", "in_channels": 3, "latent_dim": 8}, **SMALL, features=vgg),
        images(),
    )
    assert isinstance(model, BaseVAE)
    out = model(x, labels=torch.zeros(2))
    recons, given, recons_features, input_features, mu, log_var = out
    assert given is x and recons.shape == x.shape and mu.shape == log_var.shape == (2, 8)
    torch.testing.assert_close(recons_features, model.extract_features(recons))
    torch.testing.assert_close(input_features, model.extract_features(x))
    losses = model.loss_function(*out, M_N=0.00025, optimizer_idx=0, batch_idx=3)
    assert {"loss", "Reconstruction_Loss", "KLD"} <= losses.keys()
    losses["loss"].backward()
    assert model.generate(x, labels=None).shape == x.shape
    torch.manual_seed(4)
    sampled = model.eval().sample(5, torch.device("cpu"), labels=None)
    torch.manual_seed(4)
    torch.testing.assert_close(sampled, model.decode(torch.randn(5, 8)))


def test_extract_features_takes_the_layers_that_are_named(vgg):
    model, x = small(vgg), images()
    torch.testing.assert_close(model.extract_features(x, ["relu2_1"]), model.extract_features(x)[1:2])
    with pytest.raises(ValueError, match="relu5_1.*relu1_1, relu2_1, relu3_1"):
        model.extract_features(x, ["relu5_1"])


def test_the_std_of_z_is_exp_of_half_the_log_variance(vgg):
    mu, log_var = torch.full((20_000, 2), 3.0), torch.tensor([-2.0, 1.0]).expand(20_000, 2)
    z = small(vgg).reparameterize(mu, log_var)
    torch.testing.assert_close(z.mean(0), mu[0], atol=0.05, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([-1.0, 0.5]).exp(), atol=0, rtol=0.03)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_channels": 4}, "in_channels is 4"),
        ({"image_size": 36}, "image_size is 36.*multiple of 8"),
        ({"data_range": (1, 0)}, "data_range"),
        ({"data_range": (0, 1), "legacy_loss": True}, "data_range.*legacy_loss"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_a_reason(vgg, settings, message):
    with pytest.raises(ValueError, match=message):
        DFCVAE(**{"in_channels": 3, "latent_dim": 10, "features": vgg, **SMALL, **settings})


def test_images_of_another_shape_or_type_are_refused_with_a_reason(vgg):
    with pytest.raises(ValueError, match=r"\(2, 3, 64, 64\).*\(N, 3, 32, 32\)"):
        small(vgg).encode(images(size=64))
    with pytest.raises(ValueError, match="uint8"):
        small(vgg).encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


# ---------------------------------------------------------------- the faults, in the order of our list


def test_faults_1_and_2_training_neither_wakes_nor_moves_the_batch_norm_of_the_vgg(with_batch_norm):
    model, x = with_batch_norm, images()
    before = {name: tensor.clone() for name, tensor in model.feature_network.named_buffers()}
    in_eval = model.eval().extract_features(x)
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-3)
    model.loss_function(*model(x))["loss"].backward()
    optimizer.step()
    assert any("running_mean" in name for name in before)
    assert all(t.equal(before[name]) for name, t in model.feature_network.named_buffers())
    torch.testing.assert_close(model.extract_features(x), in_eval)
    for whole, alone in zip(in_eval, model.extract_features(x[:1]), strict=True):
        torch.testing.assert_close(whole[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)])
def test_faults_3_to_6_the_vgg_sees_both_images_in_the_unit_range(vgg, low, high):
    """What it makes of them, normalised, at the paper's layers and after their ReLU, test_vgg.py shows."""
    model = small(vgg, data_range=(low, high))
    unit = (images() + 1) / 2
    recons, _, recons_features, input_features, *_ = model(low + (high - low) * unit)
    for seen, features in ((unit, input_features), ((recons - low) / (high - low), recons_features)):
        torch.testing.assert_close(features, list(vgg(seen).values()), rtol=1e-4, atol=1e-5)


def test_fault_4_reconstructions_and_data_share_one_range(vgg):
    own, unit = small(vgg).eval(), small(vgg, data_range=(0, 1)).eval()
    own.load_state_dict(original_state())
    unit.load_state_dict(original_state())
    x, z = images(), 3 * torch.randn(4, 10)
    torch.testing.assert_close(unit.encode((x + 1) / 2), own.encode(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(unit.decode(z), (own.decode(z) + 1) / 2)


def test_faults_7_and_8_the_loss_is_the_papers_and_its_terms_are_logged_as_they_are(vgg):
    model = small(vgg, alpha=0.7, beta=0.3)
    out = model(images())
    recons, x, phi_hat, phi, mu, log_var = out
    kl = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    features = PerceptualLoss(vgg, reduction="paper")((recons + 1) / 2, (x + 1) / 2)
    torch.testing.assert_close(
        features,
        sum((r - i).square().sum() / (2 * len(r) * r[0].numel()) for r, i in zip(phi_hat, phi, strict=True)),
    )
    for training in (True, False):  # the original weighed them differently
        losses = model.train(training).loss_function(*out, M_N=0.5)
        torch.testing.assert_close(losses["KLD"], kl)
        torch.testing.assert_close(losses["Feature_Loss"], features)
        torch.testing.assert_close(losses["Reconstruction_Loss"], F.mse_loss(recons, x))
        torch.testing.assert_close(losses["loss"], 0.7 * 0.5 * kl + 0.3 * features)


@pytest.mark.parametrize(
    ("hidden_dims", "size", "channels"),
    [(None, 32, 3), (None, 96, 3), ([8, 16], 64, 3), ((12,), 32, 3), ([8, 16, 24, 24], 48, 1)],
)
def test_fault_9_other_sizes_depths_widths_and_channels_run(vgg, hidden_dims, size, channels):
    model, x = DFCVAE(channels, 6, hidden_dims, image_size=size, features=vgg), images(2, channels, size)
    out = model(x)
    assert out[0].shape == x.shape and model.sample(1, "cpu").shape[1:] == x.shape[1:]
    torch.testing.assert_close(out[3], list(vgg((x.expand(-1, 3, -1, -1) + 1) / 2).values()))  # grey, too
    model.loss_function(*out)["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_fault_9_the_callers_list_is_not_changed(vgg):
    hidden_dims = [8, 16, 24]
    DFCVAE(3, 10, hidden_dims, image_size=32, features=vgg)
    assert hidden_dims == [8, 16, 24]


@pytest.mark.parametrize("far_out", [-1e4, 1e4])
def test_fault_10_the_log_variance_is_bounded_and_can_come_back(vgg, far_out):
    model = small(vgg)
    torch.nn.init.constant_(model.fc_var.bias, far_out)
    out = model(images())
    losses = model.loss_function(*out)
    assert out[5].abs().max() == 20 and torch.isfinite(losses["loss"])
    losses["KLD"].backward()
    assert (model.fc_var.bias.grad * far_out > 0).all()  # a step against it leads back


def test_faults_11_to_13_a_short_vgg_that_is_neither_downloaded_nor_saved_nor_trained(
    legacy, tmp_path, monkeypatch
):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("the network was asked"))
    repaired, shapes = DFCVAE(3, 10, **SMALL), {key: t.shape for key, t in original_state().items()}
    network = repaired.feature_network
    assert "mini" in network.weights_name
    assert network.layers == ("relu1_1", "relu2_1", "relu3_1")
    assert [name for name, _ in network.trunk.named_children()][-1] == "relu3_1"
    for model in (repaired, legacy):
        assert [(key, t.shape) for key, t in model.state_dict().items()] == list(shapes.items())
        assert {name for name, _ in model.named_parameters()} <= shapes.keys()
        assert not list(model.feature_network.parameters())


def test_fault_12_the_gradient_reaches_the_reconstruction_and_never_the_target(vgg):
    model = small(vgg)
    out = model(images().requires_grad_())
    assert not any(phi.requires_grad for phi in out[3])
    (to_recons,) = torch.autograd.grad(model.loss_function(*out)["Feature_Loss"], out[0])
    assert to_recons.abs().sum() > 0


def test_fault_14_generate_decodes_mu_and_never_runs_the_vgg(vgg):
    model, x = small(vgg).eval(), images()
    hook = vgg.register_forward_hook(lambda *_: pytest.fail("the VGG ran"))
    torch.testing.assert_close(model.generate(x), model.decode(model.encode(x)[0]))
    hook.remove()


# ---------------------------------------------------------------- the original's loss


def legacy_features_by_hand(layers, x, training):
    """conv3_1, bn3_4 and bn4_3 as the ReLU behind them leaves them, and conv5_2; no module is run."""
    kept = []
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            x = F.conv2d(x, layer.weight, layer.bias, padding=1)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            statistics = (None, None) if training else (layer.running_mean, layer.running_var)
            x = F.batch_norm(x, *statistics, layer.weight, layer.bias, training)
        else:
            x = F.relu(x) if isinstance(layer, torch.nn.ReLU) else F.max_pool2d(x, 2)
        kept.append(x)
    return [kept[14], kept[24 + 1], kept[34 + 1], kept[43]]


@pytest.mark.parametrize("training", [True, False])
def test_legacy_loss_is_the_originals_value(legacy, vgg_bn, training):
    statistics, x = vgg_bn[1].running_mean.clone(), images()
    out = legacy.train(training)(x)
    recons, _, *features, mu, log_var = out
    by_hand = [legacy_features_by_hand(vgg_bn, batch, training) for batch in (recons, x)]
    torch.testing.assert_close(features, by_hand, rtol=1e-3, atol=1e-4)
    pixels = (recons - x).square().mean()
    distance = sum((r - i).square().mean() for r, i in zip(*by_hand, strict=True))
    kl = -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(1).mean()
    losses = legacy.loss_function(*out, M_N=0.00025)
    expected = 0.3 * (pixels + distance) + 0.7 * 0.00025 * kl
    torch.testing.assert_close(losses["loss"], expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(losses["KLD"], kl)
    losses["loss"].backward()
    assert vgg_bn[1].running_mean.equal(statistics)  # the caller's network is copied
    assert legacy.feature_network.trunk[1].running_mean.equal(statistics) != training  # and the copy drifts


def test_legacy_loss_takes_torchvisions_network_unless_one_is_given(vgg_bn, monkeypatch):
    asked = []

    def vgg19_bn(weights):
        asked.append(weights)
        return SimpleNamespace(features=vgg_bn)

    monkeypatch.setattr("torchvision.models.vgg19_bn", vgg19_bn)
    model = small(legacy_loss=True)
    assert asked == ["IMAGENET1K_V1"]
    torch.testing.assert_close(model.feature_network.trunk[0].weight, vgg_bn[0].weight)
