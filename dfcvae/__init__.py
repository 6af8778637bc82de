"""Deep Feature Consistent Variational Autoencoders: the package that the course builds.

Modules read in the order of the notebooks: faces and datasets (00), vae (01), vgg (02), perceptual (03),
dfc and training (04), latent (05), evaluation (06).
"""

__version__ = "0.1.0"

from dfcvae import faces, moved  # noqa: F401 (moved: the names of 0.1 can still be imported)
from dfcvae.checkpoint import load_run
from dfcvae.datasets import Images, load
from dfcvae.dfc import DFCVAE, PRESETS
from dfcvae.perceptual import PerceptualLoss
from dfcvae.training import Run, train
from dfcvae.vae import VAE, VAEOutput, kl_divergence
from dfcvae.vgg import VGGFeatures

__all__ = [
    "DFCVAE",
    "PRESETS",
    "VAE",
    "Images",
    "PerceptualLoss",
    "Run",
    "VAEOutput",
    "VGGFeatures",
    "faces",
    "kl_divergence",
    "load",
    "load_run",
    "train",
]
