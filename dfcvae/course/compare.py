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
    x = shown.float(slice(0, 10))
    runs, rebuilt, samples = {}, [], []
    for preset, name in COMPARED.items():
        torch.manual_seed(seed)
        model = accelerate(DFCVAE(preset, features, image_size=images.pixels.shape[-1]), compile)
        folder = Path(out) / preset
        runs[preset] = train(model, images, folder, validation=shown, steps=steps, seed=seed, **settings)
        model = runs[preset].model
        device = next(model.parameters()).device
        rebuilt.append((f"{name}: reconstructions", model.generate(x.to(device)).cpu()))
        drawn = model.sample(len(x), generator=torch.Generator().manual_seed(0)).cpu()
        samples.append((f"{name}: samples from the prior", drawn))
    rows = [("originals, not trained on", x), *rebuilt, *samples]
    sheet = png.labelled_rows(rows, note=f"loss network: {model.features_name}")
    png.save_png(Path(out) / "comparison.png", sheet)
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
        steps = begun.config()["training"]["steps"]
        print(f"{out} was begun with {steps:,} steps and keeps them; give another folder for another length.")
        return steps
    a_step = 0.0  # of each model, in minutes
    for preset in COMPARED:
        model = accelerate(DFCVAE(preset, features, image_size=images.pixels.shape[-1]), compile)
        a_step += 1 / steps_in(1.0, model, images, **settings)
    return max(1, round(minutes / a_step))
