"""Drawn faces and photographs: what is loaded, in which order, and that packs are whole or not there."""

import errno
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

from dfcvae import faces, files
from dfcvae.datasets import SPLITS, Images, load
from dfcvae.drawing.factors import CHANCES

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


def celeba(root, layout="own"):
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
    attributes = [[name, *row] for name, row in zip(NAMES, values, strict=True)]
    partition = [[name, part] for name, part in zip(NAMES, PARTITION, strict=True)]
    if layout in ("kaggle", "zip-kaggle"):
        write(base / "list_attr_celeba.csv", ",", [["image_id", *ATTRIBUTES], *attributes])
        write(base / "list_eval_partition.csv", ",", [["image_id", "partition"], *partition])
    else:
        write(base / "list_attr_celeba.txt", "  ", [[len(NAMES)], ATTRIBUTES, *attributes])
        write(base / "list_eval_partition.txt", " ", partition)
    return root


def write(path, between, rows):
    path.write_text("".join(between.join(map(str, row)) + "\n" for row in rows))


def pictures_folder(root, count):
    for i in range(count):
        path = root / ("inner" if i % 2 else "") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(i, 24, 16).save(path)
    return root


def pixels_of(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def same(a, b):
    return (
        torch.equal(a.pixels, b.pixels)
        and torch.equal(a.attributes, b.attributes)
        and torch.equal(a.factors, b.factors)
        and (a.attribute_names, a.factor_names) == (b.attribute_names, b.factor_names)
    )


def packs(cache):
    """The files of all packs, with what tells a file from another one in its place."""
    return {path: path.stat().st_ino for path in cache.glob("*/*")}


# CelebA


@pytest.mark.parametrize("layout", ["own", "torchvision", "kaggle", "zip", "zip-kaggle"])
def test_every_layout_of_celeba_gives_the_same_images(tmp_path, layout):
    root = celeba(tmp_path / "data", layout)
    before = sorted(root.rglob("*"))
    images = {split: load("celeba", split, root=root, progress=False) for split in SPLITS}
    assert [len(images[split]) for split in SPLITS] == [7, 2, 3]
    assert images["test"].attribute_names == ATTRIBUTES
    assert torch.equal(torch.cat([images[split].attributes for split in SPLITS]), FLAGS)
    pixels = torch.cat([images[split].pixels for split in SPLITS])
    for seed, found in enumerate(pixels):
        expected = photograph(seed).crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BICUBIC)
        assert (found.float() - pixels_of(expected).float()).abs().mean() < 3  # JPEG's error
    assert sorted(root.rglob("*")) == before  # nothing was extracted


