"""The course in one picture: a plain VAE and a DFC-VAE trained under the same conditions, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dfcvae.datasets import Images
from dfcvae.dfc import DFCVAE
from dfcvae.fast import accelerate
from dfcvae.figures import png
from dfcvae.runs import RunFolder
from dfcvae.training import Run, steps_in, train
from dfcvae.vgg import VGGFeatures

COMPARED = {"pixel": "plain VAE", "vae-123": "DFC-VAE (VAE-123)"}


def compare(
    images: Images,
    shown: Images,
    out: str | Path,
    steps: int,
    features: str | Path | VGGFeatures = "auto",
    seed: int = 0,
    compile: bool = False,
    **settings: Any,
) -> dict[str, Run]:
    """Train both models from the same start on the same batches; write ``comparison.png`` into ``out``.

    shown: images that neither model trains on. compile: as for ``accelerate``. settings: as for ``train``.
    Returns the runs by preset.
    """
    runs = {}
    for preset in COMPARED:
        torch.manual_seed(seed)
        model = DFCVAE(preset, features, image_size=images.pixels.shape[-1])
        model = accelerate(model, compile)  # the same numbers in less time
        folder = Path(out) / preset
        runs[preset] = train(model, images, folder, validation=shown, steps=steps, seed=seed, **settings)
    save_comparison(runs, shown, Path(out) / "comparison.png")
    return runs


def steps_for(
    minutes: float,
    images: Images,
    features: str | Path | VGGFeatures,
    out: str | Path,
    compile: bool = False,
    **settings: Any,
) -> int:
    """How many steps of both models fit into so many minutes, the same for each; timed on a machine once.

    A comparison already begun in ``out`` keeps its number of steps, so that it can be gone on with.
    """
    begun = RunFolder(Path(out) / "pixel")
    if begun.begun:
        return begun.config()["training"]["steps"]
    a_step = 0.0  # of each model, in minutes
    for preset in COMPARED:
        model = accelerate(DFCVAE(preset, features, image_size=images.pixels.shape[-1]), compile)
        a_step += 1 / steps_in(1.0, model, images, **settings)
    return max(1, round(minutes / a_step))


@torch.no_grad()
def save_comparison(runs: dict[str, Run], shown: Images, path: Path, columns: int = 10) -> Path:
    """Originals, each model's reconstructions of them, and samples of each, in labelled rows."""
    x = shown.float(slice(0, columns))
    rows = [("originals, not trained on", x)]
    for preset, run in runs.items():
        device = next(run.model.parameters()).device
        rows.append((f"{COMPARED[preset]}: reconstructions", run.model.generate(x.to(device)).cpu()))
    for preset, run in runs.items():
        samples = run.model.sample(columns, generator=torch.Generator().manual_seed(0))
        rows.append((f"{COMPARED[preset]}: samples from the prior", samples.cpu()))
    note = f"loss network: {runs['vae-123'].model.features_name}"
    return png.save_png(path, png.labelled_rows(rows, note=note))
