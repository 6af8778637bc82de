"""Drawn faces and photographs: what is loaded, in which order, and that packs are whole or not there."""

import errno
import json
import os
import re
import shutil
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import dfcvae.datasets as datasets
from dfcvae import faces, files
from dfcvae.datasets import Images, load
from dfcvae.photos import folder as photographs
from dfcvae.photos import pack as packing

ATTRIBUTES = ("Eyeglasses", "Smiling", "Wearing_Hat")
PARTITION = [0] * 7 + [1] * 2 + [2] * 3
NAMES = [f"{i:06d}.jpg" for i in range(1, len(PARTITION) + 1)]
FLAGS = torch.rand(len(NAMES), len(ATTRIBUTES), generator=torch.Generator().manual_seed(1)) < 0.5
REAL_FACES = (
    Path(os.environ.get("DFCVAE_ASSETS", Path(__file__).parents[2] / "shared" / "assets")) / "real_faces"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packs"


def photograph(seed, width=178, height=218):
    noise = torch.randint(0, 256, (6, 5, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(noise.numpy()).resize((width, height), Image.Resampling.BICUBIC)


def celeba(root, layout):
    """A copy of CelebA with twelve pictures, in one of the layouts that people have."""
    base = root / "celeba" if layout == "torchvision" else root
    pictures = base / "img_align_celeba" / ("img_align_celeba" if layout == "kaggle" else "")
    pictures.mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        photograph(seed).save(pictures / name, quality=90)
    if layout.startswith("zip"):
        with zipfile.ZipFile(base / "img_align_celeba.zip", "w") as archive:
            for name in reversed(NAMES):
                archive.write(pictures / name, f"img_align_celeba/{name}")
        shutil.rmtree(pictures)
    values = [[1 if flag else -1 for flag in row] for row in FLAGS.tolist()]
    if layout in ("kaggle", "zip-kaggle"):
        write_csv(base / "list_attr_celeba.csv", ATTRIBUTES, values)
        write_csv(base / "list_eval_partition.csv", ["partition"], [[part] for part in PARTITION])
    else:
        lines = [
            f"{name} " + "".join(f"{v:3d}" for v in row) for name, row in zip(NAMES, values, strict=True)
        ]
        text = "\n".join([str(len(NAMES)), " ".join(ATTRIBUTES), *lines]) + "\n"
        (base / "list_attr_celeba.txt").write_text(text)
        lines = [f"{name} {part}\n" for name, part in zip(NAMES, PARTITION, strict=True)]
        (base / "list_eval_partition.txt").write_text("".join(lines))
    return root


def write_csv(path, header, rows):
    lines = [["image_id", *header], *([name, *row] for name, row in zip(NAMES, rows, strict=True))]
    path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))


def pictures_folder(root, count):
    for i in range(count):
        path = root / ("inner" if i % 2 else "") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(i, 24, 16).save(path)
    return root


def same(a, b):
    return (
        torch.equal(a.pixels, b.pixels)
        and torch.equal(a.attributes, b.attributes)
        and torch.equal(a.factors, b.factors)
        and (a.attribute_names, a.factor_names) == (b.attribute_names, b.factor_names)
    )


def pack_folder(cache):
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    return folder


@pytest.fixture
def no_decoding(monkeypatch):
    """Call it, and from then on a picture that is decoded fails the test."""

    def fail(*args, **kwargs):
        pytest.fail("decoded anew what was packed before")

    return lambda: monkeypatch.setattr(photographs, "decode_all", fail)


# CelebA


@pytest.mark.parametrize("layout", ["own", "torchvision", "kaggle", "zip", "zip-kaggle"])
def test_every_layout_of_celeba_gives_the_same_images(tmp_path, layout):
    root = celeba(tmp_path / "data", layout)
    before = sorted(root.rglob("*"))
    images = {split: load("celeba", split, root=root, progress=False) for split in datasets.SPLITS}
    assert [len(images[split]) for split in datasets.SPLITS] == [7, 2, 3]
    assert images["test"].attribute_names == ATTRIBUTES
    assert torch.equal(torch.cat([images[split].attributes for split in datasets.SPLITS]), FLAGS)
    pixels = torch.cat([images[split].pixels for split in datasets.SPLITS])
    for seed, found in enumerate(pixels):
        expected = photograph(seed).crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BICUBIC)
        expected = torch.frombuffer(bytearray(expected.tobytes()), dtype=torch.uint8).view(64, 64, 3)
        assert (found.permute(1, 2, 0).float() - expected.float()).abs().mean() < 3  # JPEG's error
    assert sorted(root.rglob("*")) == before  # nothing was extracted


