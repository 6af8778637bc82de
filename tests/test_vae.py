"""The network: sizes, bounds, the noise of z, and the KL in nats."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of_torch

from dfcvae import VAE, kl_divergence
from dfcvae.vae import LOG_VAR_BOUND, UpsampleConv2d

SIZES = (32, 48, 64, 96, 128, 160, 192, 224, 256)


def small() -> VAE:
    return VAE(32, latent_dim=5, channels=(4, 6))


def seeded(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_papers_network():
    vae = VAE()
    assert sum(p.numel() for p in vae.parameters()) == 2_312_811
    for conv, norm, activation in vae.encoder:
        assert (conv.kernel_size, conv.stride, conv.padding) == ((4, 4), (2, 2), (1, 1))
        assert isinstance(norm, nn.BatchNorm2d) and activation.negative_slope == 0.2
    assert [level[0].out_channels for level in vae.decoder] == [128, 64, 32, 3]
    assert [len(level) for level in vae.decoder] == [3, 3, 3, 1]


@pytest.mark.parametrize("depth", range(1, 7))
def test_every_size_that_the_depth_divides(depth):
    for size in (size for size in SIZES if size % 2**depth == 0):
        channels = [3, 5, 4, 6, 7, 5][:depth]
        vae, x = VAE(size, latent_dim=7, channels=channels), torch.rand(2, 3, size, size)
        channels.reverse()  # the caller's list is the caller's
        out = vae(x)
        assert out.reconstruction.shape == x.shape and out.mu.shape == out.log_var.shape == (2, 7)
        assert 0 <= out.reconstruction.min() and out.reconstruction.max() <= 1
        assert vae.channels == tuple(reversed(channels))


@pytest.mark.parametrize("shape", [(2, 5, 4, 4), (1, 5, 3, 7), (3, 5, 1, 1)])
def test_upsampling_is_nearest_and_its_border_replicated(shape):
    ours, h = UpsampleConv2d(5, 6), torch.randn(shape)
    pair = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(5, 6, 3, padding=1, padding_mode="replicate"))
    pair[1].load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(h), pair(h))


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
        VAE(**options)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 64, 64), (3, 32, 32)])
def test_images_and_codes_that_do_not_fit_are_refused(shape):
    for x in torch.zeros(shape), torch.zeros(2, 3, 32, 32, dtype=torch.uint8):
        with pytest.raises(ValueError, match=r"expected float \(N, 3, 32, 32\) in \[0, 1\]"):
            small().encode(x)
    with pytest.raises(ValueError, match=r"z is \(2, 4\): expected \(N, 5\)"):
        small().decode(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="n is 0"):
        small().sample(0)


@pytest.mark.parametrize("factor", [1, 1e2, 1e4, -1e4])
def test_a_bad_step_cannot_send_the_variance_to_infinity(factor):
    vae = small()
    with torch.no_grad():
        vae.to_log_var.weight.zero_()
        vae.to_log_var.bias.copy_(factor * torch.tensor([-1.0, 0.0, 0.5, 1.0, 9.0]))
    out = vae(torch.rand(4, 3, 32, 32))
    assert out.log_var.abs().max() <= LOG_VAR_BOUND
    kl = kl_divergence(out.mu, out.log_var)
    (kl + out.reconstruction.sum()).backward()
    assert kl.isfinite() and all(p.grad.isfinite().all() for p in vae.parameters())
    if factor == 1:  # small values are left alone, and near the bound there is a gradient
        torch.testing.assert_close(out.log_var[0, :4], vae.to_log_var.bias[:4], atol=0.005, rtol=0)
        assert vae.to_log_var.bias.grad[4] > 0.1


def test_kl_is_that_of_torch_distributions_in_nats_per_image():
    mu, log_var = torch.randn(6, 9) * 2, torch.randn(6, 9) * 2
    expected = kl_of_torch(Normal(mu, torch.exp(log_var / 2)), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(kl_divergence(mu, log_var), expected)
    torch.testing.assert_close(kl_divergence(mu.repeat(2, 1), log_var.repeat(2, 1)), expected)
    half = mu.bfloat16(), log_var.bfloat16()
    assert kl_divergence(*half) == kl_divergence(half[0].float(), half[1].float())


def test_z_is_mu_plus_sigma_times_noise_of_the_generator():
    vae, mu, log_var = small(), torch.randn(2, 5, requires_grad=True), torch.randn(2, 5, requires_grad=True)
    z, epsilon = vae.reparameterize(mu, log_var, seeded()), torch.randn(2, 5, generator=seeded())
    torch.testing.assert_close(z, mu + (log_var / 2).exp() * epsilon)
    assert z.equal(vae.reparameterize(mu, log_var, epsilon=epsilon))
    z.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(2, 5))
    torch.testing.assert_close(log_var.grad, 0.5 * (log_var.detach() / 2).exp() * epsilon)


def test_generate_and_sample_are_those_of_eval_and_leave_a_model_as_it_was():
    vae, x = small().eval(), torch.rand(3, 3, 32, 32)
    generated, sampled = vae.generate(x), vae.sample(4, generator=seeded())
    assert generated.equal(vae.decode(vae.encode(x)[0])) and not generated.requires_grad
    vae.train().encoder[0].eval()  # somebody has frozen a level
    modes = [module.training for module in vae.modules()]
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    assert vae.generate(x).equal(generated) and vae.sample(4, generator=seeded()).equal(sampled)
    assert all(tensor.equal(before[name]) for name, tensor in vae.state_dict().items())
    assert [module.training for module in vae.modules()] == modes


def test_samples_follow_temperature_or_a_prior():
    class Prior:
        def sample(self, n, generator=None):
            return 3 + torch.randn(n, 5, generator=generator)

    vae, z = small().eval(), torch.randn(4, 5, generator=seeded())
    half = vae.sample(4, temperature=0.5, generator=seeded())
    torch.testing.assert_close(half, vae.decode(0.5 * z).detach())
    assert vae.sample(4, prior=Prior(), generator=seeded()).equal(vae.decode(3 + z).detach())
    with pytest.raises(ValueError, match="temperature is 0.5"):
        vae.sample(4, temperature=0.5, prior=Prior())


def test_layouts_types_and_devices():
    vae, x = small(), torch.rand(2, 3, 32, 32)
    assert vae(x).reconstruction.view(2, -1).shape == (2, 3 * 32 * 32)
    vae = vae.to(memory_format=torch.channels_last)
    assert vae(x).reconstruction.is_contiguous(memory_format=torch.channels_last)
    assert small().double()(x.double()).reconstruction.shape == x.shape
    assert small().to("meta")(x.to("meta")).reconstruction.shape == x.shape
