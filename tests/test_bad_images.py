"""Every kind of picture becomes upright RGB; what is no picture is named and passed over."""

import re
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from dfcvae.datasets import load
from dfcvae.photos.decode import decode

ORANGE = (200, 100, 50)


def plain(mode="RGB", colour=ORANGE, side=40):
    return Image.new(mode, (side, side), colour)


def colour_of(path, size=16):
    """The one colour of a decoded picture."""
    pixels, _ = decode(path, size)
    assert pixels.shape == (3, size, size) and pixels.dtype == torch.uint8
    colours = pixels.flatten(1).float()  # (3, size * size)
    assert (colours.amax(1) - colours.amin(1)).max() <= 8  # WebP leaves waves
    return tuple(colours.mean(1).round().int().tolist())


def near(found, expected, tolerance):
    return all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True))


def sixteen_bit(value):
    return Image.fromarray(np.full((40, 40), value, dtype=np.uint16))


def palette():
    return plain().convert("P", palette=Image.Palette.ADAPTIVE)


GREY, WHITE = (90, 90, 90), (255, 255, 255)
MODES = {
    "rgb.png": (plain, ORANGE),
    "grey.png": (lambda: plain("L", 90), GREY),
    "grey.jpg": (lambda: plain("L", 90), GREY),
    "black_and_white.png": (lambda: plain("1", 1), WHITE),
    "palette.png": (palette, ORANGE),
    "palette.gif": (palette, ORANGE),
    "opaque.png": (lambda: plain("RGBA", (*ORANGE, 255)), ORANGE),
    "half_transparent.png": (lambda: plain("RGBA", (*ORANGE, 127)), (228, 178, 153)),
    "transparent.webp": (lambda: plain("RGBA", (*ORANGE, 0)), WHITE),
    "grey_and_transparent.png": (lambda: plain("LA", (90, 0)), WHITE),
    "sixteen_bit.png": (lambda: sixteen_bit(0x8000), (128, 128, 128)),
    "sixteen_bit.tif": (lambda: sixteen_bit(65535), WHITE),
    "dark_sixteen_bit.png": (lambda: sixteen_bit(257 * 3), (3, 3, 3)),
    "float.tif": (lambda: plain("F", 0.5), (128, 128, 128)),
    "rgb.bmp": (plain, ORANGE),
    "rgb.webp": (plain, ORANGE),
    "cmyk.tif": (lambda: plain("CMYK", (55, 155, 205, 0)), ORANGE),
    "cmyk.jpg": (lambda: plain("CMYK", (55, 155, 205, 0)), ORANGE),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(tmp_path, name):
    make, expected = MODES[name]
    make().save(tmp_path / name)
    assert near(colour_of(tmp_path / name), expected, tolerance=1 if name.endswith(("png", "tif")) else 8)


@pytest.mark.parametrize(("mode", "key"), [("RGB", ORANGE), ("L", 90), ("P", 0)])
def test_a_transparent_colour_is_white(tmp_path, mode, key):
    picture = palette() if mode == "P" else plain(mode, key)
    picture.save(tmp_path / "key.png", transparency=picture.getpixel((0, 0)) if mode == "P" else key)
    assert colour_of(tmp_path / "key.png") == WHITE


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    first, second = plain(), plain(colour=(0, 0, 0))
    first.save(tmp_path / "film.gif", save_all=True, append_images=[second])
    assert near(colour_of(tmp_path / "film.gif"), ORANGE, 4)


def test_a_picture_with_unknown_white_is_refused(tmp_path):
    plain("F", 1000.0).save(tmp_path / "range.tif")
    with pytest.raises(ValueError, match="grey values from 1000.* to 1000.* expected"):
        decode(tmp_path / "range.tif", 16)
    plain("F", float("nan")).save(tmp_path / "nan.tif")
    with pytest.raises(ValueError, match="grey values from nan"):
        decode(tmp_path / "nan.tif", 16)


# How an upright picture lies in a file that has this orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_turned_upright(tmp_path, orientation, suffix):
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options = {"lossless": True} if suffix == "webp" else {"quality": 95} if suffix == "jpg" else {}
    stored.save(tmp_path / f"turned.{suffix}", exif=exif, **options)
    pixels, _ = decode(tmp_path / f"turned.{suffix}", 32)
    expected = torch.from_numpy(upright[:, 8:40].copy()).permute(2, 0, 1)
    # Away from the edges between colours, where JPEG is blurred.
    for rows in (slice(0, 12), slice(20, 32)):
        for columns in (slice(0, 12), slice(20, 32)):
            found = pixels[:, rows, columns].int()
            assert (found - expected[:, rows, columns].int()).abs().max() < 8


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_make_a_picture_unreadable(tmp_path):
    plain().save(tmp_path / "broken.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert near(colour_of(tmp_path / "broken.jpg"), ORANGE, 4)


def test_a_large_jpeg_decoded_small_looks_the_same(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    large = Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    pixels, size = decode(tmp_path / "large.jpg", 64)
    with Image.open(tmp_path / "large.jpg") as picture:
        whole = np.array(picture.crop((200, 0, 1400, 1200)).resize((64, 64), Image.Resampling.BICUBIC))
    difference = (pixels.permute(1, 2, 0).int() - torch.from_numpy(whole).int()).abs()
    assert size == (1600, 1200) and difference.float().mean() < 1 and difference.max() < 5


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    """A PNG of a few bytes that claims to be enormous."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def cut(name, path):
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    photograph.save(path / name)
    return (path / name).read_bytes()[:5000]


BAD = {
    "empty.jpg": lambda path: b"",
    "text.png": lambda path: b"not a picture at all",
    "header_only.jpg": lambda path: b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "truncated.jpg": lambda path: cut("truncated.jpg", path),
    "truncated.png": lambda path: cut("truncated.png", path),
    "truncated.webp": lambda path: cut("truncated.webp", path),
    "bomb.png": lambda path: bomb(30_000, 30_000),
    "bomb_of_warning_size.png": lambda path: bomb(10_000, 9_500),
    "no_pixels.png": lambda path: bomb(0, 10),
}


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """Sixty good pictures, each of its own grey, and all bad ones among them."""
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "zoo"
    root.mkdir()
    for i in range(60):
        plain("L", 4 * i).save(root / f"good_{i:02d}.png")
    for name, make in BAD.items():
        (root / name).write_bytes(make(root))
    return root


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_no_bad_file_is_read(zoo, name):
    with pytest.raises((ValueError, OSError, SyntaxError, Image.DecompressionBombError)):
        decode(zoo / name, 16)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_good_pictures_keep_their_order_and_the_first_bad_ones_are_named(zoo):
    greys, bad = [], 0
    for split in ("train", "validation", "test"):
        told = []
        for _ in range(2):  # decoded, and from the pack
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                images = load("folder", split, 16, zoo, progress=False)
            told.append([str(warning.message) for warning in warned])
        assert told[0] == told[1]
        for note in told[0]:
            count = int(re.search(r"(\d+) files could not be read and were passed over: ", note)[1])
            bad += count
            assert sum(f"{name} (" in note for name in BAD) == min(count, 5)
            assert note.endswith(", ...") == (count > 5)
        found = images.pixels[:, 0, 0, 0].tolist()
        assert found == sorted(found)
        greys += found
    assert sorted(greys) == [4 * i for i in range(60)] and bad == len(BAD)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # somebody has switched Pillow's own guard off
    (tmp_path / "bomb.png").write_bytes(bomb(30_000, 30_000))
    with pytest.raises(ValueError, match="30000 x 30000 pixels, where 1 to 89,478,485 can be decoded"):
        decode(tmp_path / "bomb.png", 16)


def test_a_folder_where_nothing_can_be_read_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    for i in range(7):
        (tmp_path / f"{i}.jpg").write_bytes(b"no picture")
    with pytest.raises(
        ValueError, match=r"none of 7 picture files could be read: 0\.jpg \(.*4\.jpg \(.*, \.\.\."
    ):
        load("folder", root=tmp_path, progress=False)
    assert not list((tmp_path / "cache").rglob("manifest.json"))


def test_tiny_pictures_are_enlarged_and_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    for i in range(20):
        plain(side=1 if i % 2 else 40).save(tmp_path / f"{i}.png")
    with pytest.warns(UserWarning, match=r"of 16 pictures had fewer than 32 pixels a side and were enlarged"):
        images = load("folder", size=32, root=tmp_path, progress=False)
    assert near(images.pixels.float().mean(dim=(0, 2, 3)).tolist(), ORANGE, 1)
