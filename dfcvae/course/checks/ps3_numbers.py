"""Self-checks of problem set 3, tasks 3 and 4: choose and measure, accuracy beside its baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from dfcvae_classroom.grading.ps3 import TASKS
from torch import Tensor

from dfcvae.course.checks.trial import Mistake, Tried, describe, recognise, tell

WIDTH_95, WIDTH_90 = 1.96, 1.645  # standard errors to either side


def numbers(found: Any, names: tuple[str, ...]) -> Tensor:
    """So many numbers, as float64; the Mistake says what came instead."""
    if isinstance(found, Tensor) and found.dim() == 1:
        found = found.tolist()
    if not isinstance(found, tuple | list) or len(found) != len(names):
        raise Mistake(f"gives {describe(found)}: expected {len(names)} numbers, ({', '.join(names)}).")
    try:
        return torch.tensor([float(value) for value in found], dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        kinds = ", ".join(describe(value) for value in found)
        raise Mistake(f"gives ({kinds}): expected a number each for {', '.join(names)}.") from None


def recognise_number(found: Any, right: float, mistakes: Mapping[str, float], unit: str = "") -> None:
    """``recognise`` for single numbers."""
    found, right, *values = torch.tensor([float(v) for v in (found, right, *mistakes.values())]).unsqueeze(1)
    recognise(found, right, dict(zip(mistakes, values, strict=True)), unit)


def choose_then_measure(answer: Callable) -> None:
    """Try ``choose_then_measure(validation, test, amounts)``."""
    tried = "an amount that is lucky on the test faces, one face that shouts, and harm by every amount"
    tell("choose_then_measure", _choose, [answer], TASKS["choose_then_measure"].poisoned, tried)


def _choose(answer: Tried) -> None:
    g = torch.Generator().manual_seed(4)
    amounts, names = torch.tensor([0.5, 1.25, 2.5, 3.5, 4.5]), ("amount", "mean", "low", "high")
    validation = torch.tensor([[0.1], [1.0], [0.3], [-1.0], [0.0]]) + 0.2 * torch.randn(5, 40, generator=g)
    validation[0, 0] = 8.0
    validation[4] += torch.where(torch.arange(40) < 24, 1.8, -1.8)
    test = torch.tensor([[0.2], [0.7], [1.9], [-1.0], [0.1]]) + 0.5 * torch.randn(5, 100, generator=g)
    amount, mean, *ends = numbers(answer(validation, test, amounts), names).tolist()
    chosen = {
        2.5: "the amount is the best on `test`: choose on `validation`, or the test faces have a say in it.",
        0.5: "one face decides the amount: choose by the *mean* over the validation faces.",
        3.5: "this is the worst amount: take the largest mean gain.",
        4.5: "the amount is good for most faces and bad for the rest: choose by the *mean*, not the median.",
        1.0: "this is the amount's row number: give back the amount itself.",
    }
    if not abs(amount - 1.25) < 1e-4:
        raise Mistake(chosen.get(round(amount, 3), f"the amount is {amount:g}: which has the best mean?"))
    row, both, each = test[1].double(), torch.cat([validation[1], test[1]]), test.amax(dim=0)
    own = validation[1]
    recognise_number(
        mean,
        row.mean(),
        {
            "this is the mean of the validation faces: they have chosen, so measure on `test`.": own.mean(),
            "the validation faces are in the mean: they have chosen, so they do not measure.": both.mean(),
            "each face has an amount of its own (a maximum over amounts): one amount for all.": each.mean(),
            "this is the median: the task asks for the mean.": row.median(),
        },
        " dB",
    )
    if abs((ends[1] - ends[0]) / 2 / (WIDTH_95 * own.std().item() / len(own) ** 0.5) - 1) < 1e-3:
        raise Mistake("the interval is as wide as that of the validation faces: take the faces measured on.")
    _interval(torch.tensor(ends), row.mean().item(), row.std().item(), len(row))
    still = torch.zeros(1, 40)
    nothing = answer(torch.cat([still, still - 1]), torch.cat([still, still + 1]), torch.tensor([0.0, 1.0]))
    amount, mean, *ends = numbers(nothing, names).abs().tolist()
    if max(amount, mean) > 1e-6:
        raise Mistake(
            "where every amount harms and 0 is on offer, the answer is 0, with a gain of exactly 0."
        )
    if max(ends) > 1e-6:
        raise Mistake("where the gain is 0 on every face, so is its interval: it is that of one row alone.")


def _interval(ends: Tensor, mean: float, std: float, n: int, slack: float = 0.08) -> None:
    """Raise the Mistake where low and high are not those of 95 % for a mean of n values."""
    low, high = ends.tolist()
    half, error = (high - low) / 2, std / n**0.5
    if low > high:
        raise Mistake("low lies above high.")
    if half < 1e-9:
        raise Mistake("the interval is empty: low and high are the same.")
    widths = {
        "that holds 95 % of the *faces*: for their mean divide the spread by the root of n.": std * WIDTH_95,
        "it is an interval of 90 %: 95 % need 2.5 % on either side.": error * WIDTH_90,
        "it reaches one standard error to either side: 95 % need 1.96.": error,
    }
    if abs(half / (error * WIDTH_95) - 1) > slack:
        named = [name for name, width in widths.items() if abs(half / width - 1) < 0.06]
        raise Mistake(
            named[0] if named else f"the interval reaches ± {half:.3g}, expected ± {1.96 * error:.3g}."
        )
    if abs((low + high) / 2 - mean) > 0.15 * error * WIDTH_95:
        raise Mistake("the interval has the right width, but does not lie around the gain.")


def evidence(answer: Callable) -> None:
    """Try ``evidence(learn_has, read, has, draws, seed)``."""
    tried = "a label that is frequent in training and rare in the test, a reader that adds nothing, two seeds"
    tell("evidence", _evidence, [answer], TASKS["evidence"].poisoned, tried)


def _evidence(answer: Tried) -> None:
    g = torch.Generator().manual_seed(8)
    learn_has, has = torch.arange(90) % 3 > 0, torch.arange(240) % 5 < 2
    read = has ^ (torch.rand(240, generator=g) < torch.where(has, 0.1, 0.4))

    def found(reads: Tensor = read, draws: int = 3_000) -> Tensor:
        result = answer(learn_has, reads, has, draws, 5)
        keys = ("accuracy", "majority", "gain", "low", "high")
        if not isinstance(result, Mapping) or set(keys) - set(result):
            raise Mistake(f"gives {describe(result)}: expected a dict with {', '.join(keys)}.")
        return numbers([result[key] for key in keys], keys)

    accuracy, majority, gain, *ends = found().tolist()
    right = (read == has).double()
    balanced = (right[has].mean() + right[~has].mean()) / 2
    recognise_number(
        accuracy,
        right.mean(),
        {
            "accuracy is in percent: shares lie between 0 and 1.": 100 * right.mean(),
            "this is the balanced accuracy: here plain accuracy is set against the majority's.": balanced,
            "this is the share of errors: accuracy is the share that is right.": 1 - right.mean(),
        },
    )
    recognise_number(
        majority,
        0.4,
        {
            "the majority is that of the test labels, or always 'no': its label comes from `learn_has`.": 0.6,
            "a coin is no baseline: say the label that was more frequent in training, and count.": 0.5,
            "this is its frequency in *training*: say that label for the test faces, and count.": 2 / 3,
        },
    )
    if abs(gain - accuracy + majority) > 1e-6:
        raise Mistake("gain is accuracy minus majority.")
    _spread(torch.tensor(ends), right, has.double())
    same_label = found(torch.ones(240).bool())
    if same_label[2:].abs().max() > 1e-6:
        raise Mistake(
            "a reader that always gives the majority's label is 0 ahead in every draw: draw faces, and take "
            "reader and majority on the *same* ones."
        )
    # Few draws: the ends of many would often agree by chance, for a gain moves in steps of 1/240.
    torch.manual_seed(11)
    first = found(draws=20)
    torch.manual_seed(12)
    if not (torch.equal(first, found(draws=20)) and torch.equal(first, found(draws=20))):
        raise Mistake("the same seed gives other numbers: the draws must come from a generator with `seed`.")


def _spread(ends: Tensor, right: Tensor, baseline: Tensor) -> None:
    differences, n = right - baseline, len(right)
    low, high = ends.tolist()
    apart = (right.std() ** 2 + baseline.std() ** 2).sqrt().item()
    if abs((low + high) / 2 - right.mean()) < 0.03:
        raise Mistake("low and high belong to the accuracy: the interval is asked for the *gain*.")
    if abs((high - low) / 2 / (1.96 * apart / n**0.5) - 1) < 0.07:
        raise Mistake(
            "reader and majority are drawn apart: draw faces, and take both on the *same* ones (in pairs)."
        )
    if high - low < 1e-9:
        raise Mistake(
            "every draw gives the same gain: draw *with* replacement, and make one generator for all of them."
        )
    _interval(ends, differences.mean().item(), differences.std().item(), n, 0.1)
