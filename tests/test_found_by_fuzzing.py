"""What the bad inputs of tests/fuzzing found, a test for each: before, these hung, failed or read wrongly."""

import io
import json
import os
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_bad_images import chunk
from tiny_run import go_on

from dfcvae import VGGFeatures, load
from dfcvae.cli import errors as telling
from dfcvae.cli import main
from dfcvae.photos.decode import decode

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))


def one_line_of(capsys, arguments: list[str], status: int = 1) -> str:
    capsys.readouterr()
    assert main(arguments) == status
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("dfcvae: ")
    return line


def flat_png(rows: bytes) -> bytes:
    """A grey PNG of 16 x 16, stored without compression, so that one byte of the file is one pixel."""
    header = b"\0\0\0\x10\0\0\0\x10\x08\0\0\0\0"
    data = chunk(b"IDAT", zlib.compress(rows, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def misread() -> bytes:
    """A PNG with zeroed bytes that Pillow decodes all the same, to other pixels."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    made = io.BytesIO()
    picture.resize((48, 40), Image.Resampling.BICUBIC).save(made, "PNG")
    whole = made.getvalue()
    for place in range(33, len(whole) - 16):
        damaged = whole[:place] + bytes(64) + whole[place + 64 :]
        try:
            with Image.open(io.BytesIO(damaged)) as read, Image.open(io.BytesIO(whole)) as right:
                if np.asarray(read).tobytes() != np.asarray(right).tobytes():
                    return damaged
        except (OSError, SyntaxError, ValueError):
            continue
    pytest.skip("this Pillow misreads none of these")


def test_a_png_whose_checksum_fails_is_not_read(tmp_path):
    damaged = misread()
    with pytest.raises((OSError, SyntaxError)):
        decode(io.BytesIO(damaged), 16)
    (tmp_path / "a.png").write_bytes(damaged)
    with pytest.raises((OSError, SyntaxError)):
        decode(tmp_path / "a.png", 16)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_broken_links_are_passed_over(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    (root / "good.png").write_bytes(flat_png(bytes(17 * 16)))
    os.mkfifo(root / "pipe.png")
    (root / "broken.png").symlink_to("nowhere")
    (root / "loop.png").symlink_to("loop.png")
    with pytest.warns(UserWarning, match="3 files could not be read .*: broken.png .not a file."):
        assert len(load("folder", size=16, root=root, progress=False)) == 1
    (root / "good.png").unlink()
    with pytest.raises(ValueError, match="none of 3 picture files could be read: broken.png .not a file."):
        load("folder", size=16, root=root, progress=False)


ODD = {
    "sparse": lambda t: t.to_sparse(),
    "without numbers": lambda t: t.to("meta"),
    "complex": lambda t: t.to(torch.complex64),
    "one number repeated": lambda t: torch.zeros(1).expand(10**5, 10**5),
}


@pytest.mark.parametrize("how", ODD)
def test_tensors_that_are_none_are_refused(vgg_tensors, tmp_path, how):
    tensors = vgg_tensors()
    torch.save(tensors | {"features.0.weight": ODD[how](tensors["features.0.weight"])}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="w.pth holds no state dict"):
        VGGFeatures("vgg19", ["relu1_1"], tmp_path / "w.pth", MEAN, STD)


def test_names_that_are_none_are_refused(vgg_tensors, tmp_path):
    torch.save(vgg_tensors() | {0: torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="w.pth holds no state dict"):
        VGGFeatures("vgg19", ["relu1_1"], tmp_path / "w.pth", MEAN, STD)


def test_a_pth_whose_checksum_fails_is_not_read(vgg_tensors, tmp_path):
    tensors = vgg_tensors()
    torch.save(tensors, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    content[content.index(tensors["features.0.weight"].numpy().tobytes()) + 1] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    assert torch.load(tmp_path / "w.pth", weights_only=True), "torch reads it"
    with pytest.raises(ValueError, match="checksum of .* is another"):
        VGGFeatures("vgg19", ["relu1_1"], tmp_path / "w.pth", MEAN, STD)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    go_on(out, steps=1)
    return out


@pytest.mark.parametrize("command", ["reconstruct", "evaluate"])
def test_settings_without_a_size_are_named(run, tmp_path, capsys, command):
    config = json.loads((run / "config.json").read_text())
    del config["model"]["image_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "describes no model" in one_line_of(capsys, [command, "--run", str(tmp_path)])


def test_settings_nested_too_deep_are_named(run, tmp_path, capsys):
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert "holds no settings" in one_line_of(capsys, ["sample", "--run", str(tmp_path)])


def test_a_normalisation_nested_too_deep_is_none(vgg_tensors, tmp_path):
    save_file(vgg_tensors(), tmp_path / "w.safetensors", {"mean": "[" * 100_000, "std": "[1, 1, 1]"})
    with pytest.raises(ValueError, match="does not say which normalisation"):
        VGGFeatures("vgg19", ["relu1_1"], tmp_path / "w.safetensors")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_notebook_and_a_link_to_itself_no_folder(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert main(["classroom", "restore", str(tmp_path / "pipe")]) == 1
    assert "is a folder or a pipe" in "".join(capsys.readouterr())
    assert "loop" in one_line_of(capsys, ["classroom", "new", str(tmp_path / "loop")])


def test_notes_and_names_take_a_line_each(capsys):
    with telling.plainly():
        note = warnings.formatwarning(UserWarning("a\nb\x1b[31m.png was passed over"), UserWarning, "f.py", 3)
    assert note == "dfcvae: a b\N{REPLACEMENT CHARACTER}[31m.png was passed over\n"
    assert "nowhere b" in one_line_of(capsys, ["prepare", "folder", "--root", "nowhere\nb"])
    assert warnings.formatwarning(UserWarning("x"), UserWarning, "f.py", 3).startswith("f.py:3")


def test_what_argparse_refuses_is_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        main(["sample", "-n", "many\nlines"])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_full_memory_is_one_line(capsys, error):
    def fail():
        raise error

    assert telling.told(fail) == 1
    assert "memory" in capsys.readouterr().err


def test_what_the_system_says_names_the_file_without_a_number(capsys):
    assert telling.told(lambda: open("nowhere/at/all")) == 1
    assert capsys.readouterr().err == (
        "dfcvae: 'nowhere/at/all': No such file or directory; give another path.\n"
    )
