"""Deep Feature Consistent Variational Autoencoders: the package that the course builds.

Read its modules in the order of the notebooks: faces and datasets (00), vae (01), vgg (02), perceptual (03),
dfc, training and runs (04), latent (05), evaluation (06). What stands beside them, they do without.
"""

from dfcvae import faces, moved  # noqa: F401 (moved: modules can still be imported by the names of 0.1)
from dfcvae.datasets import Images, load
from dfcvae.dfc import DFCVAE, PRESETS
from dfcvae.perceptual import PerceptualLoss
from dfcvae.runs import load_run
from dfcvae.training import Run, train
from dfcvae.vae import VAE, VAEOutput, kl_divergence
from dfcvae.version import __version__
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
    "__version__",
    "faces",
    "kl_divergence",
    "load",
    "load_run",
    "train",
]
