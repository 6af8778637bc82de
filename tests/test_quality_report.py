"""The statistics behind the course's central claim, on numbers whose answers are known."""

import math

import pytest
import quality_report as report
import torch
from quality import common_share


def results(difference: float, noise: tuple[float, ...]) -> dict:
    """Both models' figure is linear in log KL; the DFC-VAE's is higher by ``difference`` plus the noise."""
    rows = []
    for seed, extra in enumerate(noise):
        for preset, kls in (("pixel", (40.0, 80.0, 160.0)), ("vae-123", (50.0, 100.0, 200.0))):
            add = difference + extra if preset == "vae-123" else 0.0
            rows += [
                {"preset": preset, "seed": seed, "kl": kl + seed, "psnr": 3 * math.log(kl + seed) + add}
                for kl in kls
            ]
    return {"rows": rows}


def test_common_kl_is_inside_every_curve():
    rows = results(0, (0.0, 0.0, 0.0))["rows"]
    assert report.common_kl(rows) == pytest.approx(math.sqrt(52 * 160))
    with pytest.raises(ValueError, match="share no KL"):
        report.common_kl([row | {"kl": row["kl"] * (1 + 9 * (row["preset"] == "pixel"))} for row in rows])


def test_interpolation_at_equal_kl_leaves_the_true_difference():
    """A model at more nats would look better by 3 log 1.25 without it."""
    found = report.compare(results(0.5, (0.0, 0.0, 0.0)), lambda row: row["psnr"])
    assert found.difference == pytest.approx(0.5) and found.half_width == pytest.approx(0, abs=1e-9)
    assert found.plain == pytest.approx(3 * math.log(math.sqrt(52 * 160)))


def test_interval_is_students():
    mean, half = report.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert half == pytest.approx(2.776445 * math.sqrt(2.5) / math.sqrt(5), rel=1e-5)
    assert math.isnan(report.interval([1.0])[1])


@pytest.mark.parametrize(
    ("difference", "sign", "verdict"),
    [(1.0, 1, "better"), (1.0, -1, "worse"), (-1.0, 1, "worse"), (-1.0, -1, "better"), (0.0, 1, "undecided")],
)
def test_verdict_needs_the_whole_interval(difference, sign, verdict):
    found = report.compare(results(difference, (0.2, -0.2, 0.0, 0.1, -0.1)), lambda row: row["psnr"])
    assert found.verdict(sign) == verdict


def test_last_octave_is_named_with_its_corners():
    assert [report.octave(k, 5) for k in (0, 4)] == ["1-2 cycles", "16-45 cycles"]


def test_common_share_finds_a_lattice_and_nothing_in_different_pictures():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(200, 3, 16, 16, generator=generator)
    assert abs(common_share(pictures)) < 0.01
    lattice = 0.3 * torch.rand(1, 3, 16, 16, generator=generator)
    assert common_share(lattice.expand(200, -1, -1, -1)) == pytest.approx(1)
    # mean over three channels: the lattice has 0.3^2 of the variance that each picture has of its own
    assert common_share(pictures + lattice) == pytest.approx(0.09 / 1.09, rel=0.3)
