"""Labeled Faces in the Wild and CelebA from a server on this machine, through to pictures."""

import io
import shutil
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace

import pytest
import torch
from filelock import FileLock
from PIL import Image
from serving import PAGE, cuts, one_after_the_other, refuses
from sklearn.datasets import _lfw

from dfcvae import download, fetching, load
from dfcvae.cli import main
from dfcvae.datasets import SPLITS
from dfcvae.files import digest
from dfcvae.photos import lfw

PEOPLE = {f"Person_{i:02d}": 1 + i % 3 for i in range(30)}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "scikit_learn_data"))
    monkeypatch.setattr(fetching, "PAUSE", 0.0)


def photograph(i: int, width: int, height: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height), (8 * i, 100, 50)).save(made, "JPEG", quality=95)
    return made.getvalue()


def archive() -> bytes:
    """As LFW's: lfw_funneled/NAME/NAME_0001.jpg, and text files beside the people."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        members = {"lfw_funneled/pairs_01.txt": b"text"}
        for i, (person, count) in enumerate(PEOPLE.items()):
            for number in range(count):
                members[f"lfw_funneled/{person}/{person}_{number + 1:04d}.jpg"] = photograph(i, 250, 250)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def publish(server, monkeypatch, tmp_path, where, table, contents):
    """Send ``contents`` under the names of a table of files, with their own checksums."""
    files = {}
    for name, source in table.items():
        server.files[f"/{name}"] = contents[name]
        (tmp_path / "published").write_bytes(contents[name])
        found = digest(tmp_path / "published", source.algorithm)
        files[name] = replace(source, url=f"{server.address}/{name}", checksum=found)
    monkeypatch.setattr(where, where.__name__.endswith("lfw") and "FILES" or "CELEBA", files)


@pytest.fixture
def published(server, monkeypatch, tmp_path):
    contents = {name: b"10 1\n" for name in lfw.FILES} | {"lfw-funneled.tgz": archive()}
    publish(server, monkeypatch, tmp_path, lfw, lfw.FILES, contents)
    monkeypatch.setattr(lfw, "MANY", 1)
    monkeypatch.setattr(lfw, "PEOPLE", len(PEOPLE))
    monkeypatch.setattr(lfw, "PICTURES", sum(PEOPLE.values()))
    return tmp_path / "scikit_learn_data" / "lfw_home"


def test_files_are_those_of_scikit_learn():
    theirs = {file.filename: (file.url, file.checksum) for file in (*_lfw.TARGETS, _lfw.FUNNELED_ARCHIVE)}
    assert {name: (file.url, file.checksum) for name, file in lfw.FILES.items()} == theirs


def test_lfw_is_downloaded_once_and_nobody_is_in_two_splits(server, published, capsys):
    images = {split: load("lfw", split, 32) for split in SPLITS}
    assert {name for name, _ in server.asked} == {f"/{name}" for name in lfw.FILES} and len(server.asked) == 4
    assert "100%" in capsys.readouterr().err
    colours = {split: set(found.pixels[:, 0, 16, 16].tolist()) for split, found in images.items()}
    assert sum(map(len, images.values())) == sum(PEOPLE.values())
    assert {split: len(found) for split, found in colours.items()} == {
        "train": 24,
        "validation": 3,
        "test": 3,
    }
    assert len(set.union(*colours.values())) == len(PEOPLE)  # JPEG keeps one colour apart from the next
    assert not (published / "lfw-funneled.tgz").exists()
    assert images["train"].attributes.shape[1] == 0 and images["train"].name == "lfw"


def test_who_comes_second_waits_for_the_download_of_the_first(server, published, capsys):
    load("lfw", "test", 32)
    asked, told = len(server.asked), ""
    folder = (published / "lfw_funneled").rename(published / "on its way")
    second = threading.Thread(target=load, args=("lfw", "test", 32))
    with FileLock(published / ".download.lock"):
        second.start()
        while second.is_alive() and "another process downloads LFW" not in told:
            told += capsys.readouterr().err
            time.sleep(0.01)
        folder.rename(published / "lfw_funneled")
    second.join(60)
    assert "waiting for it" in told and len(server.asked) == asked


def test_the_square_is_that_of_celeba(server, published):
    """148 pixels in the middle: a frame of 51 around them is not seen."""
    load("lfw", "test", 32)
    for path in (published / "lfw_funneled").rglob("*.jpg"):
        framed = Image.new("RGB", (250, 250), "red")
        framed.paste((0, 0, 255), (51, 51, 199, 199))
        framed.save(path, quality=95, subsampling=0)
    found = load("lfw", "test", 32).pixels.float()
    assert found[:, 2].min() > 230 and found[:, 0].max() < 25


def test_what_scikit_learn_fetched_before_is_used_without_network_and_without_scikit_learn(
    server, published, tmp_path, monkeypatch
):
    load("lfw", "test", 32)
    server.files.clear()
    shutil.copytree(published / "lfw_funneled", tmp_path / "mine" / "lfw_home" / "lfw_funneled")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(lfw.importlib.util, "find_spec", lambda name: None)
    assert len(load("lfw", "test", 32, root=tmp_path / "mine")) > 0
    with pytest.raises(ValueError, match="pip install scikit-learn, or get LFW"):
        load("lfw", "test", 32)
    with pytest.raises(ValueError, match="pip install scikit-learn, or get LFW"):
        load("lfw", "test", 32, root=tmp_path / "empty")


def test_lfw_resumes_after_a_cut(server, published):
    whole = server.files["/lfw-funneled.tgz"]
    server.files["/lfw-funneled.tgz"] = one_after_the_other(cuts(whole, 1000), whole)
    assert len(load("lfw", "train", 32)) > 0
    assert server.asked[-1] == ("/lfw-funneled.tgz", "bytes=1000-")


@pytest.mark.parametrize(
    ("answer", "words"),
    [(PAGE, "a web page"), (refuses(403), "403 Forbidden"), (b"another file", "another file was sent")],
    ids=["page", "403", "another file"],
)
def test_where_lfw_does_not_come_the_command_says_in_one_line_what_to_do(
    server, published, capsys, answer, words
):
    server.files["/lfw-funneled.tgz"] = answer
    assert main(["prepare", "lfw", "--size", "32"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dfcvae: ")]
    assert len(lines) == 1 and words in lines[0] and "put its folder lfw_funneled" in lines[0]
    assert not (published / "lfw_funneled").exists()


def test_a_folder_that_was_not_unpacked_to_its_end_is_not_taken(server, published):
    load("lfw", "test", 32)
    next((published / "lfw_funneled").rglob("*.jpg")).unlink()
    with pytest.raises(ValueError, match="has 59 pictures of 30 people, expected 60 of 30: .*delete it"):
        load("lfw", "test", 32)


def test_the_command_prepares_lfw(server, published, capsys):
    assert main(["prepare", "lfw", "--size", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"lfw, {split}" for split in SPLITS]


# --- CelebA


@pytest.fixture
def celeba(server, monkeypatch, tmp_path):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        for i in range(6):
            zipped.writestr(f"img_align_celeba/{i + 1:06d}.jpg", photograph(i, 178, 218))
    lists = {
        "list_attr_celeba.txt": "6\nSmiling Young\n" + "".join(f"{i + 1:06d}.jpg 1 -1\n" for i in range(6)),
        "list_eval_partition.txt": "".join(f"{i + 1:06d}.jpg {i % 3}\n" for i in range(6)),
    }
    contents = {name: text.encode() for name, text in lists.items()} | {
        "img_align_celeba.zip": made.getvalue()
    }
    publish(server, monkeypatch, tmp_path, download, download.CELEBA, contents)
    return tmp_path / "celeba"


def test_celebas_checksums_are_those_of_torchvision():
    from torchvision.datasets import CelebA

    theirs = {name: (file_id, md5) for file_id, md5, name in CelebA.file_list}
    for name, source in download.CELEBA.items():
        file_id, md5 = theirs[name]
        assert source.checksum == md5 and file_id in source.url and source.algorithm == "md5"


def test_celeba_is_downloaded_when_it_is_asked_for_and_only_once(server, celeba, capsys):
    command = ["prepare", "celeba", "--root", str(celeba), "--size", "32"]
    assert main(command) == 1 and server.asked == []  # not unasked
    assert "no folder" in capsys.readouterr().err
    assert main([*command, "--download"]) == 0
    assert "non-commercial research only" in capsys.readouterr().out
    assert main([*command, "--download"]) == 0 and len(server.asked) == 3
    assert torch.equal(load("celeba", "test", 32, celeba).attributes, torch.tensor([[True, False]] * 2))


def test_where_drive_has_no_quota_left_the_way_by_hand_is_told(server, celeba, capsys):
    page = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"
    server.files["/img_align_celeba.zip"] = page
    assert main(["prepare", "celeba", "--root", str(celeba), "--size", "32", "--download"]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("dfcvae: "))
    assert "Quota exceeded" in line and "data/README.md says how to get CelebA by hand" in line
    celeba.joinpath("img_align_celeba.zip").write_bytes(page)  # as a browser saves it
    assert main(["prepare", "celeba", "--root", str(celeba), "--size", "32"]) == 1
    assert 'is a web page with the title "Google Drive - Quota exceeded"' in capsys.readouterr().err


def test_downloading_is_of_celeba_and_needs_a_place(capsys):
    for arguments in (["lfw"], ["folder", "--root", "."], ["celeba"]):
        assert main(["prepare", *arguments, "--download"]) == 1
        assert "--download is of celeba, with the --root" in capsys.readouterr().err
