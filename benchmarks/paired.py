"""Final losses of one precision against another's, each seed with itself: ``paper_run.py --seeds``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from quality_report import interval

import dfcvae
from dfcvae.device import repeating_steps
from dfcvae.fast import accelerate
from dfcvae.training import Settings, Trainer


def compare(
    vgg: dfcvae.VGGFeatures,
    images: dfcvae.datasets.Images,
    fast: Settings,
    slow: Settings,
    seeds: Iterable[int],
    last: int,
    device: torch.device,
    compile: bool = False,
) -> dict[str, Any]:
    """Both trainings of a seed begin with the same weights and take the same images, noise and shifts.

    The final loss is the mean over the last steps, in nats. ``difference``: fast minus slow, mean of the
    seeds; ``half_width``: of Student's 95 % interval over the seeds. compile: the fast one.
    """
    torch.backends.cudnn.allow_tf32 = False  # what fp32 is compared as is fp32 itself
    pairs = []
    for seed in seeds:
        pair = [
            final_loss(vgg, images, replace(fast, seed=seed), last, device, compile),
            final_loss(vgg, images, replace(slow, seed=seed), last, device),
        ]
        print(
            f"seed {seed}: {pair[0]:.2f} nats in {fast.precision}, {pair[1]:.2f} in {slow.precision}",
            flush=True,
        )
        pairs.append(pair)
    difference, half = interval([a - b for a, b in pairs])
    return {
        "precisions": [fast.precision, slow.precision],
        "compile": [compile, False],
        "steps": fast.steps,
        "last": last,
        "losses": pairs,
        "difference": difference,
        "half_width": half,
        "holds_0": abs(difference) <= half,
        "relative": difference / statistics.fmean(loss for _, loss in pairs),
    }


def final_loss(
    vgg: dfcvae.VGGFeatures,
    images: dfcvae.datasets.Images,
    settings: Settings,
    last: int,
    device: torch.device,
    compile: bool = False,
) -> float:
    torch.manual_seed(settings.seed)
    model = accelerate(dfcvae.DFCVAE("vae-123", vgg, images.pixels.shape[-1]), compile)
    trainer = Trainer(model.train(), images, settings, device)
    with repeating_steps(device):
        losses = [trainer.step(step)["loss"] for step in range(settings.steps)]
    return torch.stack(losses[-last:]).mean().item()