@pytest.mark.parametrize("lost", ["list_attr_celeba", "list_eval_partition"])
@pytest.mark.parametrize("layout", ["own", "zip-kaggle"])
def test_what_is_missing_is_named(tmp_path, layout, lost):
    root = celeba(tmp_path / "data", layout)
    next(root.glob(f"{lost}.*")).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{lost}\.txt nor {lost}\.csv.*data/README\.md"):
        load("celeba", root=root)
    with pytest.raises(FileNotFoundError, match="neither a folder img_align_celeba"):
        load("celeba", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        load("celeba", root=tmp_path / "nowhere")


def test_pictures_and_lists_that_do_not_agree_are_counted_and_passed_over(tmp_path):
    root = celeba(tmp_path / "data")
    (root / "img_align_celeba" / NAMES[0]).unlink()
    photograph(99).save(root / "img_align_celeba" / "999999.jpg")
    with pytest.warns(UserWarning) as warned:
        images = load("celeba", root=root, progress=False)
    text = " ".join(str(warning.message) for warning in warned)
    assert "12 lines for 12 pictures: 1 pictures have no line (for example 999999.jpg)" in text
    assert "1 lines have no picture (for example 000001.jpg)" in text
    assert torch.equal(images.attributes, FLAGS[1:7])


BROKEN = {
    "a short line": (
        "list_attr",
        "000003.jpg.*",
        "000003.jpg 1 -1",
        "of 000003.jpg has 2 values, expected 3",
    ),
    "another value": (
        "list_attr",
        "000003.jpg.*",
        "000003.jpg 1 -1 ?",
        "has the value '\\?', expected 1 or -1",
    ),
    "other pictures": ("list_eval", "0000", "1000", r"none of the 12 pictures .* listed as 0 \(train\)"),
    "an empty list": ("list_eval", "(.|\n)*", "", "list_eval_partition.txt lists no picture"),
    "a web page": ("list_eval", "(.|\n)*", "<html>\nquota\n", "lists no picture, .* found '<html>'"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_list_is_named(tmp_path, fault):
    stem, old, new, message = BROKEN[fault]
    root = celeba(tmp_path / "data")
    (path,) = root.glob(f"{stem}*")
    path.write_text(re.sub(old, new, path.read_text()))
    with pytest.raises(ValueError, match=message):
        load("celeba", root=root)


def test_a_broken_zip_is_named(tmp_path):
    root = celeba(tmp_path / "data", "zip")
    os.truncate(root / "img_align_celeba.zip", 50_000)
    with pytest.raises(ValueError, match="not a whole zip"):
        load("celeba", root=root)


@pytest.mark.skipif(
    not REAL_FACES.is_dir(), reason="the photographs of DFCVAE_ASSETS are not on this machine"
)
def test_real_photographs():
    counts = {split: len(load("celeba", split, root=REAL_FACES, progress=False)) for split in SPLITS}
    assert counts == {"train": 2794, "validation": 375, "test": 329}
    images = load("celeba", root=REAL_FACES)
    assert images.attribute_names == ("Looking_Left", "Mouth_Slightly_Open", "Smiling")
    assert 0.2 < images.float().mean() < 0.7


# Folders


def test_a_folder_is_split_by_its_paths_and_nothing_else(tmp_path):
    root = pictures_folder(tmp_path / "photos", 40)
    splits = [load("folder", split, 16, root, progress=False) for split in SPLITS]
    assert [len(images) for images in splits] == [32, 4, 4]
    assert len(torch.cat([images.pixels for images in splits]).unique(dim=0)) == 40  # none twice
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved, copy_function=shutil.copyfile)  # other dates, another place
    assert same(load("folder", "test", 16, moved, progress=False), splits[2])


def test_a_folder_is_in_order_of_paths_and_ignores_what_is_no_picture(tmp_path):
    root = pictures_folder(tmp_path / "photos", 4)
    (root / "notes.txt").write_text("no picture")
    (root / "._000.png").write_text("what macOS leaves behind")
    with pytest.warns(UserWarning, match="only 4 pictures: train, validation and test are the same") as told:
        images = load("folder", size=16, root=root, progress=False)
    assert len(told) == 1
    # 1 and 3 are in inner/
    squares = [pixels_of(photograph(i, 24, 16).crop((4, 0, 20, 16))) for i in (0, 2, 1, 3)]
    assert torch.equal(images.pixels, torch.stack(squares))
    assert images.attributes.shape == (4, 0) and images.factors.shape == (4, 0)


def test_an_empty_folder_says_what_was_found(tmp_path):
    (tmp_path / "film.mov").touch()
    with pytest.raises(FileNotFoundError, match=r"found 1 files \(\.mov\) below .* none of them .*\.jpg"):
        load("folder", root=tmp_path)


# Packs


def test_later_runs_decode_nothing_and_a_shorter_one_takes_its_first(tmp_path, cache):
    root = celeba(tmp_path / "data")
    first, packed = load("celeba", root=root, progress=False), packs(cache)
    again, few = load("celeba", root=root), load("celeba", root=root, n=3)
    assert same(again, first) and same(few, first[:3]) and packs(cache) == packed
    assert len(load("celeba", root=root, n=100)) == 7


def test_n_takes_the_first_that_can_be_read_and_packs_no_more(tmp_path, cache):
    root = celeba(tmp_path / "data")
    (root / "img_align_celeba" / NAMES[1]).write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=NAMES[1]):
        images = load("celeba", root=root, n=3, progress=False)
    assert torch.equal(images.attributes, FLAGS[[0, 2, 3]])
    assert [path.stat().st_size for path in cache.glob("*/pixels.u8")] == [3 * 3 * 64 * 64]
    with pytest.warns(UserWarning, match=NAMES[1]):
        assert len(load("celeba", root=root, progress=False)) == 6
    assert [path.stat().st_size for path in cache.glob("*/pixels.u8")] == [6 * 3 * 64 * 64]


def replaced(path):
    photograph(7, 30, 30).save(path)


CHANGES = {
    "a picture of a folder": ("folder", lambda root: replaced(root / "img_align_celeba" / NAMES[0])),
    "a new picture": ("celeba", lambda root: replaced(root / "img_align_celeba" / "999999.jpg")),
    "a list": ("celeba", lambda root: (root / "list_attr_celeba.txt").open("a").write("\n")),
}


@pytest.mark.filterwarnings("ignore:.*have no line", "ignore:.*pixels a side")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_is_packed_anew_and_the_old_pack_goes(tmp_path, cache, change):
    root, (name, do) = celeba(tmp_path / "data"), CHANGES[change]
    for _ in range(2):
        load(name, size=16, root=root, progress=False)
    before = packs(cache)
    do(root)
    load(name, size=16, root=root, progress=False)
    after = packs(cache)
    assert len(after) == len(before) == 2 and not set(before) & set(after)


def test_what_is_interrupted_or_killed_leaves_nothing_to_be_taken_for_a_pack(tmp_path, cache, monkeypatch):
    root = celeba(tmp_path / "data")
    opened, real = [], Image.open

    def interrupted(*arguments):
        opened.append(1)
        if len(opened) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    for killed in (False, True):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Image, "open", interrupted)
            if killed:
                patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # nobody tidies up
            load("celeba", root=root, progress=False)
        assert len([path for path in cache.iterdir() if path.is_dir()]) == killed
        opened.clear()
    assert len(load("celeba", root=root, progress=False)) == 7
    assert len(packs(cache)) == 2


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "cut short": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "too long": lambda file: os.truncate(file, file.stat().st_size + 1000),
    "gone": lambda file: file.unlink(),
    "a bit at its end": lambda file: flip(file, -1),
    "a bit in its middle": lambda file: flip(file, file.stat().st_size // 2),
    "another letter": lambda file: file.write_bytes(file.read_bytes().replace(b"Smil", b"smil") + b"x"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["pixels.u8", "labels.safetensors"])
def test_a_damaged_pack_is_packed_anew(tmp_path, cache, name, damage):
    root = celeba(tmp_path / "data")
    first = load("celeba", root=root, progress=False)[list(range(7))]  # a copy, not the mapped file
    (file,) = cache.glob(f"*/{name}")
    DAMAGE[damage](file)
    assert same(load("celeba", root=root, progress=False), first)
    assert len(packs(cache)) == 2


def test_changing_images_in_place_does_not_change_the_pack(tmp_path):
    root = celeba(tmp_path / "data")
    load("celeba", root=root, progress=False).pixels.zero_()
    assert load("celeba", root=root).pixels.any()


@pytest.mark.parametrize("when", ["before", "while writing"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, cache, monkeypatch, when):
    root = celeba(tmp_path / "data")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError) as raised:
        if when == "before":
            patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1234))
        else:
            patch.setattr(os, "fsync", full)
        load("celeba", root=root, progress=False)
    if when == "before":
        assert raised.value.errno == errno.ENOSPC and "DFCVAE_CACHE" in str(raised.value)
        assert f"need {7 * 3 * 64 * 64:,} bytes and the disk has 1,234 free" in str(raised.value)
    else:
        assert "could not be written (No space left on device)" in str(raised.value)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_to_says_so(tmp_path):
    (tmp_path / "file").touch()
    root = pictures_folder(tmp_path / "photos", 10)
    with pytest.raises(OSError, match="cannot write to the cache .*set DFCVAE_CACHE"):
        load("folder", root=root, cache_dir=tmp_path / "file")


