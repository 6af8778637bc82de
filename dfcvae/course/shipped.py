"""The course's own trained models: the recipes of the notebooks, trained longer than a lesson allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dfcvae.vae import VAE

FOLDER = Path(__file__).parents[1] / "pretrained"
NAMES = ("autoencoder", "plain", "dfc-123", "dfc-345")


def shipped(name: str) -> VAE:
    """A trained VAE (64 x 64, 100 latents) in eval mode on the CPU, without its loss network.

    "autoencoder" was trained like "plain", but without the KL; "plain" on squared error; "dfc-123" and
    "dfc-345" on features of the mini VGG. All saw drawn training faces only. Made by
    ``tools/train_course_models.py``; ``about`` tells how. Raises ValueError for an unknown name.
    """
    from safetensors.torch import load_file

    vae = VAE()
    vae.load_state_dict({key: tensor.float() for key, tensor in load_file(path_of(name)).items()})
    return vae.eval()


def about(name: str) -> dict[str, Any]:
    """How a shipped model was made: preset, alpha, beta, steps, batch_size, seed, loss_network, drawing."""
    from safetensors import safe_open

    with safe_open(path_of(name), "pt") as file:
        return {key: json.loads(value) for key, value in file.metadata().items()}


def path_of(name: str) -> Path:
    """The model's file. ValueError for an unknown name."""
    if name not in NAMES:
        raise ValueError(f"no shipped model {name!r}: expected one of {', '.join(NAMES)}.")
    return FOLDER / f"{name}.safetensors"
