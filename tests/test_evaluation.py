"""The measures, computed again by hand: PSNR, sharpness, SSIM, KL, and the spectra on known signals."""

import math

import numpy as np
import pytest
import torch

from dfcvae import VAE, Images, kl_divergence
from dfcvae.evaluation import (
    OctaveSpectrum,
    evaluate,
    interval,
    laplacian_variance,
    psnr,
    rate_distortion,
    reconstructions,
    sharpness,
    sharpness_ratios,
    ssim,
)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(4, 3, 32, 32)
    return (0.7 * x + 0.3 * torch.rand(4, 3, 32, 32)).clamp(0, 1), x


@pytest.fixture
def vae() -> VAE:
    return VAE(32, latent_dim=5, channels=(4, 6))


def laplacian_by_hand(grey: np.ndarray) -> np.ndarray:
    """Valid positions only: one pixel fewer on each side."""
    height, width = grey.shape
    out = np.empty((height - 2, width - 2))
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            out[i - 1, j - 1] = (
                grey[i - 1, j] + grey[i + 1, j] + grey[i, j - 1] + grey[i, j + 1] - 4 * grey[i, j]
            )
    return out


def ratios_by_hand(x_hat: torch.Tensor, x: torch.Tensor) -> list[float]:
    variances = [
        [laplacian_by_hand(image.double().mean(0).numpy()).var() for image in images] for images in (x_hat, x)
    ]
    return [a / b for a, b in zip(*variances, strict=True)]


def test_psnr_by_hand(pair):
    x_hat, x = (images.double().numpy() for images in pair)
    expected = [10 * math.log10(1 / np.mean((a - b) ** 2)) for a, b in zip(x_hat, x, strict=True)]
    assert psnr(*pair).tolist() == pytest.approx(expected, abs=1e-3)
    half = torch.full((1, 3, 8, 8), 0.5)
    assert psnr(half, half + 0.1).item() == pytest.approx(20, abs=1e-3)
    assert psnr(half, half).tolist() == [120]


def test_sharpness_by_hand(pair):
    assert sharpness_ratios(*pair).tolist() == pytest.approx(ratios_by_hand(*pair), rel=1e-3)


@pytest.mark.parametrize("n", [3, 4])
def test_sharpness_is_the_median_over_images(pair, n):
    """Of an even number too: the middle of the two middle ones, as everywhere."""
    x_hat, x = (images[:n] for images in pair)
    assert sharpness(x_hat, x) == pytest.approx(np.median(ratios_by_hand(x_hat, x)), rel=1e-3)


def test_sharpness_sees_detail_and_neither_brightness_nor_the_border(pair):
    _, x = pair
    assert sharpness(x, x) == pytest.approx(1)
    assert sharpness(x / 2, x) == pytest.approx(0.25, rel=1e-4)
    assert sharpness(x * 0 + 0.3, x) == pytest.approx(0, abs=1e-9)
    assert sharpness(x / 2 + 0.4, x) == pytest.approx(0.25, rel=1e-3)  # padding would see an edge here
    ramp, red = torch.linspace(0, 1, 32).expand(1, 3, 32, 32), torch.rand(1, 1, 16, 16)
    grey = torch.cat([red, 1 - red, torch.full_like(red, 0.5)], dim=1)  # detail that the mean does not have
    assert laplacian_variance(ramp).item() < 1e-12 and laplacian_variance(grey).item() < 1e-10
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    assert sharpness(blurred, x) < 0.1


def test_ssim_of_each_image(pair):
    x_hat, x = pair
    values = ssim(x_hat, x)
    assert values.shape == (4,) and ssim(x, x).tolist() == pytest.approx([1.0] * 4)
    assert values.tolist() == pytest.approx(
        [ssim(a[None], b[None]).item() for a, b in zip(x_hat, x, strict=True)]
    )
    assert 0 < values.min() and values.max() < 1
    dark, light = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    c1 = 0.01**2  # of flat images only the luminance term is left
    expected = (2 * 0.2 * 0.6 + c1) / (0.2**2 + 0.6**2 + c1)
    assert ssim(dark, light).item() == pytest.approx(expected, abs=1e-3)


# --- spectra


def wave(size: int, cycles_x: float, cycles_y: float = 0, phase: float = 0) -> torch.Tensor:
    grid = torch.arange(size) / size
    angle = 2 * math.pi * (cycles_x * grid[None, :] + cycles_y * grid[:, None]) + phase
    return (0.5 + 0.4 * torch.sin(angle)).expand(1, 3, size, size)


