"""Self-checks of problem set 3: inputs, right numbers, and what known mistakes give."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from dfcvae.course.checks.ps3 import small_vae
from dfcvae.course.checks.trial import given
from dfcvae.course.lesson_05 import CHANGES
from dfcvae_classroom.grading.ps3_cases import matched, sign_flips
from dfcvae_classroom.make_checks import case

LOW_ABOVE_HIGH = "low lies above high."
INTERVAL = {
    "low above high": LOW_ABOVE_HIGH,
    "empty interval": "the interval is empty: low and high are the same.",
    "off centre": "the interval has the right width, but does not lie around the gain.",
}


def stored(tensor: Tensor) -> dict[str, Any]:
    """A tensor whose every number is written down."""
    return {"numbers": tensor.tolist()}


def tasks() -> dict[str, Any]:
    return {
        "matched_vector": matched_vector(),
        "counterfactual_gains": counterfactual_gains(),
        "choose_then_measure": choose_then_measure(),
        "evidence": evidence(),
        "split_by_person": split_by_person(),
        "compare_seeds": compare_seeds(),
        "claim": claim(),
    }


def _faces(*groups: tuple[int, int, list[bool]]) -> tuple[Tensor, Tensor]:
    """(with, without, company) a group -> has (n,), company (n, K)."""
    has = torch.cat([torch.arange(a + b) < a for a, b, _ in groups])
    company = torch.cat([torch.tensor([row]).expand(a + b, -1) for a, b, row in groups])
    return has, company


def matched_vector() -> dict[str, Any]:
    # The attribute moves dimension 0, by 1 without company and by 3 with it; the company dimension 1.
    has, company = _faces((1, 3, [False]), (3, 2, [True]))
    mu = torch.stack([has * (1.0 + 2 * company[:, 0]), 10.0 * company[:, 0]], dim=1)
    plain = mu[has].mean(dim=0) - mu[~has].mean(dim=0)
    away = mu[company[:, 0]].mean(dim=0) - mu[~company[:, 0]].mean(dim=0)
    sized = "the groups are told apart, but {}: a group counts by how many faces *with* the attribute it has."
    wrong = {
        "the company is still in it: the plain difference of two means. Compare within groups.": plain,
        "the sign is turned round: it is the mean *with* minus the mean *without*.": [-2.5, 0.0],
        sized.format("each counts alike"): [2.0, 0.0],
        sized.format("they count by all their faces"): [19 / 9, 0.0],
        sized.format("they count by their faces without it"): [1.8, 0.0],
        sized.format("their differences are added up, not averaged"): [4.0, 0.0],
        "the differences are counted and added up: divide by the number of faces.": [10.0, 0.0],
        "a direction of the company was subtracted, and part of the attribute with it. Compare within "
        "groups.": plain - (plain @ away) / (away @ away) * away,
        "only the faces *without* the company were compared: every group counts.": [1.0, 0.0],
        "only the faces *with* the company were compared: every group counts.": [3.0, 0.0],
    }
    # Codes that neither column explains alone: equal company means equal in every column.
    has_2, company_2 = _faces(
        (1, 3, [False, False]), (3, 1, [True, False]), (2, 2, [True, True]), (1, 2, [False, True])
    )
    mu_2 = torch.stack([has_2.float(), 10.0 * (company_2[:, 0] ^ company_2[:, 1])], dim=1)
    # The faces of the first case, and two groups with one side.
    more, others = _faces((4, 0, [True, True]), (0, 3, [False, True]))
    has_3, mu_3 = torch.cat([has, more]), torch.cat([mu, torch.full((7, 2), 50.0)])
    company_3 = torch.cat([torch.cat([company, torch.zeros_like(company)], dim=1), others])
    columns = {
        "otherwise": "right for one column of company, wrong for two: faces are alike if they agree in "
        "*every* column, so two columns make four groups."
    }
    one_side = {
        "kinds": {"NaN": "NaN: a group has faces on one side only. It has no difference; leave it out."},
        "otherwise": "a group with faces on one side only should be left out, and changes the result.",
    }
    left = {"a group that was left out still counts in the number by which you divide.": [1.25, 0.0]}
    cases: list[tuple[tuple[Tensor, ...], dict[str, Any], dict[str, Any]]] = [
        ((mu, has, company), wrong, {}),
        ((mu_2, has_2, company_2), {}, columns),
        ((mu_3, has_3, company_3), left, one_side),
    ]
    result = {"shape": [2], "meaning": "one vector, (latent_dim,)"}
    names = ("mu", "has", "company")
    return {
        "tried": "groups of unequal size, two columns, a group with one side, no group with both",
        "cases": [
            {"given": dict(zip(names, map(stored, inputs), strict=True))}
            | case(matched(*inputs), mistakes, **result, **more)
            for inputs, mistakes, more in cases
        ],
        "say": {
            "another error": "no group has both sides: expected a ValueError, found {kind}.",
            "no error": (
                "where no group has both sides there is nothing to compare: raise a ValueError that says so."
            ),
        },
    }


def counterfactual_gains() -> dict[str, Any]:
    recipes = [
        {"seed": 31, "shape": [12, 5], "high": 6.0},
        stored(torch.arange(12) % 3 == 0),
        {"seed": 32, "shape": [4, 3, 32, 32], "low": 0.25, "high": 0.5},
        {"seed": 33, "shape": [4, 3, 32, 32], "low": 0.2, "high": 0.7},
        stored(torch.tensor([0.5, 1.5, 0.0])),
    ]
    result = {
        "shape": [3, 4],
        "meaning": "a row an amount, a column a face",
        "kinds": {"(4, 3)": "gives shape (4, 3): expected (3, 4), a row an amount and a column a face."},
    }
    with torch.no_grad():
        right, mistakes = _gains(*map(given, recipes))
    return {
        "tried": "a toy model: three amounts, four faces, in eval and in training",
        "given": recipes,
        "gains": case(right, mistakes, unit=" dB", **result),
        "say": {
            "code_of": "`code_of` knows the notebook's own model alone: ask the `model` that is handed over.",
            "sampled": "two calls give two results: z looks sampled. The code of a face is mu.",
            "graph left": (
                "the numbers are right, but a graph hangs on them: nothing is trained here (no_grad)."
            ),
            "training mode": ("a model handed over in training mode gives other numbers: call eval() first."),
            "left in eval": (
                "the model was in training mode and comes back in eval: leave it as you found it."
            ),
        },
    }


def _gains(
    codes: Tensor, has: Tensor, before: Tensor, after: Tensor, amounts: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The gains (K, n), and what they become by a mistake."""
    model = small_vae().eval()
    code = model.encode(before)[0]
    vector = codes[has].mean(dim=0) - codes[~has].mean(dim=0)

    def mse(x_hat: Tensor, x: Tensor) -> Tensor:
        return (x_hat - x).square().flatten(1).mean(dim=1)

    def gain(v: Tensor, truth: Tensor = after, nothing: Tensor | None = None) -> Tensor:
        nothing = mse(model.decode(code), truth) if nothing is None else nothing
        return torch.stack(
            [10 * torch.log10(nothing / mse(model.decode(code + a * v), truth)) for a in amounts]
        )

    right, one, half = gain(vector), torch.ones(4), codes[has].mean(dim=0) - codes.mean(dim=0)
    own, leaked = model.encode(after)[0] - code, (model.encode(after)[0] - code).mean(dim=0)
    errors = torch.stack([mse(model.decode(code + a * vector), after) for a in amounts])
    one_error = torch.stack([10 * (errors[-1].mean() / error.mean()).log10() for error in errors])
    return right, {
        "this is the PSNR itself: the baseline is missing. How much nearer than doing nothing?": (
            gain(vector, nothing=one)
        ),
        "the sign is turned round: a gain is positive where the face comes nearer to the truth.": -right,
        "the vector points from 'with' to 'without': turn it round.": gain(-vector),
        "the distance is measured to `before`: the truth is `after`.": gain(vector, before),
        "from the faces with it the mean of *all* is taken: it is minus the mean of those without.": (
            gain(half)
        ),
        "the vector comes from the test faces: `after` shows the answer. It comes from `codes` alone.": (
            gain(leaked)
        ),
        "each face gets a vector of its own from `after`, the answer: it comes from `codes` alone.": gain(
            own
        ),
        "the baseline is `before` itself: doing nothing means its *reconstruction* (amount 0).": (
            gain(vector, nothing=mse(before, after))
        ),
        "the baseline is the first amount: doing nothing is amount 0, listed or not.": right - right[0],
        "one error for the whole batch: each face has a PSNR and a gain of its own.": (
            one_error[:, None].expand(3, 4)
        ),
        "this is a difference of squared errors: the gain is in dB.": errors[-1] - errors,
        "the logarithm is the natural one: dB take log10.": right * 2.302585,
        "the vector is scaled to length 1: amounts count whole vectors.": gain(vector / vector.norm()),
        "dB are 10 log10 of a squared error, not 20.": 2 * right,
    }


