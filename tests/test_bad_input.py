"""Weights, checkpoints, settings and files that are damaged or dangerous: never run, always named.

Many of them the fuzzers found (tools/fuzz): before, these hung, ended in a traceback or were read wrongly.
"""

import contextlib
import io
import json
import os
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from conftest import NORMALISATION
from PIL import Image
from safetensors.torch import save_file

from dfcvae import DFCVAE, Images, VGGFeatures, load, load_run, train
from dfcvae.cli import main
from dfcvae.cli.errors import exit_status, plain_warnings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYERS = ("relu1_1", "relu2_1", "relu3_1")
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


class Trap:
    """Unpickled, it makes a folder: the mark of code that was run."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture
def tensors(vgg_tensors):
    return vgg_tensors()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))


# --- weights


def refused(path, mean=MEAN, std=STD) -> str:
    """The sentence with which a weights file is refused."""
    with pytest.raises(ValueError) as caught:
        VGGFeatures("vgg19", LAYERS, path, mean, std)
    message = str(caught.value)
    assert path.name in message and "\n" not in message and message.endswith(".")
    return message


def save(tensors, path, metadata=None):
    save_file(tensors, path, metadata) if path.suffix == ".safetensors" else torch.save(tensors, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_without_known_normalisation_are_refused(tensors, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    save(tensors, path)
    for given_ in ({"mean": None, "std": None}, {"std": None}, {"mean": None}):
        message = refused(path, **given_)
        assert "does not say which normalisation" in message and "mean=(r, g, b)" in message
    assert VGGFeatures("vgg19", LAYERS, path, MEAN, STD).weights_name == path.name


@pytest.mark.parametrize(
    ("mean", "std"),
    [("[0.5, 0.5, 0.5]", ""), ("0.5", "0.5"), ("[0.5, 0.5]", "[1, 1]"), ("[0.5, 0.5, 0.5]", "[1, 0, 1]"),
     ("[0.5, 0.5, 0.5]", "[1, NaN, 1]"), ("[0.5, 0.5, NaN]", "[1, 1, 1]"), ('["a", "b", "c"]', "[1, 1, 1]"),
     ("none", "none"), ("{}", "{}"), ("[" * 100_000, "[1, 1, 1]")],
)  # fmt: skip
def test_half_a_normalisation_is_none(tensors, tmp_path, mean, std):
    save_file(tensors, tmp_path / "w.safetensors", {"mean": mean, "std": std})
    assert "normalisation" in refused(tmp_path / "w.safetensors", mean=None, std=None)


def test_half_precision_with_its_normalisation_in_the_metadata_is_enough(tensors, tmp_path):
    halved = {key: tensor.half() for key, tensor in tensors.items()}
    save_file(halved, tmp_path / "w.safetensors", NORMALISATION)
    features = VGGFeatures("vgg19", LAYERS, tmp_path / "w.safetensors")
    torch.testing.assert_close(features.mean.flatten(), torch.tensor(MEAN))
    torch.testing.assert_close(features.std.flatten(), torch.tensor(STD))
    assert all(buffer.dtype == torch.float32 for buffer in features.buffers())


def test_a_pickle_with_code_is_refused_and_never_run(tensors, tmp_path):
    mark, path = tmp_path / "code was run", tmp_path / "weights.pth"
    torch.save(tensors | {"extra": Trap(mark)}, path)
    message = refused(path)
    assert "unsafe pickle" in message and not mark.exists()
    assert "weights_only" not in message, "the advice to switch the protection off is passed on"
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):  # the trap is one
        torch.load(path, weights_only=True)
    path.write_bytes(pickle.dumps(Trap(mark)))
    refused(path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_truncated_or_no_weights_at_all_is_refused(tensors, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    save(tensors, path, NORMALISATION)
    whole, page = path.read_bytes(), b"<!DOCTYPE html><html>Sign in</html>"
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    for content in (b"", whole[:7], whole[:500], whole[:-1000], page, pointer, bytes(2000)):
        path.write_bytes(content)
        refused(path)


NO_STATE_DICT = {
    "list": lambda t: [1, 2],
    "number": lambda t: {"features.0.weight": 3},
    "tensor": lambda t: t,
    "epoch": lambda t: {"epoch": 3},
    "name": lambda t: {0: t},
    "sparse": lambda t: {"features.0.weight": t.to_sparse()},
    "meta": lambda t: {"features.0.weight": t.to("meta")},
    "complex": lambda t: {"features.0.weight": t.to(torch.complex64)},
    "one number repeated": lambda t: {"features.0.weight": torch.zeros(1).expand(10**5, 10**5)},
}


@pytest.mark.parametrize("how", NO_STATE_DICT)
def test_a_pth_of_something_else_is_refused(tensors, tmp_path, how):
    torch.save(NO_STATE_DICT[how](tensors["features.0.weight"]), tmp_path / "weights.pth")
    assert "no state dict" in refused(tmp_path / "weights.pth")


def test_weights_that_do_not_fit_are_refused_by_name(tensors, vgg_tensors, tmp_path):
    path = tmp_path / "weights.pth"
    short = {key: tensor for key, tensor in tensors.items() if int(key.split(".")[1]) < 10}
    nan = tensors["features.2.weight"].clone()
    nan[0, 0, 0, 0] = torch.nan
    for content, words in (
        (
            tensors | {"features.5.weight": torch.zeros(6, 5, 3, 3)},
            "conv2_1.weight is (6, 5, 3, 3), expected (6, 4",
        ),
        (tensors | {"features.5.weight": torch.zeros(6)}, "conv2_1.weight is (6,)"),
        (tensors | {"features.2.weight": nan}, "NaN or infinity"),
        (tensors | {"features.2.weight": torch.full_like(nan, torch.inf)}, "NaN or infinity"),
        (short, "no weights for conv3_1.weight of vgg19"),
        ({}, "no weights for conv1_1.weight"),
        (vgg_tensors("vgg19_bn"), ""),
        ({"encoder.0.0.weight": torch.zeros(4, 3, 4, 4)}, ""),
    ):
        torch.save(content, path)
        assert words in refused(path)
    save_file(tensors, tmp_path / "w.safetensors", NORMALISATION | {"arch": "vgg19", "name": "mine"})
    with pytest.raises(ValueError, match="mine holds a vgg19, asked for was vgg16"):
        VGGFeatures("vgg16", LAYERS, tmp_path / "w.safetensors")


def test_a_pth_whose_checksum_fails_is_not_read(tensors, tmp_path):
    torch.save(tensors, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    content[content.index(tensors["features.0.weight"].numpy().tobytes()) + 1] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    assert torch.load(tmp_path / "w.pth", weights_only=True), "torch reads it"
    assert "checksum of" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["nowhere.pth", "imagenet", "."])
def test_no_such_file_names_the_words_that_work(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="'auto', 'torchvision', 'mini', 'random'"):
        VGGFeatures(weights=tmp_path / name)


def test_a_damaged_cached_trunk_is_passed_over_or_named(monkeypatch, tmp_path):
    cached = tmp_path / "vgg19-torchvision-features.safetensors"
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path))
    cached.write_bytes(b"half a file")
    try:
        assert VGGFeatures(weights="auto").weights_name == "mini VGG"
    except ValueError as error:
        assert str(cached) in str(error)


# --- run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    torch.manual_seed(0)
    images = Images(torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8), name="faces", split="train")
    model = DFCVAE("pixel", image_size=32, latent_dim=3, channels=(4,))
    return train(
        model, images, tmp_path_factory.mktemp("done") / "run", steps=1, batch_size=8, progress=False
    ).out


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def one_line(capsys, *arguments) -> str:
    """What the command says of it, without a traceback."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("dfcvae: ")
    return line


