"""CelebA: its lists, its folder and its zip, damaged and made up; zips that would write elsewhere."""

from __future__ import annotations

import io
import os
import random
import tempfile
import warnings
import zipfile
from pathlib import Path

import torch
from PIL import Image

from dfcvae import load
from dfcvae.cli import main
from dfcvae.photos.celeba import read_list
from fuzz.mutate import PAGE, damaged
from fuzz.worker import Case

SIZE = 16
NAMES = [f"{i:06d}.jpg" for i in range(1, 10)]
LISTS = {
    "list_attr_celeba.txt": "9\nSmiling Young Hat\n" + "".join(f"{name}  1 -1  1\n" for name in NAMES),
    "list_eval_partition.txt": "".join(f"{name} {i % 3}\n" for i, name in enumerate(NAMES)),
    "list_attr_celeba.csv": "image_id,Smiling,Young,Hat\n" + "".join(f"{name},1,-1,1\n" for name in NAMES),
    "list_eval_partition.csv": "image_id,partition\n"
    + "".join(f"{name},{i % 3}\n" for i, name in enumerate(NAMES)),
}
PHOTOGRAPHS: dict[str, bytes] = {}
SEEN: list[torch.Tensor] = []
STRANGE = (
    "2",
    "-2",
    "99999999999999999999",
    "nan",
    "",
    "1 1 1 1 1 1 1",
    "\0",
    "\u00e9",
    "-",
    "1e3",
    "x" * 100_000,
)


def prepare() -> None:
    for i, name in enumerate(NAMES):
        made = io.BytesIO()
        Image.linear_gradient("L").resize((178, 218)).point(lambda v, i=i: (v + 25 * i) % 256).save(
            made, "JPEG"
        )
        PHOTOGRAPHS[name] = made.getvalue()


def make(random_: random.Random, folder: Path) -> Case:
    root, kind = folder / "in", random_.choice((".txt", ".csv"))
    lists = {name: text.encode() for name, text in LISTS.items() if name.endswith(kind)}
    contents, whole = dict(PHOTOGRAPHS), None
    zipped = random_.random() < 0.6
    draw = random_.random()
    what, past = "", True
    if draw < 0.45:
        name = random_.choice(list(lists))
        what, lists[name] = _bad_list(random_, lists[name])
    archive = _zip(contents)
    if not what and zipped and random_.random() < 0.5:
        what, archive = damaged(random_, archive, header=4)
        whole = contents
    elif not what and zipped:
        what, archive = _crafted_zip(random_)
    elif not what:
        name = random_.choice(NAMES)
        what, contents[name] = damaged(random_, contents[name])
    for name, content in lists.items():
        (root / name).write_bytes(content)
    if zipped:
        (root / "img_align_celeba.zip").write_bytes(archive)
        past = _lists_names(archive)
    else:
        what += _folder(random_, root / "img_align_celeba", contents)
    if random_.random() < 0.04:
        what += _lost(random_, root)
    command = ["prepare", "celeba", "--root", str(root), "--size", str(SIZE)]
    return Case(what, lambda: main(command), lambda: _check(root, whole), past and _has_rows(root))


def _zip(contents: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"img_align_celeba/{name}", content)
    return made.getvalue()


def _bad_list(random_: random.Random, content: bytes) -> tuple[str, bytes]:
    if random_.random() < 0.4:
        return damaged(random_, content, header=20)
    lines = content.decode().splitlines()
    place, strange = random_.randrange(len(lines)), random_.choice(STRANGE)
    how = random_.choice(
        ("line gone", "line twice", "value", "name", "no newline", "other text", "page", "count")
    )
    if how == "line gone":
        del lines[place]
    elif how == "line twice":
        lines.insert(random_.randrange(len(lines)), lines[place])
    elif how == "value":
        words = lines[place].split(" ")
        words[random_.randrange(len(words))] = strange
        lines[place] = " ".join(words)
    elif how == "name":
        lines[place] = (
            random_.choice(("../" * 9 + "etc/passwd", "/etc/passwd.jpg", "\x1b[2J.jpg", ".jpg")) + " 1 1 1"
        )
    elif how == "count":
        lines[0] = random_.choice(("10", "-1", "0", "9" * 5000))
    elif how == "page":
        return how, PAGE
    elif how == "other text":
        return how, random_.choice((content.decode().encode("utf-16"), b"", b"\n" * 5000, b"\0" * 3000))
    separator = "" if how == "no newline" else "\n"
    return f"{how} in line {place}", separator.join(lines).encode("utf-8", "surrogateescape")


