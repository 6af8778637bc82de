"""The Fréchet distance of two streams of pictures, and the network that makes it the FID.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
arXiv 1706.08500. Two Gaussians are fitted to the features of two sets of pictures; in the features of one
Inception network, trained on ImageNet as the VGG of a DFC-VAE is, their distance is called FID. Distances in
different features do not compare, nor do those of different numbers of pictures.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfcvae.figures.png import to_uint8
from dfcvae.files import digest, load_checked

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"


class FrechetDistance:
    """Distance of two streams of pictures, originals and made ones, ``add``ed in batches.

    extractor: pictures (N, 3, S, S), as they are given to ``add``, -> features (N, F). What is kept are
    float64 sums of F and F x F numbers on each side (67 MB for Inception's 2,048), however many pictures
    come. Sums and formula are torchmetrics'.
    """

    def __init__(self, extractor: Callable[[Tensor], Tensor]) -> None:
        self.extractor = extractor
        self.metric: Any = None  # made when the first features tell how many there are

    @torch.no_grad()
    def add(self, pictures: Tensor, real: bool) -> None:
        """One batch: ``real`` for originals. ValueError where the extractor gives no (N, F)."""
        features = self.extractor(pictures)
        if features.ndim != 2 or len(features) != len(pictures):
            found = f"features {tuple(features.shape)} of {len(pictures)} pictures"
            raise ValueError(f"the extractor made {found}: expected one row of features a picture, (N, F).")
        if features.device.type == "mps":  # has no float64
            features = features.cpu()
        if self.metric is None:
            from torchmetrics.image.fid import FrechetInceptionDistance

            as_they_are: Any = nn.Identity()
            as_they_are.num_features = features.shape[1]
            self.metric = FrechetInceptionDistance(as_they_are, reset_real_features=False)
        self.metric.to(features.device).update(features.double(), real=real)

    def compute(self) -> float:
        """The distance, 0 for a set and itself. ValueError with fewer than two pictures on a side."""
        sides = ("real", "fake")
        originals, made = (int(getattr(self.metric, f"{side}_features_num_samples", 0)) for side in sides)
        if min(originals, made) < 2:
            found = f"there are {originals} originals and {made} pictures made"
            raise ValueError(
                f"{found}: a Gaussian needs two or more on each side, and many to be a good one."
            )
        return self.metric.to("cpu").compute().item()  # eigenvalues are not in every build for CUDA

    def forget_made(self) -> None:
        """Begin another set of made pictures beside the same originals."""
        if self.metric is not None:
            self.metric.reset()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features a (N, F), b (M, F): 0 for the same.

    ValueError for sets of fewer than two.
    """
    distance = FrechetDistance(nn.Identity())
    distance.add(a.double(), real=True)
    distance.add(b.double(), real=False)
    return distance.compute()


class Inception(nn.Module):
    """FID's own network: pictures (N, 3, S, S), float in [0, 1], rounded to bytes as FID wants -> (N, 2048).

    By torch-fidelity, through torchmetrics. weights: its file; nothing is downloaded. ValueError for an
    unsafe pickle, which torch-fidelity would execute.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        try:
            load_checked(weights)
        except ValueError as error:
            raise ValueError(f"{weights.name} is refused ({error}): fetch {INCEPTION_FILE} again.") from None
        from torchmetrics.image.fid import NoTrainInceptionV3

        self.sha256 = digest(weights)
        self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network(to_uint8(pictures))


def inception() -> Inception | None:
    """FID's network where it is at hand, else None: ``what_fid_needs`` says what to do then."""
    return None if what_fid_needs() else Inception(_inception_file())


def what_fid_needs() -> str:
    """One sentence: what is missing for FID here, and where to put it; "" where nothing is."""
    path, needs = _inception_file(), []
    if not importlib.util.find_spec("torch_fidelity"):
        needs.append("the package torch-fidelity (pip install torch-fidelity)")
    if not path.is_file():
        shown = path.as_posix().replace(Path.home().as_posix(), "~")
        needs.append(
            f"the weights {INCEPTION_FILE}, from the releases of toshas/torch-fidelity on GitHub, at "
            f"{shown} or where $DFCVAE_INCEPTION points"
        )
    return f"FID needs {' and '.join(needs)}; nothing is downloaded by itself." if needs else ""


def _inception_file() -> Path:
    """$DFCVAE_INCEPTION, or where torch-fidelity keeps its download."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    return Path(os.environ.get("DFCVAE_INCEPTION") or cached)