def test_a_damaged_checkpoint_is_named_and_its_code_never_run(run, capsys):
    path, mark = run / "checkpoint.pt", run / "code was run"
    whole, state = path.read_bytes(), torch.load(path, weights_only=True)
    for kept in (0, 10, 1000, -100):
        path.write_bytes(whole[:kept])
        assert "is no checkpoint of a training" in one_line(capsys, "sample", "--run", run)
    with pytest.raises(ValueError, match="is no checkpoint of a training"):
        load_run(run)
    wrong = {"step": 1, "seconds": 0.0, "model": 5, "optimizer": {}}
    for content in ({}, [], {"step": 1}, wrong, state | {"extra": Trap(mark)}):
        torch.save(content, path)
        line = one_line(capsys, "sample", "--run", run)
        assert "checkpoint" in line and "weights_only" not in line and not mark.exists()


def changed(run, section: str, **entries) -> None:
    config = json.loads((run / "config.json").read_text())
    config[section] = {k: v for k, v in (config[section] | entries).items() if v is not None}
    (run / "config.json").write_text(json.dumps(config))


def test_settings_that_do_not_fit_are_named(run, capsys):
    changed(run, "model", latent_dim=4)
    assert "disagree" in one_line(capsys, "sample", "--run", run)
    changed(run, "model", latent_dim=3, image_size=None)
    for command in ("reconstruct", "evaluate"):
        assert "describes no model" in one_line(capsys, command, "--run", run)
    changed(run, "model", image_size=32)
    changed(run, "data", name="mine")
    line = one_line(capsys, "evaluate", "--run", run)
    assert "mine" in line and "faces, celeba, lfw, folder" in line


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", "[" * 100_000, "\xff\xfe", '{"model": 1, "data": {}, "training": {}}',
     '{"model": {}, "data": {}, "training": {}}',
     '{"model": {"image_size": "64", "latent_dim": 3, "channels": [4]}, "data": {}, "training": {}}',
     '{"model": {"image_size": 64, "latent_dim": 3, "channels": 4}, "data": {}, "training": {}}'],
)  # fmt: skip
def test_a_damaged_config_is_named(run, capsys, content):
    (run / "config.json").write_bytes(content.encode("latin-1"))
    assert "config.json" in one_line(capsys, "sample", "--run", run)