def _interval(values: Tensor, slack: float, before: dict[str, float]) -> dict[str, Any]:
    """The 95 % interval of a mean, and half of what other widths give. before: mistakes to look for first."""
    std, error = values.std().item(), values.std().item() / len(values) ** 0.5
    halves = before | {
        "that holds 95 % of the *faces*: for their mean divide the spread by the root of n.": 1.96 * std,
        "it is an interval of 90 %: 95 % need 2.5 % on either side.": 1.645 * error,
        "it reaches one standard error to either side: 95 % need 1.96.": error,
    }
    mean = float(f"{values.mean().item():.6g}")
    otherwise = f"the interval has another width: expected is ± {1.96 * error:.3g}."
    return case(1.96 * error, halves, centre=mean, slack=slack, otherwise=otherwise)


def choose_then_measure() -> dict[str, Any]:
    # On validation the second amount is best; the first has one face that shouts, the last most faces. On
    # test the third is best.
    g, amounts = torch.Generator().manual_seed(4), torch.tensor([0.5, 1.25, 2.5, 3.5, 4.5])
    validation = torch.tensor([[0.1], [1.0], [0.3], [-1.0], [0.0]]) + 0.2 * torch.randn(5, 40, generator=g)
    validation[0, 0] = 8.0
    validation[4] += torch.where(torch.arange(40) < 24, 1.8, -1.8)
    test = torch.tensor([[0.2], [0.7], [1.9], [-1.0], [0.1]]) + 0.5 * torch.randn(5, 100, generator=g)
    validation, test = (100 * validation).round() / 100, (100 * test).round() / 100
    own, row = validation[1], test[1]
    chosen = {
        "the amount is the best on `test`: choose on `validation`, or the test faces have a say in it.": 2.5,
        "one face decides the amount: choose by the *mean* over the validation faces.": 0.5,
        "this is the worst amount: take the largest mean gain.": 3.5,
        "the amount is good for most faces and bad for the rest: choose by the *mean*, not the median.": 4.5,
        "this is the amount's row number: give back the amount itself.": 1.0,
    }
    means = {
        "this is the mean of the validation faces: they have chosen, so measure on `test`.": own.mean(),
        "the validation faces are in the mean: they have chosen, so they do not measure.": (
            torch.cat([own, row]).mean()
        ),
        "each face has an amount of its own (a maximum over amounts): one amount for all.": (
            test.amax(dim=0).mean()
        ),
        "this is the median: the task asks for the mean.": row.median(),
    }
    narrow = "the interval is as wide as that of the validation faces: take the faces measured on."
    widths = {narrow: (1.96 * own.std() / len(own) ** 0.5).item()}
    return {
        "tried": "an amount that is lucky on the test faces, one face that shouts, and harm by every amount",
        "given": [
            {"numbers": [[float(f"{x:.2f}") for x in one] for one in group.tolist()]}
            for group in (validation, test)
        ]
        + [stored(amounts)],
        "amount": case(1.25, chosen),
        "mean": case(row.double().mean(), means, unit=" dB"),
        "interval": _interval(row, 0.08, widths),
        "say": INTERVAL
        | {
            "every amount harms": (
                "where every amount harms and 0 is on offer, the answer is 0, with a gain of exactly 0."
            ),
            "interval of nothing": (
                "where the gain is 0 on every face, so is its interval: it is that of one row alone."
            ),
        },
    }


