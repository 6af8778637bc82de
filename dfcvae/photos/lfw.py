"""Labeled Faces in the Wild, by scikit-learn's fetcher: photographs that download when CelebA will not.

13,233 colour photographs of 5,749 people, 250 x 250 pixels, "funneled" (turned so that the faces lie alike),
in scikit-learn's folder of data: what `sklearn.datasets.fetch_lfw_people` has downloaded before is used, and
what we download it finds. Its fetcher has neither progress nor resumption nor a limit of time, so we bring
the files to where it looks for them, check them against the same SHA-256, and let it unpack them.

G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller, "Labeled Faces in the Wild", UMass TR 07-49, 2007.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from dfcvae.fetching import Source as File
from dfcvae.fetching import fetch
from dfcvae.locks import one_at_a_time
from dfcvae.photos.folder import Listing, Source, fingerprint, part, stat

PICTURES, PEOPLE = 13_233, 5_749
SIZE = (250, 250)
# The box of the face detector was widened 2.2 times, so a face fills 114 pixels in the middle: with CelebA's
# square it is about as large as there.
CROP = 148
FOLDER = "lfw_funneled"
BY_HAND = (
    f"get LFW (funneled) elsewhere and put its folder {FOLDER}, which has a folder for each person, into the "
    "folder lfw_home of root="
)
MANY = 500  # photographs of one person: so few people that the fetcher, which also decodes them, is soon done


def _file(number: int, sha256: str) -> File:
    return File(f"https://ndownloader.figshare.com/files/{number}", sha256, BY_HAND)


# Addresses and SHA-256 sums of scikit-learn 1.9.
FILES = {
    "pairsDevTrain.txt": _file(5976012, "1d454dada7dfeca0e7eab6f65dc4e97a6312d44cf142207be28d688be92aabfa"),
    "pairsDevTest.txt": _file(5976009, "7cb06600ea8b2814ac26e946201cdb304296262aad67d046a16a7ec85d0ff87c"),
    "pairs.txt": _file(5976006, "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592"),
    "lfw-funneled.tgz": _file(5976015, "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a"),
}


def lfw(root: Path | None, split: str, progress: bool = True) -> Source:
    """One split of LFW, downloaded (243 MB) where it is not there; nobody is in two splits.

    root: scikit-learn's folder of data, None for its usual one (`SCIKIT_LEARN_DATA`). In the order of a hash
    of their names, a tenth of the people goes to test, the next tenth to validation, the rest to train.
    Raises OSError that names the way by hand, ValueError without scikit-learn or where pictures are missing.
    """
    home = (_data_home() if root is None else root) / "lfw_home"
    folder = home / FOLDER
    if not folder.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        waiting = f"another process downloads LFW to {home}: waiting for it"
        with one_at_a_time(home / ".download.lock", waiting):
            if not folder.is_dir():
                _download(home, progress)
    people = _people(folder)
    names = [f"{person}/{name}" for person in part(people, split) for name in people[person]]
    state = fingerprint((name, *stat(folder / name)) for name in names)
    unlabelled = torch.empty(len(names), 0, dtype=torch.bool)

    def listing() -> Listing:
        return Listing(names, lambda name: folder / name, unlabelled)

    return Source("lfw", split, folder, CROP, state, listing, SIZE)


def _data_home() -> Path:
    _need_scikit_learn()
    from sklearn.datasets import get_data_home

    return Path(get_data_home()).resolve()


def _need_scikit_learn() -> None:
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError(
            f"LFW is fetched by scikit-learn, which is not installed: pip install scikit-learn, or {BY_HAND}."
        )


def _download(home: Path, progress: bool) -> None:
    """Bring the files, and have scikit-learn unpack them."""
    _need_scikit_learn()
    from sklearn.datasets import fetch_lfw_people

    for name, file in FILES.items():
        if not file.is_whole(home / name):
            fetch(file, home / name, progress)
    fetch_lfw_people(data_home=home.parent, min_faces_per_person=MANY)


def _people(folder: Path) -> dict[str, list[str]]:
    """Names of the pictures of each person. Raises ValueError unless all are there."""
    people = {
        entry.name: sorted(path.name for path in entry.glob("*.jpg"))
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    }
    count = sum(map(len, people.values()))
    if (len(people), count) != (PEOPLE, PICTURES):
        raise ValueError(
            f"{folder} has {count:,} pictures of {len(people):,} people, expected {PICTURES:,} of "
            f"{PEOPLE:,}: it was not unpacked to its end; delete it, and the same call fetches it again."
        )
    return people