def _crafted_zip(random_: random.Random) -> tuple[str, bytes]:
    made = io.BytesIO()
    how = random_.choice(
        (
            "slip",
            "absolute",
            "link",
            "bomb",
            "small bomb",
            "twice",
            "encrypted",
            "backslashes",
            "nested",
            "method",
            "lie",
        )
    )
    victim = random_.choice(NAMES)
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, content in PHOTOGRAPHS.items():
            if name != victim or how not in ("bomb", "small bomb", "link"):
                archive.writestr(f"img_align_celeba/{name}", content)
        slip = {"slip": "../../../", "backslashes": "..\\..\\", "nested": "a/" * 300}
        slip["absolute"] = tempfile.gettempdir() + "/"
        if how in slip:
            archive.writestr(slip[how] + victim, PHOTOGRAPHS[victim])
        elif how == "link":
            info = zipfile.ZipInfo(f"img_align_celeba/{victim}")
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
        elif how in ("bomb", "small bomb"):
            length = 2**27 if how == "bomb" else 2**25
            archive.writestr(f"img_align_celeba/{victim}", PHOTOGRAPHS[victim] + bytes(length))
        elif how == "twice":
            archive.writestr(f"img_align_celeba/{victim}", PHOTOGRAPHS[random_.choice(NAMES)])
    content = bytearray(made.getvalue())
    central = content.rindex(b"PK\x01\x02")  # the last member's entry
    if how == "encrypted":
        content[central + 8] |= 1
    elif how == "method":
        content[central + 10] = random_.choice((1, 12, 14, 97, 99))
    elif how == "lie":
        content[central + 24 : central + 28] = random_.randbytes(4)
    return f"zip: {how}", bytes(content)


def _folder(random_: random.Random, pictures: Path, contents: dict[str, bytes]) -> str:
    pictures.mkdir()
    for name, content in contents.items():
        (pictures / name).write_bytes(content)
    if random_.random() < 0.7:
        return ""
    path = pictures / random_.choice((NAMES[0], "000099.jpg"))
    path.unlink(missing_ok=True)
    how = random_.choice(("folder", "fifo", "dangling", "loop", "/dev/zero", "/etc/passwd"))
    if how == "folder":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to({"dangling": "nowhere", "loop": path.name}.get(how, how))
    return f" a picture that is a {how}"


def _lost(random_: random.Random, root: Path) -> str:
    path = random_.choice([path for path in root.iterdir() if path.is_file()])
    path.unlink()
    if random_.random() < 0.5:
        path.mkdir()
    else:
        os.mkfifo(path)
    return f" {path.name} is no file"


def _lists_names(archive: bytes) -> bool:
    """Its directory can be read."""
    try:
        return bool(zipfile.ZipFile(io.BytesIO(archive)).namelist())
    except Exception:
        return False


def _has_rows(root: Path) -> bool:
    """Both lists are text that names pictures."""
    try:
        found = [path for path in root.glob("list_*") if path.is_file() and len(read_list(path)[1]) > 0]
        return len(found) == 2
    except Exception:
        return False


def _check(root: Path, whole: dict[str, bytes] | None) -> str:
    if whole and not SEEN:
        _look()
    for split in ("train", "validation", "test"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images = load("celeba", split, SIZE, root, progress=False)
        if images.pixels.dtype != torch.uint8 or tuple(images.pixels.shape[1:]) != (3, SIZE, SIZE):
            return f"read as {images.pixels.dtype} {tuple(images.pixels.shape)}"
        if images.attributes.shape != (len(images), len(images.attribute_names)) or not 0 < len(
            images
        ) <= len(NAMES):
            return f"{len(images)} pictures with attributes {tuple(images.attributes.shape)}"
        if whole and not all(any(pixels.equal(seen) for seen in SEEN) for pixels in images.pixels):
            return "a picture whose checksum fails was read with other pixels"
    return ""


def _look() -> None:
    from dfcvae.photos.decode import decode

    SEEN.extend(decode(io.BytesIO(content), SIZE, 148)[0] for content in PHOTOGRAPHS.values())
