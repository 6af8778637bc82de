"""Attributes read while the test images stream past: as with all codes at hand, and known answers."""

import math

import pytest
import torch

from dfcvae import VAE, Images
from dfcvae.latent import encode, predict_attributes
from dfcvae.reproduction.attributes import read_attributes
from dfcvae.reproduction.measure import measure

NAMES = ("bright", "coin", "never")


class Corner(VAE):
    """Its codes are known: the top left pixel, a latent a channel."""

    def encode(self, x):
        mu = x[:, :, 0, 0]
        return mu, torch.zeros_like(mu)


@pytest.fixture
def model():
    return Corner(32, 3, (4, 6))


def faces(n: int, seed: int, share: float = 0.5) -> Images:
    """ "bright" is the red corner, "coin" stands nowhere in the picture and is on in ``share`` of them."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (n, 3, 32, 32), generator=generator).byte()
    pixels[:, 0, 0, 0] = torch.where(torch.arange(n) % 4 == 0, 230, 20)
    coin = torch.rand(n, generator=generator) < share
    labels = torch.stack([pixels[:, 0, 0, 0] > 128, coin, torch.zeros(n, dtype=torch.bool)], dim=1)
    return Images(pixels, labels, NAMES)


def test_what_a_line_can_read_is_read_and_what_it_cannot_is_not(model):
    train, test = faces(400, 0, 0.9), faces(300, 1, 0.9)
    reading = read_attributes(model, train, test)
    bright, coin, never = reading.predictions
    assert (bright.accuracy, bright.balanced, bright.majority) == (1, 1, 0.75)
    often = test.attributes[:, 1].double().mean().item()
    assert coin.accuracy == pytest.approx(coin.majority) == pytest.approx(often) and coin.balanced == 0.5
    assert never.accuracy == never.majority == 1 and math.isnan(never.balanced)
    assert reading.accuracy == pytest.approx((1 + often + 1) / 3)
    assert reading.majority_right.double().mean().item() == pytest.approx((0.75 + often + 1) / 3)
    assert reading.balanced == 0.75 and reading.learnt_from == 400


def test_streamed_is_as_with_all_codes_at_hand(model):
    train, test = faces(300, 2), faces(290, 3)  # 290 is no multiple of a batch
    codes = encode(model, train).mu, train.attributes, encode(model, test).mu, test.attributes
    reading = read_attributes(model, train, test)
    for mine, expected in zip(reading.predictions, predict_attributes(*codes, NAMES), strict=True):
        assert repr(mine) == repr(expected)  # nan is not equal to itself
    shares = [prediction.accuracy for prediction in reading.predictions]
    assert reading.accuracy == pytest.approx(sum(shares) / 3) and reading.right.shape == (290,)


def test_only_so_many_codes_are_learnt_from(model):
    train = faces(400, 0)
    upside_down = Images(train.pixels, train.attributes.clone(), NAMES)
    upside_down.attributes[100:, 0] ^= True
    reading = read_attributes(model, upside_down, faces(80, 1), at_most=100)
    assert reading.learnt_from == 100 and reading.predictions[0].accuracy == 1


def test_the_interval_is_that_of_the_images_and_the_difference_is_paired(model):
    train, test = faces(400, 0, 0.9), faces(300, 1, 0.9)
    figures = measure(model, test, train, attributes=True).figures["attributes"]
    gains = (~test.attributes[:, 0]).double()  # the majority of training says "not bright", and "coin"
    gains = 1 / 3 - gains / 3
    half = 1.968 * gains.std().item() / math.sqrt(300)  # Student's t of 299
    assert figures["ahead_of_majority"] == pytest.approx(gains.mean().item(), rel=1e-5)
    low, high = figures["ahead_of_majority_interval"]
    assert (high - low) / 2 == pytest.approx(half, rel=1e-3)
    assert figures["test_images"] == 300 and [each["name"] for each in figures["each"]] == list(NAMES)


def test_images_without_labels_or_with_others_are_refused(model):
    train, test = faces(40, 0), faces(30, 1)
    with pytest.raises(ValueError, match="3 attributes in training and 0 in the test"):
        read_attributes(model, train, Images(test.pixels))
    with pytest.raises(ValueError, match="expected the same ones"):
        read_attributes(model, train, Images(test.pixels, test.attributes, ("a", "b", "c")))
    with pytest.raises(ValueError, match="no test images"):
        read_attributes(model, train, test[:0])
    with pytest.raises(ValueError, match="there is no training images"):
        measure(model, test, attributes=True)
