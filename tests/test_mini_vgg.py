"""The shipped loss network: that the file is whole, and that its features can serve as a loss."""

import json

import drawn_textures
import pytest
import torch
import train_mini_vgg as training
from safetensors import safe_open
from torch import nn

from dfcvae import faces
from dfcvae.perceptual import measure_differences
from dfcvae.vgg import WIDTHS, VGGFeatures, build_layers
from dfcvae.weights import MINI_FILE

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@pytest.fixture(scope="module")
def vgg():
    return VGGFeatures("vgg19", LAYERS, "mini")


@pytest.fixture(scope="module")
def textures():
    return drawn_textures.draw(128, torch.Generator().manual_seed(123)).images


@pytest.fixture(scope="module")
def portraits():
    return faces.draw(faces.sample_factors(48, seed=5, distribution="independent"), size=64).float() / 255


def distances(vgg, a, b):
    """Mean squared difference of each layer over that of unrelated images, which is 1."""
    phi, psi = vgg(a), vgg(b)
    unrelated = {layer: (psi[layer] - psi[layer].roll(1, 0)).square().mean() for layer in LAYERS}
    return {layer: ((phi[layer] - psi[layer]).square().mean() / unrelated[layer]).item() for layer in LAYERS}


def blur(x, times):
    """Binomial blur; the variance in pixels^2 is ``times`` / 2 along each axis."""
    kernel = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])).div(16).expand(3, 1, 3, 3)
    for _ in range(times):
        x = nn.functional.conv2d(nn.functional.pad(x, (1,) * 4, mode="replicate"), kernel, groups=3)
    return x


def test_file_is_small_and_a_changed_weight_is_noticed(tmp_path):
    assert MINI_FILE.stat().st_size < 3_000_000
    changed = bytearray(MINI_FILE.read_bytes())
    changed[-1000] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(changed)
    with pytest.raises(ValueError, match="its tensors are not those of its checksum"):
        VGGFeatures(weights=tmp_path / "changed.safetensors")


def test_constants_of_calibration_are_those_of_the_drawn_faces():
    vgg = VGGFeatures(layers=("relu1_1", "relu3_1", "relu5_1"), weights="mini")
    for layer, measured in measure_differences(vgg).items():
        assert vgg.calibration[layer] == pytest.approx(measured, rel=1e-3)


def test_file_holds_a_narrow_vgg19_in_half_precision_and_says_how_to_feed_it():
    with safe_open(MINI_FILE, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    convs = [i for i, layer in enumerate(build_layers("vgg19", "relu5_1")) if isinstance(layer, nn.Conv2d)]
    assert set(tensors) == {f"features.{i}.{kind}" for i in convs for kind in ("weight", "bias")}
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
    assert metadata["arch"] == "vgg19" and "mini" in metadata["name"]
    assert len(json.loads(metadata["mean"])) == len(json.loads(metadata["std"])) == 3
    firsts = [tensors[f"features.{i}.weight"].shape[0] for i in (0, 5, 10, 19, 28)]
    assert all(narrow <= wide / 4 for narrow, wide in zip(firsts, WIDTHS, strict=True))


def test_no_channel_is_dead_on_textures_and_hardly_one_on_faces(vgg, textures, portraits):
    for images, allowed in ((textures, 0.0), (portraits, 0.02)):
        for layer, phi in vgg(images).items():
            assert phi.isfinite().all()
            dead = (phi.amax(dim=(0, 2, 3)) <= 0).float().mean().item()
            assert dead <= allowed, f"{dead:.1%} of the channels at {layer} are dead"


def test_channels_are_balanced_on_textures(vgg, textures):
    """Each channel's mean activation was made 1 on images of the same kind."""
    for layer, phi in vgg(textures).items():
        means = phi.mean(dim=(0, 2, 3))
        assert 0.7 < means.median() < 1.4, layer
        assert ((means > 1 / 4) & (means < 4)).float().mean() > 0.9, layer


def test_bfloat16_gives_the_same_features(vgg, portraits):
    exact = vgg(portraits[:8])
    with torch.autocast("cpu", torch.bfloat16):
        rough = vgg(portraits[:8])
    for layer in LAYERS:
        error = (rough[layer].float() - exact[layer]).square().mean() / exact[layer].var()
        assert error < 0.02, layer


def test_distance_grows_with_blur_and_another_face_is_farther_than_a_blurred_one(vgg, portraits):
    """The second half holds for the layers of vae-123 only; the card says so of relu4_1 and relu5_1."""
    slight, clear, strong = (distances(vgg, blur(portraits, times), portraits) for times in (1, 4, 16))
    for layer in LAYERS:
        assert slight[layer] < clear[layer] < strong[layer], layer
    for layer in LAYERS[:3]:
        assert slight[layer] < 0.3 and clear[layer] < 0.8, layer


def test_fine_coloured_patterns_are_seen_and_not_worshipped(vgg, portraits):
    """A first network weighed a coloured pixel grid 100 times more than stripes; decoders drew grids."""
    column = torch.arange(64)
    stripes = 0.02 * 2**0.5 * torch.cos(torch.pi / 2 * column + torch.pi / 4).expand(1, 3, 64, 64)
    pixels = 0.02 * 1.2 * (-1.0) ** (column[:, None] + column) * torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1)
    of_stripes, of_pixels = (distances(vgg, portraits + p, portraits) for p in (stripes, pixels))
    assert of_pixels["relu1_1"] > 1e-3
    for layer in LAYERS[:3]:
        assert of_pixels[layer] < 5 * of_stripes[layer], layer


def test_drawn_textures_repeat_with_their_seed_and_label_every_pixel():
    first, again = (drawn_textures.draw(6, torch.Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = drawn_textures.draw(6, torch.Generator().manual_seed(8))
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (6, 3, 64, 64) and 0 <= first.images.min() and first.images.max() <= 1
    assert first.material.shape == first.flaw.shape == first.edges.shape == (6, 64, 64)
    assert first.material.max() < len(drawn_textures.MATERIALS)
    assert first.flaw.max() < len(drawn_textures.FLAWS)


def test_folding_batch_norm_and_colour_keeps_the_function(textures):
    torch.manual_seed(0)
    model = training.MiniVGG((4, 4, 8, 8, 8))
    model.trunk(training.stretch(textures[:32]))  # moves the running statistics
    model.eval()
    x = textures[:8]
    with torch.no_grad():
        plain = training.folded(model)((x - training.MEAN[0]) / training.STD[0])
        trained = model.trunk(training.stretch(x))
    torch.testing.assert_close(plain, trained, rtol=1e-4, atol=1e-5)


def test_normalising_changes_the_scale_of_channels_and_nothing_else(textures):
    torch.manual_seed(0)
    trunk = build_layers("vgg19", "relu3_1", (4, 6, 8, 8, 8))
    x = (textures[:16] - training.MEAN[0]) / training.STD[0]
    with torch.no_grad():
        before = trunk(x)
        training.normalise(trunk, textures[:16])
        after = trunk(x)
    means = before.mean(dim=(0, 2, 3), keepdim=True)
    assert (means > 0.1 * means.mean()).sum() >= 3  # the others are divided by the floor
    torch.testing.assert_close(after, before / means.clamp_min(0.1 * means.mean()), rtol=1e-3, atol=1e-4)