@pytest.mark.parametrize("lost", ["list_attr_celeba", "list_eval_partition"])
@pytest.mark.parametrize("layout", ["own", "zip-kaggle"])
def test_a_missing_list_is_named(tmp_path, layout, lost):
    root = celeba(tmp_path / "data", layout)
    next(root.glob(f"{lost}.*")).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{lost}\.txt nor {lost}\.csv.*data/README\.md"):
        load("celeba", root=root)


def test_missing_pictures_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="img_align_celeba"):
        load("celeba", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        load("celeba", root=tmp_path / "nowhere")


def test_pictures_and_lists_that_do_not_agree_are_counted_and_passed_over(tmp_path):
    root = celeba(tmp_path / "data", "own")
    (root / "img_align_celeba" / NAMES[0]).unlink()
    photograph(99).save(root / "img_align_celeba" / "999999.jpg")
    with pytest.warns(UserWarning) as warned:
        images = load("celeba", root=root, progress=False)
    text = " ".join(str(warning.message) for warning in warned)
    assert "12 lines for 12 pictures: 1 pictures have no line (for example 999999.jpg)" in text
    assert "1 lines have no picture (for example 000001.jpg)" in text
    assert torch.equal(images.attributes, FLAGS[1:7])


@pytest.mark.parametrize(
    ("values", "message"),
    [("1 -1", "has 2 values, expected 3"), ("1 -1 perhaps", "has the value 'perhaps', expected 1 or -1")],
)
def test_a_broken_line_is_named(tmp_path, values, message):
    root = celeba(tmp_path / "data", "own")
    path = root / "list_attr_celeba.txt"
    path.write_text(re.sub("000003.jpg.*", f"000003.jpg {values}", path.read_text()))
    with pytest.raises(ValueError, match=f"the line of 000003.jpg {message}"):
        load("celeba", root=root)


def test_lists_of_other_pictures_an_empty_list_and_a_broken_zip_are_errors(tmp_path):
    root = celeba(tmp_path / "data", "zip")
    partition = root / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("0000", "1000"))
    with pytest.raises(ValueError, match=r"none of the 12 pictures .* is listed as 0 \(train\)"):
        load("celeba", root=root)
    partition.write_text("")
    with pytest.raises(ValueError, match=r"list_eval_partition.txt lists no picture"):
        load("celeba", root=root)
    archive = root / "img_align_celeba.zip"
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a whole zip"):
        load("celeba", root=root)


@pytest.mark.skipif(
    not REAL_FACES.is_dir(), reason="the photographs of DFCVAE_ASSETS are not on this machine"
)
def test_real_photographs():
    counts = {split: len(load("celeba", split, root=REAL_FACES, progress=False)) for split in datasets.SPLITS}
    assert counts == {"train": 2794, "validation": 375, "test": 329}
    images = load("celeba", root=REAL_FACES)
    assert images.attribute_names == ("Looking_Left", "Mouth_Slightly_Open", "Smiling")
    assert 0.2 < images.float().mean() < 0.7


# Folders


def test_a_folder_is_split_by_its_paths_and_nothing_else(tmp_path):
    root = pictures_folder(tmp_path / "photos", 40)
    splits = [load("folder", split, 16, root, progress=False) for split in datasets.SPLITS]
    assert [len(images) for images in splits] == [32, 4, 4]
    assert len(torch.cat([images.pixels for images in splits]).unique(dim=0)) == 40  # none twice
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved, copy_function=shutil.copyfile)  # other dates, another place
    assert same(load("folder", "test", 16, moved, progress=False), splits[2])


