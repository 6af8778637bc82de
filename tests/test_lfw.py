"""Labeled Faces in the Wild through scikit-learn's fetcher, which a small one stands in for."""

import inspect
import io
import shutil
import sys
import tarfile
import urllib.error

import pytest
import sklearn.datasets
from PIL import Image

from dfcvae import load
from dfcvae.cli import main
from dfcvae.datasets import SPLITS

PEOPLE = {f"Person_{i:02d}": 1 + i % 3 for i in range(30)}
# 60 pictures are not LFW's 13,233, and that is told.
pytestmark = pytest.mark.filterwarnings("ignore:.*has 60 pictures of 30 people")


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """The calls of the fetcher, which unpacks 60 pictures of 30 people as scikit-learn does."""
    calls, theirs = [], inspect.signature(sklearn.datasets.fetch_lfw_people)

    def fetch(**options):
        theirs.bind(**options)
        calls.append(options)
        home = tmp_path / "scikit_learn_data" / "lfw_home"
        with tarfile.open(home / "lfw-funneled.tgz", "w:gz") as tar:
            add(tar, "lfw_funneled/pairs_01.txt", b"a text beside the people")
            for i, (person, count) in enumerate(PEOPLE.items()):
                for number in range(1, count + 1):
                    add(tar, f"lfw_funneled/{person}/{person}_{number:04d}.jpg", photograph(i))
        with tarfile.open(home / "lfw-funneled.tgz") as tar:
            tar.extractall(home, filter="data")
        (home / "lfw-funneled.tgz").unlink()

    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "scikit_learn_data"))
    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", fetch)
    return calls


@pytest.fixture
def home(tmp_path):
    return tmp_path / "scikit_learn_data" / "lfw_home"


def photograph(i: int) -> bytes:
    """148 pixels in the middle of one colour for each person, in a frame of 51 that is to be cut off."""
    picture, made = Image.new("RGB", (250, 250), "red"), io.BytesIO()
    picture.paste((0, 8 * i, 255), (51, 51, 199, 199))
    picture.save(made, "JPEG", quality=95, subsampling=0)
    return made.getvalue()


def add(tar, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def test_lfw_is_fetched_once_and_nobody_is_in_two_splits(fetched, home, capsys):
    images = {split: load("lfw", split, 32) for split in SPLITS}
    assert len(fetched) == 1 and "downloading LFW (243 MB)" in capsys.readouterr().err
    greens = {split: set(found.pixels[:, 1, 16, 16].tolist()) for split, found in images.items()}
    assert {split: len(found) for split, found in greens.items()} == {"train": 24, "validation": 3, "test": 3}
    assert len(set.union(*greens.values())) == len(PEOPLE)  # JPEG keeps one colour apart from the next
    assert sum(map(len, images.values())) == sum(PEOPLE.values())
    assert images["train"].attributes.shape[1] == 0 and images["train"].name == "lfw"
    for found in images.values():  # the frame is not seen
        assert found.pixels[:, 2].min() > 230 and found.pixels[:, 0].max() < 25


@pytest.mark.filterwarnings("default")
def test_fewer_pictures_than_lfw_has_are_told(fetched):
    with pytest.warns(UserWarning, match="has 60 pictures of 30 people, expected 13,233 of 5,749"):
        load("lfw", "test", 32, progress=False)


def test_what_is_there_is_used_without_scikit_learn(fetched, home, tmp_path, monkeypatch):
    load("lfw", "test", 32)
    shutil.copytree(home / "lfw_funneled", tmp_path / "mine" / "lfw_home" / "lfw_funneled")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert len(load("lfw", "test", 32, root=tmp_path / "mine")) > 0
    for root in (None, tmp_path / "empty"):
        with pytest.raises(ValueError, match="pip install scikit-learn, or get LFW"):
            load("lfw", "test", 32, root=root)
    assert len(fetched) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (urllib.error.URLError(OSError(111, "Connection refused")), "Connection refused"),
        (urllib.error.HTTPError("https://x", 403, "Forbidden", None, None), "HTTP Error 403: Forbidden"),
        (OSError("The file has another SHA256\nchecksum"), "The file has another SHA256 checksum"),
        (tarfile.ReadError("not a gzip file"), "not a gzip file"),
    ],
    ids=["nobody there", "403", "another file", "no archive"],
)
def test_where_lfw_does_not_come_the_command_says_in_one_line_what_to_do(
    fetched, home, monkeypatch, capsys, error, words
):
    def fail(**_):
        raise error

    monkeypatch.setattr(sklearn.datasets, "fetch_lfw_people", fail)
    assert main(["prepare", "lfw", "--size", "32"]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("dfcvae: "))
    assert f"could not download LFW ({words})" in line and "put its folder lfw_funneled" in line
    assert not (home / "lfw_funneled").exists()


def test_a_folder_that_was_not_unpacked_to_its_end_is_not_taken(fetched, home):
    load("lfw", "test", 32)
    (home / "lfw-funneled.tgz").write_bytes(b"scikit-learn deletes it when it is done")
    with pytest.raises(ValueError, match="was not unpacked to its end, .*delete it"):
        load("lfw", "test", 32)


def test_the_command_prepares_lfw(fetched, capsys):
    assert main(["prepare", "lfw", "--size", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"lfw, {split}" for split in SPLITS]