def test_missing_parts_of_a_run_are_named(run, capsys):
    (run / "checkpoint.pt").unlink()
    assert "holds no checkpoint.pt" in one_line(capsys, "sample", "--run", run)
    (run / "config.json").unlink()
    assert "holds no config.json" in one_line(capsys, "sample", "--run", run)


# --- pictures, and what the system says


def test_a_png_whose_checksum_fails_is_not_read(tmp_path):
    """Pillow decodes some with zeroed bytes all the same, to other pixels."""

    def pixels(content: bytes) -> bytes:
        with (
            contextlib.suppress(OSError, SyntaxError, ValueError),
            Image.open(io.BytesIO(content)) as picture,
        ):
            return picture.tobytes()
        return b""

    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((48, 40), Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    damaged = (whole[:at] + bytes(64) + whole[at + 64 :] for at in range(33, len(whole) - 80))
    misread = next((png for png in damaged if pixels(png) not in (b"", pixels(whole))), None)
    if misread is None:
        pytest.skip("this Pillow misreads none of these")
    (tmp_path / "a.png").write_bytes(misread)
    with pytest.raises((OSError, ValueError), match="read"):
        load("folder", size=16, root=tmp_path, progress=False)


@needs_pipes
def test_pipes_and_broken_links_are_passed_over(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    Image.new("L", (16, 16)).save(root / "good.png")
    os.mkfifo(root / "pipe.png")
    (root / "broken.png").symlink_to("nowhere")
    (root / "loop.png").symlink_to("loop.png")
    with pytest.warns(UserWarning, match="3 .*broken.png"):
        assert len(load("folder", size=16, root=root, progress=False)) == 1
    (root / "good.png").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=r"\b3 "):
        load("folder", size=16, root=root, progress=False)


def test_notes_and_names_take_a_line_each(tmp_path, capsys):
    with plain_warnings():
        note = warnings.formatwarning(UserWarning("a\nb\x1b[31m.png was passed over"), UserWarning, "f.py", 3)
    assert note == "dfcvae: a b\N{REPLACEMENT CHARACTER}[31m.png was passed over\n"
    assert warnings.formatwarning(UserWarning("x"), UserWarning, "f.py", 3).startswith("f.py:3")
    assert "nowhere b" in one_line(capsys, "prepare", "folder", "--root", "nowhere\nb")
    (tmp_path / "loop").symlink_to("loop")
    assert "loop" in one_line(capsys, "prepare", "folder", "--root", tmp_path / "loop")
    assert exit_status(lambda: open("nowhere/at/all")) == 1
    assert (
        capsys.readouterr().err == "dfcvae: 'nowhere/at/all': No such file or directory; give another path.\n"
    )
