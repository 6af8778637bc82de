"""What notebook 02 builds by hand is what the package computes, and what its helpers see."""

import pytest
import torch
import torch.nn.functional as F
from by_hand import definitions
from torch import nn

import dfcvae
from dfcvae.course import lesson_02 as seeing
from dfcvae.vgg import build_layers, layer_names

WIDTHS = (4, 6, 8, 10, 10)


@pytest.fixture(scope="module")
def by_hand():
    return definitions("02_vgg_features.ipynb", torch=torch, F=F, nn=nn)


@pytest.fixture
def x():
    return torch.rand(2, 3, 32, 32)


@pytest.mark.parametrize(("colours", "windows"), [(3, 5), (1, 1), (4, 2)])
def test_convolution(by_hand, colours, windows):
    conv = nn.Conv2d(colours, windows, 3, padding=1)
    picture = torch.randn(2, colours, 9, 14)
    torch.testing.assert_close(by_hand["convolve_by_hand"](picture, conv.weight, conv.bias), conv(picture))


def test_network_and_its_features(by_hand, x):
    mine, theirs = by_hand["vgg_by_hand"](WIDTHS), build_layers("vgg19", widths=WIDTHS)
    assert [name for name, _ in mine.named_children()] == layer_names("vgg19")
    mine.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(mine(x), theirs(x))
    vgg16 = by_hand["vgg_by_hand"](WIDTHS, (2, 2, 3, 3, 3))
    assert [name for name, _ in vgg16.named_children()] == layer_names("vgg16")


def test_features_of_the_loss_network(by_hand, x):
    wanted = ("conv1_2", "pool1", "relu2_1")
    vgg = dfcvae.VGGFeatures(layers=wanted, weights="mini")
    found = by_hand["features_by_hand"](vgg.trunk, vgg.normalise(x), wanted)
    torch.testing.assert_close(found, vgg(x))


def test_normalisation(by_hand, x):
    vgg = dfcvae.VGGFeatures(layers=["relu1_1"], weights="random")
    for mean, std in ((vgg.mean, vgg.std), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])):
        torch.testing.assert_close(by_hand["normalise_by_hand"](x, mean, std), vgg.normalise(x))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [("relu1_1", (3, 1)), ("relu2_1", (10, 2)), ("relu3_1", (24, 4)), ("relu5_1", (156, 16))],
)
def test_receptive_field(by_hand, layer, expected):
    layers = build_layers("vgg19", layer, widths=WIDTHS)
    assert by_hand["receptive_field_by_hand"](layers) == seeing.receptive_field(layers) == expected


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_1", "relu3_1"])
def test_the_gradient_touches_the_derived_square_where_patches_are_cut(layer):
    vgg = dfcvae.VGGFeatures(layers=[layer], weights="random")
    side, jump = seeing.receptive_field(vgg.trunk)
    touched = seeing.centre_gradient(vgg, layer, torch.rand(1, 3, 64, 64)) > 0
    rows, columns = touched.any(dim=1).nonzero().flatten(), touched.any(dim=0).nonzero().flatten()
    assert len(rows) == len(columns) == side == rows[-1] - rows[0] + 1
    place = torch.tensor([[32 // jump, 32 // jump]])
    cut = seeing.patches((touched * 255).byte().expand(1, 3, -1, -1), place, side, jump)
    assert cut.count_nonzero() == 3 * touched.count_nonzero()


def test_patches_at_the_border_are_filled_with_grey():
    pictures = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    cut = seeing.patches(pictures, torch.tensor([[0, 0], [7, 7]]), side=10, jump=2)
    assert (cut[0, :, :4] == 128).all() and (cut[0, :, :, :4] == 128).all() and (cut[0, :, 4:, 4:] == 0).all()
    assert (cut[1, :, 6:] == 128).all() and (cut[1, :, :6, :6] == 0).all()


def test_total_variation(by_hand, x):
    torch.testing.assert_close(by_hand["total_variation_by_hand"](x), seeing.total_variation(x))
    assert seeing.total_variation(torch.full((1, 3, 8, 8), 0.7)) < 0.0011
    ramp = torch.arange(8.0).expand(1, 3, 8, 8) / 10
    torch.testing.assert_close(seeing.total_variation(ramp), torch.tensor(0.1), rtol=1e-3, atol=0)


def test_inversion(by_hand, x):
    vgg = dfcvae.VGGFeatures(layers=["relu1_1"], weights="mini")
    noise = 0.2 * torch.randn(x[:1].shape, generator=torch.Generator().manual_seed(3))
    settings = {"steps": 4, "prior": 0.1}
    target = vgg(x[:1])["relu1_1"]
    mine = by_hand["invert_by_hand"](lambda picture: vgg(picture)["relu1_1"], target, noise, **settings)
    found = seeing.invert(vgg, x[:1], **settings, seed=3)
    torch.testing.assert_close(mine, found)
    assert 0 <= found.min() and found.max() <= 1 and not found.requires_grad


def test_inversion_finds_a_picture_with_these_features():
    x = F.interpolate(torch.rand(1, 3, 8, 8), size=(32, 32), mode="bilinear")
    vgg = dfcvae.VGGFeatures(layers=["relu1_1"], weights="mini")
    found = seeing.invert(vgg, x, steps=60)
    assert seeing.feature_error(vgg(found)["relu1_1"], vgg(x)["relu1_1"]) < 0.05
    assert (found - x).abs().mean() < 0.05
    with pytest.raises(ValueError, match="single layer"):
        seeing.invert(dfcvae.VGGFeatures(weights="mini"), x, steps=1)


def test_what_moves(by_hand):
    network = build_layers("vgg19_bn", "relu1_1", widths=WIDTHS)
    assert by_hand["what_moves"](network, network) == (True, True, True)
    network.requires_grad_(False).eval().zero_grad()
    assert by_hand["what_moves"](network, network) == (True, False, False)
    assert by_hand["what_moves"](network.train(), torch.no_grad()(network.forward)) == (False, False, True)


def test_answers_are_the_peaks_of_the_maps():
    pictures = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    vgg = dfcvae.VGGFeatures(layers=["relu2_1"], weights="mini")
    found, phi = seeing.answers(vgg, "relu2_1", pictures, batch=2), vgg(pictures.float() / 255)["relu2_1"]
    torch.testing.assert_close(found.peak, phi.amax(dim=(2, 3)))
    row, column = found.place[3, 1].tolist()
    torch.testing.assert_close(phi[3, 1, row, column], phi[3, 1].max())


def test_maps_are_the_most_varied_channels_as_pictures(by_hand):
    phi = torch.zeros(6, 4, 4)
    phi[2, 0, 0], phi[4, 1] = 3.0, 8.0
    shown = by_hand["most_varied"](phi, count=2)
    assert shown.shape == (2, 3, 64, 64)
    assert (shown[0, :, 16:32] == 1).all() and shown[0].sum() == 3 * 1024  # a row of places, 16 pixels high
    assert (shown[1, :, :16, :16] == 1).all() and shown[1].sum() == 3 * 256


def test_a_linear_reading_finds_what_is_spread_over_channels():
    label = torch.randint(0, 2, (400,)).float()
    channels = torch.randn(400, 6) + 0.3 * label[:, None]
    alone, together = seeing.read_out(channels[:, :1], label), seeing.read_out(channels, label)
    assert alone < together < 1
    assert abs(seeing.read_out(torch.randn(400, 6), label)) < 0.25
