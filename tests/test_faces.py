"""Drawn faces: the same factors give the same bytes, labels tell what is seen, nothing gives one away."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dfcvae import faces

DISTRIBUTIONS = ("correlated", "independent")


@pytest.fixture(scope="module")
def crowd() -> tuple[Tensor, Tensor]:
    """Factors (3000, F) and pictures (3000, 3, 64, 64) of independent faces."""
    factors = faces.sample_factors(3000, seed=21, distribution="independent")
    return factors, faces.draw(factors, size=64)


def assert_same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def column(factors: Tensor, name: str) -> Tensor:
    return factors[:, faces.FACTOR_NAMES.index(name)]


def changed(factors: Tensor, **values: float) -> Tensor:
    factors = factors.clone()
    for name, value in values.items():
        column(factors, name)[:] = value
    return factors


def seen(factors: Tensor, name: str) -> Tensor:
    return faces.attributes(factors)[:, faces.ATTRIBUTE_NAMES.index(name)]


# --- the same bytes in any company ---


def test_a_face_is_the_same_alone_in_another_batch_and_with_other_threads(crowd, monkeypatch):
    factors, pictures = crowd
    rows = torch.tensor([17, 3, 801, 802, 2999])
    assert_same(faces.draw(factors[rows]), pictures[rows])
    assert_same(faces.draw(factors[17:18]), pictures[17:18])
    monkeypatch.setattr(faces, "CHUNK_PIXELS", 23 * 64**2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert_same(faces.draw(factors[:150]), pictures[:150])
    finally:
        torch.set_num_threads(threads)


def test_the_picture_does_not_depend_on_its_size():
    factors = faces.sample_factors(32, seed=4)
    large = faces.draw(factors, 256).float()
    for size in (32, 64, 128):
        small = faces.draw(factors, size).float()
        shrunk = F.avg_pool2d(large, 256 // size)
        error = (small - shrunk).square().mean(dim=(1, 2, 3))
        psnr = 10 * torch.log10(255**2 / error)
        assert psnr.mean() > 28 and psnr.min() > 25, (size, psnr.mean(), psnr.min())


@pytest.mark.parametrize("size", [32, 47, 100, 256])
def test_any_size_is_drawn(size):
    pictures = faces.draw(faces.sample_factors(3, seed=1), size)
    assert pictures.shape == (3, 3, size, size) and pictures.dtype == torch.uint8


def test_drawing_leaves_the_factors_and_the_random_state_alone():
    factors = faces.sample_factors(5, seed=1)
    before, state = factors.clone(), torch.get_rng_state()
    faces.draw(factors), faces.attributes(factors), faces.sample_factors(5, seed=2)
    assert_same(factors, before)
    assert_same(torch.get_rng_state(), state)


# --- counterfactuals: one factor changes what it should, and nothing else ---

REGIONS = {  # (top, bottom, left, right) in sixty-fourths, for a face that looks straight out of the middle
    "eyeglasses": (24, 42, 12, 52),
    "earrings": (36, 48, 8, 56),
    "lipstick": (40, 55, 20, 44),
    "mustache": (38, 50, 20, 44),
    "goatee": (44, 64, 20, 44),
    "freckles": (30, 44, 16, 48),
    "hat": (0, 32, 2, 62),
    "bangs": (12, 32, 14, 50),
    "rosy_cheeks": (32, 46, 14, 50),
    "gaze_x": (26, 38, 18, 46),
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_factor_changes_its_own_part_of_the_picture_only(name):
    top, bottom, left, right = REGIONS[name]
    factors = faces.sample_factors(64, seed=8, distribution="independent")
    factors = changed(factors, x=0, y=0, size=1, roll=0, yaw=0, pitch=0, bald=0, hat=0)
    if name == "hat":
        factors = changed(factors, bangs=0)
    without, with_it = (faces.draw(changed(factors, **{name: value})).int() for value in (0, 1))
    difference = (with_it - without).abs().amax(dim=1)  # (n, 64, 64)
    assert (difference.amax(dim=(1, 2)) > 10).all(), "the change is not to be seen in every face"
    difference[:, top:bottom, left:right] = 0
    assert difference.max() == 0, difference.amax(dim=0).nonzero()


def test_skin_tone_leaves_the_wall_the_clothes_and_the_hair_alone():
    factors = changed(faces.sample_factors(16, seed=2), bald=0, x=0, y=0, size=1, roll=0)
    light, deep = (faces.draw(changed(factors, skin_tone=tone)) for tone in (1, 0))
    assert_same(light[..., :8, :], deep[..., :8, :])
    assert_same(light[..., 62:, :8], deep[..., 62:, :8])
    assert not torch.equal(light[..., 36, 32], deep[..., 36, 32])


def test_attributes_tell_what_is_seen_where_factors_contradict_each_other():
    factors = changed(faces.sample_factors(16, seed=3), bangs=1, hat=1, bald=0, hair_length=0.1)
    assert not seen(factors, "Bangs").any() and seen(factors, "Wearing_Hat").all()
    assert_same(faces.draw(factors), faces.draw(changed(factors, bangs=0)))
    for hair in ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"):
        assert not seen(factors, hair).any()
    assert not seen(changed(factors, bald=1), "Bald").any()
    bald = changed(factors, bald=1, hat=0)
    assert seen(bald, "Bald").all() and not seen(bald, "Bangs").any() and not seen(bald, "Long_Hair").any()
    assert_same(faces.draw(bald), faces.draw(changed(bald, bangs=0, hair_length=1)))


# --- labels ---


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_sampled_factors_are_in_range_consistent_and_labelled(distribution):
    factors = faces.sample_factors(5000, seed=5, distribution=distribution)
    assert factors.shape == (5000, len(faces.FACTORS)) and factors.dtype == torch.float32
    for factor in faces.FACTORS:
        values = column(factors, factor.name)
        assert factor.low - 1e-5 <= values.min() and values.max() <= factor.high + 1e-5, factor.name
        assert factor.low <= factor.default <= factor.high, factor.name
    hidden = (column(factors, "bangs") > 0.5) & ~seen(factors, "Bangs")
    assert not hidden.any() and not (seen(factors, "Bald") & seen(factors, "Wearing_Hat")).any()
    labels = faces.attributes(factors)
    assert labels.dtype == torch.bool and labels.shape == (5000, len(faces.ATTRIBUTE_NAMES))
    assert len(faces.ATTRIBUTE_NAMES) >= 14 and (labels.float().mean(dim=0) > 0.01).all()
    colours = torch.stack([seen(factors, f"{c}_Hair") for c in ("Black", "Blond", "Brown", "Gray")]).sum(
        dim=0
    )
    assert colours.max() == 1


def test_two_or_three_attributes_are_rare():
    for distribution in DISTRIBUTIONS:
        labels = faces.attributes(faces.sample_factors(20000, seed=6, distribution=distribution))
        frequency = dict(zip(faces.ATTRIBUTE_NAMES, labels.float().mean(dim=0).tolist(), strict=True))
        rare = [name for name in frequency if frequency[name] < 0.05]
        assert 2 <= len(rare) <= 3, (distribution, frequency)


def test_skin_tone_is_uniform_and_goes_with_nothing():
    for distribution in DISTRIBUTIONS:
        factors = faces.sample_factors(20000, seed=7, distribution=distribution)
        tone = column(factors, "skin_tone")
        counts = torch.histc(tone, 10, 0, 1)
        assert (counts - 2000).abs().max() < 200
        others = torch.cat((factors, faces.attributes(factors).float()), dim=1).T
        others = others[others.std(dim=1) > 0]
        related = torch.corrcoef(torch.cat((tone[None], others)))[0, 1:].abs()
        assert (related > 0.03).sum() == 2, "no more than the tone itself and Pale_Skin"


def test_correlated_faces_are_correlated_and_independent_ones_are_not():
    pairs = [("Wearing_Lipstick", "Wearing_Earrings"), ("Smiling", "Mouth_Slightly_Open")]
    for distribution, low, high in (("correlated", 0.15, 1), ("independent", -0.05, 0.05)):
        factors = faces.sample_factors(20000, seed=9, distribution=distribution)
        for first, second in pairs:
            both = torch.stack((seen(factors, first), seen(factors, second))).float()
            related = torch.corrcoef(both)[0, 1]
            assert low < related < high, (distribution, first, second, related)


def balanced(hit: Tensor, label: Tensor) -> float:
    right = (hit[label].float().mean() + (~hit[~label]).float().mean()) / 2
    return max(right, 1 - right).item()


def test_no_label_is_readable_off_one_pixel_or_the_mean_colour(crowd):
    factors, pictures = crowd
    labels = faces.attributes(factors)
    values = pictures.flatten(1)  # (n, 12288)
    places = torch.arange(values.shape[1]) * 64  # 64 levels will do
    fit = torch.arange(len(values)) < 1500  # choose the pixel on one half, judge it on the other
    mean = pictures.float().mean(dim=(2, 3))
    mean = torch.cat(((mean - mean.mean(dim=0)) / mean.std(dim=0), torch.ones(len(mean), 1)), dim=1)

    def cumulated(rows: Tensor) -> Tensor:
        counts = torch.bincount((values[rows] // 4 + places).flatten(), minlength=len(places) * 64)
        return counts.view(-1, 64).cumsum(dim=1)

    everyone = cumulated(fit)
    for name, label in zip(faces.ATTRIBUTE_NAMES, labels.unbind(1), strict=True):
        yes = cumulated(fit & label)
        no = (everyone - yes) / (fit & ~label).sum()
        best = (yes / (fit & label).sum() - no).abs().argmax().item()
        pixel = balanced(values[~fit, best // 64] // 4 <= best % 64, label[~fit])
        assert pixel < 0.85, (name, "pixel", pixel)
        weight = torch.where(label, 0.5 / label.float().mean(), 0.5 / (1 - label.float().mean())).sqrt()[
            :, None
        ]
        plane = torch.linalg.lstsq(
            mean[fit] * weight[fit], (label.float()[:, None] * 2 - 1)[fit] * weight[fit]
        ).solution
        colour = balanced((mean[~fit] @ plane)[:, 0] > 0, label[~fit])
        assert colour < 0.85, (name, "colour", colour)


# --- texture ---


def test_the_grain_of_the_wall_has_periods_of_three_pixels_or_more():
    factors = changed(faces.sample_factors(64, seed=13), background_pattern=0)
    noise = faces.draw(changed(factors, texture_seed=79)).float() - faces.draw(factors).float()
    rows = noise.mean(dim=1)[:, :4]  # (n, 4, 64): above every head
    power = torch.fft.rfft(rows * torch.hann_window(64, periodic=False)).abs().square().mean(dim=(0, 1))
    finest = power[torch.fft.rfftfreq(64) > 1 / 3].sum() / power.sum()
    assert rows.std() > 3 and finest < 0.05, (rows.std(), finest)


def test_texture_is_random_and_has_periods_of_three_pixels_or_more():
    factors = faces.sample_factors(64, seed=12)
    other = faces.draw(changed(factors, hair_seed=77, skin_seed=78, texture_seed=79)).float().mean(dim=1)
    noise = other - faces.draw(factors).float().mean(dim=1)  # (n, 64, 64)
    window = torch.hann_window(64, periodic=False)
    power = torch.fft.fft2(noise * window * window[:, None]).abs().square().mean(dim=0)
    frequency = torch.fft.fftfreq(64)
    radius = (frequency.square() + frequency.square()[:, None]).sqrt()  # cycles a pixel
    fine, finest = power[(radius > 1 / 8)].sum() / power.sum(), power[radius > 1 / 3].sum() / power.sum()
    assert noise.std() > 3 and fine > 0.25 and finest < 0.15, (noise.std(), fine, finest)


# --- splits ---


@pytest.mark.parametrize("seed", [0, 1, 1000, 2**31 - 1])
def test_no_seed_of_ones_own_gives_the_faces_of_a_split(seed):
    """The generator reads 32 bits of its seed: a stream numbered 2^40 + 2 is that of seed 2."""
    own = faces.sample_factors(1000, seed=seed)
    for split in faces.SPLITS:
        assert not (faces.split_factors(split, 1000) == own).all(dim=1).any()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_smaller_split_is_the_beginning_of_a_larger_one(distribution):
    many = faces.split_factors("train", 2100, distribution, seed=3)
    assert many.unique(dim=0).shape == many.shape
    for n in (0, 1, 20, 1000, 1001, 2100):
        assert torch.equal(faces.split_factors("train", n, distribution, seed=3), many[:n])


def test_splits_are_the_same_on_every_machine():
    """A run that begins here can go on elsewhere: these numbers stay."""
    looks = faces.split_factors("train", 1001)[[0, 999, 1000], :-3]  # without the seeds
    torch.testing.assert_close(looks.mean(dim=1), torch.tensor([0.337541, 0.560496, 0.526438]))


def test_splits_and_seeds_share_no_face():
    splits = [faces.split_factors(split, 2000, seed=seed) for split in faces.SPLITS for seed in (0, 1)]
    assert len(torch.cat(splits).unique(dim=0)) == 12_000


# --- what users type ---


def test_a_dict_of_factors_is_the_neutral_face_but_for_those():
    neutral = torch.tensor([[float(factor.default) for factor in faces.FACTORS]])
    assert_same(faces.draw({}), faces.draw(neutral))
    smiles = faces.draw({"mouth_curve": torch.tensor([0.0, 0.5, 1.0]), "yaw": 5})
    assert_same(smiles[1:2], faces.draw(changed(neutral, mouth_curve=0.5, yaw=5)))
    assert faces.attributes({"mouth_curve": [0.0, 1.0]})[
        :, faces.ATTRIBUTE_NAMES.index("Smiling")
    ].tolist() == [False, True]


@pytest.mark.parametrize(
    "factors, size, message",
    [
        (torch.zeros(2, 3), 64, r"shape \(2, 3\)"),
        ({"moustache": 1}, 64, "unknown factor 'moustache'"),
        ({"yaw": float("nan")}, 64, "yaw of face 0 is nan"),
        ({"yaw": 90}, 64, "take a number from -18 to 18"),
        ({"yaw": [1, 2], "roll": [1, 2, 3]}, 64, "yaw has 2 values"),
        ({}, 16, "size 16"),
        ({}, 512, "size 512"),
        ({}, 64.5, "size 64.5"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(factors, size, message):
    with pytest.raises(ValueError, match=message):
        faces.draw(factors, size)


def test_unknown_distribution_split_and_number_are_refused():
    for call, message in (
        (lambda: faces.sample_factors(1, 0, "celeba"), "unknown distribution"),
        (lambda: faces.sample_factors(-1, 0), "-1 faces"),
        (lambda: faces.split_factors("valid", 1), "unknown split"),
        (lambda: faces.split_factors("test", 1, seed=2**31), "seed 2147483648 found: .* from 0 to 715826"),
        (lambda: faces.split_factors("test", 1_000_001), "1000001 faces asked for: take 0 to 1,000,000"),
        (lambda: faces.sample_factors(1, seed=2**31), "seed 2147483648"),
        (lambda: faces.sample_factors(1, seed=-1), "seed -1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert faces.draw(faces.sample_factors(0, 0)).shape == (0, 3, 64, 64)
    assert len(faces.split_factors("test", 1, seed=715_826)) == 1
