"""How many faces a second are drawn, at each size.

python benchmarks/drawing.py [--faces 2000] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from dfcvae import faces

SIZES = (32, 64, 128, 256)


def faces_per_second(n: int, size: int, repeats: int = 3) -> float:
    """The median of some runs after a warm-up; large faces are fewer, so that all take about as long."""
    n = max(16, n * 64**2 // size**2)
    factors = faces.sample_factors(n, seed=0)
    faces.draw(factors[:64], size)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        faces.draw(factors, size)
        seconds.append(time.perf_counter() - start)
    return n / sorted(seconds)[repeats // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=2000, help="faces a run at 64 x 64 (default 2000)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="cores to use")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rates = {size: round(faces_per_second(options.faces, size)) for size in SIZES}
    print(f"drawing version {faces.DRAWING_VERSION}, torch {torch.__version__}, {options.threads} threads")
    print(f"{'size':>5}  {'images/s':>9}")
    for size, rate in rates.items():
        print(f"{size:>5}  {rate:>9,}")
    if options.json:
        figures = {
            "drawing_version": faces.DRAWING_VERSION,
            "torch": torch.__version__,
            "threads": options.threads,
            "images_per_second": rates,
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
