"""Weights, checkpoints and settings that are damaged or dangerous: never run, always named."""

import json
import os
import re
import shutil

import pytest
import torch
from conftest import NORMALISATION
from dfcvae.checkpoint import read_checkpoint, read_config
from safetensors.torch import save_file

from dfcvae import DFCVAE, VGGFeatures, load_run, train, vgg
from dfcvae.cli import main
from dfcvae.course.profiles import profile

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYERS = ("relu1_1", "relu2_1", "relu3_1")


class Trap:
    """Unpickled, it makes a folder: the mark of code that was run."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def refused(path, mean=MEAN, std=STD) -> str:
    """The sentence with which a weights file is refused."""
    with pytest.raises(ValueError) as caught:
        VGGFeatures("vgg19", LAYERS, path, mean, std)
    message = str(caught.value)
    assert path.name in message and "\n" not in message and message.endswith(".")
    return message


@pytest.fixture
def tensors(vgg_tensors):
    return vgg_tensors()


# --- weights


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_without_known_normalisation_are_refused(tensors, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    for given in ({"mean": None, "std": None}, {"std": None}, {"mean": None}):
        message = refused(path, **given)
        assert "does not say which normalisation" in message and "mean=(r, g, b)" in message
    assert VGGFeatures("vgg19", LAYERS, path, MEAN, STD).weights_name == path.name


@pytest.mark.parametrize(
    "metadata",
    [
        {"mean": "[0.5, 0.5, 0.5]"},
        {"mean": "0.5", "std": "0.5"},
        {"mean": "[0.5, 0.5]", "std": "[1, 1]"},
        {"mean": "[0.5, 0.5, 0.5]", "std": "[1, 0, 1]"},
        {"mean": "[0.5, 0.5, 0.5]", "std": "[1, NaN, 1]"},
        {"mean": "[0.5, 0.5, NaN]", "std": "[1, 1, 1]"},
        {"mean": '["a", "b", "c"]', "std": "[1, 1, 1]"},
        {"mean": "none", "std": "none"},
        {"mean": "{}", "std": "{}"},
    ],
)
def test_half_a_normalisation_is_none(tensors, tmp_path, metadata):
    save_file(tensors, tmp_path / "w.safetensors", metadata)
    assert "normalisation" in refused(tmp_path / "w.safetensors", mean=None, std=None)


def test_normalisation_in_the_metadata_is_enough(tensors, tmp_path):
    save_file(tensors, tmp_path / "w.safetensors", NORMALISATION)
    features = VGGFeatures("vgg19", LAYERS, tmp_path / "w.safetensors")
    torch.testing.assert_close(features.mean.flatten(), torch.tensor(MEAN))
    torch.testing.assert_close(features.std.flatten(), torch.tensor(STD))


def test_a_pickle_with_code_is_refused_and_never_run(tensors, tmp_path):
    mark, path = tmp_path / "code was run", tmp_path / "weights.pth"
    torch.save(tensors | {"extra": Trap(mark)}, path)
    message = refused(path)
    assert "refused" in message and not mark.exists()
    assert "weights_only" not in message, "the advice to switch the protection off is passed on"
    with pytest.raises(Exception) as caught:
        torch.load(path, weights_only=True)
    assert "mkdir" in str(caught.value), "the trap is one"


def test_a_bare_pickle_is_refused_and_never_run(tmp_path):
    import pickle

    mark, path = tmp_path / "code was run", tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Trap(mark)))
    refused(path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0, 7, 500, -1000])
def test_truncated_weights_are_refused(tensors, tmp_path, suffix, kept):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"weights{suffix}"
    save_file(tensors, whole, NORMALISATION) if suffix == ".safetensors" else torch.save(tensors, whole)
    path.write_bytes(whole.read_bytes()[:kept])
    refused(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_a_page_or_a_text_in_place_of_weights_is_refused(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    for content in (
        b"<!DOCTYPE html><html>Sign in</html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        bytes(2000),
    ):
        path.write_bytes(content)
        refused(path)


@pytest.mark.parametrize("content", [[1, 2], {"features.0.weight": 3}, torch.zeros(3), {"epoch": 3}])
def test_a_pth_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    assert "no state dict" in refused(tmp_path / "weights.pth")


def test_weights_of_wrong_shapes_are_refused_by_name(tensors, tmp_path):
    tensors["features.5.weight"] = torch.zeros(6, 5, 3, 3)
    torch.save(tensors, tmp_path / "weights.pth")
    assert "conv2_1.weight is (6, 5, 3, 3), expected (6, 4, 3, 3)" in refused(tmp_path / "weights.pth")
    tensors["features.5.weight"] = torch.zeros(6)
    torch.save(tensors, tmp_path / "weights.pth")
    assert "conv2_1.weight is (6,)" in refused(tmp_path / "weights.pth")


def test_weights_that_end_too_early_are_refused(tensors, tmp_path):
    short = {key: tensor for key, tensor in tensors.items() if int(key.split(".")[1]) < 10}
    torch.save(short, tmp_path / "weights.pth")
    assert "no weights for conv3_1.weight of vgg19" in refused(tmp_path / "weights.pth")
    torch.save({}, tmp_path / "weights.pth")
    assert "no weights for conv1_1.weight" in refused(tmp_path / "weights.pth")


def test_weights_of_another_network_are_refused(tensors, vgg_tensors, tmp_path):
    save_file(tensors, tmp_path / "w.safetensors", NORMALISATION | {"arch": "vgg19", "name": "mine"})
    with pytest.raises(ValueError, match="mine holds a vgg19, asked for was vgg16"):
        VGGFeatures("vgg16", LAYERS, tmp_path / "w.safetensors")
    torch.save(vgg_tensors("vgg19_bn"), tmp_path / "bn.pth")
    refused(tmp_path / "bn.pth")
    torch.save({"encoder.0.0.weight": torch.zeros(4, 3, 4, 4)}, tmp_path / "vae.pth")
    refused(tmp_path / "vae.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_numbers_are_refused(tensors, tmp_path, value):
    tensors["features.2.weight"] = tensors["features.2.weight"].clone()
    tensors["features.2.weight"][0, 0, 0, 0] = value
    torch.save(tensors, tmp_path / "weights.pth")
    assert "NaN or infinity" in refused(tmp_path / "weights.pth")


def test_weights_in_half_precision_are_taken(tensors, tmp_path):
    save_file(
        {key: tensor.half() for key, tensor in tensors.items()}, tmp_path / "h.safetensors", NORMALISATION
    )
    features = VGGFeatures("vgg19", LAYERS, tmp_path / "h.safetensors")
    assert all(buffer.dtype == torch.float32 for buffer in features.buffers())


@pytest.mark.parametrize("name", ["nowhere.pth", "imagenet", "."])
def test_no_such_file_names_the_words_that_work(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="'auto', 'torchvision', 'mini', 'random'"):
        VGGFeatures(weights=tmp_path / name)


def test_a_damaged_cached_trunk_says_which_file_to_delete_or_is_passed_over(monkeypatch, tmp_path, vgg_file):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(vgg, "MINI_FILE", vgg_file)
    cached = tmp_path / "vgg19-torchvision-features.safetensors"
    cached.write_bytes(b"half a file")
    try:
        features = VGGFeatures(weights="auto")
    except ValueError as error:
        assert str(cached) in str(error) and re.search("delete|remove", str(error).lower())
    else:
        assert features.weights_name == "tiny VGG"


def test_a_normalisation_given_for_weights_that_have_their_own_is_not_dropped(monkeypatch, vgg_file):
    monkeypatch.setattr(vgg, "MINI_FILE", vgg_file)
    try:
        features = VGGFeatures(weights="mini", mean=(0, 0, 0), std=(1, 1, 1))
    except ValueError:
        return  # to refuse would be right too
    assert features.mean.flatten().tolist() == [0, 0, 0]


# --- run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory, vgg_file):
    from dfcvae import Images

    torch.manual_seed(0)
    images = Images(torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8), name="faces", split="train")
    out = tmp_path_factory.mktemp("finished") / "run"
    train(
        DFCVAE("pixel", image_size=32, latent_dim=3, channels=(4,)),
        images,
        out,
        steps=1,
        batch_size=8,
        progress=False,
    )
    return out


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def told(run, capsys) -> str:
    """What the command says of a damaged run folder, in one line and without a traceback."""
    assert main(["sample", "--run", str(run), "--out", str(run / "s.png")]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("dfcvae: ") and str(run.name) in line
    return line


def test_a_checkpoint_with_code_is_refused_and_never_run(run, capsys):
    mark = run / "code was run"
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    torch.save(state | {"extra": Trap(mark)}, run / "checkpoint.pt")
    line = told(run, capsys)
    assert not mark.exists() and "checkpoint" in line
    assert "weights_only" not in line, "the advice to switch the protection off is passed on"
    with pytest.raises(ValueError):
        read_checkpoint(run)


@pytest.mark.parametrize("kept", [0, 10, 1000, -100])
def test_a_truncated_checkpoint_is_named(run, capsys, kept):
    whole = (run / "checkpoint.pt").read_bytes()
    (run / "checkpoint.pt").write_bytes(whole[:kept])
    assert "is no checkpoint of a training" in told(run, capsys)


@pytest.mark.parametrize(
    "content", [{}, [], {"step": 1}, {"step": 1, "seconds": 0.0, "model": 5, "optimizer": {}}], ids=str
)
def test_a_checkpoint_of_something_else_is_named(run, capsys, content):
    torch.save(content, run / "checkpoint.pt")
    assert "checkpoint" in told(run, capsys)


def test_a_checkpoint_that_does_not_fit_its_config_is_named(run, capsys):
    config = json.loads((run / "config.json").read_text())
    config["model"]["latent_dim"] = 4
    (run / "config.json").write_text(json.dumps(config))
    assert "disagree" in told(run, capsys)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"model": 1, "data": {}, "training": {}}',
        '{"model": {}, "data": {}, "training": {}}',
        '{"model": {"image_size": "64", "latent_dim": 3, "channels": [4]}, "data": {}, "training": {}}',
        '{"model": {"image_size": 64, "latent_dim": 3, "channels": 4}, "data": {}, "training": {}}',
        "\xff\xfe",
    ],
)
def test_a_damaged_config_is_named(run, capsys, content):
    (run / "config.json").write_bytes(content.encode("latin-1"))
    assert "config.json" in told(run, capsys)


def test_missing_parts_of_a_run_are_named(run, capsys):
    (run / "checkpoint.pt").unlink()
    assert "holds no checkpoint.pt" in told(run, capsys)
    (run / "config.json").unlink()
    assert "holds no config.json" in told(run, capsys)
    with pytest.raises(FileNotFoundError):
        read_config(run)


def test_a_run_on_data_that_has_no_name_says_what_to_give(run, capsys):
    config = json.loads((run / "config.json").read_text())
    config["data"]["name"] = "mine"
    (run / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", "--run", str(run)]) == 1
    err = capsys.readouterr().err.strip()
    assert "mine" in err and "faces, celeba, lfw, folder" in err and len(err.splitlines()) == 1


def test_load_run_raises_what_the_command_tells(run):
    (run / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no checkpoint of a training"):
        load_run(run)


def test_an_unknown_profile_is_named(monkeypatch):
    monkeypatch.setenv("DFCVAE_PROFILE", "laptop")
    with pytest.raises(
        ValueError, match="unknown profile 'laptop' in DFCVAE_PROFILE: expected one of smoke, cpu, gpu"
    ):
        profile()


@pytest.mark.parametrize(("name", "faces"), [("smoke", 512), ("cpu", 8_000), ("gpu", 50_000)])
def test_profiles_have_the_sizes_of_the_design(monkeypatch, name, faces):
    monkeypatch.setenv("DFCVAE_PROFILE", name)
    assert profile().name == name and profile().faces == faces