def evidence() -> dict[str, Any]:
    # The label is frequent in training and rare in the test.
    g = torch.Generator().manual_seed(8)
    learn_has, has = torch.arange(90) % 3 > 0, torch.arange(240) % 5 < 2
    read = has ^ (torch.rand(240, generator=g) < torch.where(has, 0.1, 0.4))
    right, baseline = (read == has).double(), has.double()
    accuracy = right.mean()
    accuracies = {
        "accuracy is in percent: shares lie between 0 and 1.": 100 * accuracy,
        "this is the balanced accuracy: here plain accuracy is set against the majority's.": (
            (right[has].mean() + right[~has].mean()) / 2
        ),
        "this is the share of errors: accuracy is the share that is right.": 1 - accuracy,
    }
    majorities = {
        "the majority is that of the test labels, or always 'no': its label comes from `learn_has`.": 0.6,
        "a coin is no baseline: say the label that was more frequent in training, and count.": 0.5,
        "this is its frequency in *training*: say that label for the test faces, and count.": 2 / 3,
    }
    apart = "reader and majority are drawn apart: draw faces, and take both on the *same* ones (in pairs)."
    spread = (right.std() ** 2 + baseline.std() ** 2).sqrt().item()
    interval = _interval(right - baseline, 0.1, {apart: 1.96 * spread / len(has) ** 0.5})
    return {
        "tried": (
            "a label that is frequent in training and rare in the test, a reader that adds nothing, two seeds"
        ),
        "given": [*map(stored, (learn_has, read, has))],
        "keys": ["accuracy", "majority", "gain", "low", "high"],
        "accuracy": case(accuracy, accuracies),
        "majority": case(0.4, majorities),
        "interval": interval,
        "say": INTERVAL
        | {
            "not complete": "gives {found}: expected a dict with {keys}.",
            "no difference": "gain is accuracy minus majority.",
            "interval of the accuracy": (
                "low and high belong to the accuracy: the interval is asked for the *gain*."
            ),
            "empty interval": (
                "every draw gives the same gain: draw *with* replacement, and make one generator for all."
            ),
            "not in pairs": (
                "a reader that always gives the majority's label is 0 ahead in every draw: draw faces, and "
                "take reader and majority on the *same* ones."
            ),
            "no seed": (
                "the same seed gives other numbers: the draws must come from a generator with `seed`."
            ),
        },
    }


