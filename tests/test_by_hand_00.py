"""What notebook 00 builds by hand, against the package, torch and torch.distributions; its five rounds."""

import pytest
import torch
from by_hand import definitions
from torch import nn
from torch.distributions import Normal, kl_divergence

import dfcvae
from dfcvae.course import lesson_00
from dfcvae.evaluation import psnr


@pytest.fixture(scope="module")
def by_hand():
    return definitions("00_start_here.ipynb", torch=torch)


def test_kl(by_hand):
    mu, log_var = torch.randn(5, 7), torch.randn(5, 7)
    ours = by_hand["kl_by_hand"](mu, log_var)
    torch.testing.assert_close(ours, dfcvae.kl_divergence(mu, log_var))
    theirs = kl_divergence(Normal(mu, (0.5 * log_var).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("settings", [(4, 2, 1), (3, 1, 1), (3, 2, 0), (5, 3, 2)])
def test_side_after_a_convolution(by_hand, settings):
    for side in (9, 16, 33):
        measured = nn.Conv2d(1, 1, *settings)(torch.zeros(1, 1, side, side)).shape[-1]
        assert by_hand["side_after"](side, *settings) == measured


def test_who_gets_a_gradient_tells_frozen_from_free(by_hand, capsys):
    for frozen in (False, True):
        conv = nn.Conv2d(3, 2, 3).requires_grad_(not frozen)
        by_hand["who_gets_a_gradient"]("a convolution", conv, conv)
        words = capsys.readouterr().out.split()
        assert words[-3:] == ["yes", "weights:", "no" if frozen else "yes"]


def test_squared_error_votes_as_the_notebook_says():
    rounds = lesson_00.which_is_closer()
    votes = ["A" if psnr(r.a, r.original) > psnr(r.b, r.original) else "B" for r in rounds.values()]
    assert votes == ["B", "A", "B", "A", "A"]
    for r in rounds.values():
        assert r.original.shape == r.a.shape == r.b.shape == (1, 3, 64, 64)
        assert min(r.a.min(), r.b.min()) >= 0 and max(r.a.max(), r.b.max()) <= 1


def test_blur_keeps_a_flat_picture_and_shift_repeats_the_border():
    flat, x = torch.full((1, 3, 16, 16), 0.3), torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(lesson_00.blur(flat, 1.5), flat)
    shifted = lesson_00.shift(x, 2)
    assert shifted[..., 2:].equal(x[..., :-2]) and shifted[..., :2].equal(x[..., :1].expand(-1, -1, -1, 2))
