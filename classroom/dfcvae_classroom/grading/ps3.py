"""Hidden tests of problem set 3: what the latent space is evidence for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dfcvae import latent
from dfcvae.evaluation import interval, psnr
from dfcvae_classroom.grading import Check, Deal, Task, ps3_cases
from dfcvae_classroom.grading.ps3_deal import deal_notebook as deal_notebook
from dfcvae_classroom.grading.ps3_vectors import Answers, counterfactual_gains, matched_vector, near, own

_sign_flips, _interval = own(ps3_cases.sign_flips), own(ps3_cases.interval)


# Task 3: choose here, measure there


def _choose(answers: Answers, deal: Deal) -> Iterator[Check]:
    choose = answers["choose_then_measure"]
    g = deal.generator("ps3", "choose")
    amounts = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]) + torch.rand(1, generator=g)
    chosen, lucky, split, *_ = torch.randperm(5, generator=g).tolist()  # best here, best there, best median
    level = 0.2 + 0.1 * torch.rand(2, 5, 1, generator=g)
    level[0, chosen], level[1, lucky] = 1.5, 1.8
    validation = level[0] + 0.4 * torch.randn(5, 60, generator=g)
    test = level[1] + 0.8 * torch.randn(5, 90, generator=g)
    validation[split] += torch.where(torch.arange(60) < 36, 2.0, -3.0)  # good for most faces, not on average
    validation[lucky, 0] = 9.0  # one face for which another amount is far better
    mean, half = _interval(test[chosen])

    def result() -> list[float]:
        return [float(value) for value in choose(validation, test, amounts)]

    yield 2, lambda: near(result()[0], amounts[chosen])
    yield 1.5, lambda: near(result()[1], mean)
    yield 1.5, lambda: near(result()[2:], [mean - half, mean + half], 0.08 * half)

    def leaves_it() -> bool:
        """Where every amount harms, 0 is an answer, and the gain is exactly 0 without any doubt."""
        harm = torch.stack([torch.zeros(60), *(-1 - torch.rand(2, 60, generator=g))])
        nothing = [float(value) for value in choose(harm, -harm, torch.tensor([0.0, 1.0, 2.0]))]
        return near(nothing, [0.0, 0.0, 0.0, 0.0]) and near(result()[0], amounts[chosen])

    yield 1, leaves_it


# Task 4: accuracy beside its baseline


def _evidence(answers: Answers, deal: Deal) -> Iterator[Check]:
    evidence = answers["evidence"]
    g, draws, seed = deal.generator("ps3", "evidence"), 4_000, deal.seed("ps3", "draws") % 10_000

    learn_has = torch.rand(300, generator=g) < 0.7
    has = torch.rand(150, generator=g) < 0.35  # the label that was rarer in training is the more frequent one
    # More often wrong where the majority is wrong too: pairs matter.
    read = has ^ (torch.rand(150, generator=g) < torch.where(has, 0.05, 0.45))
    gain = (read == has).double() - has.double()  # always "yes" is right where has it
    mean, half = _interval(gain)

    @functools.cache
    def result() -> Mapping[str, Any]:
        return evidence(learn_has, read, has, draws, seed)

    def found(key: str) -> float:
        return float(result()[key])

    def bounded() -> bool:
        return near([found("low"), found("high")], [mean - half, mean + half], 0.12 * half)

    yield 1, lambda: near(found("accuracy"), (read == has).double().mean())
    yield 2, lambda: near(found("majority"), has.double().mean())
    yield 1, lambda: near(found("gain"), mean)
    yield 2, bounded

    def nothing_read() -> bool:
        """Who always says the majority's label is 0 ahead of it, whichever faces are drawn."""
        same = evidence(learn_has, torch.ones(150).bool(), has, draws, seed)
        return near([float(same[key]) for key in ("gain", "low", "high")], [0, 0, 0]) and found("high") > 0.01

    def repeatable() -> bool:
        """With few draws: the ends of many agree by chance too often, for a gain moves in steps of 1/150."""
        torch.manual_seed(1)
        few = [evidence(learn_has, read, has, 20, seed) for _ in range(3)]
        ends = {(float(one["low"]), float(one["high"])) for one in few}
        return len(ends) == 1 and found("high") - found("low") > half

    yield 1, nothing_read
    yield 1, repeatable


# Task 5: nobody on both sides


