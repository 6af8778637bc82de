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
from pathlib import Path

import torch
from attribute_classifier import AttributeClassifier, balanced_accuracy, trained_classifier
from quality_report import write_report
from torch import Tensor

import dfcvae
from dfcvae.evaluation import evaluate, laplacian_variance, reconstructions
from dfcvae.hardware import available_threads
from dfcvae.training import Run
from dfcvae.vgg import VGGFeatures

RATES = (5e-4, 1e-3, 2e-3)
WEIGHTS = {"pixel": (15.0, 50.0, 150.0), "vae-123": (300.0, 1000.0, 3000.0)}


def main() -> None:
    options = _options()
    torch.set_num_threads(available_threads())
    data = {split: dfcvae.load("faces", split) for split in ("train", "validation", "test")}
    judge = trained_classifier(data["train"], options.out / "classifier.pt")
    features = VGGFeatures(weights=options.features)
    rate = _best_rate(options, data)
    print(f"plain VAE: learning rate {rate:g}; loss network: {features.weights_name}", flush=True)
    rows = []
    for seed in range(options.seeds):
        for preset, weights in WEIGHTS.items():
            for beta in weights:
                settings = {"learning_rate": rate} if preset == "pixel" else {}
                run = _train(options, data, preset, features, beta, seed, **settings)
                rows.append(
                    {"seed": seed, "preset": preset, "beta": beta} | _measure(run, data["test"], judge)
                )
                print(
                    {key: value for key, value in rows[-1].items() if isinstance(value, float | str)},
                    flush=True,
                )
    x, attributes = data["test"].float(), data["test"].attributes
    originals = balanced_accuracy(judge, x, attributes).tolist()
    write_report(
        options.out,
        {
            "rows": rows,
            "plain_learning_rate": rate,
            "steps": options.steps,
            "loss_network": features.weights_name,
            "attribute_names": list(data["test"].attribute_names),
            "classifier_on_originals": originals,
            "torch": torch.__version__,
        },
    )


def _train(options, data, preset: str, features, beta: float, seed: int, **settings) -> Run:
    torch.manual_seed(seed)
    model = dfcvae.DFCVAE(preset, features=features, beta=beta)
    name = "-".join([preset, f"{beta:g}", *(f"{value:g}" for value in settings.values()), f"seed{seed}"])
    return dfcvae.train(
        model, data["train"], options.out / name, validation=data["validation"],
        steps=options.steps, seed=seed, preview_every=options.steps, progress=False, **settings,
    )  # fmt: skip


def _best_rate(options, data) -> float:
    """The plain VAE's best learning rate at its middle weight, by its own validation loss, on seed 0."""
    beta, losses = WEIGHTS["pixel"][1], {}
    for rate in RATES:
        run = _train(options, data, "pixel", "mini", beta, seed=0, learning_rate=rate)
        losses[rate] = run.metrics[-1]["validation_loss"]
    print("plain VAE, validation loss by learning rate:", losses, flush=True)
    return min(losses, key=losses.get)


@torch.no_grad()
def _measure(run: Run, test: dfcvae.Images, judge: AttributeClassifier) -> dict:
    """Every figure of one run, on the test set and on as many samples from the prior."""
    figures = evaluate(run.model, test)
    x, x_hat = test.float(), torch.cat([batch[0] for batch in reconstructions(run.model, test)])
    samples = run.model.sample(len(test), generator=torch.Generator().manual_seed(1)).contiguous()
    accuracy = balanced_accuracy(judge, x_hat, test.attributes)
    figures |= {
        "attributes": accuracy.tolist(),
        "attribute_mean": accuracy.mean().item(),
        "sample_sharpness": (laplacian_variance(samples).median() / laplacian_variance(x).median()).item(),
        "sample_frechet": _frechet(judge, x, samples),
        "training_seconds": [line["seconds"] for line in run.metrics if "seconds" in line][-1],
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
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--features", default="mini")
    return parser.parse_args()


if __name__ == "__main__":
    main()