def split_by_person() -> dict[str, Any]:
    sizes = torch.tensor([6, 1, 3, 4, 2, 5, 3, 6, 1, 4, 5, 2])
    names = torch.tensor([900, 17, 42, 8, 311, 5, 77, 260, 13, 64, 128, 700])
    person = names.repeat_interleave(sizes)
    person = person[torch.randperm(len(person), generator=torch.Generator().manual_seed(3))]
    share = (
        "{tested} of {people} people are in the test part, expected {right}: `share` is the *people's* share"
    )
    return {
        "tried": "people with 1 to 6 pictures in mixed order, three seeds",
        "person": stored(person),
        "share": 0.25,
        "say": {
            "masks": "gives yes-or-no masks: expected row numbers (nonzero().flatten() makes them).",
            "no rows": "these are not row numbers: are they the people's numbers?",
            "both sides": (
                "{both} of {people} people are on both sides: cut the list of *people*, not pictures."
            ),
            "one side empty": "one side is empty. (The people's numbers need not be 0, 1, 2 ...)",
            "not once": (
                "each of the {pictures} pictures belongs on one side, once: {rows} different rows are there."
            ),
            "share turned round": f"{share} that is tested, and learning comes before it.",
            "counted from 0": f"{share}. Their numbers need not be 0, 1, 2 ...",
            "share": f"{share}.",
            "no seed": "the same seed gives another split: shuffle with a generator that has `seed`.",
            "no shuffle": "every seed gives the same split: shuffle the people before you cut.",
        },
    }


