"""What notebook 00 builds by hand, against the package, torch and torch.distributions."""

import pytest
import torch
from by_hand import definitions
from torch import nn
from torch.distributions import Normal, kl_divergence

import dfcvae


@pytest.fixture(scope="module")
def by_hand():
    return definitions("00_start_here.ipynb", torch=torch)


def test_kl(by_hand):
    mu, log_var = torch.randn(5, 7), torch.randn(5, 7)
    ours = by_hand["kl_by_hand"](mu, log_var)
    torch.testing.assert_close(ours, dfcvae.kl_divergence(mu, log_var))
    theirs = kl_divergence(Normal(mu, (0.5 * log_var).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (3, 1, 1), (3, 2, 0), (5, 3, 2)])
def test_side_after_a_convolution(by_hand, kernel, stride, padding):
    conv = nn.Conv2d(1, 1, kernel, stride, padding)
    for side in (9, 16, 33):
        assert (
            by_hand["side_after"](side, kernel, stride, padding)
            == conv(torch.zeros(1, 1, side, side)).shape[-1]
        )


def test_who_gets_a_gradient_tells_frozen_from_free(by_hand, capsys):
    for frozen in (False, True):
        conv = nn.Conv2d(3, 2, 3).requires_grad_(not frozen)
        by_hand["who_gets_a_gradient"]("a convolution", conv, conv)
        words = capsys.readouterr().out.split()
        assert words[-3:] == ["yes", "weights:", "no" if frozen else "yes"]
