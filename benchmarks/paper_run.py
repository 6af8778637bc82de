"""The paper's whole training on one GPU: 5 x 202,599 images, batches of 64, VAE-123 with a full-size VGG-19.

    python benchmarks/paper_run.py --images-from-few 4096 --compile --json
    python benchmarks/paper_run.py --seeds 5 --against fp32 --json benchmarks/results/paired.json

Drawn faces stand in for CelebA's: 202,599 of them, drawn once into the cache (minutes), or a few thousand
repeated to that number in memory, which is as much to train on and said in the output. VGG-19's weights are
random unless torchvision's are cached: arithmetic takes as long. Timed is the steady state, all steps of all
epochs with a look at the loss every tenth, after a warm-up on the same images that is timed beside it with
what was compiled. With --steps only so many are timed, and the whole is then extrapolated and marked so.

FLOPs of the model are counted on one eager step (``recording.py``): its convolutions and matrix products as
they are computed, backwards too. Utilisation is their rate over the card's dense peak in that precision,
known for a few cards or given by --peak-tflops.

--seeds compares final losses of the chosen precision with --against, paired. Without a GPU everything runs
on the CPU, and the table says that the target was not measured.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import replace
from typing import Any

import paired
import torch
from recording import flops, record
from reporting import machine, parser, synchronise, table, write

import dfcvae
from dfcvae import download
from dfcvae.datasets import Images
from dfcvae.device import pick_device, pick_precision, repeating_steps
from dfcvae.fast import accelerate
from dfcvae.training import Settings, Trainer

CELEBA, TARGET_SECONDS = 202_599, 30
# Dense, in TFLOP/s, of NVIDIA's data sheets; the PCIe and NVL cards are slower than these.
PEAKS = {
    r"\bH(100 80GB HBM3|200)\b(?! NVL)": {"bf16": 989, "fp16": 989},
    r"\bA100\b": {"bf16": 312, "fp16": 312},
    r"\bT4\b": {"fp16": 65},
}
LOOK_EVERY = 10  # steps, as in a training


def faces(images: int, few: int | None, size: int = 64) -> Images:
    """So many drawn faces, or a few repeated to that number."""
    drawn = dfcvae.load("faces", n=few or images, size=size)
    if few is None:
        return drawn
    return Images(drawn.pixels[torch.arange(images) % few], name="repeated faces", split="train")


def loss_network(features: str) -> dfcvae.VGGFeatures:
    """``full``: VGG-19 with torchvision's weights where they are cached, and random ones else."""
    if features == "full":
        features = "torchvision" if download.cached_trunk("vgg19") else "random"
    return dfcvae.VGGFeatures(weights=features)


def flops_per_image(vgg: dfcvae.VGGFeatures, images: Images, batch_size: int) -> float:
    """Of one eager training step on the CPU."""
    model = accelerate(dfcvae.DFCVAE("vae-123", vgg, images.pixels.shape[-1]))
    chosen = Settings(batch_size, precision="fp32", steps=1)
    trainer = Trainer(model.train(), images[:batch_size], chosen, torch.device("cpu"))
    return flops(record(trainer)) / batch_size


def time_training(trainer: Trainer, steps: int, warm_up: int) -> dict[str, float]:
    """Seconds of the warm-up, and of the steps that follow it; ``loss``: at the end, in nats."""
    start = time.perf_counter()
    _train(trainer, warm_up)
    warm = time.perf_counter()
    loss = _train(trainer, steps)
    seconds = time.perf_counter() - warm
    return {
        "warm_up_seconds": warm - start,
        "seconds": seconds,
        "images_per_second": steps * trainer.settings.batch_size / seconds,
        "loss": loss,
    }


def _train(trainer: Trainer, steps: int) -> float:
    seen, loss = [], float("nan")
    for step in range(steps):
        seen.append(trainer.step(step)["loss"])
        if len(seen) == LOOK_EVERY or step == steps - 1:
            loss, seen = torch.stack(seen).mean().item(), []
    synchronise(trainer.device)
    return loss


def peak_tflops(card: str, precision: str) -> float | None:
    """Of a card by the name that CUDA gives it; None for others, and for precisions without a peak here."""
    for pattern, peaks in PEAKS.items():
        if re.search(pattern, card):
            return peaks.get(precision)
    return None


