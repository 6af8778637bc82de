"""Hidden tests of the tiny problem set that the tests of the classroom grade."""

import torch
from dfcvae_classroom.grading import Task

import dfcvae


def mean_square(answers, deal):
    x = torch.randn(deal.random("ps0", "n").randint(3, 9), generator=deal.generator("ps0", "x"))
    yield 2, lambda: abs(float(answers["mean_square"](x)) - (x.double() ** 2).mean().item()) < 1e-5
    yield 2, lambda: answers["mean_square"](2 * x).shape == ()


def kl(answers, deal):
    mu = torch.randn(5, 3, generator=deal.generator("ps0", "mu"))
    yield (
        3,
        lambda: abs(answers["kl"](mu, 0 * mu).item() - (mu.double() ** 2).sum(1).mean().item() / 2) < 1e-4,
    )


TASKS = {"mean_square": Task(4, mean_square), "kl": Task(3, kl, poisoned=(dfcvae.kl_divergence,))}


def deal_notebook(notebook, deal):
    for cell in notebook.cells:
        cell.source = cell.source.replace("CONSTANT = 0", f"CONSTANT = {deal.random('ps0').randint(10, 99)}")
    return notebook
