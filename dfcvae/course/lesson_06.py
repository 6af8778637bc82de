"""What notebook 06 needs beside the lesson: the paper's plan and numbers, readers, a figure, a report.

Hou, Shen, Sun, Qiu, "Deep Feature Consistent Variational Autoencoder", arXiv 1610.00291.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dfcvae
from dfcvae.checkpoint import CHECKPOINT, load_run, read_config
from dfcvae.course.shipped import shipped
from dfcvae.datasets import Images
from dfcvae.device import describe, pick_device
from dfcvae.dfc import DFCVAE
from dfcvae.fid import FrechetDistance, inception
from dfcvae.fid import inception_weights as inception_weights
from dfcvae.figures import show
from dfcvae.files import write_whole
from dfcvae.latent import linear_reader
from dfcvae.reproduction.attributes import interval as interval
from dfcvae.reproduction.provenance import sha256_of_network
from dfcvae.reproduction.report import REPORTED as REPORTED
from dfcvae.reproduction.report import table as table
from dfcvae.training import Run, train
from dfcvae.vae import VAE
from dfcvae.vgg import VGGFeatures

NAMES = {"pixel": "plain VAE", "vae-123": "VAE-123", "vae-345": "VAE-345"}
SHIPPED = {"pixel": "plain", "vae-123": "dfc-123", "vae-345": "dfc-345"}
CELEBA = {"train": 162_770, "validation": 19_867, "test": 19_962}  # pictures of the official parts
# Setting -> the paper, the code that its authors published; – where we do not know.
STATED = {
    "pictures": ("CelebA, 202,599", "CelebA, cut out off-centre"),
    "pixels": ("64 × 64", "128 × 128"),
    "trained parameters": ("2,312,811", "4,956,267"),
    "loss network": ("VGG-19", "VGG-19 on pixels of 0 to 255"),
    "λ: KL + λ · mean squared feature": ("0.25 a layer", "0.0125 a layer"),
    "batch": ("64", "–"),
    "learning rate of Adam": ("0.0005, halved every epoch", "halved in the loop over steps"),
    "epochs": ("5", "–"),
    "gradient steps": ("15,825, if it trained on all", "–"),
    "before the loss network": ("pictures as they are", "pictures as they are"),
    "the plain VAE beside it": ("–", "twice as wide, other rate and batch"),
    "temperature of samples": ("–", "0.4"),
    "attribute vectors": ("means of 1,000 codes a side", "the same 100 pictures, z drawn"),
}


@dataclass(frozen=True)
class Plan:
    """What is trained, on what and how; epochs, batches and rates are the paper's unless they are given.

    root: the folder that holds CelebA, or None for the drawn faces. pictures, tested: train and test on the
    first so many, None for all. out: where the run folders lie, one a data set, preset and seed.
    """

    root: str | None = None
    pictures: int | None = None
    tested: int | None = None
    presets: tuple[str, ...] = ("pixel", "vae-123", "vae-345")
    seeds: tuple[int, ...] = (0,)
    features: str = "torchvision"
    batch_size: int = 64
    learning_rate: float = 5e-4
    schedule: str = "halve"
    epochs: int = 5
    out: Path = Path("runs/paper")

    @property
    def data(self) -> str:
        return "faces" if self.root is None else "celeba"

    def folder(self, preset: str, seed: int = 0) -> Path:
        return Path(self.out) / self.data / f"{preset}-seed{seed}"

    def load(self, split: str) -> Images:
        """The pictures of a split, as many as the plan says."""
        n = self.pictures if split == "train" else self.tested
        if self.root is None:
            return dfcvae.load("faces", split)[:n]
        return dfcvae.load("celeba", split, root=self.root, n=n)

    def train(self, preset: str, seed: int, images: Images, validation: Images, **options: Any) -> Run:
        """One training of the plan in its folder; called again, it goes on where it was."""
        torch.manual_seed(seed)
        model = DFCVAE(preset, features=self.features, image_size=images.pixels.shape[-1])
        chosen = {key: getattr(self, key) for key in ("batch_size", "learning_rate", "schedule", "epochs")}
        saved = min(500, max(1, len(images) // self.batch_size))  # an epoch, if that is no more
        chosen |= {"seed": seed, "validation": validation, "preview_every": saved} | options
        return train(model, images, self.folder(preset, seed), **chosen)

    def models(self, images: Images, seed: int | None = None) -> dict[str, VAE]:
        """The trained models of one seed (the first, unless given) by preset; images: what they meet now.

        FileNotFoundError for a training that is missing, ValueError for one on another data set.
        """
        found, seed = {}, self.seeds[0] if seed is None else seed
        for preset in self.presets:
            folder = self.folder(preset, seed)
            if not (folder / CHECKPOINT).is_file():
                raise FileNotFoundError(f"{folder.as_posix()!r} holds no training yet: train {preset} first.")
            trained_on = read_config(folder)["data"]["name"]
            if trained_on != images.name:
                raise ValueError(
                    f"{folder.as_posix()!r} was trained on {trained_on!r}, and the pictures are of "
                    f"{images.name!r}: measure a model on the data set that it learnt."
                )
            found[preset] = load_run(folder)
        return found

    def commands(self) -> str:
        """What to type into a terminal for the whole plan, a line a training."""
        where = f"--data {self.data}" + (f" --root {self.root}" if self.root else "")
        how = f"--features {self.features} --epochs {self.epochs} --batch-size {self.batch_size} "
        how += f"--learning-rate {self.learning_rate} --schedule {self.schedule}"
        lines = [f"dfcvae prepare celeba --root {self.root}"] if self.root else []
        for preset, seed in ((preset, seed) for seed in self.seeds for preset in self.presets):
            out = self.folder(preset, seed).as_posix()
            lines.append(f"dfcvae train {where} --preset {preset} {how} --seed {seed} --out {out}")
        return "\n".join(lines)


def shipped_models() -> dict[str, VAE]:
    """The course's models by preset: the same recipes on drawn faces, trained longer than a lesson allows."""
    return {preset: shipped(name) for preset, name in SHIPPED.items()}


