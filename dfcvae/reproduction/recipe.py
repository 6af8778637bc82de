"""The paper's trainings as one recipe, for notebook 06 and for ``dfcvae reproduce``.

Hou, Shen, Sun, Qiu, "Deep Feature Consistent Variational Autoencoder", arXiv 1610.00291. ``reproduce`` trains
and measures; ``report.py`` makes OUT/report.md of what it returns.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfcvae.datasets import Images, load
from dfcvae.device import pick_device
from dfcvae.dfc import DFCVAE, PRESETS
from dfcvae.evaluation import rate_distortion
from dfcvae.fast import accelerate
from dfcvae.reproduction.measure import AT_MOST, ends, measure, require_scikit_learn
from dfcvae.runs import load_run, read_config
from dfcvae.training import Run, train
from dfcvae.vae import VAE

NAMES = {"pixel": "plain VAE", "vae-123": "VAE-123", "vae-345": "VAE-345"}
NAMES |= {"paper-123": "VAE-123, the paper's β", "paper-345": "VAE-345, the paper's β"}
SIMPLE = ("psnr", "ssim", "sharpness", "mse", "kl", "active_units")
OF_ATTRIBUTES = ("accuracy", "majority", "ahead_of_majority", "balanced")


class Training(NamedTuple):
    """One training: a preset, a seed, and beta as a multiple of the preset's."""

    preset: str
    seed: int = 0
    multiple: float = 1.0

    @property
    def name(self) -> str:
        """That of its run folder."""
        return f"{self.preset}-{self.seed}" + (f"-beta-x{self.multiple:g}" if self.multiple != 1 else "")


@dataclass(frozen=True)
class Recipe:
    """What is trained and on what; batch, rate, schedule and epochs are the paper's unless they are given.

    pictures, tested: train and test on the first so many, None for all. multiples: of the preset's beta; the
    first seed is trained at each of them too, for the curve of rate and distortion. codes: training codes
    that the SVMs see at most. ValueError for what cannot be reproduced.
    """

    data: str = "faces"
    root: str | Path | None = None
    out: str | Path = Path("runs/reproduce")
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
    pictures: int | None = None
    tested: int | None = None

    def __post_init__(self) -> None:
        for preset in self.presets:
            if preset not in PRESETS:
                raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}.")
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

    def folder(self, training: Training) -> Path:
        return Path(self.out) / training.name

    def load(self, split: str) -> Images:
        """The pictures of a split, as many as the recipe says."""
        n = self.pictures if split == "train" else self.tested
        return load(self.data, split, size=self.size, root=self.root, n=n)

    def model(self, training: Training) -> DFCVAE:
        """Untrained; all presets of one seed start from the same weights."""
        beta = PRESETS[training.preset].beta * training.multiple
        torch.manual_seed(training.seed)
        return DFCVAE(training.preset, self.features, self.size, beta=beta)

    def train(self, training: Training, images: Images, validation: Images, **options: Any) -> Run:
        """Into the training's folder; called again, it goes on where it was, or has nothing left to do."""
        keys = "batch_size learning_rate schedule device epochs minutes steps".split()
        chosen = {key: getattr(self, key) for key in keys} | {"seed": training.seed, "validation": validation}
        return train(accelerate(self.model(training)), images, self.folder(training), **(chosen | options))

    def models(self, images: Images, seed: int | None = None) -> dict[str, VAE]:
        """The trained models of one seed (the first, unless given) by preset; images: what they meet now.

        FileNotFoundError for a training that is missing, ValueError for one on another data set.
        """
        found = {}
        for preset in self.presets:
            folder = self.folder(Training(preset, self.seeds[0] if seed is None else seed))
            learnt = read_config(folder)["data"]["name"]
            if learnt != images.name:
                met = f"was trained on {learnt!r}, and the pictures are of {images.name!r}"
                raise ValueError(f"{folder.as_posix()!r} {met}: measure it on its own data.")
            found[preset] = load_run(folder, pick_device(self.device))
        return found

    def command(self) -> str:
        """What to type into a terminal for all of it."""
        words = ["dfcvae", "reproduce"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                values = value if isinstance(value, tuple) else (value,)
                words += [f"--{field.name.replace('_', '-')}", *map(str, values)]
        return shlex.join(words)


@dataclass(frozen=True)
class Row:
    """One training, the config.json of its run, and what ``measure`` found."""

    training: Training
    config: dict[str, Any]
    figures: dict[str, Any]
    correct: Tensor
    majority: Tensor

    @property
    def simple(self) -> dict[str, float]:
        """The figures that are single numbers and stand in the table, by their names in ``summary``."""
        found = {name: self.figures[name] for name in SIMPLE}
        found |= {f"fid_{name}": distance for name, distance in self.figures.get("fid", {}).items()}
        of_attributes = self.figures.get("attributes")
        return found | {name: of_attributes[name] for name in OF_ATTRIBUTES if of_attributes}


@dataclass(frozen=True)
class Reproduction:
    """All that was trained and measured; extractor: whose features the Fréchet distances are of."""

    recipe: Recipe
    train: Images
    test: Images
    rows: list[Row]
    extractor: nn.Module | None = None

    def summary(self, preset: str) -> dict[str, Any]:
        """Figure -> {"mean", "sd"} over the preset's seeds, and "interval" (95 % over the test images) where
        there is one. sd is None for a single seed."""
        rows = [row for row in self.rows if (row.training.preset, row.training.multiple) == (preset, 1)]
        found: dict[str, Any] = {}
        for name in rows[0].simple:
            values = [row.simple[name] for row in rows]
            sd = statistics.stdev(values) if len(values) > 1 else None
            found[name] = {"mean": statistics.fmean(values), "sd": sd}
        if "accuracy" in found:
            correct = torch.stack([row.correct.double() for row in rows]).mean(0)  # (seeds, N) -> (N,)
            found["accuracy"]["interval"] = ends(correct)
            found["ahead_of_majority"]["interval"] = ends(correct - rows[0].majority)
        return found

    def curve(self) -> list[dict[str, Any]]:
        """Every training as a point of rate and distortion, by rising KL."""
        return rate_distortion({row.training.name: row.figures for row in self.rows})


def reproduce(recipe: Recipe, extractor: nn.Module | None = None, progress: bool = True) -> Reproduction:
    """Train and measure all that the recipe says, one model in memory at a time.

    extractor: for Fréchet distances, as for ``evaluation.fid``. Raises ValueError before the first training
    for what would fail after the last.
    """
    images, validation, test = (recipe.load(split) for split in ("train", "validation", "test"))
    labelled, rows = bool(images.attribute_names), []
    if labelled:
        require_scikit_learn()
    for training in recipe.trainings():
        print(f"{training.name}: training", flush=True)
        run = recipe.train(training, images, validation, progress=progress)
        print(f"{training.name}: measuring on {len(test):,} images", flush=True)
        found = measure(run.model, test, images, labelled, extractor, recipe.codes, training.seed)
        rows.append(Row(training, run.config, *found))
    return Reproduction(recipe, images, test, rows, extractor)