def test_several_at_once_pack_once_and_agree(tmp_path, monkeypatch):
    root = celeba(tmp_path / "data")
    opened, results, real = [], [], Image.open

    def counted(*arguments):
        opened.append(1)
        return real(*arguments)

    monkeypatch.setattr(Image, "open", counted)
    threads = [
        threading.Thread(target=lambda: results.append(load("celeba", root=root, progress=False)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 7 and len(results) == 4
    assert all(same(result, results[0]) for result in results)


def test_the_progress_bar_is_on_stderr_and_can_be_silenced(tmp_path, capsys):
    root = celeba(tmp_path / "data")
    load("celeba", "test", root=root, progress=False)
    assert capsys.readouterr() == ("", "")
    load("celeba", "train", root=root)
    captured = capsys.readouterr()
    assert captured.out == "" and "celeba (train)" in captured.err and "7/7" in captured.err


# Drawn faces


def test_faces_come_with_the_factors_that_draw_them_and_few_are_the_first_of_many(cache):
    few, many = (load("faces", n=n, size=32, progress=False) for n in (20, 40))
    assert torch.equal(many.pixels, faces.draw(many.factors, size=32))
    assert torch.equal(many.attributes, faces.attributes(many.factors))
    assert many.attribute_names == faces.ATTRIBUTE_NAMES and many.factor_names == faces.FACTOR_NAMES
    assert same(few, many[:20])
    packed = packs(cache)
    assert same(load("faces", n=20, size=32), few) and packs(cache) == packed


@pytest.mark.parametrize("profile", ["smoke", "gpu"])
def test_the_number_of_faces_is_the_same_everywhere(monkeypatch, profile):
    """Grey in place of drawing, which is tested elsewhere."""
    monkeypatch.setattr(faces, "draw", lambda factors, size: torch.zeros(len(factors), 3, size, size).byte())
    monkeypatch.setenv("DFCVAE_PROFILE", profile)
    assert [len(load("faces", split, 8, progress=False)) for split in SPLITS] == [8_000, 800, 800]


def test_faces_are_drawn_again_when_the_painter_or_the_sampling_changes(cache, monkeypatch):
    old, packed = load("faces", n=20, size=32, progress=False), packs(cache)
    monkeypatch.setattr(faces, "DRAWING_VERSION", faces.DRAWING_VERSION + 1)
    assert same(load("faces", n=20, size=32, progress=False), old)
    assert not set(packed) & set(packs(cache))
    monkeypatch.setitem(CHANCES, "hat", (1.0, 1.0, 1.0))
    new = load("faces", n=20, size=32, progress=False)
    assert torch.equal(new.pixels, faces.draw(new.factors, size=32)) and not same(new, old)


def test_faces_of_splits_and_distributions_differ():
    loaded = [load("faces", split, 32, n=20, progress=False) for split in SPLITS]
    loaded.append(load("faces", size=32, n=20, distribution="independent", progress=False))
    assert len(torch.cat([images.factors for images in loaded]).unique(dim=0)) == 80
    with pytest.raises(ValueError, match="correlated"):
        load("faces", n=20, distribution="uniform")


# Images and arguments


def some_images():
    pixels = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 4, 4) * 51
    return Images(pixels, torch.arange(12).view(6, 2) % 3 == 0, ("A", "B"), name="folder", split="test")


def test_images_are_indexed_by_numbers_slices_and_tensors():
    images = some_images()
    assert len(images) == 6 and len(images[1:5:2]) == 2 and len(images[[3]]) == len(images[torch.tensor([3])])
    assert torch.equal(images[-1].pixels, images.pixels[5:])
    assert torch.equal(images[torch.tensor([4, 0])].attributes, images.attributes[[4, 0]])
    assert len(images[images.attributes[:, 0]]) == images.attributes[:, 0].sum()
    assert [len(image) for image in images] == [1] * 6
    with pytest.raises(IndexError, match="no picture 6"):
        images[6]


@pytest.mark.parametrize("index", [3, np.int64(3), torch.tensor(3)])
def test_any_whole_number_is_an_index(index):
    image = some_images()[index]
    assert image.name == "folder" and image.attribute_names == ("A", "B")
    assert image.pixels.shape == (1, 3, 4, 4) and (image.pixels == 3 * 51).all()
    assert torch.equal(some_images().float(index), image.float())


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
    assert files.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("DFCVAE_CACHE")
    assert files.cache_dir().name == "dfcvae"
