"""The course's central claim, on a short training: the DFC-VAE is sharper, and pays little in PSNR for it."""

import pytest
import torch

from dfcvae import DFCVAE, load, train
from dfcvae.evaluation import evaluate


@pytest.mark.slow
def test_a_short_dfc_vae_is_sharper_than_a_plain_vae_and_no_farther_from_the_originals(tmp_path):
    images, unseen = load("faces", "train", n=4000), load("faces", "test", n=400)
    figures = {}
    for preset in ("pixel", "vae-123"):
        torch.manual_seed(0)
        model = DFCVAE(preset, features="mini")
        run = train(model, images, tmp_path / preset, steps=500, batch_size=16, progress=False)
        figures[preset] = evaluate(run.model, unseen)
    plain, dfc = figures["pixel"], figures["vae-123"]
    assert dfc["sharpness"] > 2 * plain["sharpness"]
    assert dfc["psnr"] > plain["psnr"] - 2
    assert dfc["coherence"][2] > plain["coherence"][2]  # sharp where the original is, not anywhere
