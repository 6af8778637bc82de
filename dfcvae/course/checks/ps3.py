"""Self-checks of problem set 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dfcvae.course.checks import trial
from dfcvae.course.checks.trial import Mistake, Task, Tried, describe, recognise, same, self_check
from dfcvae.vae import VAE


def _numbers(found: Any, *names: str) -> list[float]:
    """So many numbers; the Mistake says what came instead."""
    if isinstance(found, Tensor) and found.dim() == 1:
        found = found.tolist()
    try:
        return [float(value) for value in trial.expect_parts(found, *names)]
    except (TypeError, ValueError, RuntimeError):
        kinds = ", ".join(map(describe, found))
        raise Mistake(f"gives ({kinds}): expected a number each for {', '.join(names)}.") from None


def _interval(task: Task, low: float, high: float) -> None:
    """Raise the Mistake where low and high are not the ends of the stored interval."""
    case, half = task["interval"], (high - low) / 2
    task.refuse(low > high, "low above high")
    task.refuse(half < 1e-9, "empty interval")
    if not same(half, case["right"], case["slack"]):
        recognise(half, case, 0.06)
    task.refuse(abs((low + high) / 2 - case["centre"]) > 0.15 * case["right"][0], "off centre")


def small_vae() -> VAE:
    """For pictures of 32 pixels, with 5 latents."""
    return trial.filled(VAE(32, 5, (6, 8)), 9)


@self_check
def matched_vector(task: Task, answer: Tried) -> None:
    """Try ``matched_vector(mu, has, company)``."""
    trial.try_cases(task, answer)
    mu, has, _ = task["cases"][-1]["given"].values()
    error = answer.error(mu, has, has[:, None])
    task.refuse(not error, "no error")
    task.refuse(not isinstance(error, ValueError), "another error", kind=type(error).__name__)


@self_check
def counterfactual_gains(task: Task, answer: Tried) -> None:
    """Try ``counterfactual_gains(model, codes, has, before, after, amounts)``."""
    code = getattr(answer.answer, "__code__", None)  # a class has none
    task.refuse(code is not None and "code_of" in code.co_names, "code_of")
    model, inputs, gains = small_vae().eval(), task["given"], task["gains"]
    found = answer(model, *inputs)
    task.refuse(isinstance(found, Tensor) and not same(found, answer(model, *inputs)), "sampled")
    trial.expect_case(found, gains)
    task.refuse(found.requires_grad, "graph left")
    task.refuse(not same(answer(model.train(), *inputs), gains["right"]), "training mode")
    task.refuse(not model.training, "left in eval")


@self_check
def choose_then_measure(task: Task, answer: Tried) -> None:
    """Try ``choose_then_measure(validation, test, amounts)``."""
    names = ["amount", "mean", "low", "high"]
    amount, mean, *ends = _numbers(answer(*task["given"]), *names)
    recognise(amount, task["amount"])
    recognise(mean, task["mean"])
    _interval(task, *ends)
    harm = torch.tensor([[0.0], [-1.0]]).expand(2, 40)
    nothing = [abs(x) for x in _numbers(answer(harm, -harm, torch.tensor([0.0, 1.0])), *names)]
    task.refuse(max(nothing[:2]) > 1e-6, "every amount harms")
    task.refuse(max(nothing[2:]) > 1e-6, "interval of nothing")


@self_check
def evidence(task: Task, answer: Tried) -> None:
    """Try ``evidence(learn_has, read, has, draws, seed)``."""
    keys, (learn_has, read, has) = task["keys"], task["given"]

    def found(read: Tensor = read, draws: int = 3_000) -> list[float]:
        result = answer(learn_has, read, has, draws, 5)
        complete = isinstance(result, Mapping) and set(keys) <= set(result)
        task.refuse(not complete, "not complete", found=describe(result), keys=", ".join(keys))
        return _numbers([result[key] for key in keys], *keys)

    accuracy, majority, gain, low, high = found()
    recognise(accuracy, task["accuracy"])
    recognise(majority, task["majority"])
    task.refuse(abs(gain - accuracy + majority) > 1e-6, "no difference")
    task.refuse(abs((low + high) / 2 - accuracy) < 0.03, "interval of the accuracy")
    _interval(task, low, high)
    nothing = found(torch.ones(len(has)).bool())
    task.refuse(max(map(abs, nothing[2:])) > 1e-6, "not in pairs")
    # Few draws: the ends of many would often agree by chance, for a gain moves in steps of 1/240.
    torch.manual_seed(11)
    first = found(draws=20)
    torch.manual_seed(12)
    task.refuse(not first == found(draws=20) == found(draws=20), "no seed")


@self_check
def split_by_person(task: Task, answer: Tried) -> None:
    """Try ``split_by_person(person, share, seed)``."""
    person, share = task["person"], task["share"]
    people = len(person.unique())

    def rows(seed: int) -> tuple[list[int], list[int]]:
        found = trial.expect_parts(answer(person, share, seed), "learn_rows", "test_rows")
        learn, test = map(torch.as_tensor, found)
        task.refuse(torch.bool in (learn.dtype, test.dtype), "masks")
        numbers = torch.cat([learn, test])
        task.refuse(len(numbers) and not 0 <= numbers.max() < len(person), "no rows")
        return learn.long().tolist(), test.long().tolist()

    learn, test = rows(0)
    tested = set(person[test].tolist())
    both = len(tested & set(person[learn].tolist()))
    task.refuse(both, "both sides", both=both, people=people)
    task.refuse(not learn or not test, "one side empty")
    once = sorted(learn + test) == [*range(len(person))]
    task.refuse(not once, "not once", pictures=len(person), rows=len({*learn, *test}))
    said = {"tested": len(tested), "people": people, "right": round(share * people)}
    task.refuse(len(tested) == people - said["right"], "share turned round", **said)
    task.refuse(len(tested) != said["right"], "counted from 0" if max(tested) < people else "share", **said)
    task.refuse(set(rows(0)[1]) != set(test), "no seed")
    task.refuse(all(set(rows(seed)[1]) == set(test) for seed in (1, 2, 3)), "no shuffle")


@self_check
def compare_seeds(task: Task, answer: Tried) -> None:
    """Try ``compare_seeds(ours, theirs)``."""
    ours, theirs, names = task["ours"], task["theirs"], ["difference", "p"]
    difference, p = _numbers(answer(ours, theirs), *names)
    recognise(difference, task["difference"])
    recognise(p, task["p"])
    agreeing = _numbers(answer(torch.arange(1.0, 6.0), torch.zeros(5)), *names)[1]
    task.refuse(abs(agreeing - 2 / 32) > 1e-4, "all agree")
    again = _numbers(answer(theirs, ours), *names)
    task.refuse(max(abs(again[0] + difference), abs(again[1] - p)) > 1e-6, "turned round")


@self_check
def claim(task: Task, answer: Tried) -> None:
    """Try the claim's form: whether its parts agree with each other, not whether the numbers are right."""
    found, keys = answer.answer, task["keys"]
    task.refuse(not isinstance(found, Mapping), "no dict", found=describe(found), keys=", ".join(keys))
    missing = [key for key in keys if found.get(key) is None or found[key] is ...]
    task.refuse(missing, "not complete", missing=", ".join(missing))
    attribute, verdict = found["attribute"], found["verdict"]
    task.refuse(attribute not in task["attributes"], "attribute", found=attribute)
    amount, gain, low, high, faces = _numbers([found[key] for key in keys[1:6]], *keys[1:6])
    task.refuse(amount <= 0, "amount", amount=amount)
    task.refuse(low > high, "low above high")
    task.refuse(not low <= gain <= high, "outside")
    task.refuse(faces != int(faces) or faces < 2, "faces")
    task.refuse(high - low > 8, "wide")
    task.refuse(verdict not in ("nearer", "farther", "undecided"), "verdict", found=verdict)
    said = "nearer" if low > 0 else "farther" if high < 0 else "undecided"
    wrong = verdict != said and 0 not in (low, high)
    task.refuse(wrong, "verdict denied", found=verdict, low=low, high=high, said=said)
