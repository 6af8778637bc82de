"""Sizes of the work: the same code runs everywhere with other numbers, and this is their one place."""

from __future__ import annotations

import os
from typing import NamedTuple


class Profile(NamedTuple):
    """faces: drawn faces to train on, a tenth as many for validation and test; steps: of one training."""

    name: str
    faces: int
    steps: int
    batch_size: int
    loss_network: str


PROFILES = {
    "smoke": Profile("smoke", faces=512, steps=6, batch_size=16, loss_network="mini"),
    "cpu": Profile("cpu", faces=8_000, steps=2_000, batch_size=16, loss_network="auto"),
    "gpu": Profile("gpu", faces=50_000, steps=15_000, batch_size=64, loss_network="torchvision"),
}


def profile(name: str | None = None) -> Profile:
    """The profile of that name, else of $DFCVAE_PROFILE, else what the machine has: gpu with CUDA, or cpu."""
    name = name or os.environ.get("DFCVAE_PROFILE")
    if not name:
        import torch

        name = "gpu" if torch.cuda.is_available() else "cpu"
    if name not in PROFILES:
        known = ", ".join(PROFILES)
        raise ValueError(f"unknown profile {name!r} in DFCVAE_PROFILE: expected one of {known}.")
    return PROFILES[name]
