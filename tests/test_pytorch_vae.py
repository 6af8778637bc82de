"""The repaired PyTorch-VAE class: its interface, the original's state dicts, and one test for each fault."""

import socket
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from dfcvae.perceptual import PerceptualLoss
from dfcvae.pytorch_vae import DFCVAE, BaseVAE
from dfcvae.vgg import IMAGENET_MEAN, IMAGENET_STD, VGGFeatures

SMALL = {"hidden_dims": [8, 16, 24], "image_size": 32}
DEFAULT_DIMS = [32, 64, 128, 256, 512]


def small(vgg, **settings):
    torch.manual_seed(0)
    return DFCVAE(3, 10, features=vgg, **{**SMALL, **settings})


def images(n=2, channels=3, size=32, seed=1):
    return 2 * torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.fixture(scope="module")
def vgg(vgg_file):
    return VGGFeatures("vgg19", weights=vgg_file)


@pytest.fixture(scope="module")
def vgg_bn(torchvision_features):
    """What the original measures with: the convolutional part of torchvision's vgg19_bn, few channels."""
    return torchvision_features("vgg19_bn").requires_grad_(False)


# ---------------------------------------------------------------- state dicts of the original


def original_state(dims=DEFAULT_DIMS, latent_dim=16, grid=2, channels=3):
    """A state dict with the original's keys and shapes, written down without the class under test."""
    generator = torch.Generator().manual_seed(5)
    state = {}

    def affine(name, *shape):
        fan_in = shape[1] * (9 if len(shape) == 4 else 1)
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5

    def bias(name, n):
        state[f"{name}.bias"] = 0.1 * torch.randn(n, generator=generator)

    def batch_norm(name, n):
        state[f"{name}.weight"] = 0.5 + torch.rand(n, generator=generator)
        bias(name, n)
        state[f"{name}.running_mean"] = 0.1 * torch.randn(n, generator=generator)
        state[f"{name}.running_var"] = 0.5 + torch.rand(n, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def transposed(name, c_in, c_out):
        affine(f"{name}.0", c_in, c_out, 3, 3)
        bias(f"{name}.0", c_out)
        batch_norm(f"{name}.1", c_out)

    for i, (c_in, c_out) in enumerate(zip([channels, *dims], dims, strict=False)):
        affine(f"encoder.{i}.0", c_out, c_in, 3, 3)
        bias(f"encoder.{i}.0", c_out)
        batch_norm(f"encoder.{i}.1", c_out)
    for name in ("fc_mu", "fc_var"):
        affine(name, latent_dim, dims[-1] * grid**2)
        bias(name, latent_dim)
    affine("decoder_input", dims[-1] * grid**2, latent_dim)
    bias("decoder_input", dims[-1] * grid**2)
    for i, (c_in, c_out) in enumerate(zip(dims[::-1], dims[-2::-1], strict=False)):
        transposed(f"decoder.{i}", c_in, c_out)
    transposed("final_layer", dims[0], dims[0])
    affine("final_layer.3", channels, dims[0], 3, 3)
    bias("final_layer.3", channels)
    return state


def with_vgg(state):
    """What a checkpoint of the original holds besides."""
    extra = {
        "feature_network.features.0.weight": torch.zeros(64, 3, 3, 3),
        "feature_network.features.1.running_mean": torch.zeros(64),
        "feature_network.classifier.6.bias": torch.zeros(1000),
    }
    return {**state, **extra}


def normalised(state, name, h):
    """Batch norm in eval, then LeakyReLU with PyTorch's default slope."""
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    h = F.batch_norm(h, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], False, 0.1, 1e-5)
    return F.leaky_relu(h, 0.01)


def encode_by_hand(state, x):
    for i in range(sum(key.startswith("encoder") and key.endswith("0.weight") for key in state)):
        weight, bias = state[f"encoder.{i}.0.weight"], state[f"encoder.{i}.0.bias"]
        x = normalised(state, f"encoder.{i}.1", F.conv2d(x, weight, bias, stride=2, padding=1))
    h = x.flatten(1)
    return [F.linear(h, state[f"{name}.weight"], state[f"{name}.bias"]) for name in ("fc_mu", "fc_var")]


