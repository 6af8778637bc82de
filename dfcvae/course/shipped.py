"""The course's own trained models: the recipes of the notebooks, trained longer than a lesson allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

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
    vae.load_state_dict({key: tensor.float() for key, tensor in load_file(_file(name)).items()})
    return vae.eval()


def about(name: str) -> dict[str, Any]:
    """How a shipped model was made: preset, alpha, beta, steps, batch_size, seed, loss_network, drawing."""
    from safetensors import safe_open

    with safe_open(_file(name), "pt") as file:
        return {key: json.loads(value) for key, value in file.metadata().items()}


def _file(name: str) -> Path:
    if name not in NAMES:
        raise ValueError(f"no shipped model {name!r}: expected one of {', '.join(NAMES)}.")
    return FOLDER / f"{name}.safetensors"


def save_shipped(name: str, vae: torch.nn.Module, facts: dict[str, Any]) -> Path:
    """Write a trained model where ``shipped`` finds it: half precision, with ``facts`` in the metadata."""
    from safetensors.torch import save_file

    tensors = {key: tensor.detach().cpu() for key, tensor in vae.state_dict().items()}
    tensors = {
        key: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for key, tensor in tensors.items()
    }
    path = _file(name)
    save_file(tensors, path, {key: json.dumps(value) for key, value in facts.items()})
    return path
