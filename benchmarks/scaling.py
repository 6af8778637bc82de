"""Time and memory of a training as images, batch and image size grow: 1, 2, 4 and 8 times.

    python benchmarks/scaling.py --json

Each point is a whole ``dfcvae.train`` of VAE-123 with the mini VGG for one epoch, in a process of its own;
its faces are drawn before. Seconds are those of the call: first steps, pictures and checkpoint are in them.
Milliseconds an image and seconds a megapixel are those of the steady state, by the run's own metrics.jsonl:
from its first line (ten steps) to its last. Memory is the peak of the process above what it held when the
training began: resident memory on a CPU, where it includes those pages of the mapped images that were read
(the system takes them back when it needs room); what PyTorch had allocated at most on CUDA.

Images: 2,048 and more in batches of 64. Batch: 16 and more, of 2,048 images. Size: 32 x 32 and more, 512
images in batches of 16, where the time of a pixel should stay the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from reporting import alone, machine, parser, table, write

import dfcvae
from dfcvae import device as hardware

TIMES = (1, 2, 4, 8)


class Point(NamedTuple):
    """What one training is given."""

    images: int
    batch_size: int
    size: int


def points(base: int = 2_048) -> dict[str, list[Point]]:
    """The three axes; ``base`` is the number of images that the first begins with."""
    return {
        "images": [Point(base * times, 64, 64) for times in TIMES],
        "batch": [Point(base, 16 * times, 64) for times in TIMES],
        "size": [Point(base // 4, 16, 32 * times) for times in TIMES],
    }


def measure(point: Point, device: torch.device) -> dict[str, float]:
    """One epoch in this process."""
    images = dfcvae.load("faces", n=point.images, size=point.size, progress=False)
    torch.manual_seed(0)
    model = dfcvae.DFCVAE("vae-123", "mini", image_size=point.size)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    before = peak_memory(device, now=True)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        options = {"batch_size": point.batch_size, "epochs": 1, "preview_every": 1_000_000}
        run = dfcvae.train(model, images, folder, device=str(device), progress=False, **options)
        seconds = time.perf_counter() - start
    first, *_, last = run.metrics
    an_image = (last["seconds"] - first["seconds"]) / (last["images"] - first["images"])
    return {
        "seconds": seconds,
        "ms_an_image": 1000 * an_image,
        "seconds_a_megapixel": an_image / (point.size**2 / 1e6),
        "memory_mb": (peak_memory(device) - before) / 1e6,
        "images_mb": images.pixels.numel() / 1e6,
    }


def peak_memory(device: torch.device, now: bool = False) -> int:
    """Bytes that were in use at most, or are now where the system says so.

    Not ``ru_maxrss`` on Linux: a process takes over there what its parent had.
    """
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) if now else torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines["VmRSS" if now else "VmHWM"].split()[0])
    import resource  # which Windows has not

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main() -> None:
    made = parser(__doc__, "scaling")
    made.add_argument("--base", type=int, default=2_048, help="images of the first point (2048)")
    made.add_argument(
        "--point", type=int, nargs=3, help="images, batch and size: this alone, in this process"
    )
    options = made.parse_args()
    device = hardware.pick_device(options.device)
    if options.point:
        print(json.dumps(measure(Point(*options.point), device)))
        return
    print(run(options.base, device, options.json))


def run(base: int, device: torch.device, path: Path | None) -> str:
    """Measure every point and write the figures; the table."""
    figures: dict[str, Any] = {"machine": machine(str(device))}
    shown = []
    for axis, chosen in points(base).items():
        for point in chosen:
            dfcvae.load("faces", n=point.images, size=point.size)
            numbers = map(str, point)
            found = alone(__file__, "--device", str(device), "--point", *numbers)
            figures.setdefault(axis, []).append(point._asdict() | found)
            shown.append(_row(axis, point, found))
    write(path, figures)
    head = (
        "grows",
        "images",
        "batch",
        "size",
        "seconds",
        "ms an image",
        "s a megapixel",
        "peak, MB",
        "images, MB",
    )
    return table(head, shown)


def _row(axis: str, point: Point, found: dict[str, float]) -> tuple:
    keys = ("seconds", "ms_an_image", "seconds_a_megapixel", "memory_mb", "images_mb")
    formats = (".1f", ".2f", ".2f", ".0f", ".0f")
    figures = (format(found[key], form) for key, form in zip(keys, formats, strict=True))
    return axis, f"{point.images:,}", point.batch_size, point.size, *figures


if __name__ == "__main__":
    main()
