"""How many images a second a training step takes: ours plain, ours fast, and the step that most people copy.

    python benchmarks/step.py --rounds 5 --json

All train on the same 64 drawn faces of 64 x 64, in batches of 64, and compute Phi(x) anew at each step.

PyTorch-VAE   the class as it was published: its network, vgg19_bn run to its end, fp32, autograd through
              everything, default layout, Adam. ``dfcvae.pytorch_vae`` keeps it behind ``legacy_loss``.
dfcvae plain  the paper's network and VAE-123 with a full-size VGG-19: as vae.py and perceptual.py read.
dfcvae fast   the same with ``fast.accelerate`` around it, as ``dfcvae train`` runs it.

Weights are random ones: arithmetic takes as long on them. Every row runs in a process of its own, as what one
does to the memory of its process would help the next; the rows take turns, and a figure is the median of the
rounds, each the median of its steps. "times" is the median of the rounds' ratios to the first row.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from reporting import alone, machine, median, parser, table, write

import dfcvae
from dfcvae import pytorch_vae
from dfcvae.device import pick_device, pick_precision, repeating_steps
from dfcvae.fast import accelerate
from dfcvae.training import Settings, Trainer

BATCH = 64
ROWS = {
    "PyTorch-VAE": {},
    "PyTorch-VAE, memory kept": {"keep": True},  # as ours does for its steps
    "dfcvae plain, fp32": {"precision": "fp32"},
    "dfcvae fast, fp32": {"precision": "fp32", "fast": True},
    "dfcvae plain, bf16": {"precision": "bf16"},
    "dfcvae fast, bf16": {"precision": "bf16", "fast": True},
}


def published_step(images: torch.Tensor, device: torch.device) -> Callable[[], None]:
    from torchvision.models import vgg19_bn

    vgg = vgg19_bn(weights=None).features
    model = pytorch_vae.DFCVAE(3, 128, legacy_loss=True, legacy_features=vgg).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    x = images.to(device) * 2 - 1

    def step() -> None:
        loss = model.loss_function(*model(x), M_N=0.00025)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def our_step(images: dfcvae.Images, device: torch.device, precision: str, fast: bool) -> Callable[[], None]:
    model = dfcvae.DFCVAE("vae-123", features=dfcvae.VGGFeatures(weights="random"))
    model = accelerate(model) if fast else model
    trainer = Trainer(model.train(), images, Settings(BATCH, precision=precision, steps=1000), device)
    return lambda: trainer.step(0)["loss"].item()


def time_steps(step: Callable[[], None], seconds: float) -> float:
    """The median time of a step, after two that warm up."""
    step(), step()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return median(times)


def one_row(name: str, device: torch.device, seconds: float) -> float:
    """Images a second of one row, in this process."""
    torch.manual_seed(0)
    row, faces = ROWS[name], dfcvae.load("faces", n=BATCH, progress=False)
    if "precision" in row:
        step = our_step(faces, device, row["precision"], row.get("fast", False))
    else:
        step = published_step(faces.float(), device)
    with nullcontext() if not row else repeating_steps(device):
        return BATCH / time_steps(step, seconds)


def main() -> None:
    options = _options()
    device = pick_device(options.device)
    if options.row:
        print(json.dumps({"images_per_second": one_row(options.row, device, options.seconds)}))
        return
    rows = [name for name in ROWS if pick_precision(device) == "bf16" or not name.endswith("bf16")]
    rates: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(options.rounds):
        for name in rows:
            chosen = ("--row", name, "--device", str(device), "--seconds", str(options.seconds))
            rates[name].append(alone(__file__, *chosen)["images_per_second"])
            print(f"round {number + 1}: {name}: {rates[name][-1]:.1f} images/s", flush=True)
    first = next(iter(rates.values()))
    times = {name: [a / b for a, b in zip(each, first, strict=True)] for name, each in rates.items()}
    shown = [
        (
            name,
            f"{median(each):.1f}",
            f"{median(times[name]):.2f}",
            f"{min(times[name]):.2f} to {max(times[name]):.2f}",
        )
        for name, each in rates.items()
    ]
    print("\n" + table(("step", "images/s", "times the first row", "over the rounds"), shown))
    for name in (name for name in rows if "fast" in name):
        plain = rates[name.replace("fast", "plain")]
        gain = [a / b for a, b in zip(rates[name], plain, strict=True)]
        print(f"{name}: {median(gain):.2f} times the plain one ({min(gain):.2f} to {max(gain):.2f})")
    write(options.json, {"machine": machine(str(device)), "images_per_second": rates, "times": times})


def _options() -> argparse.Namespace:
    made = parser(__doc__, "step")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=8, help="of timed steps, a row and round (8)")
    made.add_argument("--row", choices=list(ROWS), help="run this row alone, in this process")
    return made.parse_args()


if __name__ == "__main__":
    main()
