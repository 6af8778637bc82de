"""``dfcvae reproduce``: the paper's trainings, and every figure of them, from one command.

Hou, Shen, Sun, Qiu, "Deep Feature Consistent Variational Autoencoder", arXiv 1610.00291. What was measured
stands in OUT/results.json; ``report.py`` makes OUT/report.md of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dfcvae
from dfcvae.datasets import Images
from dfcvae.dfc import DFCVAE, PRESETS
from dfcvae.evaluation import rate_distortion
from dfcvae.fid import Inception
from dfcvae.reproduction.attributes import AT_MOST, interval
from dfcvae.reproduction.measure import Measured, has_scikit_learn, measure
from dfcvae.training import Run, train
from dfcvae.vgg import VGGFeatures

SIMPLE = ("psnr", "ssim", "sharpness", "mse", "kl", "active_units")


@dataclass(frozen=True)
class Training:
    """One training: a preset, a seed, and beta as a multiple of the preset's."""

    preset: str
    seed: int
    multiple: float = 1.0

    @property
    def name(self) -> str:
        """That of its run folder."""
        more = "" if self.multiple == 1 else f"-beta-x{self.multiple:g}"
        return f"{self.preset}-{self.seed}{more}"


@dataclass(frozen=True)
class Recipe:
    """What is trained and on what; batch, rate, schedule and epochs are the paper's unless they are given.

    multiples: of the preset's beta; the first seed is trained at each of them too, for the curve of rate and
    distortion. codes: training codes that the SVMs see at most. ValueError for what cannot be reproduced.
    """

    data: str = "faces"
    root: Path | None = None
    out: Path = Path("runs/reproduce")
    presets: tuple[str, ...] = ("pixel", "vae-123", "vae-345")
    seeds: tuple[int, ...] = (0, 1, 2)
    multiples: tuple[float, ...] = ()
    features: str = "auto"
    epochs: float | None = 5
    minutes: float | None = None
    steps: int | None = None
    batch_size: int = 64
    learning_rate: float = 5e-4
    schedule: str = "halve"
    size: int = 64
    device: str = "auto"
    codes: int = AT_MOST

    def __post_init__(self) -> None:
        unknown = [preset for preset in self.presets if preset not in PRESETS]
        if unknown:
            raise ValueError(f"unknown preset {unknown[0]!r}: expected one of {', '.join(PRESETS)}.")
        for what, chosen in ("presets", self.presets), ("seeds", self.seeds):
            if not chosen or len(set(chosen)) < len(chosen):
                raise ValueError(f"{what} are {list(chosen)}: expected one or more, each once.")
        if not all(multiple > 0 for multiple in self.multiples):
            raise ValueError(f"multiples of beta are {list(self.multiples)}: expected numbers above 0.")
        if self.codes < 2:
            raise ValueError(f"codes is {self.codes}: the SVMs need two training codes or more.")

    def trainings(self) -> Iterator[Training]:
        """Seed by seed, so that whoever stops early has whole seeds; the curve's at the end."""
        yield from (Training(preset, seed) for seed in self.seeds for preset in self.presets)
        others = [multiple for multiple in dict.fromkeys(self.multiples) if multiple != 1]
        yield from (Training(preset, self.seeds[0], m) for preset in self.presets for m in others)

    def load(self, split: str) -> Images:
        return dfcvae.load(self.data, split, size=self.size, root=self.root)

    def loss_network(self, preset: str) -> VGGFeatures | str:
        """The frozen network of a preset, made once for all of its trainings."""
        layers = PRESETS[preset].layers
        return VGGFeatures("vgg19", layers, self.features) if layers else self.features

    def model(self, training: Training, network: VGGFeatures | str) -> DFCVAE:
        beta = PRESETS[training.preset].beta * training.multiple
        torch.manual_seed(training.seed)
        return DFCVAE(training.preset, network, self.size, beta=beta)

    def train(
        self, training: Training, model: DFCVAE, images: Images, validation: Images, progress: bool
    ) -> Run:
        """Into the training's folder; called again, it goes on where it was, or has nothing left to do."""
        chosen = {key: getattr(self, key) for key in ("batch_size", "learning_rate", "schedule", "device")}
        chosen |= {key: getattr(self, key) for key in ("epochs", "minutes", "steps")}
        out = Path(self.out) / training.name
        return train(
            model, images, out, validation=validation, progress=progress, seed=training.seed, **chosen
        )


