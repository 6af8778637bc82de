"""What notebook 03 builds by hand is what the package computes, and its questions find what is broken."""

import pytest
import torch
import torch.nn.functional as F
from by_hand import definitions

import dfcvae
from dfcvae import VAE, PerceptualLoss, VGGFeatures, faces
from dfcvae.course import lesson_03 as rankings
from dfcvae.perceptual import convert_weights, measure_differences

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


@pytest.fixture(scope="module")
def by_hand():
    return definitions("03_perceptual_loss.ipynb", torch=torch, F=F, dfcvae=dfcvae)


@pytest.fixture(scope="module")
def vgg(vgg_file):
    return VGGFeatures(layers=LAYERS, weights=vgg_file)


@pytest.fixture
def pair():
    return torch.rand(3, 3, 32, 32), torch.rand(3, 3, 32, 32)


def test_the_papers_formula(by_hand, vgg, pair):
    torch.testing.assert_close(by_hand["paper_loss"](*pair, vgg), PerceptualLoss(vgg, "paper")(*pair))


def test_mean_error_is_distance_to_the_mean_and_spread(by_hand):
    y, all_x = torch.randn(1, 5, 4), torch.randn(7, 5, 4)
    distance, spread = by_hand["distance_and_spread"](y, all_x)
    torch.testing.assert_close(distance + spread, F.mse_loss(y.expand_as(all_x), all_x))
    torch.testing.assert_close(spread, all_x.var(0, correction=0).mean())


@pytest.mark.parametrize(("period", "size"), [(8, 48), (6, 30), (4, 16)])
def test_stripes_are_one_pattern_in_every_phase(by_hand, period, size):
    x = by_hand["stripes"](period, size)
    assert x.shape == (period, 3, size, size)
    torch.testing.assert_close(x.mean(0), torch.full((3, size, size), 0.5))
    for phase in range(period - 1):
        assert torch.equal(x[phase + 1][:, :, :-1], x[phase][:, :, 1:])


def test_bars_are_constant_along_the_diagonal(by_hand):
    picture = by_hand["bars"](torch.arange(9.0))
    assert picture.shape == (1, 3, 5, 5)
    assert torch.equal(picture[0, 0, 1:, :-1], picture[0, 0, :-1, 1:])
    assert picture[0, 0, 0, 0] == 0 and picture[0, 0, -1, -1] == 8


def test_conversion(by_hand):
    weights, scales = {"relu1_1": 2.0, "relu3_1": 0.3}, {"relu1_1": 255.0, "relu3_1": 0.1}
    assert by_hand["convert"](weights, scales) == convert_weights(weights, scales)


def test_calibration(by_hand, vgg):
    x = faces.draw(faces.split_factors("train", 64, distribution="independent")).float() / 255
    measured = {layer: 1 / energy for layer, energy in measure_differences(vgg).items()}
    assert by_hand["calibrate_by_hand"](vgg, x) == pytest.approx(measured)


def test_gaussian_elbo_is_half_the_squared_error_over_the_variance(by_hand):
    model, x, sigma = VAE(32, 4, (4, 6)).eval(), torch.rand(3, 3, 32, 32), 0.3
    with torch.no_grad():
        elbo, x_hat = by_hand["gaussian_elbo"](model, x, sigma)
        kl = dfcvae.kl_divergence(*model.encode(x))
    constant = -0.5 * x[0].numel() * torch.log(torch.tensor(2 * torch.pi * sigma**2))
    squares = (x - x_hat).square().flatten(1).sum(1).mean()
    torch.testing.assert_close(elbo, constant - squares / (2 * sigma**2) - kl)


def failures(by_hand, loss, x_hat, x) -> set[str]:
    return {question for question, answer in by_hand["health"](loss, x_hat, x).items() if not answer}


def test_questions_pass_a_sound_loss_and_find_the_patients(by_hand, vgg, pair):
    assert failures(by_hand, PerceptualLoss(vgg), *pair) == set()
    patient = by_hand["Patient1"](rankings.with_batch_norm(vgg, pair[1]))
    company = "a pair's loss ignores its company"
    found = failures(by_hand, patient, *pair)
    assert found == {company, "train() and eval() agree", "measuring changes nothing"}
    assert failures(by_hand, by_hand["Patient2"](vgg), *pair) == {company}


def test_a_loss_under_no_grad_is_found(by_hand, vgg, pair):
    class Deaf(PerceptualLoss):
        @torch.no_grad()
        def forward(self, x_hat, x):
            return super().forward(x_hat, x)

    assert failures(by_hand, Deaf(vgg), *pair) == {"the gradient reaches x_hat"}


# ---------------------------------------------------------------- dfcvae.course.lesson_03


def test_batch_norm_changes_nothing_in_eval(vgg, pair):
    net = rankings.with_batch_norm(vgg, pair[1]).eval()
    torch.testing.assert_close(net(pair[0]), vgg(pair[0])["relu3_1"], rtol=1e-3, atol=1e-4)
    net.train()
    assert not torch.allclose(net(pair[0]), vgg(pair[0])["relu3_1"], rtol=1e-2, atol=1e-2)


def test_changes_change_what_they_say():
    factors = rankings.people(30)
    x, changed = rankings.draw(factors[:4]), rankings.changes(factors[:4])
    assert len(changed) == 8 and all(y.shape == x.shape for y in changed.values())
    assert all(0 <= y.min() and y.max() <= 1 for y in changed.values())
    assert torch.equal(changed["shift, 1 pixel"][..., 1:], x[..., :-1])
    assert changed["less light"].mean() < x.mean()
    seen, other = faces.attributes(factors), factors.clone()
    assert seen[:, faces.ATTRIBUTE_NAMES.index("Eyeglasses")].all()
    for name, seed in (("hair_seed", 5), ("texture_seed", 7)):  # other strands change no attribute
        other[:, faces.FACTOR_NAMES.index(name)] = seed
    assert faces.attributes(other).equal(seen)


def test_distances_are_means_of_squares(vgg, pair):
    measured = rankings.distances(*pair, vgg)
    torch.testing.assert_close(measured["pixels"].mean(), F.mse_loss(*pair))
    for layer, term in PerceptualLoss(vgg, "mean").per_layer(*pair).items():
        torch.testing.assert_close(measured[layer].mean(), term)


def test_maps_show_where_a_pair_differs(by_hand, vgg):
    x = torch.full((1, 3, 64, 64), 0.5)
    x_hat = x.clone()
    x_hat[..., 30:34, 30:34] = 1
    maps = by_hand["difference_maps"](x_hat, x, vgg)
    assert maps.shape == (4, 3, 64, 64) and maps.max() == 1
    for seen in maps:
        assert seen[:, 20:44, 20:44].sum() > 0.99 * seen.sum()


def test_figures_say_what_they_are_told():
    alt, rising = "one two three four five", {"a": 1.0, "b": 2.0, "c": 3.0}
    falling = {"a": 3.0, "b": 2.0, "c": 1.0}
    for figure in (
        rankings.slopes(rising, falling, ("x", "y"), alt),
        rankings.heat({"a": [0.1, 0.9]}, ("x", "y"), alt),
    ):
        assert f'alt="{alt}"' in figure._repr_html_()
