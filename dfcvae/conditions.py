"""What a run was trained under, as it stands in config.json, and whether two calls agree on it."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import dfcvae
from dfcvae import ranks
from dfcvae.datasets import Images
from dfcvae.device import describe
from dfcvae.dfc import DFCVAE
from dfcvae.files import checksum
from dfcvae.settings import Settings

# What two calls on one folder may differ in.
MAY_CHANGE = {"steps", "epochs", "minutes", "precision", "compile", "preview_every", "log_every"}
DEFAULTS = {"training": asdict(Settings())}  # settings that a folder does not name are younger than it


def describe_run(
    model: DFCVAE, images: Images, training: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """Everything that another program needs to know of a run, as it stands in config.json."""
    layer_weights = None if model.perceptual is None else model.perceptual.layer_weights
    described = {"preset": model.preset, "image_size": model.image_size, "latent_dim": model.latent_dim}
    described |= {"channels": list(model.channels), "alpha": model.alpha, "beta": model.beta}
    described |= {"features": model.features_name, "layer_weights": layer_weights}
    data = {"name": images.name, "split": images.split, "images": len(images), "size": model.image_size}
    data["checksum"] = checksum(images.pixels[torch.linspace(0, len(images) - 1, 64).long()])
    machine = {"device": describe(device), "ranks": ranks.count(), "torch": torch.__version__}
    machine["dfcvae"] = dfcvae.__version__
    return {"model": described, "data": data, "training": training, "machine": machine}


def refuse_other_settings(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Going on with other settings would be neither the old run nor a new one."""
    for section in ("model", "data", "training"):
        known = DEFAULTS.get(section, {}) | old[section]
        for key in new[section]:
            before, after = known.get(key), new[section][key]
            if key not in MAY_CHANGE and not same_setting(before, after):
                raise ValueError(
                    f"{str(out)!r} holds a run with {key} = {before}, asked for was {after}: "
                    "give the same settings to go on with it, or another folder to start anew."
                )


def refuse_other_ranks(first: dict[str, Any], own: dict[str, Any]) -> None:
    """Ranks that train different things give the mean of their gradients, and nothing meaningful."""
    for section in ("model", "data", "training"):
        for key in own[section]:
            if not same_setting(first[section][key], own[section][key]):
                raise ValueError(
                    f"rank {ranks.rank()} has {key} = {own[section][key]}, the first has "
                    f"{first[section][key]}: start all ranks with the same command, data and loss network."
                )


def same_setting(before: Any, after: Any) -> bool:
    """Equal; weights of layers to a part in a thousand: calibrated ones round differently by machine."""
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(
            math.isclose(before[key], after[key], rel_tol=1e-3) for key in after
        )
    return before == after
