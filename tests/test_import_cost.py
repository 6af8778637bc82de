"""``import dfcvae`` loads torch and little else: what only some need is loaded when they need it."""

import subprocess
import sys

import pytest

HEAVY = {
    "torchvision",
    "matplotlib",
    "sklearn",
    "PIL",
    "torchmetrics",
    "scipy",
    "pandas",
    "IPython",
    "ipywidgets",
}
COURSE = {"dfcvae.course", "dfcvae.cli", "dfcvae.reproduction"}


@pytest.mark.parametrize(
    ("statement", "left_out"),
    [
        ("import dfcvae", HEAVY | COURSE | {"dfcvae.fast", "dfcvae.evaluation", "dfcvae.latent"}),
        ("import dfcvae.latent, dfcvae.evaluation, dfcvae.fast, dfcvae.pytorch_vae", HEAVY | COURSE),
        ("import dfcvae.cli", HEAVY),
    ],
)
def test_what_is_not_asked_for_is_not_loaded(statement, left_out):
    code = f"import sys, torch; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "dfcvae" in loaded and not loaded & left_out
