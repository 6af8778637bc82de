"""What mutate_checks.py breaks: for each check of each notebook, functions of the package and how.

One file a notebook, with the mutants in the order of its checks. A check without a mutant says why: it then
tells of mathematics or of torch, and does not count among the five of its notebook.
"""

from mutants import (
    dfc_vae,
    latent_space,
    perceptual_loss,
    plain_vae,
    reproduce_the_paper,
    start_here,
    vgg_features,
)
from mutants.ways import Checks, Mutant, result

__all__ = ["MUTANTS", "Mutant", "result"]

MUTANTS: dict[str, Checks] = {
    "00_start_here": start_here.CHECKS,
    "01_plain_vae": plain_vae.CHECKS,
    "02_vgg_features": vgg_features.CHECKS,
    "03_perceptual_loss": perceptual_loss.CHECKS,
    "04_dfc_vae": dfc_vae.CHECKS,
    "05_latent_space": latent_space.CHECKS,
    "06_reproduce_the_paper": reproduce_the_paper.CHECKS,
}
