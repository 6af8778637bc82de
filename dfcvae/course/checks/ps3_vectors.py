"""Self-checks of problem set 3, tasks 1 and 2: vectors without company, arithmetic beside the truth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from dfcvae_classroom.grading.ps3 import TASKS
from torch import Tensor, nn

from dfcvae.course.checks.trial import Mistake, Tried, expect_shape, recognise, same, tell


def matched_vector(answer: Callable) -> None:
    """Try ``matched_vector(mu, has, company)``."""
    tried = "groups of unequal size, two columns, a group with one side, no group with both"
    tell("matched_vector", _matched, [answer], TASKS["matched_vector"].poisoned, tried)


def _faces(*groups: tuple[int, int, list[bool]]) -> tuple[Tensor, Tensor]:
    """(with, without, company) a group -> has (n,), company (n, K)."""
    has = torch.cat([torch.arange(a + b) < a for a, b, _ in groups])
    company = torch.cat([torch.tensor([row]).expand(a + b, -1) for a, b, row in groups])
    return has, company


def _matched(answer: Tried) -> None:
    # The attribute moves dimension 0, by 1 without company and by 3 with it; the company dimension 1.
    has, company = _faces((1, 3, [False]), (3, 2, [True]))
    mu = torch.stack([has * (1.0 + 2 * company[:, 0]), 10.0 * company[:, 0]], dim=1)
    found = answer(mu, has, company)
    expect_shape(found, (2,), "one vector, (latent_dim,)")
    plain = mu[has].mean(dim=0) - mu[~has].mean(dim=0)
    away = mu[company[:, 0]].mean(dim=0) - mu[~company[:, 0]].mean(dim=0)
    sized = "the groups are told apart, but {}: a group counts by how many faces *with* the attribute it has."
    recognise(
        found,
        torch.tensor([2.5, 0.0]),
        {
            "the company is still in it: the plain difference of two means. Compare within groups.": plain,
            "the sign is turned round: it is the mean *with* minus the mean *without*.": torch.tensor(
                [-2.5, 0]
            ),
            sized.format("each counts alike"): torch.tensor([2.0, 0.0]),
            sized.format("they count by all their faces"): torch.tensor([19 / 9, 0.0]),
            sized.format("they count by their faces without it"): torch.tensor([1.8, 0.0]),
            sized.format("their differences are added up, not averaged"): torch.tensor([4.0, 0.0]),
            "the differences are counted and added up: divide by the number of faces.": torch.tensor(
                [10.0, 0.0]
            ),
            "a direction of the company was subtracted, and part of the attribute with it. Compare within "
            "groups.": plain - (plain @ away) / (away @ away) * away,
            "only the faces *without* the company were compared: every group counts.": torch.tensor(
                [1.0, 0.0]
            ),
            "only the faces *with* the company were compared: every group counts.": torch.tensor([3.0, 0.0]),
        },
    )
    _two_columns(answer)
    _one_side(answer, mu, has, company)


def _two_columns(answer: Tried) -> None:
    """Codes that neither column explains alone: equal company means equal in every column."""
    has, company = _faces(
        (1, 3, [False, False]), (3, 1, [True, False]), (2, 2, [True, True]), (1, 2, [False, True])
    )
    mu = torch.stack([has.float(), 10.0 * (company[:, 0] ^ company[:, 1])], dim=1)
    if not same(answer(mu, has, company), torch.tensor([1.0, 0.0])):
        raise Mistake(
            "right for one column of company, wrong for two: faces are alike if they agree in *every* "
            "column, so two columns make four groups."
        )


def _one_side(answer: Tried, mu: Tensor, has: Tensor, company: Tensor) -> None:
    more, others = _faces((4, 0, [True, True]), (0, 3, [False, True]))
    both = torch.cat([torch.cat([company, torch.zeros_like(company)], dim=1), others])
    found = answer(torch.cat([mu, torch.full((7, 2), 50.0)]), torch.cat([has, more]), both)
    if not found.isfinite().all():
        raise Mistake("NaN: a group has faces on one side only. It has no difference; leave it out.")
    if same(found, torch.tensor([1.25, 0.0])):
        raise Mistake("a group that was left out still counts in the number by which you divide.")
    if not same(found, torch.tensor([2.5, 0.0])):
        raise Mistake("a group with faces on one side only should be left out, and changes the result.")
    try:
        answer.answer(mu, has, has[:, None])
    except ValueError:
        return
    except Exception as error:
        raise Mistake(
            f"no group has both sides: expected a ValueError, found {type(error).__name__}."
        ) from None
    raise Mistake(
        "where no group has both sides there is nothing to compare: raise a ValueError that says so."
    )


class Plain(nn.Module):
    """Latents are pixels, drawn again a little paler; batch statistics are played by a shift in training."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu = x.flatten(1) * self.scale + (0.3 if self.training else 0.0)
        return mu, torch.zeros_like(mu)

    def decode(self, z: Tensor) -> Tensor:
        return 0.9 * z.unflatten(1, (3, 2, 2)) / self.scale

    def reparameterize(self, mu: Tensor, log_var: Tensor) -> Tensor:
        return mu + torch.randn_like(mu) * (0.5 * log_var).exp()

    def generate(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0]).detach()

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))


