"""Self-checks of problem set 3: each prints one line, which names the mistake where it knows it.

    from dfcvae.course.checks import ps3 as check
    check.matched_vector(matched_vector)

They try other numbers than the hidden tests do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from dfcvae_classroom.grading.ps3 import TASKS
from torch import Tensor

from dfcvae.course.checks.ps3_numbers import choose_then_measure, evidence, numbers, recognise_number
from dfcvae.course.checks.ps3_vectors import counterfactual_gains, matched_vector
from dfcvae.course.checks.trial import Mistake, Tried, describe, tell
from dfcvae.course.lesson_05 import CHANGES

__all__ = [
    "choose_then_measure",
    "claim",
    "compare_seeds",
    "counterfactual_gains",
    "evidence",
    "matched_vector",
    "split_by_person",
]
VERDICTS = ("nearer", "farther", "undecided")


def split_by_person(answer: Callable) -> None:
    """Try ``split_by_person(person, share, seed)``."""
    tell("split_by_person", _split, [answer], (), "people with 1 to 6 pictures in mixed order, three seeds")


def _split(answer: Tried) -> None:
    sizes = torch.tensor([6, 1, 3, 4, 2, 5, 3, 6, 1, 4, 5, 2])
    names = torch.tensor([900, 17, 42, 8, 311, 5, 77, 260, 13, 64, 128, 700])
    person = names.repeat_interleave(sizes)
    person = person[torch.randperm(len(person), generator=torch.Generator().manual_seed(3))]
    learn, test = _rows(answer(person, 0.25, 0), len(person))
    together = sorted([*learn.tolist(), *test.tolist()])
    both = set(person[learn].tolist()) & set(person[test].tolist())
    if both:
        raise Mistake(
            f"{len(both)} of {len(names)} people are on both sides: cut the list of *people*, not pictures."
        )
    if not len(learn) or not len(test):
        raise Mistake("one side is empty. (The people's numbers need not be 0, 1, 2 ...)")
    if together != list(range(len(person))):
        missing = len(person) - len(set(together))
        raise Mistake(
            f"{missing} of {len(person)} pictures are on neither side: all pictures of a person count."
            if missing
            else "a picture appears twice."
        )
    in_test = len(person[test].unique())
    if in_test != 3:
        raise Mistake(
            f"{in_test} of {len(names)} people are in the test part, expected 3: `share` is the *people's* "
            + ("share that is tested, and learning comes before it." if in_test == 9 else "share.")
            + (" Their numbers need not be 0, 1, 2 ..." if (person[test] < len(names)).all() else "")
        )
    if set(test.tolist()) != set(_rows(answer(person, 0.25, 0), len(person))[1].tolist()):
        raise Mistake("the same seed gives another split: shuffle with a generator that has `seed`.")
    others = [set(_rows(answer(person, 0.25, seed), len(person))[1].tolist()) for seed in (1, 2, 3)]
    if all(other == set(test.tolist()) for other in others):
        raise Mistake("every seed gives the same split: shuffle the people before you cut.")


def _rows(found: Any, n: int) -> tuple[Tensor, Tensor]:
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise Mistake(f"gives {describe(found)}: expected (learn_rows, test_rows).")
    learn, test = (torch.as_tensor(part) for part in found)
    if learn.dtype == torch.bool or test.dtype == torch.bool:
        raise Mistake("gives yes-or-no masks: expected row numbers (nonzero().flatten() makes them).")
    if torch.cat([learn, test]).numel() and not 0 <= torch.cat([learn, test]).max() < n:
        raise Mistake("these are not row numbers: are they the people's numbers?")
    return learn.long(), test.long()


def compare_seeds(answer: Callable) -> None:
    """Try ``compare_seeds(ours, theirs)``."""
    tried = "five seeds twice, with ties"
    tell("compare_seeds", _seeds, [answer], TASKS["compare_seeds"].poisoned, tried)


def _seeds(answer: Tried) -> None:
    theirs = torch.tensor([1.5, 6.0, 4.5, 5.0, 3.0])
    # Of 32 patterns 3 give more than their sum, 7, and 2 as much; as many give it the other way round.
    ours = theirs + torch.tensor([4.0, 3.0, -1.0, 2.0, -1.0])
    names = ("difference", "p")
    difference, p = numbers(answer(ours, theirs), names)
    recognise_number(
        difference,
        1.4,
        {
            "best against best: with enough seeds anybody has a good one. Take all seeds, in pairs.": 3.0,
            "your best seed against their mean: take all seeds, in pairs.": 5.0,
            "this is the best single pair: take every seed.": 4.0,
            "this is the sum of the differences: take their mean.": 7.0,
            "this is the median: the task asks for the mean.": 2.0,
            "this is `theirs` minus `ours`.": -1.4,
            "these are sizes without their signs: a seed that speaks against you counts against you.": 2.2,
        },
    )
    recognise_number(
        p,
        10 / 32,
        {
            "only one side was counted: as large a difference the other way round belongs to it.": 5 / 32,
            "ties were not counted: *at least* as far from 0, and the observed signs are among them.": 6 / 32,
            "this is the share of sign patterns that are *less* far from 0.": 22 / 32,
            "the observed signs were left out of the count: they are one of the patterns.": 9 / 31,
            "the sizes of the differences are lost: this test counts the signs alone.": 1.0,
            "the seeds look sorted: each result stays with its partner of the same seed.": 2 / 32,
            "the pairs are lost: all ten results were mixed. Only the sign of each difference is free.": 102
            / 252,
            "this trusts five numbers to be normal: go through the patterns of signs.": 0.17389,
        },
    )
    if abs(numbers(answer(torch.arange(1.0, 6.0), torch.zeros(5)), names)[1] - 2 / 32) > 1e-4:
        raise Mistake("five seeds that all agree have p = 2 of 32 patterns: go through all 2^S, and exactly.")
    again = numbers(answer(theirs, ours), names)
    if abs(again[0] + difference) > 1e-6 or abs(again[1] - p) > 1e-6:
        raise Mistake("with `ours` and `theirs` exchanged the difference should turn round, and p stay.")


def claim(found: Any) -> None:
    """Try the claim's form: whether its parts agree with each other, not whether the numbers are right."""
    tell("claim", lambda _: _claim(found), [found], (), "its form: the numbers themselves are checked later")


