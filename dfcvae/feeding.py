"""The images of each step, brought to the device in one of three ways; the bytes are the same in all.

    resident   all images lie on the device, and a step picks its rows there
    ahead      a thread gathers the next step's rows while the device computes this one
    direct     the rows are gathered from the mapped file when the step asks for them

No worker processes: images are decoded already (``packing.py``), a gather is all there is to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from dfcvae.device import to_device

WAYS = ("resident", "ahead", "direct")


class Feed:
    """``feed(step)``: the images of a step, uint8 (B, 3, S, S) on the device.

    pixels: uint8 (N, 3, S, S) on the CPU. rows: int64 (B,), of the images of a step. ``waited``: seconds so
    far that steps have waited for their images; a copy that a CUDA device makes beside its work is not in it.
    """

    def __init__(
        self, pixels: Tensor, rows: Callable[[int], Tensor], device: torch.device, way: str = "auto"
    ) -> None:
        if way not in ("auto", *WAYS):
            raise ValueError(f"unknown way of feeding {way!r}: expected auto, {', '.join(WAYS)}.")
        self.pixels, self.rows, self.device, self.waited = pixels, rows, device, 0.0
        self.way = pick_way(pixels, device) if way == "auto" else way
        self._resident: Tensor | None = None
        self._thread = ThreadPoolExecutor(1, "feed") if self.way == "ahead" else None
        self._ahead: tuple[int, Future[Tensor]] | None = None

    def __call__(self, step: int) -> Tensor:
        start = time.perf_counter()
        ways = {"resident": self._from_device, "ahead": self._from_thread, "direct": self._from_file}
        images = ways[self.way](step)
        self.waited += time.perf_counter() - start
        return images

    def _from_device(self, step: int) -> Tensor:
        if self._resident is None:  # not before the first step: a timing may need the memory until then
            self._resident = self.pixels.to(self.device)
        return self._resident[to_device(self.rows(step), self.device)]

    def _from_file(self, step: int) -> Tensor:
        return self.pixels[self.rows(step)].to(self.device)

    def _from_thread(self, step: int) -> Tensor:
        begun, gathering = self._ahead or (None, None)
        images = (gathering if begun == step else self._gather(step)).result()
        self._ahead = step + 1, self._gather(step + 1)
        return images.to(self.device, non_blocking=True)

    def _gather(self, step: int) -> Future[Tensor]:
        # Pinned memory is taken here, since a thread of its own would take it on the first GPU. It is used
        # again only when the copies from it are done; PyTorch sees to that.
        rows = self.rows(step)
        pinned = self.device.type == "cuda"
        out = torch.empty((len(rows), *self.pixels.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
        return self._thread.submit(torch.index_select, self.pixels, 0, rows, out=out)


def pick_way(pixels: Tensor, device: torch.device) -> str:
    """A GPU holds the images where they take less than half of its free memory.

    On a CPU a thread would take the time that it saves from the step.
    """
    if device.type != "cuda":
        return "direct"
    free, _ = torch.cuda.mem_get_info(device)
    return "resident" if pixels.numel() < free / 2 else "ahead"
