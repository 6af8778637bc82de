"""How many faces a second are drawn, at each size.

python benchmarks/drawing.py [--faces 2000] [--threads 2] --json
"""

from __future__ import annotations

import time

import torch
from reporting import machine, parser, table, write

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
    made = parser(__doc__, "drawing")
    made.add_argument("--faces", type=int, default=2000, help="faces a run at 64 x 64 (2000)")
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), help="cores to use")
    options = made.parse_args()
    torch.set_num_threads(options.threads)
    rates = {size: round(faces_per_second(options.faces, size)) for size in SIZES}
    print(f"drawing version {faces.DRAWING_VERSION}, {options.threads} threads")
    print(table(("size", "images/s"), [(size, f"{rate:,}") for size, rate in rates.items()]))
    drawn = {"drawing_version": faces.DRAWING_VERSION, "threads": options.threads}
    write(options.json, {"machine": machine("cpu")} | drawn | {"images_per_second": rates})


if __name__ == "__main__":
    main()