def test_a_folder_is_in_order_of_paths_and_ignores_what_is_no_picture(tmp_path):
    root = pictures_folder(tmp_path / "photos", 4)
    (root / "notes.txt").write_text("no picture")
    (root / "._000.png").write_text("what macOS leaves behind")
    with pytest.warns(
        UserWarning, match="only 4 pictures: train, validation and test are the same"
    ) as warned:
        images = load("folder", size=16, root=root, progress=False)
    assert len(warned) == 1
    centre_squares = [
        photograph(i, 24, 16).crop((4, 0, 20, 16)) for i in (0, 2, 1, 3)
    ]  # 1 and 3 are in inner/
    expected = torch.stack(
        [torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8).view(16, 16, 3) for p in centre_squares]
    )
    assert torch.equal(images.pixels, expected.permute(0, 3, 1, 2))
    assert images.attributes.shape == (4, 0) and images.factors.shape == (4, 0)


def test_an_empty_folder_says_what_was_found(tmp_path):
    (tmp_path / "film.mov").touch()
    with pytest.raises(FileNotFoundError, match=r"found 1 files \(\.mov\) below .* none of them .*\.jpg"):
        load("folder", root=tmp_path)


# Packs


def test_later_runs_decode_nothing(tmp_path, no_decoding):
    root = celeba(tmp_path / "data", "own")
    first = load("celeba", root=root, progress=False)
    no_decoding()
    assert same(load("celeba", root=root), first)


@pytest.mark.parametrize("complete_first", [False, True])
def test_n_takes_the_first_that_can_be_read(tmp_path, cache, complete_first, no_decoding):
    root = celeba(tmp_path / "data", "own")
    (root / "img_align_celeba" / NAMES[1]).write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=NAMES[1]):
        if complete_first:
            load("celeba", root=root, progress=False)
            no_decoding()
        images = load("celeba", root=root, n=3, progress=False)
    assert torch.equal(images.attributes, FLAGS[[0, 2, 3]])
    packed_pixels = (pack_folder(cache) / "pixels.u8").stat().st_size
    assert packed_pixels == (6 if complete_first else 3) * 3 * 64 * 64


def test_n_beyond_the_last_takes_all(tmp_path):
    root = celeba(tmp_path / "data", "own")
    assert len(load("celeba", root=root, n=100, progress=False)) == 7


def test_a_changed_source_is_packed_anew_and_the_old_pack_goes(tmp_path, cache):
    root = pictures_folder(tmp_path / "photos", 20)
    first = load("folder", size=16, root=root, progress=False)[list(range(16))]  # a copy, not the mapped file
    for path in root.rglob("*.png"):
        photograph(7, 30, 30).save(path)
    second = load("folder", size=16, root=root, progress=False)
    assert not torch.equal(first.pixels, second.pixels)
    assert second.pixels.unique(dim=0).shape[0] == 1
    pack_folder(cache)  # there is one


def interrupted_writing(*args):
    raise KeyboardInterrupt


def test_what_is_interrupted_leaves_nothing_to_be_taken_for_a_pack(tmp_path, cache, monkeypatch):
    root = celeba(tmp_path / "data", "own")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(packing, "flush", interrupted_writing)
        load("celeba", root=root, progress=False)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    assert len(load("celeba", root=root, progress=False)) == 7


def test_what_a_killed_program_left_is_removed(tmp_path, cache, monkeypatch):
    root = celeba(tmp_path / "data", "own")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(packing, "flush", interrupted_writing)
        patch.setattr(packing.shutil, "rmtree", lambda *args, **kwargs: None)  # killed: nobody tidies up
        load("celeba", root=root, progress=False)
    assert pack_folder(cache).name.endswith(".partial")
    assert len(load("celeba", root=root, progress=False)) == 7
    assert not pack_folder(cache).name.endswith(".partial")


