"""Plain VAE against DFC-VAE on the drawn faces: the course's central claim, measured.

    python benchmarks/quality.py --out runs/quality

Five seeds, paired: for each seed both models start from the same weights and see the same batches. Each
is trained at three weights of reconstruction against KL; the two are compared at equal KL on the test
set, by interpolation over log KL, so that neither wins by spending more nats. The plain VAE gets the best
of three learning rates (by its own validation loss); the DFC-VAE keeps the default. A 95 % interval is
Student's, over the seeds. What is already trained under --out is not trained again.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from attribute_classifier import AttributeClassifier, balanced_accuracy, trained_classifier
from quality_report import write_report
from torch import Tensor

import dfcvae
from dfcvae.checkpoint import read_metrics
from dfcvae.course.profiles import profile
from dfcvae.evaluation import evaluate, laplacian_variance, reconstructions
from dfcvae.hardware import available_threads
from dfcvae.training import Settings
from dfcvae.vgg import VGGFeatures

RATES = (2.5e-4, 5e-4, 1e-3)
WEIGHTS = {"pixel": (5.0, 10.0, 20.0), "vae-123": (500.0, 1000.0, 2000.0)}


@dataclass(frozen=True)
class Task:
    """One training; ``folder`` is its run folder below --out."""

    preset: str
    beta: float
    seed: int
    learning_rate: float = Settings.learning_rate

    @property
    def folder(self) -> str:
        return f"{self.preset}-beta{self.beta:g}-rate{self.learning_rate:g}-seed{self.seed}"


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    data = {split: dfcvae.load("faces", split) for split in ("train", "validation", "test")}
    features = VGGFeatures(weights=options.features)
    searched = {rate: Task("pixel", WEIGHTS["pixel"][1], 0, rate) for rate in RATES}
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        judging = pool.submit(_train_judge, options)
        train = partial(pool.submit, _train, options)
        losses = {rate: train(task) for rate, task in searched.items()}
        dfc = [Task("vae-123", beta, seed) for seed in range(options.seeds) for beta in WEIGHTS["vae-123"]]
        waiting = [train(task) for task in dfc]
        losses = {rate: run.result() for rate, run in losses.items()}
        rate = min(losses, key=losses.get)
        print(f"plain VAE, validation loss by learning rate: {losses}; taken: {rate:g}", flush=True)
        seeds = range(options.seeds)
        plain = [Task("pixel", beta, seed, rate) for seed in seeds for beta in WEIGHTS["pixel"]]
        waiting += [train(task) for task in plain]
        for done in [*waiting, judging]:
            done.result()
    judge = _train_judge(options)
    torch.set_num_threads(available_threads())
    rows = [_row(options, task, data["test"], judge) for task in sorted([*dfc, *plain], key=lambda t: t.seed)]
    facts = {"plain_learning_rate": rate, "steps": options.steps, "batch_size": profile().batch_size}
    facts |= {"loss_network": features.weights_name, "torch": torch.__version__}
    facts |= {"attribute_names": list(data["test"].attribute_names)}
    originals = balanced_accuracy(judge, data["test"].float(), data["test"].attributes)
    write_report(options.out, facts | {"classifier_on_originals": originals.tolist(), "rows": rows})


def _train_judge(options: argparse.Namespace) -> AttributeClassifier:
    torch.set_num_threads(max(1, available_threads() // options.jobs))
    return trained_classifier(dfcvae.load("faces", "train"), options.out / "classifier.pt")


def _train(options: argparse.Namespace, task: Task) -> float:
    """Train, or find it trained; returns the last validation loss."""
    torch.set_num_threads(max(1, available_threads() // options.jobs))
    torch.manual_seed(task.seed)
    model = dfcvae.DFCVAE(task.preset, features=options.features, beta=task.beta)
    run = dfcvae.train(
        model,
        dfcvae.load("faces", "train"),
        options.out / task.folder,
        validation=dfcvae.load("faces", "validation"),
        steps=options.steps,
        batch_size=profile().batch_size,
        learning_rate=task.learning_rate,
        seed=task.seed,
        preview_every=options.steps,
        progress=False,
    )
    print(f"trained {task.folder}: {run.metrics[-1]}", flush=True)
    return run.metrics[-1]["validation_loss"]


def _row(options: argparse.Namespace, task: Task, test: dfcvae.Images, judge: AttributeClassifier) -> dict:
    folder = options.out / task.folder
    seconds = [line["seconds"] for line in read_metrics(folder) if "seconds" in line][-1]
    row = {"seed": task.seed, "preset": task.preset, "beta": task.beta, "training_seconds": seconds}
    return row | _measure(dfcvae.load_run(folder), test, judge)


@torch.no_grad()
def _measure(model: dfcvae.VAE, test: dfcvae.Images, judge: AttributeClassifier) -> dict:
    """Every figure of one run, on the test set and on as many samples from the prior."""
    figures = evaluate(model, test)
    x, x_hat = test.float(), torch.cat([batch[0] for batch in reconstructions(model, test)])
    samples = model.sample(len(test), generator=torch.Generator().manual_seed(1)).contiguous()
    accuracy = balanced_accuracy(judge, x_hat, test.attributes)
    figures |= {
        "attributes": accuracy.tolist(),
        "attribute_mean": accuracy.mean().item(),
        "sample_sharpness": (laplacian_variance(samples).median() / laplacian_variance(x).median()).item(),
        "sample_frechet": _frechet(judge, x, samples),
    }
    return figures


class _Extractor(torch.nn.Module):
    """The judge's features in the form that torchmetrics asks for: uint8 images in, (N, F) out."""

    def __init__(self, judge: AttributeClassifier) -> None:
        super().__init__()
        self.judge, self.num_features = judge, judge.head.in_features

    def forward(self, images: Tensor) -> Tensor:
        return self.judge.features(images.float() / 255)


def _frechet(judge: AttributeClassifier, real: Tensor, fake: Tensor) -> float:
    """Frechet distance between originals and samples in the features of the frozen classifier."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    distance = FrechetInceptionDistance(_Extractor(judge), normalize=True)
    for images, is_real in ((real, True), (fake, False)):
        for part in images.split(256):
            distance.update(part, real=is_real)
    return distance.compute().item()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=profile().steps)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, which share the cores")
    parser.add_argument("--features", default="mini")
    return parser.parse_args()


if __name__ == "__main__":
    main()