def _claim(found: Any) -> None:
    keys = ("attribute", "amount", "gain", "low", "high", "faces", "verdict")
    if not isinstance(found, Mapping):
        raise Mistake(f"claim is {describe(found)}: expected a dict with {', '.join(keys)}.")
    missing = [key for key in keys if found.get(key) is None or found[key] is ...]
    if missing:
        raise Mistake(f"not complete: {', '.join(missing)}.")
    if found["attribute"] not in CHANGES:
        raise Mistake(f"attribute is {found['attribute']!r}: take one of {', '.join(CHANGES)}.")
    amount, gain, low, high, faces = numbers([found[key] for key in keys[1:6]], keys[1:6]).tolist()
    if amount <= 0:
        raise Mistake(f"amount is {amount:g}: one of the amounts that were tried.")
    if low > high:
        raise Mistake("low lies above high.")
    if not low <= gain <= high:
        raise Mistake("the gain lies outside of its own interval: do the three come from the same faces?")
    if faces != int(faces) or faces < 2:
        raise Mistake("faces is the number of test faces that the gain was measured on.")
    if high - low > 8:
        raise Mistake("the interval spans more than 8 dB: is it that of single faces, not of their mean?")
    if found["verdict"] not in VERDICTS:
        raise Mistake(f"verdict is {found['verdict']!r}: one of {', '.join(VERDICTS)}.")
    said = "nearer" if low > 0 else "farther" if high < 0 else "undecided"
    if found["verdict"] != said and 0 not in (low, high):
        raise Mistake(
            f"the verdict is {found['verdict']!r}; the interval, {low:g} to {high:g}, says {said!r}."
        )