def decode_by_hand(state, z, grid=2):
    h = F.linear(z, state["decoder_input.weight"], state["decoder_input.bias"]).reshape(
        len(z), -1, grid, grid
    )
    levels = sum(key.startswith("decoder.") and key.endswith("0.weight") for key in state)
    for name in [*(f"decoder.{i}" for i in range(levels)), "final_layer"]:
        weight, bias = state[f"{name}.0.weight"], state[f"{name}.0.bias"]
        h = F.conv_transpose2d(h, weight, bias, stride=2, padding=1, output_padding=1)
        h = normalised(state, f"{name}.1", h)
    return torch.tanh(F.conv2d(h, state["final_layer.3.weight"], state["final_layer.3.bias"], padding=1))


def test_a_state_dict_of_the_original_loads_and_gives_the_same_encode_and_decode(vgg):
    state = original_state()
    model = DFCVAE(3, 16, features=vgg)
    model.load_state_dict(with_vgg(state), strict=True)
    model.eval()
    x, z = images(size=64), torch.randn(4, 16, generator=torch.Generator().manual_seed(2))
    mu, log_var = model.encode(x)
    expected_mu, expected_log_var = encode_by_hand(state, x)
    assert expected_log_var.abs().max() > 0.1
    torch.testing.assert_close(mu, expected_mu)
    torch.testing.assert_close(log_var, expected_log_var)
    x_hat = model.decode(z)
    torch.testing.assert_close(x_hat, decode_by_hand(state, z))
    assert x_hat.min() < -0.5 and x_hat.max() > 0.5  # the Tanh's range, not a sigmoid's


def test_a_state_dict_of_another_depth_loads_too(vgg):
    state = original_state([8, 16, 24], latent_dim=10, grid=4)
    model = small(vgg).eval()
    model.load_state_dict(state)
    torch.testing.assert_close(model.encode(images()), encode_by_hand(state, images()))
    torch.testing.assert_close(model.decode(torch.ones(2, 10)), decode_by_hand(state, torch.ones(2, 10), 4))


def test_the_vgg_of_a_checkpoint_is_dropped_inside_a_larger_module_and_in_the_callers_dict_kept(vgg):
    trainer = torch.nn.Module()
    trainer.model = DFCVAE(3, 16, features=vgg)
    state = {f"model.{key}": tensor for key, tensor in with_vgg(original_state()).items()}
    trainer.load_state_dict(state, strict=True)
    assert "model.feature_network.features.0.weight" in state
    torch.testing.assert_close(trainer.model.fc_mu.weight, state["model.fc_mu.weight"])


def test_the_state_dict_loads_whatever_the_loss_network(vgg_bn, model_with_batch_norm):
    state = original_state([8, 16, 24], latent_dim=10, grid=4)
    for model in (small(None, legacy_loss=True, legacy_features=vgg_bn), model_with_batch_norm):
        model.load_state_dict(with_vgg(state), strict=True)
        assert torch.equal(model.fc_mu.bias, state["fc_mu.bias"])


def test_other_unknown_or_missing_keys_are_still_refused(vgg):
    model = DFCVAE(3, 16, features=vgg)
    with pytest.raises(RuntimeError, match="surprise"):
        model.load_state_dict({**original_state(), "surprise": torch.zeros(1)})
    incomplete = original_state()
    del incomplete["fc_var.bias"]
    with pytest.raises(RuntimeError, match="fc_var.bias"):
        model.load_state_dict(incomplete)


# ---------------------------------------------------------------- the interface


def test_forward_returns_the_six_results_in_the_originals_order(vgg):
    model = small(vgg)
    x = images()
    recons, given, recons_features, input_features, mu, log_var = model(x, labels=torch.zeros(2))
    assert given is x and recons.shape == x.shape and mu.shape == log_var.shape == (2, 10)
    assert [phi.shape[2] for phi in input_features] == [32, 16, 8]
    torch.testing.assert_close(recons_features, model.extract_features(recons))
    torch.testing.assert_close(input_features, model.extract_features(x))