@dataclass(frozen=True)
class Row:
    """One training and what was measured of it.

    weights: lambda of each layer (``DFCVAE.effective_weights``). right: of each test image, the share of
    attributes told rightly, float32 (N,), empty without labels.
    """

    training: Training
    config: dict[str, Any]
    weights: dict[str, float]
    figures: dict[str, Any]
    right: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class Reproduction:
    """All rows, and the majority's share of right answers of each test image (N,), empty without labels.

    judge: what the Fréchet distances are called, "FID" if Inception measured them; None if nobody did.
    judge_sha256: of Inception's weights, "" for another.
    """

    recipe: Recipe
    train: Images
    test: Images
    networks: dict[str, VGGFeatures | str]
    rows: list[Row]
    majority_right: Tensor
    judge: str | None = None
    judge_sha256: str = ""

    def summary(self, preset: str) -> dict[str, Any]:
        """Figure -> {"mean", "sd"} over the preset's seeds, and "interval" (95 % over the test images) where
        there is one. sd is None for a single seed."""
        rows = [row for row in self.rows if (row.training.preset, row.training.multiple) == (preset, 1)]
        found = {name: _over_seeds([row.figures[name] for row in rows]) for name in SIMPLE}
        for name, _ in (rows[0].figures.get("fid") or {}).items():
            found[f"fid_{name}"] = _over_seeds([row.figures["fid"][name] for row in rows])
        if len(self.majority_right):
            each = torch.stack([row.right.double() for row in rows]).mean(0)  # of an image, over the seeds
            told = [row.figures["attributes"] for row in rows]
            for name, values in (("accuracy", each), ("ahead_of_majority", each - self.majority_right)):
                mean, half = interval(values)
                found[name] = _over_seeds([attributes[name] for attributes in told])
                found[name]["interval"] = [mean - half, mean + half]
            found["balanced"] = _over_seeds([attributes["balanced"] for attributes in told])
            found["majority"] = {"mean": told[0]["majority"], "sd": None}
        return found

    def curve(self) -> list[dict[str, Any]]:
        """Every training as a point of rate and distortion, by rising KL."""
        points = rate_distortion({row.training.name: row.figures for row in self.rows})
        return [point._asdict() for point in points]


def reproduce(recipe: Recipe, extractor: nn.Module | None = None, progress: bool = True) -> Reproduction:
    """Train and measure all that the recipe says, one model in memory at a time.

    extractor: for Fréchet distances, as for ``evaluation.fid``. Raises ValueError before the first training
    for what would fail after the last.
    """
    images, validation, test = (recipe.load(split) for split in ("train", "validation", "test"))
    labelled = bool(images.attribute_names)
    if labelled and not has_scikit_learn():
        raise ValueError("the attributes are read with scikit-learn: pip install scikit-learn.")
    networks = {preset: recipe.loss_network(preset) for preset in recipe.presets}
    rows, majority_right = [], torch.empty(0)
    for training in recipe.trainings():
        print(f"{training.name}: training", flush=True)
        run = recipe.train(
            training, recipe.model(training, networks[training.preset]), images, validation, progress
        )
        print(f"{training.name}: measuring on {len(test):,} images", flush=True)
        measured = measure(run.model, test, images, labelled, extractor, recipe.codes, training.seed)
        if measured.reading:
            majority_right = measured.reading.majority_right
        rows.append(_row(training, run, measured))
    judge = _judge(extractor), getattr(extractor, "sha256", "")
    return Reproduction(recipe, images, test, networks, rows, majority_right, *judge)


def _row(training: Training, run: Run, measured: Measured) -> Row:
    right = measured.reading.right if measured.reading else torch.empty(0)
    return Row(training, run.config, run.model.effective_weights, measured.figures, right)


def _judge(extractor: nn.Module | None) -> str | None:
    if extractor is None or isinstance(extractor, Inception):
        return None if extractor is None else "FID"
    return f"Fréchet distance by {type(extractor).__name__}"


def _over_seeds(values: list[float]) -> dict[str, Any]:
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
    }
