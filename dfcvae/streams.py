"""Figures of what comes in batches, without keeping the batches and without waiting for the device."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor


def widest(device: torch.device) -> torch.dtype:
    """What sums are kept in: float64, and float32 on Apple's GPUs, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


class Moments:
    """Mean and variance of each column of a table (N, K) whose rows come in batches.

    Only ``mean`` (K,) and ``squares`` (K,), the sum of squared distances from it, are kept, on the rows'
    device. Batches are joined as by Chan, Golub and LeVeque ("Algorithms for Computing the Sample Variance",
    1983), which subtracts no large number from another: a mean far from 0 costs no digits.
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, rows: Tensor) -> None:
        """rows: (n, K), one or more."""
        rows = rows.to(widest(rows.device))
        mean, n = rows.mean(0), self.n + len(rows)
        apart = mean - self.mean
        own = (rows - mean).square().sum(0)
        self.squares = self.squares + own + apart.square() * (self.n * len(rows) / n)
        self.mean = self.mean + apart * (len(rows) / n)
        self.n = n

    @property
    def variance(self) -> Tensor:
        """The mean squared distance from the mean (divided by N, not by N - 1): (K,)."""
        return self.squares / self.n


def median(values: Tensor) -> float:
    """The middle of values (N,), or the mean of the two middle ones. NaN where one is NaN."""
    if values.isnan().any():
        return float("nan")
    middle = values.sort().values[(len(values) - 1) // 2 : len(values) // 2 + 1]
    return statistics.fmean(middle.tolist())


class Stopwatch:
    """Adds up the seconds between ``start`` and ``stop``.

    On CUDA the device is asked only at the end, by events in its own queue, so that the program need not
    wait for it at every lap.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: list[tuple] = []

    def start(self) -> None:
        self.begun = self._now()

    def stop(self) -> None:
        self.laps.append((self.begun, self._now()))

    def _now(self):
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            return event
        if self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def seconds(self) -> float:
        if self.device.type != "cuda":
            return sum(end - begin for begin, end in self.laps)
        torch.cuda.synchronize(self.device)
        return sum(begin.elapsed_time(end) for begin, end in self.laps) / 1000