def test_the_originals_calls_run_as_its_trainer_makes_them(vgg):
    model = DFCVAE(**{"name": "DFCVAE", "in_channels": 3, "latent_dim": 8}, **SMALL, features=vgg)
    losses = model.loss_function(*model(images(), labels=None), M_N=0.00025, optimizer_idx=0, batch_idx=3)
    assert {"loss", "Reconstruction_Loss", "KLD"} <= losses.keys()
    losses["loss"].backward()
    assert model.sample(5, "cpu", labels=None).shape == (5, 3, 32, 32)
    assert model.generate(images(), labels=None).shape == (2, 3, 32, 32)
    assert isinstance(model, BaseVAE)


def test_base_vae_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        BaseVAE()


def test_extract_features_takes_the_layers_that_are_named(vgg):
    model, x = small(vgg), images()
    everything = model.extract_features(x)
    torch.testing.assert_close(model.extract_features(x, ["relu2_1"]), [everything[1]])
    with pytest.raises(ValueError, match="relu5_1.*relu1_1, relu2_1, relu3_1"):
        model.extract_features(x, ["relu5_1"])


def test_the_std_of_z_is_exp_of_half_the_log_variance(vgg):
    torch.manual_seed(0)
    mu, log_var = torch.full((20_000, 2), 3.0), torch.tensor([-2.0, 1.0]).expand(20_000, 2)
    z = small(vgg).reparameterize(mu, log_var)
    torch.testing.assert_close(z.mean(0), mu[0], atol=0.05, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([-1.0, 0.5]).exp(), atol=0, rtol=0.03)


