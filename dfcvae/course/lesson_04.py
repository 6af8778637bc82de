"""Notebook 04: what the benchmarks measured, and curves of it over KL."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from dfcvae.figures.show import COLOURS, DASHES, POINTS, Shown, plot

RESULTS = Path(__file__).parent / "results"
MODELS = {"pixel": ("plain VAE", "blue", "o"), "vae-123": ("DFC-VAE", "vermillion", "s")}


def quality() -> dict[str, Any]:
    """What ``benchmarks/quality.py`` measured: ``rows``, one a preset, weight and seed, and its facts."""
    return json.loads((RESULTS / "quality.json").read_text(encoding="utf-8"))


def ablations() -> tuple[dict[str, dict[str, Any]], Tensor]:
    """What ``benchmarks/ablations.py`` measured, name -> title and figures, and what it saved: float
    (1 + len, n, 3, 64, 64) in [0, 1], n originals and below them a row of reconstructions for each name."""
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    figures = json.loads((RESULTS / "ablations.json").read_text(encoding="utf-8"))
    with Image.open(RESULTS / "ablations.png") as picture:
        sheet = pil_to_tensor(picture).float() / 255  # (3, rows * 64, n * 64), no gaps
    rows = sheet.unflatten(2, (-1, 64)).unflatten(1, (-1, 64))  # (3, rows, 64, n, 64)
    return figures, rows.permute(1, 3, 0, 2, 4)


def mean_by_weight(rows: list[dict[str, Any]], preset: str, figure: str) -> list[tuple[float, float]]:
    """(KL, figure) of a model at each of its weights, means over the seeds, ordered by KL."""
    at_weight = defaultdict(list)
    for row in rows:
        if row["preset"] == preset:
            at_weight[row["beta"]].append((row["kl"], row[figure]))
    return sorted((fmean(kl for kl, _ in dots), fmean(y for _, y in dots)) for dots in at_weight.values())


def curves(rows: list[dict[str, Any]], figure: str, ylabel: str, alt: str) -> Shown:
    """A figure of both models over KL: a dot for each seed and weight, a line through the means."""
    drawing, axis = plot(3.0)
    for dash, (preset, (name, colour, marker)) in zip(DASHES, MODELS.items(), strict=False):
        dots = [(row["kl"], row[figure]) for row in rows if row["preset"] == preset]
        ink, (kl, means) = COLOURS[colour], zip(*mean_by_weight(rows, preset, figure), strict=True)
        axis.plot(*zip(*dots, strict=True), marker, color=ink, markersize=4, alpha=0.45)
        axis.plot(kl, means, marker=marker, color=ink, linestyle=dash, linewidth=2.2, label=name)
    axis.set_xscale("log")
    axis.set_xticks(ticks := [50, 70, 100, 140], [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("KL on unseen faces, nats an image", fontsize=POINTS)
    axis.set_ylabel(ylabel, fontsize=POINTS)
    drawing.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=POINTS)
    return Shown(drawing, alt)
