"""Plain VAE against DFC-VAE on the drawn faces: the course's central claim, measured.

    python benchmarks/quality.py --out runs/quality

Five seeds, paired: for each seed both models start from the same weights and see the same batches. Each
is trained at three weights of reconstruction against KL; the two are compared at equal KL on the test
set, by interpolation over log KL, so that neither wins by spending more nats. The plain VAE gets the best
of four learning rates (by its own validation loss, seed 0, middle weight); the DFC-VAE keeps the default.
An interval is Student's, 95 %, over the seeds: over trainings, with test faces, loss network and judge held
fixed. The 4,000 test faces serve nothing else. What is already trained under --out is not trained again.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from attribute_classifier import AttributeClassifier, attribute_scores, trained_classifier
from quality_report import write_report
from torch import Tensor

import dfcvae
from dfcvae.course.profiles import profile
from dfcvae.device import available_threads, pick_precision
from dfcvae.drawing import DRAWING_VERSION
from dfcvae.evaluation import evaluate, frechet_distance, laplacian, laplacian_variance, reconstructions
from dfcvae.files import digest
from dfcvae.runs import read_metrics
from dfcvae.training import Settings
from dfcvae.vgg import VGGFeatures
from dfcvae.weights import MINI_FILE

RATES = (2.5e-4, 5e-4, 1e-3, 2e-3)
TEST_FACES = 4_000
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
    test = dfcvae.load("faces", "test", n=TEST_FACES)
    for split in ("train", "validation"):  # drawn once, before the processes ask for them
        dfcvae.load("faces", split)
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
    rows = []
    for task in sorted([*dfc, *plain], key=lambda task: task.seed):
        rows.append(_row(options, task, test, judge))
        print(f"measured {task.folder}", flush=True)
    facts = {"plain_learning_rate": rate, "validation_loss_by_rate": {f"{r:g}": v for r, v in losses.items()}}
    facts |= {"dfc_learning_rate": Settings.learning_rate, "steps": options.steps}
    facts |= {"batch_size": profile().batch_size, "test_faces": len(test), "drawing": DRAWING_VERSION}
    facts |= {"loss_network": features.weights_name, "loss_network_sha256": digest(MINI_FILE)}
    facts |= {"torch": torch.__version__, "precision": pick_precision(torch.device("cpu"), "auto")}
    facts |= {"attribute_names": list(test.attribute_names)}
    originals = attribute_scores(judge, test.float(), test.attributes)
    write_report(options.out, facts | {"originals": originals, "rows": rows})


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
    return row | _measure(dfcvae.load_run(folder), test, judge, task.seed)


@torch.no_grad()
def _measure(model: dfcvae.VAE, test: dfcvae.Images, judge: AttributeClassifier, seed: int) -> dict:
    """Every figure of one run, on the test set and on as many samples from the prior."""
    figures = evaluate(model, test)
    x, x_hat = test.float(), torch.cat([batch[0] for batch in reconstructions(model, test)]).contiguous()
    generator = torch.Generator().manual_seed(1_000 + seed)
    samples = torch.cat(
        [model.sample(200, generator=generator) for _ in range(len(test) // 200)]
    ).contiguous()
    return (
        figures
        | attribute_scores(judge, x_hat, test.attributes)
        | {
            "common_share": common_share(x_hat),
            "sample_sharpness": (
                laplacian_variance(samples).median() / laplacian_variance(x).median()
            ).item(),
            "sample_frechet": frechet_distance(_features(judge, x), _features(judge, samples)),
        }
    )


def common_share(x: Tensor) -> float:
    """Share of the fine contrast (of the Laplacian's energy) that is one pattern common to all pictures.

    A grid or lattice that a model lays over every face; about 0 for originals. The mean product of two
    different pictures' Laplacians over the mean square of one.
    """
    maps = laplacian(x).flatten(1).double()  # (N, P)
    maps = maps - maps.mean(1, keepdim=True)
    own = maps.square().sum()
    return ((maps.sum(0).square().sum() - own) / ((len(maps) - 1) * own)).item()


def _features(judge: AttributeClassifier, x: Tensor) -> Tensor:
    return torch.cat([judge.features(part) for part in x.split(256)])


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