def flip(path):
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "pixels cut short": lambda pack: os.truncate(pack / "pixels.u8", 1000),
    "pixels too long": lambda pack: os.truncate(pack / "pixels.u8", 100_000),
    "a bit of the pixels": lambda pack: flip(pack / "pixels.u8"),
    "a bit of the labels": lambda pack: flip(pack / "labels.safetensors"),
    "no labels": lambda pack: (pack / "labels.safetensors").unlink(),
    "no manifest": lambda pack: (pack / "manifest.json").unlink(),
    "half a manifest": lambda pack: os.truncate(pack / "manifest.json", 100),
    "an empty manifest": lambda pack: os.truncate(pack / "manifest.json", 0),
    "a manifest of something else": lambda pack: (pack / "manifest.json").write_text('["hello"]'),
    "a manifest that is not text": lambda pack: (pack / "manifest.json").write_bytes(b"\xff\x00"),
    "an edited manifest": lambda pack: (pack / "manifest.json").write_text(
        (pack / "manifest.json").read_text().replace("Smiling", "Frowning")
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_pack_is_packed_anew(tmp_path, cache, damage, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", 3 * 64 * 64)  # seven whole blocks, of which some are looked at
    monkeypatch.setattr(files, "BLOCKS_CHECKED", 3)
    root = celeba(tmp_path / "data", "own")
    first = load("celeba", root=root, progress=False)[list(range(7))]  # a copy, not the mapped file
    DAMAGE[damage](pack_folder(cache))
    assert same(load("celeba", root=root, progress=False), first)
    manifest = json.loads((pack_folder(cache) / "manifest.json").read_text())
    assert manifest["manifest"]["shape"] == [7, 3, 64, 64]


def test_changing_images_in_place_does_not_change_the_pack(tmp_path):
    root = celeba(tmp_path / "data", "own")
    load("celeba", root=root, progress=False).pixels.zero_()
    assert load("celeba", root=root).pixels.any()


@pytest.mark.parametrize("when", ["before", "while writing"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, cache, monkeypatch, when):
    root = celeba(tmp_path / "data", "own")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError) as raised:
        if when == "before":
            patch.setattr(packing.shutil, "disk_usage", lambda path: SimpleNamespace(free=1234))
        else:
            patch.setattr(packing, "flush", full)
        load("celeba", root=root, progress=False)
    assert raised.value.errno == errno.ENOSPC
    assert f"needs {7 * 3 * 64 * 64:,} bytes" in str(raised.value) and "DFCVAE_CACHE" in str(raised.value)
    assert when != "before" or "1,234 free" in str(raised.value)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_to_says_so(tmp_path):
    (tmp_path / "file").touch()
    root = pictures_folder(tmp_path / "photos", 10)
    with pytest.raises(OSError, match="cannot write to the cache .*set DFCVAE_CACHE"):
        load("folder", root=root, cache_dir=tmp_path / "file")


def test_two_at_once_pack_once_and_agree(tmp_path, monkeypatch):
    root = celeba(tmp_path / "data", "own")
    packings, results = [], []
    original = photographs.decode_all

    def counted(*args, **kwargs):
        packings.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(photographs, "decode_all", counted)
    threads = [
        threading.Thread(target=lambda: results.append(load("celeba", root=root, progress=False)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(packings) == 1 and len(results) == 4
    assert all(same(result, results[0]) for result in results)


def test_the_progress_bar_is_on_stderr_and_can_be_silenced(tmp_path, capsys):
    root = celeba(tmp_path / "data", "own")
    load("celeba", "test", root=root, progress=False)
    assert capsys.readouterr() == ("", "")
    load("celeba", "train", root=root)
    captured = capsys.readouterr()
    assert captured.out == "" and "celeba (train)" in captured.err and "7/7" in captured.err


# Drawn faces


def test_faces_come_with_the_factors_that_draw_them():
    images = load("faces", n=5, size=32, progress=False)
    assert torch.equal(images.pixels, faces.draw(images.factors, size=32))
    assert torch.equal(images.attributes, faces.attributes(images.factors))
    assert images.attribute_names == tuple(faces.ATTRIBUTE_NAMES)
    assert images.factor_names == tuple(faces.FACTOR_NAMES)
    assert same(load("faces", n=5, size=32), images)


@pytest.fixture
def quick_faces(monkeypatch):
    """Plain grey in place of drawing, which is tested elsewhere; the list of calls."""
    calls = []

    def draw(factors, size):
        calls.append(len(factors))
        return torch.full((len(factors), 3, size, size), 128, dtype=torch.uint8)

    monkeypatch.setattr(faces, "draw", draw)
    return calls


def test_faces_are_drawn_once_and_again_when_the_drawing_changes(quick_faces, monkeypatch):
    for _ in range(2):
        load("faces", n=300, progress=False)
    assert sum(quick_faces) == 300
    monkeypatch.setattr(faces, "DRAWING_VERSION", faces.DRAWING_VERSION + 1)
    load("faces", n=300, progress=False)
    assert sum(quick_faces) == 600


def test_labels_are_never_those_of_an_older_version(quick_faces, monkeypatch):
    old = load("faces", n=20, progress=False)
    monkeypatch.setattr(faces, "attributes", lambda factors: ~old.attributes)
    assert torch.equal(load("faces", n=20, progress=False).attributes, ~old.attributes)


def test_faces_of_splits_and_distributions_differ(quick_faces):
    loaded = [load("faces", split, n=20, progress=False) for split in datasets.SPLITS]
    loaded.append(load("faces", n=20, distribution="independent", progress=False))
    assert len(torch.cat([images.factors for images in loaded]).unique(dim=0)) == 80
    with pytest.raises(ValueError, match="correlated"):
        load("faces", n=20, distribution="uniform")


def test_the_profile_says_how_many_faces(quick_faces, monkeypatch):
    monkeypatch.setenv("DFCVAE_PROFILE", "smoke")
    counts = [len(load("faces", split, size=32, progress=False)) for split in datasets.SPLITS]
    assert counts == [512, 51, 51]


# Images and arguments


def some_images():
    pixels = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 4, 4) * 51
    return Images(pixels, torch.arange(12).view(6, 2) % 3 == 0, ("A", "B"), name="folder", split="test")


def test_images_are_indexed_by_numbers_slices_and_tensors():
    images = some_images()
    assert len(images) == 6 and len(images[2]) == 1 and len(images[1:5:2]) == 2
    assert torch.equal(images[-1].pixels, images.pixels[5:])
    assert torch.equal(images[torch.tensor([4, 0])].attributes, images.attributes[[4, 0]])
    assert len(images[images.attributes[:, 0]]) == images.attributes[:, 0].sum()
    assert images[3].name == "folder" and images[3].attribute_names == ("A", "B")
    assert [len(image) for image in images] == [1] * 6
    with pytest.raises(IndexError, match="no picture 6"):
        images[6]


def test_float_is_in_the_unit_interval():
    images = some_images()
    assert images.float().dtype == torch.float32 and images.float().shape == (6, 3, 4, 4)
    torch.testing.assert_close(images.float([5, 1])[:, 0, 0, 0], torch.tensor([1.0, 0.2]))


def test_images_say_what_they_are_and_refuse_what_they_are_not():
    assert repr(some_images()) == "Images(folder test: 6 pictures of 4 x 4, 2 attributes (A, B))"
    with pytest.raises(ValueError, match=r"torch\.float32 \(2, 3, 4, 4\), expected torch\.uint8"):
        Images(torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"attributes are \(1, 2\), expected \(2, 2\)"):
        Images(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(1, 2), ("A", "B"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "imagenet"}, "'imagenet'; expected one of faces, celeba, lfw, folder"),
        ({"split": "valid"}, "'valid'; expected one of train, validation, test"),
        ({"size": 0}, "size is 0"),
        ({"n": 0}, "n is 0"),
        ({"name": "celeba"}, "needs root="),
        ({"root": "photos"}, "faces are drawn"),
    ],
)
def test_wrong_arguments_name_the_right_ones(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**{"name": "faces", **arguments})


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    assert datasets.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("DFCVAE_CACHE")
    assert datasets.cache_dir().name == "dfcvae"


@pytest.mark.parametrize("index", [3, np.int64(3), torch.tensor(3), torch.randperm(9)[0] * 0 + 3])
def test_any_whole_number_is_an_index(index):
    images = Images(torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1).expand(9, 3, 8, 8).contiguous())
    assert images[index].pixels.shape == (1, 3, 8, 8) and images.float(index).shape == (1, 3, 8, 8)
    assert images[index].pixels[0, 0, 0, 0] == 3
    assert len(images[torch.tensor([3])]) == len(images[[3]]) == 1
