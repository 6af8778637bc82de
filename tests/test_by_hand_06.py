"""What notebook 06 builds by hand is what the package, torch and scipy give."""

import pytest
import torch
from by_hand import definitions
from scipy import stats

from dfcvae.evaluation import frechet_distance, psnr
from dfcvae.training import rate_at


@pytest.fixture(scope="module")
def by_hand():
    return definitions("06_reproduce_the_paper.ipynb", torch=torch)


def test_learning_rate(by_hand):
    for step in (0, 6, 7, 20, 34):
        assert by_hand["rate_by_hand"](step, 7, 1e-3) == rate_at(step, 35, 7, 1e-3, "halve")


def test_psnr(by_hand):
    x, x_hat = torch.rand(2, 5, 3, 16, 16)
    torch.testing.assert_close(by_hand["psnr_by_hand"](x_hat, x), psnr(x_hat, x))


def test_frechet_distance_of_one_feature(by_hand):
    a, b = torch.randn(300, 1), 2 * torch.randn(200, 1) + 1
    assert by_hand["frechet_by_hand"](a, b).item() == pytest.approx(frechet_distance(a, b), rel=1e-3)
    other = torch.distributions.Normal(3.0, 0.5)  # from N(0, 1) it is 3^2 + 0.5^2
    drawn = other.sample((100_000, 1)), torch.randn(100_000, 1)
    assert by_hand["frechet_by_hand"](*drawn).item() == pytest.approx(9.25, rel=0.02)


def test_students_t(by_hand):
    for n in (3, 5, 50):
        assert by_hand["student_t_by_hand"](n) == pytest.approx(stats.t.ppf(0.975, n - 1), rel=0.02)


def test_skill(by_hand):
    skill = by_hand["skill"]
    assert skill(80, 80) == 0 and skill(100, 80) == 1 and skill(90, 80) == 0.5
