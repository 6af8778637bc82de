"""One process with all threads against two processes, each with half of them (or, on CUDA, a GPU).

    python benchmarks/ranks.py --json

The same global batch of 64, VAE-123: two ranks take 32 images each and exchange gradients and the batch
norms' statistics over gloo (nccl on CUDA). Rows take turns, each started anew by torchrun; images a second
are the median of the rounds, each the median of its steps on the first rank.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from reporting import alone, as_in_training, machine, median, parser, synchronise, table, write

import dfcvae
from dfcvae import device as hardware
from dfcvae import ranks
from dfcvae.training import Settings, Trainer

FEATURES = {"mini": "mini VGG", "random": "full-size VGG-19"}
WARM_UP = 3


def images_per_second(features: str, batch_size: int, steps: int, device: str) -> float:
    """Of the global batch, in this process, which may be one of several."""
    ranks.join()
    own = ranks.own_device(device)
    torch.manual_seed(0)
    images = dfcvae.load("faces", n=max(512, batch_size), progress=False)
    trainer = Trainer(
        dfcvae.DFCVAE("vae-123", features).train(), images, Settings(batch_size, steps=1000), own
    )
    times = []
    with as_in_training(own):
        for step in range(WARM_UP + steps):
            synchronise(own)
            start = time.perf_counter()
            trainer.step(step)["loss"].item()
            times.append(time.perf_counter() - start)
    return batch_size / median(times[WARM_UP:])


def start(count: int, threads: int, *options: str) -> float:
    """Images a second of so many ranks with so many threads each."""
    command = ("-m", "torch.distributed.run", "--nproc-per-node", str(count), "--standalone")
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    script = (*command, __file__, "--worker", *options)
    return alone(*script, OMP_NUM_THREADS=str(threads), **loopback)["images_per_second"]


def main() -> None:
    made = parser(__doc__, "ranks")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--steps", type=int, default=12)
    made.add_argument("--batch-size", type=int, default=64)
    made.add_argument("--worker", choices=list(FEATURES), help="time this loss network in this process")
    options = made.parse_args()
    if options.worker:
        found = images_per_second(options.worker, options.batch_size, options.steps, options.device)
        if ranks.is_first():
            print(json.dumps({"images_per_second": found}), flush=True)
        ranks.leave()
        return
    threads, rates = hardware.available_threads(), {}
    device = hardware.pick_device(options.device)
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        raise SystemExit("two ranks need two GPUs, and here is one: not measured.")
    dfcvae.load("faces", n=max(512, options.batch_size))
    passed = ("--steps", str(options.steps), "--batch-size", str(options.batch_size), "--device", device.type)
    for _ in range(options.rounds):
        for features in FEATURES:
            for count in (1, 2):
                rate = start(count, max(1, threads // count), features, *passed)
                rates.setdefault(features, {}).setdefault(count, []).append(rate)
    shown = [
        (FEATURES[features], f"{median(of[1]):.1f}", f"{median(of[2]):.1f}", _times(of))
        for features, of in rates.items()
    ]
    head = ("loss network", "1 process, images/s", "2 processes, images/s", "2 over 1 (over the rounds)")
    print(table(head, shown))
    figures = {"threads_of_all": threads, "batch_size": options.batch_size, "images_per_second": rates}
    write(options.json, {"machine": machine(options.device)} | figures)


def _times(rates: dict[int, list[float]]) -> str:
    each = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


if __name__ == "__main__":
    main()
