"""Sums over batches give what the whole table gives."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dfcvae.streams import Moments, Stopwatch, median


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_moments_are_numpys_in_any_batches_and_far_from_zero(far):
    """float32 rows around a million: a difference of large sums would have no digit left."""
    rows = (torch.randn(257, 4) * torch.tensor([1.0, 2.0, 0.5, 0.0]) + far).float()
    moments = Moments()
    for part in rows.split([100, 1, 56, 100]):
        moments.add(part)
    table = rows.double().numpy()
    assert moments.n == 257
    np.testing.assert_allclose(moments.mean.numpy(), table.mean(0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(moments.variance.numpy(), table.var(0), rtol=1e-9, atol=1e-12)


def test_the_variance_of_one_row_is_zero():
    moments = Moments()
    moments.add(torch.ones(1, 3))
    assert moments.variance.tolist() == [0, 0, 0]


@pytest.mark.parametrize("n", [1, 4, 5])
def test_median_is_numpys(n):
    values = torch.randn(n)
    assert median(values) == pytest.approx(float(np.median(values.double().numpy())))
    values[0] = math.nan
    assert math.isnan(median(values))


class WithoutFloat64(TorchDispatchMode):
    """As on Apple's GPUs."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.float64:
            raise TypeError(f"{function} made float64")
        return out


def test_median_takes_no_float64_on_the_device():
    with WithoutFloat64():
        assert median(torch.tensor([3.0, 1.0, 2.0, 5.0])) == 2.5


def test_a_stopwatch_counts_its_laps_alone(monkeypatch):
    times = iter([1.0, 1.5, 7.0, 7.25])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        watch.start()
        watch.stop()
    assert watch.seconds() == 0.75
