"""A training of a second, for tests that end it in the middle: ``python tests/tiny_run.py OUT``."""

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from dfcvae import DFCVAE, Images, Run, train
from dfcvae.runs import RunFolder, read_metrics

STEPS, EVERY = 48, 4
CLOCKS = {"seconds", "images_per_second"}
PICTURES = ("reconstructions.png", "samples.png")


def images() -> Images:
    noise = torch.rand(40, 3, 34, 34, generator=torch.Generator().manual_seed(5))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1)
    return Images((smooth * 255).byte(), name="noise", split="train")


def tiny_model(seed: int = 1) -> DFCVAE:
    torch.manual_seed(seed)
    return DFCVAE("pixel", image_size=32, latent_dim=5, channels=(4, 6))


def go_on(out: Path, seed: int = 1, model: DFCVAE | None = None, **options) -> Run:
    """Begin or go on; every step has a line, so that what was lost can be counted."""
    torch.set_num_threads(1)
    settings = {"steps": STEPS, "preview_every": EVERY, "log_every": 1, "batch_size": 8, "precision": "fp32"}
    chosen = tiny_model(seed) if model is None else model
    return train(chosen, images(), out, progress=False, device="cpu", **(settings | options))


def in_step(model: DFCVAE, number: int, act: Callable) -> DFCVAE:
    """The model, which does something in the middle of a training step, counted from 1 for this call.

    What ``act`` returns, if anything, takes the place of the model's output.
    """
    steps = itertools.count(1)
    model.register_forward_hook(lambda *_: act() if model.training and next(steps) == number else None)
    return model


def figures(out: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl without what a clock said."""
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in read_metrics(out)]


def same(a, b) -> bool:
    """Equal to the last bit, through dictionaries and lists."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.equal(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def same_ends(one: Path, other: Path) -> bool:
    """Weights, Adam's moments and pictures, to the last bit."""
    first, second = (RunFolder(out).checkpoint() | {"seconds": 0} for out in (one, other))
    return same(first, second) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in PICTURES
    )


def same_runs(one: Path, other: Path) -> bool:
    """The same ends, and the same figures on the way."""
    return same_ends(one, other) and figures(one) == figures(other)


def kills(count: int, folder: Path, seed: int = 0) -> Iterator[dict]:
    """Kill a process as often, at moments drawn from its whole life, and go on from each.

    Of each: seconds that it lived, steps that its metrics tell, the step gone on from, whether the end is
    that of a run that nobody killed.
    """
    command, moments = [sys.executable, __file__], random.Random(seed)
    began = time.perf_counter()
    subprocess.run([*command, str(folder / "whole")], check=True)
    life = time.perf_counter() - began
    for number in range(count):
        out, seconds = folder / f"killed-{number}", moments.uniform(0, life)
        process = subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        done = max((line["step"] for line in read_metrics(out)), default=0)
        run = RunFolder(out)
        saved = run.checkpoint()["step"] if run.begun else 0
        go_on(out, seed=99 if saved else 1)  # other weights to begin with: those of the folder count
        yield {"seconds": seconds, "done": done, "saved": saved, "same": same_runs(folder / "whole", out)}


if __name__ == "__main__":
    go_on(Path(sys.argv[1]))
