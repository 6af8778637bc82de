"""The course's trained models: whole, small, and better than a mean face."""

import json

import pytest
import torch

import dfcvae
from dfcvae.course.shipped import FOLDER, NAMES, about, save_shipped, shipped
from dfcvae.drawing import DRAWING_VERSION
from dfcvae.evaluation import psnr
from dfcvae.files import record_checksum, sha256


@pytest.fixture(scope="module")
def unseen() -> torch.Tensor:
    return dfcvae.load("faces", "test", size=64).float(slice(0, 40))


@pytest.mark.parametrize("name", NAMES)
def test_shipped_file_is_whole_small_and_of_this_drawing(name):
    path = FOLDER / f"{name}.safetensors"
    sums = json.loads((FOLDER / "checksums.json").read_text(encoding="utf-8"))
    assert sums[path.name] == {"sha256": sha256(path), "bytes": path.stat().st_size}
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


def test_half_precision_round_trip(tmp_path, monkeypatch):
    monkeypatch.setattr("dfcvae.course.shipped.FOLDER", tmp_path)
    torch.manual_seed(0)
    vae = dfcvae.VAE()
    path = save_shipped("plain", vae, {"steps": 3, "loss_network": "none"})
    record_checksum(path)
    record_checksum(path)  # a second entry replaces the first
    assert json.loads((tmp_path / "checksums.json").read_text())[path.name]["sha256"] == sha256(path)
    assert about("plain") == {"steps": 3, "loss_network": "none"}
    for key, tensor in shipped("plain").state_dict().items():
        torch.testing.assert_close(tensor, vae.state_dict()[key], rtol=1e-3, atol=1e-6)
