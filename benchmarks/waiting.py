"""Which share of a training step is spent waiting for its images.

    python benchmarks/waiting.py --json

Two measures of the same thing, on drawn faces in the order of a training, batches of 64. The trainer's own
counter: seconds within ``feed(step)`` over the seconds of the steps. Beside it, without the counter: every
step is run twice in turns, once with the images of its feed and once with one batch that lies ready, and the
share is what the feed adds, by the median of the pairs. A pair's two steps differ by much more than what is
looked for, so that the second measure is only as sharp as its interval (of the median, 95 %).

On CUDA a copy may still be under way when the feed returns; the counter does not see it, the pairs do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from reporting import as_in_training, machine, median, parser, synchronise, table, write

import dfcvae
from dfcvae import device as hardware
from dfcvae.training import Settings, Trainer

FEATURES = {"mini": "mini VGG", "random": "full-size VGG-19"}


def build(features: str, images: dfcvae.datasets.Images, batch_size: int, device: torch.device) -> Trainer:
    torch.manual_seed(0)
    model = dfcvae.DFCVAE("vae-123", features, images.pixels.shape[-1])
    return Trainer(model.train(), images, Settings(batch_size, steps=100_000), device)


def measure(trainer: Trainer, pairs: int, warm_up: int = 3) -> dict[str, float]:
    """Both shares of a step, each between 0 and 1."""
    feed, ready = trainer.feed, trainer.feed(0).clone()
    for step in range(warm_up):
        _step(trainer, step)
    before, fed, unfed = feed.waited, [], []
    for step in range(warm_up, warm_up + pairs):
        turns = ((fed, feed), (unfed, lambda _: ready))
        for times, source in turns if step % 2 else turns[::-1]:
            times.append(_step_from(trainer, source, step))
    trainer.feed = feed
    low, middle, high = median_interval([(a - b) / a for a, b in zip(fed, unfed, strict=True)])
    return {
        "step_ms": 1000 * median(fed),
        "waited_share": (feed.waited - before) / sum(fed),
        "paired_share": middle,
        "paired_low": low,
        "paired_high": high,
    }


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median between the ends of its 95 % interval, from the order of the values alone."""
    ordered = sorted(values)
    place = max(0, math.floor((len(ordered) - 1.96 * math.sqrt(len(ordered))) / 2))
    return ordered[place], median(ordered), ordered[-1 - place]


def _step_from(trainer: Trainer, source: Callable[[int], torch.Tensor], step: int) -> float:
    trainer.feed = source
    return _step(trainer, step)


def _step(trainer: Trainer, step: int) -> float:
    synchronise(trainer.device)
    start = time.perf_counter()
    trainer.step(step)["loss"].item()
    return time.perf_counter() - start


def main() -> None:
    made = parser(__doc__, "waiting")
    made.add_argument("--images", type=int, default=8_192)
    made.add_argument("--pairs", type=int, default=80)
    made.add_argument("--batch-size", type=int, default=64)
    options = made.parse_args()
    device, rows, shown = hardware.pick_device(options.device), {}, []
    images = dfcvae.load("faces", n=options.images)
    for features, name in FEATURES.items():
        trainer = build(features, images, options.batch_size, device)
        with as_in_training(device):
            found = measure(trainer, options.pairs)
        rows[features] = found | {"way": trainer.feed.way, "precision": trainer.settings.precision}
        low, high = found["paired_low"], found["paired_high"]
        paired = f"{found['paired_share']:+.2%} ({low:+.2%} to {high:+.2%})"
        step = f"{found['step_ms']:.1f}"
        shown.append((name, trainer.settings.precision, step, f"{found['waited_share']:.2%}", paired))
    head = (
        "loss network",
        "precision",
        "ms a step",
        "waiting, by the counter",
        "waiting, by pairs (median, 95 %)",
    )
    print(table(head, shown))
    write(options.json, {"machine": machine(options.device), "pairs": options.pairs, "rows": rows})


if __name__ == "__main__":
    main()
