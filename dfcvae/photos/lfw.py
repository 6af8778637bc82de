"""Labeled Faces in the Wild, by scikit-learn's fetcher: photographs that download when CelebA will not.

13,233 colour photographs of 5,749 people, 250 x 250 pixels, "funneled" (turned so that the faces lie alike),
in scikit-learn's folder of data: what `sklearn.datasets.fetch_lfw_people` has downloaded before is used, and
what we have it download it finds.

G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller, "Labeled Faces in the Wild", UMass TR 07-49, 2007.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from dfcvae.download import impatient, one_at_a_time, reason
from dfcvae.photos.source import Listing, Source, part, stat, unlabelled

PICTURES, PEOPLE = 13_233, 5_749
SIZE = (250, 250)
CROP = 148  # CelebA's square: a face fills 114 pixels in the middle, and is about as large as there
BY_HAND = (
    "get LFW (funneled) elsewhere and put its folder lfw_funneled, which has a folder for each person, into "
    "the folder lfw_home of root="
)
MANY = 500  # photographs of one person: so few people that the fetcher, which also decodes them, is soon done


def lfw(root: Path | None, split: str, progress: bool = True) -> Source:
    """One split of LFW, downloaded (243 MB) where it is not there; nobody is in two splits.

    root: scikit-learn's folder of data, None for its usual one (`SCIKIT_LEARN_DATA`). In the order of a hash
    of their names, a tenth of the people goes to test, the next tenth to validation, the rest to train. That
    photographs were changed is not noticed once they are packed. Raises OSError that names the way by hand,
    and ValueError without scikit-learn.
    """
    home = (Path(_scikit_learn().get_data_home()).resolve() if root is None else root) / "lfw_home"
    folder, archive = home / "lfw_funneled", home / "lfw-funneled.tgz"
    if not folder.is_dir() or archive.exists():  # scikit-learn deletes the archive once all is unpacked
        home.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(home / ".download.lock", f"LFW to {home}"):
            if not folder.is_dir():
                _download(home, progress)
            elif archive.exists():
                cut = f"{folder} was not unpacked to its end, as {archive.name} is there"
                raise ValueError(f"{cut}: delete it, and the same call unpacks it again.")

    def listing() -> Listing:
        people = {entry.name: sorted(entry.glob("*.jpg")) for entry in folder.iterdir() if entry.is_dir()}
        count = sum(map(len, people.values()))
        counted = f"{folder} has {count:,} pictures of {len(people):,} people"
        notes = [f"{counted}, expected {PICTURES:,} of {PEOPLE:,}"] if count != PICTURES else []
        names = [f"{person}/{path.name}" for person in part(people, split) for path in people[person]]
        return unlabelled(names, folder, notes)

    return Source("lfw", split, folder, str(stat(folder)), listing, CROP, SIZE)


def _download(home: Path, progress: bool) -> None:
    fetch = _scikit_learn().fetch_lfw_people
    if progress:
        print(f"downloading LFW (243 MB) to {home}, without a progress bar ...", file=sys.stderr, flush=True)
    try:
        with impatient():
            fetch(data_home=str(home.parent), min_faces_per_person=MANY)
    except Exception as error:  # of the network, the checksum, the archive or the disk
        raise OSError(f"could not download LFW ({reason(error)}): {BY_HAND}.") from None


def _scikit_learn() -> ModuleType:
    try:
        return importlib.import_module("sklearn.datasets")
    except ImportError:
        needs = "LFW is fetched by scikit-learn, which is not installed: pip install scikit-learn, or"
        raise ValueError(f"{needs} {BY_HAND}.") from None
