"""The course's trained models and measured results: whole, small, and what the notebooks say of them."""

import pytest
import torch

import dfcvae
from dfcvae.course import lesson_04 as tradeoffs
from dfcvae.course.shipped import FOLDER, NAMES, about, shipped
from dfcvae.drawing import DRAWING_VERSION
from dfcvae.evaluation import psnr


@pytest.fixture(scope="module")
def unseen() -> torch.Tensor:
    return dfcvae.load("faces", "test", size=64).float(slice(0, 40))


@pytest.mark.parametrize("name", NAMES)
def test_shipped_file_is_whole_small_and_of_this_drawing(name):
    path = FOLDER / f"{name}.safetensors"
    assert path.stat().st_size < 6_000_000
    facts = about(name)
    assert facts["drawing"] == DRAWING_VERSION and facts["steps"] >= 2_000


@pytest.mark.parametrize("name", NAMES)
def test_shipped_model_rebuilds_faces_it_never_saw(name, unseen):
    model = shipped(name)
    assert not model.training and not any("perceptual" in key for key in model.state_dict())
    rebuilt, mean = model.generate(unseen), unseen.mean(0, keepdim=True).expand_as(unseen)
    strangers = model.generate(unseen.roll(1, 0))
    assert (psnr(rebuilt, unseen) > psnr(mean, unseen)).float().mean() > 0.95
    assert (psnr(rebuilt, unseen) > psnr(strangers, unseen)).float().mean() > 0.95


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no shipped model 'dfc'.*dfc-123"):
        shipped("dfc")


def test_means_over_seeds_are_ordered_by_kl():
    rows = [
        {"preset": "pixel", "beta": beta, "seed": seed, "kl": 10 * beta + seed, "psnr": beta + seed}
        for beta in (2.0, 1.0)
        for seed in (0, 2)
    ] + [{"preset": "vae-123", "beta": 1.0, "seed": 0, "kl": 0, "psnr": 0}]
    assert tradeoffs.mean_by_weight(rows, "pixel", "psnr") == [(11.0, 2.0), (21.0, 3.0)]


def test_results_of_the_benchmarks_are_shipped():
    rows = tradeoffs.quality()["rows"]
    assert {row["preset"] for row in rows} == set(tradeoffs.MODELS)
    assert {"kl", "psnr", "sharpness", "attribute_mean", "seed", "beta"} <= set(rows[0])


def test_ablations_have_a_row_of_pictures_each():
    figures, pictures = tradeoffs.ablations()
    assert {"plain", "reference"} <= set(figures)
    assert pictures.shape == (1 + len(figures), 5, 3, 64, 64)
    originals = pictures[0]
    for rebuilt in pictures[1:]:
        assert psnr(rebuilt, originals).mean() > psnr(rebuilt, originals.roll(1, 0)).mean() + 3
