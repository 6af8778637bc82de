"""Resident memory over a training with the course's network, and over redraws of its explorer.

    python benchmarks/memory.py [STEPS]

Batch 16, drawn faces of 64 x 64 pixels, VAE-123 on the mini VGG; Linux only. For docs/reliability.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import torch

import dfcvae
from dfcvae.figures.explore import Space, State
from dfcvae.training import Trainer


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def during_training(steps: int, out: Path) -> tuple[list[float], dfcvae.VAE]:
    found, usual = [], Trainer.step

    def watched(self, number):
        found.append(resident())
        return usual(self, number)

    Trainer.step = watched
    torch.manual_seed(0)
    images = dfcvae.load("faces", "train")
    model = dfcvae.DFCVAE("vae-123", features="mini")
    run = dfcvae.train(
        model, images, out, steps=steps, batch_size=16, device="cpu", preview_every=50, progress=False
    )
    return found, run.model


def during_redraws(model: dfcvae.VAE, redraws: int = 120) -> list[float]:
    space, found = Space(model, torch.randn(4, 100), torch.randn(2, 100), ("a", "b")), []
    for number in range(redraws):
        space.png(State(number % 4, {"a": number / 60 - 1}))
        found.append(resident())
    return found


def tell(what: str, found: list[float], warm: int) -> None:
    later = found[warm:]
    quarter = len(later) // 4
    print(
        f"{what}: {later[0]:.1f} MiB after {warm}, {later[-1]:.1f} MiB after {len(found)}; highest of the "
        f"first quarter {max(later[:quarter]):.1f}, of the last {max(later[-quarter:]):.1f}"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found, model = during_training(int(sys.argv[1]) if len(sys.argv) > 1 else 300, Path(folder) / "run")
    tell("steps", found, warm=60)
    tell("redraws", during_redraws(model), warm=20)
