"""The network: sizes, bounds, the noise of z, and the KL in nats."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

import dfcvae
from dfcvae.fast.upsampling import UpsampleConv2d
from dfcvae.vae import LOG_VAR_BOUND

SIZES = (32, 48, 64, 96, 128, 160, 192, 224, 256)
COMBINATIONS = [(size, depth) for depth in range(1, 7) for size in SIZES if size % 2**depth == 0]


def small(size: int = 32, **options) -> dfcvae.VAE:
    return dfcvae.VAE(size, latent_dim=5, channels=(4, 6), **options)


def parameters_by_hand(size: int, latent_dim: int, channels: list[int]) -> int:
    encoder = sum(16 * a * b + 3 * b for a, b in zip([3, *channels], channels, strict=False))
    flat = channels[-1] * (size // 2 ** len(channels)) ** 2
    linear = 2 * (flat * latent_dim + latent_dim) + latent_dim * flat + flat
    widths = [*reversed(channels), 3]
    decoder = (
        sum(9 * a * b + 3 * b for a, b in zip(widths, widths[1:], strict=False)) - 2 * 3
    )  # no norm on the last
    return encoder + linear + decoder


def test_paper_network_has_its_parameters():
    assert sum(p.numel() for p in dfcvae.VAE().parameters()) == 2_312_811
    assert parameters_by_hand(64, 100, [32, 64, 128, 256]) == 2_312_811


@pytest.mark.parametrize(("size", "depth"), COMBINATIONS)
def test_every_size_that_the_depth_divides(size, depth):
    channels = [3, 5, 4, 6, 7, 5][:depth]
    vae = dfcvae.VAE(size, latent_dim=7, channels=channels)
    assert sum(p.numel() for p in vae.parameters()) == parameters_by_hand(size, 7, channels)
    x = torch.rand(2, 3, size, size)
    out = vae(x)
    assert out.reconstruction.shape == x.shape
    assert out.mu.shape == out.log_var.shape == (2, 7)
    assert 0 <= out.reconstruction.min() and out.reconstruction.max() <= 1
    out.reconstruction.sum().backward()
    assert vae.encoder[0][0].weight.grad.abs().sum() > 0


def test_layers_are_those_of_the_paper():
    vae = dfcvae.VAE()
    for conv, norm, activation in vae.encoder:
        assert (conv.kernel_size, conv.stride, conv.padding) == ((4, 4), (2, 2), (1, 1))
        assert isinstance(norm, nn.BatchNorm2d) and activation.negative_slope == 0.2
    assert [level[0].out_channels for level in vae.decoder] == [128, 64, 32, 3]
    assert [len(level) for level in vae.decoder] == [3, 3, 3, 1]


@pytest.mark.parametrize("shape", [(2, 5, 4, 4), (1, 5, 3, 7), (3, 5, 1, 1)])
def test_upsampling_and_convolution_in_one_is_the_two_layers(shape):
    torch.manual_seed(0)
    fused = UpsampleConv2d(5, 6)
    plain = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(5, 6, 3, 1, 1, padding_mode="replicate"))
    plain[1].load_state_dict(fused.state_dict())
    gradients, h = [], torch.randn(shape)
    weighting = torch.randn(shape[0], 6, 2 * shape[2], 2 * shape[3])
    for layers in (fused, plain):
        seen = h.clone().requires_grad_()
        out = layers(seen)
        (out * weighting).sum().backward()
        gradients.append((out, seen.grad, *(parameter.grad for parameter in layers.parameters())))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_callers_channel_list_stays_as_it_was():
    channels = [4, 6, 8]
    vae = dfcvae.VAE(32, 5, channels)
    model = dfcvae.DFCVAE("pixel", image_size=32, latent_dim=5, channels=channels)
    assert channels == [4, 6, 8]
    channels.reverse()
    assert vae.channels == model.channels == (4, 6, 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 60}, "image_size is 60.*multiple of 16.*64"),
        ({"image_size": 16}, "image_size is 16.*32"),
        ({"image_size": 512}, "image_size is 512.*256"),
        ({"image_size": 64, "channels": [4] * 9}, "fewer levels"),
        ({"latent_dim": 0}, "latent_dim is 0"),
        ({"channels": []}, "channels"),
        ({"channels": [32, 0]}, "channels"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        dfcvae.VAE(**options)


@pytest.mark.parametrize("factor", [1e2, 1e4, -1e4])
def test_log_variance_stays_bounded(factor):
    vae = small()
    with torch.no_grad():
        vae.to_log_var.weight.mul_(factor)
        vae.to_log_var.bias.mul_(factor)
    out = vae(torch.rand(4, 3, 32, 32))
    assert out.log_var.abs().max() <= LOG_VAR_BOUND
    kl = dfcvae.kl_divergence(out.mu, out.log_var)
    (kl + out.reconstruction.sum()).backward()
    assert kl.isfinite() and all(p.grad.isfinite().all() for p in vae.parameters())


def test_everything_stays_finite_when_every_weight_is_ten_thousand_times_too_large():
    vae = small()
    with torch.no_grad():
        for weight in vae.parameters():
            weight.mul_(1e4)
    out = vae(torch.rand(4, 3, 32, 32))
    assert out.log_var.abs().max() <= LOG_VAR_BOUND
    assert out.reconstruction.isfinite().all() and out.mu.isfinite().all()


def test_bound_is_smooth_and_leaves_small_values_alone():
    vae = small()
    with torch.no_grad():
        vae.to_log_var.weight.zero_()
        vae.to_log_var.bias.copy_(torch.tensor([-1.0, 0.0, 0.5, 1.0, 9.0]))
    log_var = vae.encode(torch.rand(1, 3, 32, 32))[1][0]
    torch.testing.assert_close(log_var[:4], vae.to_log_var.bias[:4].detach(), atol=0.005, rtol=0)
    log_var[4].backward()
    assert vae.to_log_var.bias.grad[4] > 0.1


def test_kl_is_that_of_torch_distributions():
    mu, log_var = torch.randn(6, 9) * 2, torch.randn(6, 9) * 2
    expected = kl_divergence(Normal(mu, torch.exp(log_var / 2)), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(dfcvae.kl_divergence(mu, log_var), expected)


def test_kl_counts_nats_per_image():
    torch.testing.assert_close(
        dfcvae.kl_divergence(torch.full((3, 4), 2.0), torch.zeros(3, 4)), torch.tensor(8.0)
    )
    assert dfcvae.kl_divergence(torch.zeros(5, 7), torch.zeros(5, 7)) == 0
    mu, log_var = torch.randn(4, 3), torch.randn(4, 3)
    twice = dfcvae.kl_divergence(mu.repeat(2, 1), log_var.repeat(2, 1))
    torch.testing.assert_close(twice, dfcvae.kl_divergence(mu, log_var))


def test_kl_is_summed_in_float32():
    mu, log_var = torch.randn(4, 100).bfloat16(), torch.randn(4, 100).bfloat16()
    exact = dfcvae.kl_divergence(mu.float(), log_var.float())
    assert dfcvae.kl_divergence(mu, log_var) == exact


@pytest.mark.parametrize("log_var", [-4.0, -1.0, 0.0, 2.0])
def test_std_of_z_is_exp_of_half_the_log_variance(log_var):
    mu = torch.full((40_000, 2), 3.0)
    z = small().reparameterize(mu, torch.full_like(mu, log_var), torch.Generator().manual_seed(1))
    expected = torch.tensor(log_var / 2).exp()
    torch.testing.assert_close(z.std(), expected, rtol=0.02, atol=0)
    assert (z.mean() - 3).abs() < 0.02 * expected


def test_noise_comes_from_the_generator_and_gradients_reach_mu_and_log_var():
    vae, mu, log_var = small(), torch.randn(2, 5, requires_grad=True), torch.randn(2, 5, requires_grad=True)
    first, again = (vae.reparameterize(mu, log_var, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.equal(again)
    epsilon = torch.randn(2, 5, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(first, mu + (log_var / 2).exp() * epsilon)
    first.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(2, 5))
    torch.testing.assert_close(log_var.grad, 0.5 * (log_var.detach() / 2).exp() * epsilon)


def test_generate_decodes_mu_without_noise():
    vae, x = small().eval(), torch.rand(3, 3, 32, 32)
    assert vae.generate(x).equal(vae.generate(x))
    assert vae.generate(x).equal(vae.decode(vae.encode(x)[0]))
    assert not vae(x).reconstruction.equal(vae(x).reconstruction)
    assert not vae.generate(x).requires_grad


def test_samples_follow_generator_and_temperature():
    vae = small().eval()
    first, again = (vae.sample(4, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    assert first.shape == (4, 3, 32, 32) and first.equal(again)
    z = 0.5 * torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    half = vae.sample(4, temperature=0.5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(half, vae.decode(z).detach())
    torch.testing.assert_close(vae.sample(2, temperature=0), vae.decode(torch.zeros(2, 5)).detach())


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 1, 32, 32),
        torch.zeros(2, 3, 64, 64),
        torch.zeros(3, 32, 32),
    ],
    ids=["bytes", "grey", "other size", "no batch"],
)
def test_encode_names_what_it_expected(x):
    with pytest.raises(ValueError, match=r"expected float \(N, 3, 32, 32\) in \[0, 1\]"):
        small().encode(x)


def test_decode_names_what_it_expected():
    with pytest.raises(ValueError, match=r"z is \(2, 4\): expected \(N, 5\)"):
        small().decode(torch.zeros(2, 4))


def test_reconstruction_can_be_viewed_flat_unless_asked_for_channels_last():
    vae, x = small(), torch.rand(2, 3, 32, 32)
    assert vae(x).reconstruction.view(2, -1).shape == (2, 3 * 32 * 32)
    vae = vae.to(memory_format=torch.channels_last)
    assert vae(x).reconstruction.is_contiguous(memory_format=torch.channels_last)


def test_upsampling_asks_nothing_of_the_device():
    assert UpsampleConv2d(3, 4).to("meta")(torch.empty(1, 3, 4, 4, device="meta")).shape == (1, 4, 8, 8)


def test_double_precision_decodes():
    vae = small().double()
    mu, _ = vae.encode(torch.rand(2, 3, 32, 32, dtype=torch.float64))
    assert vae.decode(mu).shape == (2, 3, 32, 32)