@pytest.mark.parametrize(
    ("cycles", "octave"), [((3, 0), 1), ((0, 6), 2), ((12, 0), 3), ((0, 12), 3), ((24, 0), 4), ((4, 4.5), 2)]
)
def test_a_pure_wave_lands_in_its_octave(cycles, octave):
    spectrum = OctaveSpectrum(64)
    assert spectrum.octaves == 5
    spectrum.add(0.5 * wave(64, *cycles), wave(64, *cycles))
    share = spectrum.sums[0] / spectrum.sums[0].sum()
    assert share.argmax() == octave and share[octave] > 0.8  # the window spreads a wave over its neighbours
    assert spectrum.power_ratio[octave] == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "ratio", "coherence"),
    [
        (lambda x: x, 1, 1),
        (lambda x: 0.5 * x + 0.2, 0.25, 1),  # neither level nor contrast is a matter of place
        (lambda x: 1 - x, 1, -1),
    ],
)
def test_ratio_and_coherence_of_known_changes(pair, change, ratio, coherence):
    spectrum = OctaveSpectrum(32)
    spectrum.add(change(pair[1]), pair[1])
    assert spectrum.power_ratio == pytest.approx([ratio] * 4, rel=1e-3)
    assert spectrum.coherence == pytest.approx([coherence] * 4, abs=1e-4)


def test_detail_of_the_right_power_in_the_wrong_place_is_not_coherent():
    """Noise with the originals' own amplitudes and other phases: sharpness would be taken in."""
    x = torch.randn(200, 1, 64, 64).expand(-1, 3, -1, -1)
    amplitudes = torch.fft.rfft2(x[:, 0]).abs()
    phases = torch.fft.rfft2(torch.randn(200, 64, 64)).angle()
    shuffled = torch.fft.irfft2(torch.polar(amplitudes, phases), s=(64, 64))[:, None].expand(-1, 3, -1, -1)
    spectrum = OctaveSpectrum(64)
    spectrum.add(shuffled, x)
    assert spectrum.power_ratio[1:] == pytest.approx([1] * 4, abs=0.1)
    assert max(map(abs, spectrum.coherence[1:])) < 0.08
    assert sharpness(shuffled, x) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [32, 128])
def test_spectra_by_hand_with_numpy(size):
    """In batches of one; octaves from one cycle to the corners of the plane."""
    x, other = torch.rand(2, 3, 3, size, size)
    x_hat = 0.7 * x + 0.3 * other
    window, frequency = np.hanning(size + 2)[1:-1], np.fft.fftfreq(size) * size
    radius = np.hypot(frequency[:, None], frequency[None, :])
    f_hat, f = (
        np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * np.outer(window, window))
        for grey in (images.double().numpy().mean(1) for images in (x_hat, x))
    )
    spectrum = OctaveSpectrum(size)
    for one_hat, one in zip(x_hat, x, strict=True):
        spectrum.add(one_hat[None], one[None])
    assert 2**spectrum.octaves == size / 2
    for k in range(spectrum.octaves):
        inside = (radius >= 2**k) & ((radius < 2 ** (k + 1)) | (k == spectrum.octaves - 1))
        a, b = f[:, inside], f_hat[:, inside]
        power, power_hat = (np.abs(a) ** 2).sum(), (np.abs(b) ** 2).sum()
        assert spectrum.power_ratio[k] == pytest.approx(power_hat / power, rel=1e-4)
        coherence = (a * b.conj()).real.sum() / math.sqrt(power * power_hat)
        assert spectrum.coherence[k] == pytest.approx(coherence, abs=1e-4)


# --- evaluate


def test_reconstructions_are_decoded_from_mu_in_eval_mode(vae, images):
    vae.train()
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    x_hat, x, mu, log_var = (
        torch.cat(parts) for parts in zip(*reconstructions(vae, images, 16), strict=True)
    )
    assert vae.training and all(tensor.equal(before[name]) for name, tensor in vae.state_dict().items())
    assert x.equal(images.float()) and x_hat.dtype == torch.float32 and not x_hat.requires_grad
    vae.eval()
    torch.testing.assert_close(x_hat, vae.generate(images.float()))
    torch.testing.assert_close(torch.cat(vae.encode(images.float())), torch.cat([mu, log_var]))