def title(images: Images) -> str:
    """What stands over every table: data set, split and number, as the pictures themselves say."""
    name = {"faces": "drawn faces", "celeba": "CelebA"}.get(images.name, images.name or "unnamed pictures")
    return f"{name}, {images.split or 'split unknown'}, {len(images):,} pictures"


def settings(plan: Plan, images: Images, model: DFCVAE) -> str:
    """A Markdown table: each setting in the paper, in its authors' code, and here."""
    weights = ", ".join(f"{weight:.3g}" for weight in model.effective_weights.values())
    ours = {
        "pictures": title(images),
        "pixels": f"{model.image_size} × {model.image_size}",
        "trained parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "loss network": model.features_name,
        "λ: KL + λ · mean squared feature": weights,
        "batch": plan.batch_size,
        "learning rate of Adam": f"{plan.learning_rate:g}, "
        + ("halved every epoch" if plan.schedule == "halve" else plan.schedule),
        "epochs": plan.epochs,
        "gradient steps": f"{plan.epochs * (len(images) // plan.batch_size):,}",
        "before the loss network": "both moved by the same few pixels",
        "the plain VAE beside it": "same network, start, rate and batches",
        "temperature of samples": "1",
        "attribute vectors": "means of up to 1,000 codes a side",
    }
    return table(("", "the paper", "its code", "here"), [(key, *STATED[key], ours[key]) for key in STATED])


def read_all(codes: Tensor, has: Tensor, unseen: Tensor, truth: Tensor) -> Tensor:
    """Which attributes a linear SVM on codes (N, K) tells rightly of unseen (M, K): bool (M, A).

    has: bool (N, A), the labels to learn from. truth: bool (M, A).
    """
    read = [linear_reader(codes, column).score(unseen) > 0 for column in has.unbind(1)]
    return torch.stack(read, dim=1) == truth


def fingerprint(network: nn.Module) -> str:
    """The first 12 digits of the SHA-256 of a frozen network's tensors, names included."""
    return sha256_of_network(network)[:12]


def fid(real: Tensor, fake: Tensor) -> float | None:
    """FID of pictures, float (N, 3, S, S) in [0, 1]; None where Inception is not at hand."""
    if (network := inception()) is None:
        return None
    distance = FrechetDistance(network)
    for pictures, is_real in ((real, True), (fake, False)):
        for part in pictures.split(64):
            distance.add(part, real=is_real)
    return distance.compute()


def report(path: str | Path, parts: Mapping[str, str], plan: Plan, network: VGGFeatures) -> str:
    """Write parts (heading -> Markdown), plan, versions and the loss network's checksum; returns the text."""
    machine = {"dfcvae": dfcvae.__version__, "torch": torch.__version__, "Python": platform.python_version()}
    machine |= {"device": describe(pick_device()), "loss network": network.weights_name}
    machine |= {"SHA-256 of the loss network": fingerprint(network)}
    chosen = "```json\n" + json.dumps(asdict(plan), indent=1, default=str) + "\n```"
    below = {"The plan": chosen, "Versions": table(("", ""), machine.items())}
    sections = [f"## {heading}\n\n{text}\n" for heading, text in (parts | below).items()]
    text = "\n".join(["# Reproducing the DFC-VAE\n", *sections])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(path), lambda part: part.write_text(text, encoding="utf-8"))
    return text


def intervals(
    rows: Mapping[str, tuple[Sequence[float], float, float]], xlabel: str, alt: str, note: str = ""
) -> show.Shown:
    """label -> (dots, such as one a training; their mean; half the width of its interval); a line at 0."""
    step = 0.62 if any(dots for dots, *_ in rows.values()) else 0.44  # inches a row
    figure, axis = show.plot(step * len(rows) + 0.8, note)
    for place, (dots, mean, half) in enumerate(rows.values()):
        colour = show.COLOURS[show.SERIES[place % len(show.SERIES)]]
        axis.hlines(place, mean - half, mean + half, colour, linewidth=4)
        axis.plot([mean], [place], "D", color=colour, markersize=8)
        axis.plot(list(dots), [place + 0.28] * len(dots), "o", color=colour, markersize=6, mfc="white")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.axvline(0, color=show.COLOURS["black"], linewidth=1)
    axis.set_ylim(len(rows) - 0.4, -0.5)
    axis.set_xlabel(xlabel, fontsize=show.POINTS)
    return show.Shown(figure, alt)