def test_sample_decodes_the_standard_normal(vgg):
    model = small(vgg).eval()
    torch.manual_seed(4)
    faces = model.sample(3, torch.device("cpu"))
    torch.manual_seed(4)
    torch.testing.assert_close(faces, model.decode(torch.randn(3, 10)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_channels": 4}, "in_channels is 4"),
        ({"latent_dim": 0}, "latent_dim is 0"),
        ({"hidden_dims": []}, "hidden_dims"),
        ({"image_size": 36}, "image_size is 36.*multiple of 8"),
        ({"data_range": (1, 0)}, "data_range"),
        ({"data_range": (0, 1), "legacy_loss": True}, "data_range.*legacy_loss"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_a_reason(vgg, settings, message):
    with pytest.raises(ValueError, match=message):
        DFCVAE(**{"in_channels": 3, "latent_dim": 10, "features": vgg, **SMALL, **settings})


def test_images_and_latents_of_other_shapes_are_refused_with_a_reason(vgg):
    model = small(vgg)
    with pytest.raises(ValueError, match=r"\(2, 3, 64, 64\).*\(N, 3, 32, 32\)"):
        model.encode(images(size=64))
    with pytest.raises(ValueError, match="uint8"):
        model.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(2, 9\).*\(N, 10\)"):
        model.decode(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="3 results"):
        model.loss_function(*model(images())[:3])


# ---------------------------------------------------------------- the faults, in the order of our list


def one_step(model):
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.loss_function(*model(images()))["loss"].backward()
    optimizer.step()


@pytest.fixture()
def model_with_batch_norm():
    return small(VGGFeatures("vgg19_bn", ("relu1_1", "relu2_1"), weights="random"))


def test_fault_1_train_leaves_the_vgg_in_eval(model_with_batch_norm):
    model, x = model_with_batch_norm, images()
    model.eval()
    features = model.extract_features(x)
    model.train()
    assert model.encoder.training
    assert not any(part.training for part in model.feature_network.modules())
    torch.testing.assert_close(model.extract_features(x), features)


def test_fault_1_the_features_of_an_image_do_not_depend_on_its_batch(model_with_batch_norm):
    model, x = model_with_batch_norm.train(), images()
    for whole, alone in zip(model.extract_features(x), model.extract_features(x[:1]), strict=True):
        torch.testing.assert_close(whole[:1], alone, rtol=1e-4, atol=1e-5)


def test_fault_2_the_frozen_network_does_not_drift(model_with_batch_norm):
    before = {name: tensor.clone() for name, tensor in model_with_batch_norm.feature_network.named_buffers()}
    assert any("running_mean" in name for name in before)
    one_step(model_with_batch_norm)
    for name, tensor in model_with_batch_norm.feature_network.named_buffers():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("data_range", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)])
def test_faults_3_and_4_both_images_reach_the_vgg_normalised_from_their_range(vgg, data_range):
    model, (low, high) = small(vgg, data_range=data_range), data_range
    unit = (images() + 1) / 2
    seen = []
    hook = vgg.trunk[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    recons = model(low + (high - low) * unit)[0]
    hook.remove()
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
    recons_unit = (recons - low) / (high - low)
    assert len(seen) == 2
    torch.testing.assert_close(seen[0], (recons_unit - mean) / std, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen[1], (unit - mean) / std, rtol=1e-4, atol=1e-5)


def test_fault_4_reconstructions_and_data_share_one_range(vgg):
    state = original_state([8, 16, 24], latent_dim=10, grid=4)
    own, unit = small(vgg).eval(), small(vgg, data_range=(0, 1)).eval()
    own.load_state_dict(state)
    unit.load_state_dict(state)
    x, z = images(), 3 * torch.randn(4, 10, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(unit.encode((x + 1) / 2), own.encode(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(unit.decode(z), (own.decode(z) + 1) / 2)
    assert own.decode(z).min() < -0.5 and unit.decode(z).min() >= 0 and unit.decode(z).max() <= 1


def test_fault_5_the_layers_are_the_papers_and_come_after_their_relu():
    model = small("random")
    vgg = model.feature_network
    layers = dict(vgg.trunk.named_children())
    assert vgg.layers == ("relu1_1", "relu2_1", "relu3_1")
    assert all(isinstance(layers[name], torch.nn.ReLU) for name in vgg.layers)
    h, kernels = ((images() + 1) / 2 - vgg.mean) / vgg.std, dict(vgg.named_buffers())
    by_hand = []
    for block, convs in ((1, 2), (2, 2), (3, 1)):
        for i in range(1, convs + 1):
            name = f"trunk.conv{block}_{i}"
            h = torch.relu(F.conv2d(h, kernels[f"{name}.weight"], kernels[f"{name}.bias"], padding=1))
            by_hand += [h] if i == 1 else []
        h = F.max_pool2d(h, 2)
    torch.testing.assert_close(model.extract_features(images()), by_hand)


def test_fault_6_no_captured_tensor_is_overwritten_by_the_layer_behind():
    names = ("conv1_1", "bn1_2", "relu2_1")
    model, when_captured = small(VGGFeatures("vgg19_bn", names, weights="random")), {}
    for name in names:
        layer = model.feature_network.trunk.get_submodule(name)
        layer.register_forward_hook(lambda _, args, out, name=name: when_captured.update({name: out.clone()}))
    features = model.extract_features(images())
    assert when_captured["conv1_1"].min() < 0 and when_captured["bn1_2"].min() < 0
    for name, phi in zip(names, features, strict=True):
        assert torch.equal(phi, when_captured[name]), name


def test_fault_7_the_loss_is_the_papers_with_its_half_and_without_pixels(vgg):
    model = small(vgg, alpha=0.7, beta=0.3)
    out = model(images())
    recons, x, _, _, mu, log_var = out
    losses = model.loss_function(*out)
    q = torch.distributions.Normal(mu, (log_var / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    features = PerceptualLoss(vgg, reduction="paper")((recons + 1) / 2, (x + 1) / 2)
    torch.testing.assert_close(losses["Feature_Loss"], features)
    torch.testing.assert_close(losses["loss"], 0.7 * kl + 0.3 * features)
    by_hand = sum(
        (r - i).square().sum() / (2 * 2 * r[0].numel()) for r, i in zip(out[2], out[3], strict=True)
    )
    torch.testing.assert_close(features, by_hand)


def test_fault_7_nothing_is_left_of_the_loss_when_the_images_are_equal(vgg):
    model, x = small(vgg), images()
    phi, prior = model.extract_features(x), torch.zeros(2, 10)
    losses = model.loss_function(x, x, phi, phi, prior, prior)
    assert losses["loss"] == 0 and losses["KLD"] == 0


def test_fault_8_the_kl_is_logged_with_its_own_sign_and_the_features_are_logged(vgg, vgg_bn):
    for model in (small(vgg), small(vgg, legacy_loss=True, legacy_features=vgg_bn)):
        out = model(images())
        mu, log_var = out[4:]
        losses = model.loss_function(*out, M_N=0.5)
        q = torch.distributions.Normal(mu, (log_var / 2).exp())
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
        assert losses["KLD"] > 0 and losses["Feature_Loss"] > 0
        torch.testing.assert_close(losses["KLD"], kl)  # and M_N weighs it in the loss alone


def test_fault_8_training_and_validation_weigh_alike(vgg):
    model = small(vgg)
    out = model(images())
    in_training = model.train().loss_function(*out, M_N=0.1)
    in_validation = model.eval().loss_function(*out, M_N=0.1)
    assert in_training["loss"] == in_validation["loss"]
    feature_loss, kl = in_training["Feature_Loss"], in_training["KLD"]
    torch.testing.assert_close(in_training["loss"], 0.1 * kl + 0.5 * feature_loss)


def test_fault_9_the_callers_list_is_not_changed(vgg):
    hidden_dims = [8, 16, 24]
    first = DFCVAE(3, 10, hidden_dims, image_size=32, features=vgg)
    second = DFCVAE(3, 10, hidden_dims, image_size=32, features=vgg)
    assert hidden_dims == [8, 16, 24]
    assert [t.shape for t in first.state_dict().values()] == [t.shape for t in second.state_dict().values()]


@pytest.mark.parametrize(
    ("hidden_dims", "size", "channels"),
    [(None, 32, 3), (None, 96, 3), ([8, 16], 64, 3), ((12,), 32, 3), ([8, 16, 24, 24], 48, 1)],
)
def test_fault_9_other_sizes_depths_widths_and_channels_run(vgg, hidden_dims, size, channels):
    model, x = DFCVAE(channels, 6, hidden_dims, image_size=size, features=vgg), images(2, channels, size)
    out = model(x)
    assert out[0].shape == x.shape and model.sample(1, "cpu").shape[1:] == x.shape[1:]
    model.loss_function(*out)["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_fault_9_grey_images_are_seen_by_the_vgg_as_three_equal_channels(vgg):
    grey, colour = DFCVAE(1, 6, features=vgg, **SMALL), small(vgg)
    x = images(channels=1)
    torch.testing.assert_close(grey.extract_features(x), colour.extract_features(x.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("far_out", [-1e4, 1e4])
def test_fault_10_the_log_variance_is_bounded_and_can_come_back(vgg, far_out):
    model = small(vgg)
    torch.nn.init.constant_(model.fc_var.bias, far_out)
    out = model(images())
    losses = model.loss_function(*out)
    assert out[5].abs().max() == 20 and torch.isfinite(losses["loss"])
    losses["KLD"].backward()
    assert (model.fc_var.bias.grad * far_out > 0).all()  # a step against it leads back


def test_fault_11_the_vgg_ends_at_the_last_layer_of_the_loss(vgg):
    names = [name for name, _ in small(vgg).feature_network.trunk.named_children()]
    assert names[-1] == "relu3_1" and len(names) == 12


def test_fault_12_the_vgg_is_in_no_state_dict_and_in_no_optimizer(vgg, vgg_bn):
    for model in (small(vgg), small(vgg, legacy_loss=True, legacy_features=vgg_bn)):
        expected = original_state([8, 16, 24], latent_dim=10, grid=4)
        state = model.state_dict()
        assert list(state) == list(expected)
        assert {key: t.shape for key, t in state.items()} == {key: t.shape for key, t in expected.items()}
        assert {name for name, _ in model.named_parameters()} <= state.keys()
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert not list(model.feature_network.parameters())


def test_fault_12_the_gradient_reaches_the_reconstruction_and_never_the_target_or_the_vgg(vgg):
    model, x = small(vgg), images().requires_grad_()
    out = model(x)
    assert not any(phi.requires_grad for phi in out[3])
    (to_recons,) = torch.autograd.grad(model.loss_function(*out)["Feature_Loss"], out[0])
    assert to_recons.abs().sum() > 0
    assert not any(tensor.requires_grad for tensor in vgg.buffers())


def test_fault_13_nothing_is_downloaded_at_construction(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert "mini" in DFCVAE(3, 10, **SMALL).feature_network.weights_name


def test_fault_14_generate_decodes_mu_and_never_runs_the_vgg(vgg):
    model, x, runs = small(vgg).eval(), images(), []
    hook = vgg.register_forward_hook(lambda *_: runs.append(1))
    first, second = model.generate(x), model.generate(x)
    hook.remove()
    assert torch.equal(first, second) and not runs
    torch.testing.assert_close(first, model.decode(model.encode(x)[0]))


# ---------------------------------------------------------------- the original's loss


def legacy_features_by_hand(layers, x, training):
    """conv3_1, bn3_4 and bn4_3 as the ReLU behind them leaves them, and conv5_2; no module is run."""
    kept, h = {}, x
    for number, layer in enumerate(layers):
        if isinstance(layer, torch.nn.Conv2d):
            h = F.conv2d(h, layer.weight, layer.bias, padding=1)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            mean, var = (None, None) if training else (layer.running_mean, layer.running_var)
            h = F.batch_norm(h, mean, var, layer.weight, layer.bias, training)
        elif isinstance(layer, torch.nn.ReLU):
            h = F.relu(h)
        else:
            h = F.max_pool2d(h, 2)
        kept[number] = h
    return [kept[14], kept[24 + 1], kept[34 + 1], kept[43]]


@pytest.mark.parametrize("training", [True, False])
def test_legacy_loss_is_the_originals_value(vgg_bn, training):
    model = small(None, alpha=0.7, beta=0.3, legacy_loss=True, legacy_features=vgg_bn)
    statistics = vgg_bn[1].running_mean.clone()
    model.train(training)
    x = images()
    out = model(x)
    recons, _, recons_features, input_features, mu, log_var = out
    by_hand = [legacy_features_by_hand(vgg_bn, batch, training) for batch in (recons, x)]
    torch.testing.assert_close(recons_features, by_hand[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(input_features, by_hand[1], rtol=1e-3, atol=1e-4)
    pixels = (recons - x).square().mean()
    features = sum((r - i).square().mean() for r, i in zip(*by_hand, strict=True))
    kl = -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(1).mean()
    losses = model.loss_function(*out, M_N=0.00025)
    assert features > 0.1 and pixels > 0.01
    torch.testing.assert_close(
        losses["loss"], 0.3 * (pixels + features) + 0.7 * 0.00025 * kl, rtol=1e-4, atol=0
    )
    torch.testing.assert_close(losses["Reconstruction_Loss"], pixels)
    losses["loss"].backward()
    assert torch.equal(vgg_bn[1].running_mean, statistics)  # the caller's network is copied
    drifted = not torch.equal(model.feature_network.trunk[1].running_mean, statistics)
    assert drifted == training


def test_legacy_loss_and_repaired_loss_share_one_network_and_differ(vgg, vgg_bn):
    legacy = small(None, legacy_loss=True, legacy_features=vgg_bn)
    repaired = small(vgg)
    repaired.load_state_dict(legacy.state_dict())
    x = images()
    torch.testing.assert_close(legacy.eval().generate(x), repaired.eval().generate(x))
    values = [model.loss_function(*model(x))["loss"] for model in (legacy, repaired)]
    assert values[0] != values[1]


def test_legacy_loss_takes_torchvisions_network_unless_one_is_given(vgg_bn, monkeypatch):
    import torchvision

    asked = []
    monkeypatch.setattr(
        torchvision.models,
        "vgg19_bn",
        lambda weights: asked.append(weights) or SimpleNamespace(features=vgg_bn),
    )
    model = small(None, legacy_loss=True)
    assert asked == ["IMAGENET1K_V1"]
    torch.testing.assert_close(model.feature_network.trunk[0].weight, vgg_bn[0].weight)