@pytest.mark.parametrize("batch_size", [64, 13])
def test_evaluate_is_the_sum_of_its_measures(vae, images, batch_size):
    """The last of 13 a batch is a single image. Contrasts differ, so that the median is not the mean."""
    contrast = torch.linspace(0.2, 1, 40).view(-1, 1, 1, 1)
    images = Images((images.float() * contrast * 255).byte())
    figures = evaluate(vae, images, batch_size)
    vae.eval()
    x, x_hat = images.float(), vae.generate(images.float())
    with torch.no_grad():
        kl = kl_divergence(*vae.encode(x)).item()
    assert figures["images"] == 40
    assert figures["psnr"] == pytest.approx(psnr(x_hat, x).mean().item(), rel=1e-4)
    assert figures["mse"] == pytest.approx((x_hat - x).square().mean().item(), rel=1e-5)
    assert figures["ssim"] == pytest.approx(ssim(x_hat, x).mean().item(), rel=1e-3, abs=1e-5)
    assert figures["kl"] == pytest.approx(kl, rel=1e-4)
    assert figures["sharpness"] == pytest.approx(np.median(ratios_by_hand(x_hat, x)), rel=1e-2)
    assert len(figures["power_ratio"]) == len(figures["coherence"]) == 4
    assert figures["images_per_second"] > 0


def test_evaluate_takes_one_image_and_refuses_none(vae, images):
    figures = evaluate(vae, images[3])
    assert figures["images"] == 1 and all(map(math.isfinite, figures["power_ratio"]))
    with pytest.raises(ValueError, match="no images to evaluate"):
        evaluate(vae, Images(torch.zeros(0, 3, 32, 32, dtype=torch.uint8)))


def test_model_is_in_training_mode_again_when_somebody_looks_at_one_batch_only():
    model = VAE(32, 4, (4, 6)).train()
    images = Images(torch.zeros(6, 3, 32, 32, dtype=torch.uint8))
    batches = reconstructions(model, images, batch_size=2)
    next(batches)
    batches.close()
    assert model.training


class Told(VAE):
    """A model whose codes are known: mu is the top left pixel, a latent a channel, times ``scales``."""

    def __init__(self, scales: tuple[float, float, float]) -> None:
        super().__init__(32, 3, (4, 6))
        self.scales = torch.tensor(scales)

    def encode(self, x):
        mu = x[:, :, 0, 0] * self.scales
        return mu, torch.tensor([0.0, -1.0, -2.0]).expand_as(mu)


@pytest.mark.parametrize("batch_size", [64, 7])
def test_active_units_and_nats_by_hand(images, batch_size):
    """Pixels alternate between 0 and 1, so the variance of mu is scale^2 / 4: 0.0099, 0.0110 and 0.25. (The
    first would be above 0.01 if it were divided by N - 1.)"""
    pixels = images.pixels.clone()
    pixels[::2, :, 0, 0], pixels[1::2, :, 0, 0] = 0, 255
    figures = evaluate(Told((0.199, 0.21, 1.0)), Images(pixels), batch_size)
    assert figures["active_units"] == 2
    by_hand = [
        0.5 * (scale**2 / 2 + math.exp(log_var) - 1 - log_var)
        for scale, log_var in ((0.199, 0), (0.21, -1), (1, -2))
    ]
    assert figures["kl_per_latent"] == pytest.approx(by_hand, rel=1e-5)
    assert figures["kl"] == pytest.approx(sum(by_hand), rel=1e-5)
    assert evaluate(Told((1.0, 1.0, 1.0)), images[3])["active_units"] == 0  # nothing varies over one image


def test_rate_distortion_is_ordered_by_rate_and_wants_the_same_images():
    def figures(kl: float, images: int = 5) -> dict:
        return {"images": images, "kl": kl, "mse": 1 / kl, "psnr": kl, "sharpness": 0.1, "ssim": 1}

    points = rate_distortion({"b": figures(30.0), "a": figures(10.0), "c": figures(20.0)})
    assert [(point["run"], point["kl"], point["mse"]) for point in points] == [
        ("a", 10, 0.1),
        ("c", 20, 0.05),
        ("b", 30, 1 / 30),
    ]
    with pytest.raises(ValueError, match=r"measured on \[5, 6\] images"):
        rate_distortion({"a": figures(1.0), "b": figures(2.0, images=6)})


def test_interval_is_students():
    mean, half = interval(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert mean == 3.0 and half == pytest.approx(2.776445 * math.sqrt(2.5) / math.sqrt(5), rel=1e-5)
    assert math.isnan(interval(torch.ones(1))[1])


def test_a_flat_picture_among_others_leaves_a_median_and_nan_stays_nan():
    x = torch.rand(3, 3, 16, 16)
    assert sharpness(torch.cat([x[:2], torch.full_like(x[:1], 0.5)]), x) == pytest.approx(1)
    assert math.isnan(sharpness(x * math.nan, x))