def _split(answers: Answers, deal: Deal) -> Iterator[Check]:
    split = answers["split_by_person"]
    dealt = deal.random("ps3", "persons")
    regular = torch.arange(40).repeat_interleave(5)
    ids = dealt.sample(range(1_000, 900_000), 30)
    pictures = [one for one in ids for _ in range(dealt.randint(1, 9))]
    dealt.shuffle(pictures)
    irregular, share = torch.tensor(pictures), dealt.choice((0.2, 0.3, 0.4))

    def rows(person: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
        learn, test = (torch.as_tensor(part) for part in split(person, share, seed))
        if not (len(learn) and len(test)) or learn.dtype == torch.bool:
            raise ValueError("no two sets of row numbers")
        return learn, test

    def apart(person: Tensor) -> bool:
        learn, test = rows(person)
        return not set(person[learn].tolist()) & set(person[test].tolist())

    def complete(person: Tensor) -> bool:
        return torch.cat(rows(person)).sort().values.tolist() == list(range(len(person)))

    def as_many(person: Tensor) -> bool:
        in_test = [len(person[rows(person, seed)[1]].unique()) for seed in range(4)]
        return all(abs(n - share * len(person.unique())) < 0.5 for n in in_test)

    def dealt_anew() -> bool:
        tests = [set(rows(irregular, seed)[1].tolist()) for seed in (0, 0, 1, 2)]
        return tests[0] == tests[1] and not tests[0] == tests[2] == tests[3] and apart(irregular)

    yield 2, lambda: apart(regular)
    yield 1, lambda: complete(regular) and complete(irregular)
    yield 1, lambda: as_many(regular) and as_many(irregular)
    yield 1, lambda: apart(irregular) and complete(irregular)
    yield 1, dealt_anew


# Task 6: all seeds, in pairs


def _seeds(answers: Answers, deal: Deal) -> Iterator[Check]:
    compare = answers["compare_seeds"]
    dealt = deal.random("ps3", "seeds")
    theirs = torch.tensor(
        [dealt.randint(-40, 40) / 8 for _ in range(6)]
    )  # eighths: sums are exact, ties are ties
    steps = torch.tensor([dealt.choice((3, 5, 7)) * dealt.choice((1, 1, -1)) / 8 for _ in range(6)])
    steps[0], steps[1] = 1.25, -0.25
    ours = theirs + steps

    def result(a: Tensor, b: Tensor) -> list[float]:
        return [float(value) for value in compare(a, b)]

    always = theirs[:5] + torch.tensor([1.0, 0.5, 2.0, 0.25, 1.5])
    tied = torch.tensor([1.0, 1.0, -1.0, 1.0])
    yield 1, lambda: near(result(ours, theirs)[0], steps.mean())
    yield 2, lambda: near(result(ours, theirs)[1], _sign_flips(steps))
    yield 1, lambda: near(result(always, theirs[:5])[1], 2 / 32)
    yield 1, lambda: near(result(tied, torch.zeros(4))[1], _sign_flips(tied))


# Task 7: the claim


def _claim(answers: Answers, deal: Deal) -> Iterator[Check]:
    claim = answers["claim"]
    chosen_on, measured_on = ps3_cases.measured(claim["attribute"], deal)
    row = ps3_cases.AMOUNTS.index(float(claim["amount"]))
    means = chosen_on.mean(dim=1)
    mean, half = _interval(measured_on[row])
    chosen = bool(means[row] > means.max() - 0.005)  # amounts that tie to the last digit are all right
    slack = 0.02 + 0.1 * half

    def right_verdict() -> bool:
        low, high = float(claim["low"]), float(claim["high"])  # rounded, so that 0 may stand on either side
        said = {"nearer": low >= 0 < high, "farther": low < 0 >= high, "undecided": low <= 0 <= high}
        return said[claim["verdict"]] and near([low, high], [mean - half, mean + half], slack)

    yield 1, lambda: chosen
    yield 1, lambda: near(float(claim["gain"]), mean, 0.02) and claim["faces"] == measured_on.shape[1]
    yield 1, lambda: near([float(claim["low"]), float(claim["high"])], [mean - half, mean + half], slack)
    yield 1, right_verdict


TASKS = {
    "matched_vector": Task(8, matched_vector, (latent.attribute_vectors, ps3_cases.matched)),
    "counterfactual_gains": Task(
        8,
        counterfactual_gains,
        (latent.attribute_vectors, inspect.unwrap(latent.encode), psnr, ps3_cases.gains),
    ),
    "choose_then_measure": Task(6, _choose, (interval, ps3_cases.interval)),
    "evidence": Task(8, _evidence, (latent.judge, latent.wilson, interval, ps3_cases.interval)),
    "split_by_person": Task(6, _split),
    "compare_seeds": Task(5, _seeds, (interval, ps3_cases.sign_flips)),
    "claim": Task(4, _claim, (ps3_cases.claim,)),
}