def compare_seeds() -> dict[str, Any]:
    theirs = torch.tensor([1.5, 6.0, 4.5, 5.0, 3.0])
    # Of 32 patterns 3 give more than their sum, 7, and 2 as much; as many give it the other way round.
    steps = torch.tensor([4.0, 3.0, -1.0, 2.0, -1.0])
    differences = {
        "best against best: with enough seeds anybody has a good one. Take all seeds, in pairs.": 3.0,
        "your best seed against their mean: take all seeds, in pairs.": 5.0,
        "this is the best single pair: take every seed.": 4.0,
        "this is the sum of the differences: take their mean.": 7.0,
        "this is the median: the task asks for the mean.": 2.0,
        "this is `theirs` minus `ours`.": -1.4,
        "these are sizes without their signs: a seed that speaks against you counts against you.": 2.2,
    }
    normal = 2 - 2 * torch.distributions.Normal(0.0, 1.0).cdf(steps.mean() / (steps.std() / 5**0.5))
    shares = {
        "only one side was counted: as large a difference the other way round belongs to it.": 5 / 32,
        "ties were not counted: *at least* as far from 0, and the observed signs are among them.": 6 / 32,
        "this is the share of sign patterns that are *less* far from 0.": 22 / 32,
        "the observed signs were left out of the count: they are one of the patterns.": 9 / 31,
        "the sizes of the differences are lost: this test counts the signs alone.": 1.0,
        "the seeds look sorted: each result stays with its partner of the same seed.": (
            sign_flips((theirs + steps).sort()[0] - theirs.sort()[0])
        ),
        "the pairs are lost: all ten results were mixed. Only the sign of each difference is free.": (
            _mixed(theirs + steps, theirs)
        ),
        "this trusts five numbers to be normal: go through the patterns of signs.": normal,
    }
    return {
        "tried": "five seeds twice, with ties",
        "ours": stored(theirs + steps),
        "theirs": stored(theirs),
        "difference": case(steps.mean(), differences),
        "p": case(sign_flips(steps), shares),
        "say": {
            "all agree": (
                "five seeds that all agree have p = 2 of 32 patterns: go through all 2^S, and exactly."
            ),
            "turned round": (
                "with `ours` and `theirs` exchanged the difference should turn round, and p stay."
            ),
        },
    }


def _mixed(ours: Tensor, theirs: Tensor) -> float:
    """The share of splits of all results, without pairs, that differ at least as much."""
    every, n = [*ours.tolist(), *theirs.tolist()], len(ours)
    far = abs(sum(every[:n]) - sum(every[n:])) - 1e-9
    splits = [abs(2 * sum(part) - sum(every)) >= far for part in itertools.combinations(every, n)]
    return sum(splits) / len(splits)


def claim() -> dict[str, Any]:
    return {
        "tried": "its form: the numbers themselves are checked later",
        "keys": ["attribute", "amount", "gain", "low", "high", "faces", "verdict"],
        "attributes": list(CHANGES),
        "say": {
            "no dict": "claim is {found}: expected a dict with {keys}.",
            "not complete": "not complete: {missing}.",
            "attribute": f"attribute is {{found!r}}: take one of {', '.join(CHANGES)}.",
            "amount": "amount is {amount:g}: one of the amounts that were tried.",
            "low above high": LOW_ABOVE_HIGH,
            "outside": ("the gain lies outside of its own interval: do the three come from the same faces?"),
            "faces": "faces is the number of test faces that the gain was measured on.",
            "wide": ("the interval spans more than 8 dB: is it that of single faces, not of their mean?"),
            "verdict": "verdict is {found!r}: one of nearer, farther, undecided.",
            "verdict denied": "the verdict is {found!r}; the interval, {low:g} to {high:g}, says {said!r}.",
        },
    }
