"""The first cell of every notebook: where it runs, and with what."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from typing import NamedTuple

import torch

from dfcvae import VGGFeatures, __version__
from dfcvae.course.profiles import Profile, profile
from dfcvae.device import describe, pick_device, use_available_threads
from dfcvae.download import cached_trunk

PLACES = {  # variables that the hosts themselves set
    "COLAB_RELEASE_TAG": "Google Colab",
    "KAGGLE_KERNEL_RUN_TYPE": "Kaggle",
    "JUPYTERHUB_USER": "JupyterHub",
}


class Here(NamedTuple):
    """What a notebook runs on: place, device, profile, and the name of the profile's loss network."""

    place: str
    device: torch.device
    profile: Profile
    loss_network: str

    def __str__(self) -> str:
        name, faces, steps, batch_size, _ = self.profile
        versions = f"torch {torch.__version__}, torchvision {metadata.version('torchvision')}"
        return (
            f"place         {self.place}\n"
            f"dfcvae        {__version__}, Python {platform.python_version()}, {versions}\n"
            f"device        {describe(self.device)}\n"
            f"profile       {name}: {faces:,} drawn faces, {steps:,} steps of {batch_size}\n"
            f"loss network  {self.loss_network}"
        )


def start() -> Here:
    """Use as many threads as this process may, and say where we are. Installs and downloads nothing.

    Raises ModuleNotFoundError where a package of the notebooks is missing, with the line that installs it.
    """
    for name in ("matplotlib", "ipywidgets"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(
                f"{name} cannot be imported, and the notebooks draw with it: in the course's folder run  "
                'pip install -e ".[lab]"  and restart the kernel.'
            )
    use_available_threads()
    place = next((place for variable, place in PLACES.items() if variable in os.environ), "this computer")
    if profile().loss_network == "torchvision" and cached_trunk("vgg19") is None:
        network = "VGG-19 of torchvision, which is downloaded when it is first used"
    else:
        network = VGGFeatures(layers=("relu1_1",), weights=profile().loss_network).weights_name
    print(here := Here(place, pick_device(), profile(), network))
    return here
