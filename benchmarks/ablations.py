"""What each choice in the DFC-VAE does: one change at a time, everything else as in ``dfcvae train``.

    python benchmarks/ablations.py --out runs/ablations

One seed, the profile's steps, drawn faces; writes ablations.json, and five reconstructions of each to
ablations.png. What is already trained is not trained again.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import dfcvae
from dfcvae.course.profiles import profile
from dfcvae.device import available_threads
from dfcvae.dfc import PRESETS, VAE_123
from dfcvae.evaluation import evaluate
from dfcvae.figures import png as pictures
from dfcvae.vgg import VGGFeatures, build_layers

SHOWN = slice(20, 25)  # test faces, by place: picked before anything was trained
BETA = PRESETS["vae-123"].beta
ABLATIONS = {
    "plain": "plain VAE: squared error of pixels",
    "reference": "DFC-VAE: relu1_1, relu2_1 and relu3_1 of the mini VGG",
    "relu1_1": "relu1_1 alone",
    "relu3_1": "relu3_1 alone",
    "low-beta": "features weigh an eighth",
    "high-beta": "features weigh eight times as much",
    "random": "a random loss network",
    "pixels-too": "pixel term added",
    "face-network": "a loss network trained on faces",
}


class WithPixels(dfcvae.DFCVAE):
    """The features' loss and the plain VAE's squared error, added up."""

    def loss_function(self, out: dfcvae.VAEOutput, x: Tensor) -> dict[str, Tensor]:
        terms = super().loss_function(out, x)
        pixels = (out.reconstruction.float() - x.float()).square().flatten(1).sum(1).mean()
        return terms | {"loss": terms["loss"] + PRESETS["pixel"].beta * pixels, "pixels": pixels}


def build(name: str, out: Path) -> dfcvae.DFCVAE:
    """The model of an ablation, from the same starting weights as all the others."""
    torch.manual_seed(0)
    if name == "plain":
        return dfcvae.DFCVAE("pixel")
    if name in VAE_123:  # one layer, with the weight of all three
        return dfcvae.DFCVAE(features=VGGFeatures(layers=(name,), weights="mini"), beta=len(VAE_123) * BETA)
    if name in ("random", "face-network"):
        return dfcvae.DFCVAE(
            features="random" if name == "random" else face_network(out / "faces.safetensors")
        )
    if name == "pixels-too":
        return WithPixels(features="mini")
    factor = {"low-beta": 1 / 8, "high-beta": 8}.get(name, 1)
    return dfcvae.DFCVAE(features="mini", beta=BETA * factor)


def face_network(path: Path, epochs: int = 8) -> Path:
    """The mini VGG's topology to relu3_1, trained to tell the attributes of drawn faces and nothing else."""
    if path.is_file():
        return path
    torch.manual_seed(1)
    images = dfcvae.load("faces", "train")
    trunk = build_layers("vgg19", "relu3_1", (16, 32, 64, 128, 128)).to(memory_format=torch.channels_last)
    head = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64 * 64, images.attributes.shape[1]))
    optimizer = torch.optim.Adam([*trunk.parameters(), *head.parameters()], 1e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            logits = head(trunk((images.float(chosen) - 0.5) / 0.25))
            loss = F.binary_cross_entropy_with_logits(logits, images.attributes[chosen].float())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    print(f"network trained on faces: cross entropy of its last batch {loss.item():.3f}", flush=True)
    convolutions = {i: layer for i, layer in enumerate(trunk) if isinstance(layer, nn.Conv2d)}
    tensors = {f"features.{i}.weight": conv.weight.detach().contiguous() for i, conv in convolutions.items()}
    tensors |= {f"features.{i}.bias": conv.bias.detach() for i, conv in convolutions.items()}
    normalisation = {"mean": json.dumps([0.5] * 3), "std": json.dumps([0.25] * 3)}
    save_file(tensors, path, normalisation | {"name": "VGG trained on faces", "arch": "vgg19"})
    return path


def train(name: str, out: Path, jobs: int) -> None:
    torch.set_num_threads(max(1, available_threads() // jobs))
    chosen = profile()
    dfcvae.train(
        build(name, out),
        dfcvae.load("faces", "train"),
        out / name,
        steps=chosen.steps,
        batch_size=chosen.batch_size,
        preview_every=chosen.steps,
        progress=False,
    )
    print(f"trained {name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, which share the cores")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    face_network(options.out / "faces.safetensors")
    count = len(ABLATIONS)
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        list(pool.map(train, ABLATIONS, [options.out] * count, [options.jobs] * count))
    test = dfcvae.load("faces", "test")
    results, rows = {}, [test.float(SHOWN)]
    for name, title in ABLATIONS.items():
        model = dfcvae.load_run(options.out / name)
        figures = evaluate(model, test)
        figures.pop("images_per_second")
        results[name] = {"title": title} | figures
        rows.append(model.generate(rows[0]))
        print(
            f"{name:<14}"
            + "".join(f" {key} {figures[key]:.3f}" for key in ("kl", "psnr", "ssim", "sharpness"))
        )
    (options.out / "ablations.json").write_text(json.dumps(results, indent=1) + "\n")
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # a row for each, no gaps
    pictures.save_png(options.out / "ablations.png", pictures.to_uint8(sheet))


if __name__ == "__main__":
    main()
