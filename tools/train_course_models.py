"""Train the models that the notebooks show beside their own short trainings: the same recipe, for longer.

    python tools/train_course_models.py [--steps 4000] [--jobs 2] [autoencoder plain dfc-123 dfc-345]

Half precision on disk, 4.6 MB each, in dfcvae/pretrained, with how they were made in their metadata and
Run folders stay below --out; what is trained there is not trained again.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import dfcvae
from dfcvae.course.profiles import PROFILES
from dfcvae.course.shipped import NAMES, path_of, shipped
from dfcvae.device import available_threads
from dfcvae.drawing import DRAWING_VERSION
from dfcvae.evaluation import evaluate
from dfcvae.fast import accelerate

RECIPES = {
    "autoencoder": {"preset": "pixel", "alpha": 0.0},
    "plain": {"preset": "pixel"},
    "dfc-123": {"preset": "vae-123", "features": "mini"},
    "dfc-345": {"preset": "vae-345", "features": "mini"},
}
BATCH_SIZE, FACES = PROFILES["cpu"].batch_size, PROFILES["cpu"].faces
SHOWN = ("psnr", "ssim", "sharpness", "kl")


def main() -> None:
    options = _options()
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        list(pool.map(_train, options.names, [options] * len(options.names)))
    test = dfcvae.load("faces", "test")
    for name in options.names:
        figures = evaluate(shipped(name), test)
        print(name, {key: round(figures[key], 3) for key in SHOWN}, flush=True)


def _train(name: str, options: argparse.Namespace) -> None:
    torch.set_num_threads(max(1, available_threads() // options.jobs))
    torch.manual_seed(options.seed)
    model = accelerate(dfcvae.DFCVAE(**RECIPES[name]))
    train, validation = dfcvae.load("faces", "train"), dfcvae.load("faces", "validation")
    run = dfcvae.train(
        model,
        train,
        options.out / name,
        validation=validation,
        steps=options.steps,
        batch_size=BATCH_SIZE,
        seed=options.seed,
        progress=False,
    )
    facts = {"preset": model.preset, "alpha": model.alpha, "beta": model.beta}
    facts |= {"loss_network": model.features_name, "steps": options.steps, "batch_size": BATCH_SIZE}
    facts |= {"faces": len(train), "drawing": DRAWING_VERSION, "seed": options.seed}
    save_shipped(name, run.model, facts)
    print(name, json.dumps(run.metrics[-1]), flush=True)


def save_shipped(name: str, vae: torch.nn.Module, facts: dict[str, Any]) -> None:
    """Write a trained model where ``shipped`` finds it: half precision, with ``facts`` in the metadata."""
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in vae.state_dict().items()}
    tensors = {key: t.half() if t.is_floating_point() else t for key, t in tensors.items()}
    save_file(tensors, path_of(name), {key: json.dumps(value) for key, value in facts.items()})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}")
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, which share the cores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/course_models"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
