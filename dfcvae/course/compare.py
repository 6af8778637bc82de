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
    features: str | Path | VGGFeatures = "auto",
    seed: int = 0,
    compile: bool = False,
    minutes: float | None = None,
    progress: bool = True,
    **settings: Any,
) -> dict[str, Run]:
    """Train both models from the same start on the same batches; write ``comparison.png`` into ``out``.

    shown: images that neither model trains on. compile: as for ``accelerate``. minutes: of both together, the
    same number of steps for each; a comparison already begun in ``out`` keeps its number. settings: as for
    ``train``, with ``steps`` or ``epochs`` where no minutes are given. Returns the runs by preset.
    """

    def build(preset: str) -> DFCVAE:
        torch.manual_seed(seed)
        return accelerate(DFCVAE(preset, features, image_size=images.pixels.shape[-1]), compile)

    begun = RunFolder(Path(out) / "pixel")
    if minutes is not None and begun.begun:
        settings["steps"] = steps = begun.config()["training"]["steps"]
        print(f"{out} was begun with {steps:,} steps and keeps them; give another folder for another length.")
    elif minutes is not None:
        of_both = sum(1 / steps_in(1.0, build(preset), images, **settings) for preset in COMPARED)
        settings["steps"] = max(1, round(minutes / of_both))
    settings |= {"validation": shown, "seed": seed, "progress": progress}
    x = shown.float(slice(0, 10))
    runs, rebuilt, samples = {}, [], []
    for preset, name in COMPARED.items():
        runs[preset] = train(build(preset), images, Path(out) / preset, **settings)
        model = runs[preset].model
        x_hat = model.generate(x.to(next(model.parameters()).device)).cpu()
        drawn = model.sample(len(x), generator=torch.Generator().manual_seed(0)).cpu()
        rebuilt.append((f"{name}: reconstructions", x_hat))
        samples.append((f"{name}: samples from the prior", drawn))
    rows = [("originals, not trained on", x), *rebuilt, *samples]
    sheet = png.labelled_rows(rows, note=f"loss network: {model.features_name}")
    png.save_png(Path(out) / "comparison.png", sheet)
    return runs