def counterfactual_gains(answer: Callable) -> None:
    """Try ``counterfactual_gains(model, codes, has, before, after, amounts)``."""
    tried = "a toy model: three amounts, four faces, in eval and in training"
    instead = TASKS["counterfactual_gains"].poisoned
    tell("counterfactual_gains", _gains, [answer], instead, tried)


def _gains(answer: Tried) -> None:
    code = getattr(answer.answer, "__code__", None)
    if code is not None and "code_of" in code.co_names:  # a class has none
        raise Mistake("`code_of` knows the notebook's own model alone: ask the `model` that is handed over.")
    g = torch.Generator().manual_seed(2)
    codes, has = torch.rand(12, 12, generator=g), torch.arange(12) % 3 == 0
    codes[has] += 0.3
    before = torch.rand(4, 3, 2, 2, generator=g) / 2
    after = before + 0.25 * torch.rand(4, 1, 2, 2, generator=g)
    amounts, model = torch.tensor([0.5, 1.5, 0.0]), Plain().eval()
    given = codes, has, before, after, amounts
    found = answer(model, *given)
    if isinstance(found, Tensor) and found.shape == (4, 3):
        raise Mistake("gives shape (4, 3): expected (3, 4), a row an amount and a column a face.")
    expect_shape(found, (3, 4), "a row an amount, a column a face")
    if not same(found, answer(model, *given)):
        raise Mistake("two calls give two results: z looks sampled. The code of a face is mu.")
    recognise(found, *_candidates(*given), " dB")
    if found.requires_grad:
        raise Mistake("the numbers are right, but a graph hangs on them: nothing is trained here (no_grad).")
    in_training = model.train()
    found = answer(in_training, *given)
    if not same(found, _candidates(*given)[0]):
        raise Mistake("a model handed over in training mode gives other numbers: call eval() first.")
    if not in_training.training:
        raise Mistake("the model was in training mode and comes back in eval: leave it as you found it.")


@torch.no_grad()
def _candidates(
    codes: Tensor, has: Tensor, before: Tensor, after: Tensor, amounts: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The gains (K, n), and what they become by a mistake."""
    model = Plain().eval()
    code = model.encode(before)[0]
    vector = codes[has].mean(dim=0) - codes[~has].mean(dim=0)

    def gain(v: Tensor, truth: Tensor = after, nothing: Tensor | None = None) -> Tensor:
        nothing = _mse(model.decode(code), truth) if nothing is None else nothing
        return torch.stack(
            [10 * torch.log10(nothing / _mse(model.decode(code + a * v), truth)) for a in amounts]
        )

    right, one, half = gain(vector), torch.ones(4), codes[has].mean(dim=0) - codes.mean(dim=0)
    own, leaked = model.encode(after)[0] - code, (model.encode(after)[0] - code).mean(dim=0)
    errors = torch.stack([_mse(model.decode(code + a * vector), after) for a in amounts])
    one_error = torch.stack([10 * (errors[-1].mean() / error.mean()).log10() for error in errors])
    return right, {
        "this is the PSNR itself: the baseline is missing. How much nearer than doing nothing?": gain(
            vector, nothing=one
        ),
        "the sign is turned round: a gain is positive where the face comes nearer to the truth.": -right,
        "the vector points from 'with' to 'without': turn it round.": gain(-vector),
        "the distance is measured to `before`: the truth is `after`.": gain(vector, before),
        "from the faces with it the mean of *all* is taken: it is minus the mean of those without.": gain(
            half
        ),
        "the vector comes from the test faces: `after` shows the answer. It comes from `codes` alone.": gain(
            leaked
        ),
        "each face gets a vector of its own from `after`, the answer: it comes from `codes` alone.": gain(
            own
        ),
        "the baseline is `before` itself: doing nothing means its *reconstruction* (amount 0).": gain(
            vector, nothing=_mse(before, after)
        ),
        "the baseline is the first amount: doing nothing is amount 0, listed or not.": right - right[0],
        "one error for the whole batch: each face has a PSNR and a gain of its own.": one_error[
            :, None
        ].expand(3, 4),
        "this is a difference of squared errors: the gain is in dB.": errors[-1] - errors,
        "the logarithm is the natural one: dB take log10.": right * 2.302585,
        "the vector is scaled to length 1: amounts count whole vectors.": gain(vector / vector.norm()),
        "dB are 10 log10 of a squared error, not 20.": 2 * right,
    }


def _mse(x_hat: Tensor, x: Tensor) -> Tensor:
    return (x_hat - x).square().flatten(1).mean(dim=1)