def run(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The timing, with what follows from it."""
    start = time.perf_counter()
    images, vgg = faces(options.images, options.images_from_few), loss_network(options.features)
    work = flops_per_image(vgg, images, min(8, options.batch_size))
    torch.manual_seed(0)
    model = accelerate(dfcvae.DFCVAE("vae-123", vgg), options.compile)
    whole = options.epochs * (len(images) // options.batch_size)
    trainer = Trainer(model.train(), images, settings(options, options.precision, whole), device)
    preparing = time.perf_counter() - start
    steps = min(options.steps or whole, whole)
    with repeating_steps(device):
        found = time_training(trainer, steps, options.warm_up)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak = options.peak_tflops or peak_tflops(card, trainer.settings.precision)
    rate = found["images_per_second"] * work
    return found | {
        "preparing_seconds": preparing,
        "images": len(images),
        "different_images": options.images_from_few or len(images),
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "loss_network": vgg.weights_name,
        "precision": trainer.settings.precision,
        "compile": options.compile,
        "steps": steps,
        "steps_of_the_whole": whole,
        "whole_seconds": found["seconds"] * whole / steps,
        "extrapolated": steps < whole,
        "flops_per_image": work,
        "tflops_per_second": rate / 1e12,
        "peak_tflops": peak,
        "utilisation": rate / 1e12 / peak if peak else None,
    }


def settings(options: argparse.Namespace, precision: str, steps: int) -> Settings:
    return Settings(options.batch_size, precision=precision, steps=steps)


def report(found: dict[str, Any], device: torch.device) -> str:
    """The table; what was extrapolated or not measured is said where the figure would stand."""
    kind = f"extrapolated from {found['steps']:,} steps" if found["extrapolated"] else "all of it timed"
    images = f"{found['images']:,} drawn faces"
    if found["different_images"] < found["images"]:
        images += f", {found['different_images']:,} different ones repeated"
    utilisation = "not reported: no peak is known for this device in this precision; give --peak-tflops"
    if found["utilisation"] is not None:
        utilisation = f"{found['utilisation']:.1%} of {found['peak_tflops']:g} TFLOP/s"
    rows = [
        ("images", images),
        ("loss network", found["loss_network"]),
        ("precision", found["precision"] + (", compiled" if found["compile"] else "")),
        ("preparing: faces, model, counting", f"{found['preparing_seconds']:.1f} s"),
        ("warm-up and compilation", f"{found['warm_up_seconds']:.1f} s"),
        ("images/s, steady", f"{found['images_per_second']:,.1f}"),
        (f"{found['epochs']} epochs, steady", f"{found['whole_seconds']:,.1f} s ({kind})"),
        ("FLOPs of the model, an image", f"{found['flops_per_image'] / 1e9:.2f} G"),
        ("FLOPs computed", f"{found['tflops_per_second']:,.3g} TFLOP/s"),
        ("utilisation", utilisation),
        (f"the paper's training under {TARGET_SECONDS} s", _target(found, device)),
    ]
    return table(("figure", "value"), rows)


def _target(found: dict[str, Any], device: torch.device) -> str:
    asked = found["images"] >= CELEBA and found["epochs"] == 5 and found["batch_size"] == 64
    if device.type != "cuda" or not asked or found["extrapolated"]:
        return "not measured: it takes a GPU, 5 x 202,599 images in batches of 64, and all of the steps"
    return "met" if found["whole_seconds"] < TARGET_SECONDS else "missed"


def compare_losses(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    images, vgg = faces(options.images, options.images_from_few), loss_network(options.features)
    steps = options.steps or options.epochs * (len(images) // options.batch_size)
    fast = settings(options, pick_precision(device, options.precision), steps)
    slow, seeds = replace(fast, precision=options.against), range(options.seeds)
    found = paired.compare(vgg, images, fast, slow, seeds, options.last, device, options.compile)
    verdict = "holds 0" if found["holds_0"] else "does not hold 0"
    print(
        f"{fast.precision} minus {slow.precision}, loss of the last {options.last} of {steps} steps: "
        f"{found['difference']:+.3f} ± {found['half_width']:.3f} nats ({found['relative']:+.3%}): {verdict}"
    )
    return found | {"images": len(images), "batch_size": options.batch_size, "loss_network": vgg.weights_name}


def main() -> None:
    chosen = options()
    device = pick_device(chosen.device)
    if chosen.seeds:
        found = compare_losses(chosen, device)
    else:
        found = run(chosen, device)
        print(report(found, device))
    write(chosen.json, {"machine": machine(chosen.device)} | found)


def options() -> argparse.Namespace:
    made = parser(__doc__, "paper_run")
    made.add_argument("--images", type=int, default=CELEBA)
    made.add_argument("--images-from-few", type=int, metavar="N", help="draw N and repeat them")
    made.add_argument("--epochs", type=int, default=5)
    made.add_argument("--batch-size", type=int, default=64)
    made.add_argument("--steps", type=int, help="time only so many, and extrapolate; or of each seed")
    made.add_argument("--warm-up", type=int, default=50, help="steps before the timing (50)")
    made.add_argument("--features", default="full", help="full (VGG-19), mini, random, torchvision or a file")
    made.add_argument("--precision", default="auto")
    made.add_argument("--compile", action="store_true")
    made.add_argument("--peak-tflops", type=float, help="of the card, dense, in the precision used")
    made.add_argument("--seeds", type=int, help="compare final losses over so many seeds instead")
    made.add_argument("--against", default="fp32", help="the precision to compare with (fp32)")
    made.add_argument("--last", type=int, default=50, help="steps whose mean is the final loss (50)")
    return made.parse_args()


if __name__ == "__main__":
    main()
