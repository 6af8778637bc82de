"""A training step against the sum of its layers' best isolated times: what is left to gain around them.

    python benchmarks/layers.py --precision bf16 --json benchmarks/results/layers-bf16.json

The convolutions and matrix products of one real step (VAE-123, full-size VGG-19 with random weights, batch
64) are recorded as they reach PyTorch's kernels, backwards too, and those within the loss network's one pass.
Each distinct call is then timed alone, on fresh tensors of the same shape, type and layout: whole, and split
into batches of 8, 16 and 32 images; the best of all counts, times how often the step makes the call. Steps
are timed between the rounds, and their median counts. sum / step near 1 means that hardly anything else
costs time, above 1 that the step found a better way than single layers have.

Adding up the weights' gradients of split batches is left out, so the sum is a little too small.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from recording import BACKWARD, FORWARD, Call, Shape, flops, record
from reporting import machine, median, parser, synchronise, table, write

import dfcvae
from dfcvae.device import pick_device, repeating_steps
from dfcvae.fast import accelerate
from dfcvae.training import Settings, Trainer

SPLITS = (8, 16, 32)
ROUNDS, REPEATS = 4, 3  # of every call, one more each round to warm up, which counts too


@dataclass
class Timing:
    """Best milliseconds of a call by images at once; None: it is not split."""

    best: dict[int | None, float] = field(default_factory=dict)

    def add(self, images: int | None, milliseconds: float) -> None:
        self.best[images] = min(milliseconds, self.best.get(images, math.inf))

    @property
    def milliseconds(self) -> float:
        return min(self.best.values())

    @property
    def images(self) -> int | None:
        return min(self.best, key=self.best.get)


def time_call(call: Call, timing: Timing, device: torch.device) -> None:
    """Some repeats of every way to split it."""
    for images in _ways(call.images):
        tensors = [
            a.fresh(device, images if place < _with_images(call) else None) if isinstance(a, Shape) else a
            for place, a in enumerate(call.arguments)
        ]
        times = call.images // images if images else 1
        for _ in range(REPEATS + 1):  # the first may choose a kernel, and is beaten by the others
            timing.add(images, 1000 * _seconds(partial(call.kernel, *tensors), times, device))


def _ways(images: int | None) -> Iterator[int | None]:
    yield images
    yield from (split for split in SPLITS if images and split < images and images % split == 0)


def _with_images(call: Call) -> int:
    """How many of the first arguments have an image a row."""
    return {FORWARD: 1, BACKWARD: 2}.get(call.kernel, 0)


def _seconds(work: Callable[[], Any], times: int, device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    synchronise(device)
    return time.perf_counter() - start


def compare(
    trainer: Trainer, calls: Iterable[Call], rounds: int = ROUNDS, steps: int = 5
) -> tuple[dict[Call, Timing], float]:
    """Timings of every call, and the median milliseconds of a step, in turns."""
    timings, of_steps = {call: Timing() for call in calls}, []
    for _ in range(rounds):
        for _ in range(steps):
            of_steps.append(_seconds(lambda: trainer.step(0)["loss"].item(), 1, trainer.device))
        for call, timing in timings.items():
            time_call(call, timing, trainer.device)
    return timings, 1000 * median(of_steps)


def main() -> None:
    options = _options()
    device = pick_device(options.device)
    torch.manual_seed(0)
    images = dfcvae.load("faces", n=512, progress=False)[: options.batch_size]
    model = accelerate(dfcvae.DFCVAE("vae-123", features=dfcvae.VGGFeatures(weights="random")))
    settings = Settings(options.batch_size, precision=options.precision, steps=1000)
    trainer = Trainer(model.train(), images, settings, device)
    with repeating_steps(device):
        trainer.step(0)  # the first chooses kernels and makes Adam's moments
        calls = record(trainer)
        timings, step = compare(trainer, calls)
    report(options, trainer, calls, timings, step)


def report(options: argparse.Namespace, trainer: Trainer, calls: Counter, timings: dict, step: float) -> None:
    whole = {call: timings[call].milliseconds * count for call, count in calls.items()}
    rows = [
        {
            "call": str(call),
            "images": call.images,
            "times": calls[call],
            "best_images": timings[call].images,
            "milliseconds": whole[call],
            "gflops_per_second": call.flops * calls[call] / whole[call] / 1e6,
        }
        for call in sorted(calls, key=whole.get, reverse=True)
    ]
    shown = [
        (
            *(row[key] or "-" for key in ("call", "images", "times", "best_images")),
            f"{row['milliseconds']:.1f}",
            f"{row['gflops_per_second']:.0f}",
        )
        for row in rows
    ]
    head = ("call", "images", "times a step", "best with", "ms a step, alone", "GFLOP/s")
    print(table(head, shown))
    total, work = sum(whole.values()), flops(calls)
    precision = trainer.settings.precision
    print(f"\n{precision}: {work / 1e9:.1f} GFLOP a step; alone {total:.0f} ms, the step {step:.0f} ms")
    print(f"sum / step = {total / step:.2f}; the step computes {work / step / 1e6:.0f} GFLOP/s")
    figures = {"precision": precision, "batch_size": options.batch_size, "flops": work, "calls": rows}
    figures |= {"sum_ms": total, "step_ms": step, "sum_over_step": total / step}
    write(options.json, {"machine": machine(options.device)} | figures)


def _options() -> argparse.Namespace:
    made = parser(__doc__, "layers")
    made.add_argument("--precision", default="auto", help="auto, bf16, fp16 or fp32")
    made.add_argument("--batch-size", type=int, default=64)
    return made.parse_args()


if __name__ == "__main__":
    main()
