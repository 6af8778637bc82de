"""Self-checks of problem set 4: each prints one line, which names the mistake where it knows it.

    from dfcvae.course.checks import ps4 as check
    check.repaired(Repaired, found)

None says which faults the program was dealt: ``found`` looks at the form alone, ``repaired`` at the promises
that the student named, and ``tests`` at what holds for any good test.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import torch
from dfcvae_classroom.grading.ps4 import TASKS, passes
from dfcvae_classroom.grading.wild.case import Case
from dfcvae_classroom.grading.wild.editing import DEALT, build, rewritten
from dfcvae_classroom.grading.wild.program import Judge, WildDFCVAE
from dfcvae_classroom.grading.wild.promises import PROMISES, broken
from torch import nn

from dfcvae.course.checks.trial import Mistake, Tried, describe, tell

SPARED = ("P11", "P12", "P13", "P14")  # promises that no fault of the program breaks
NAMES = "judge encoder to_mu to_log_var from_z decoder".split()  # through which the promises are asked
SLOW = 2.0  # seconds in which five tests of one class should be through: they meet dozens
PLACES = {"Judge": Judge, "WildDFCVAE": WildDFCVAE}


def found(answer: Any) -> None:
    """Try the form of ``found``: whether the right promises are in it is not told."""
    tell(
        "found",
        _found,
        [answer],
        (),
        "the form: five promises, a place each; whether they are right is yours",
    )


def _found(answer: Tried) -> None:
    named = answer.answer
    if not isinstance(named, Mapping):
        raise Mistake(f"found is {describe(named)}: expected a dict, promise -> place.")
    if not named:
        raise Mistake("it is still empty.")
    for promise in named:
        if not isinstance(promise, str) or promise not in PROMISES:
            hint = f"write 'P{promise}'" if str(promise).isdigit() else "they are called 'P1' to 'P14'"
            raise Mistake(f"{promise!r} is no promise: {hint}.")
    for promise, place in named.items():
        _known_place(promise, place)
    spared = [promise for promise in SPARED if promise in named]
    if len(named) != DEALT:
        raise Mistake(f"{len(named)} promises are named: the program breaks {DEALT}, and a wrong one costs.")
    if len(spared) == len(SPARED):
        raise Mistake("all of P11 to P14: have you measured them, or only read them?")


def _known_place(promise: str, place: Any) -> None:
    if isinstance(place, int):
        raise Mistake(
            f"{promise}: {place} is the number of a line: name the method, such as 'Judge.forward'."
        )
    if not isinstance(place, str):
        raise Mistake(
            f"{promise}: the place is {describe(place)}: expected one text, such as 'Judge.forward'."
        )
    owner, _, method = place.strip().partition(".")
    if not method and owner in PLACES:
        raise Mistake(f"{promise}: {owner} is a whole class: which method of it?")
    if not method or owner not in PLACES:
        raise Mistake(f"{promise}: {place!r} is no place: write class and method, such as 'Judge.forward'.")
    if method.endswith("()"):
        raise Mistake(f"{promise}: write {place!r} without the parentheses.")
    if not callable(getattr(PLACES[owner], method, None)):
        raise Mistake(f"{promise}: {owner} has no method {method!r}.")


def repaired(answer: Any, named: Mapping[str, str]) -> None:
    """Try ``Repaired`` on the promises that ``found`` names, and on P11 to P14, which a repair may break."""
    tried = f"{', '.join(named) if isinstance(named, Mapping) else 'nothing'}; P11 to P14 still hold"
    tell("repaired", _repaired, [answer, named], TASKS["repaired"].poisoned, tried)


def _repaired(answer: Tried, named: Tried) -> None:
    Model, promises = answer.answer, named.answer
    if isinstance(Model, nn.Module):
        raise Mistake("this is a model: give the class itself, Repaired, without parentheses.")
    if not isinstance(Model, type) or not issubclass(Model, nn.Module):
        raise Mistake(f"Repaired is {describe(Model)}: expected a class of nn.Module.")
    if Model.__name__ == "WildDFCVAE":
        raise Mistake("this is the program as it was found: give your own class.")
    if not isinstance(promises, Mapping) or not 0 < len(promises) <= DEALT:
        raise Mistake(f"found names no promises, or more than {DEALT}: do task 1 first.")
    if any(cls.__module__.split(".")[0] == "dfcvae" for cls in Model.__mro__):
        raise Mistake("this is a class of the package, or inherits from one: write it yourself.")
    case = Case(Model, Random("self-check"))
    model = answer.__class__(lambda **options: case.model(**options))()
    missing = [name for name in NAMES if not hasattr(model, name)]
    if missing:
        raise Mistake(f"the model has no {missing[0]}: keep the names {', '.join(NAMES)}.")
    for promise in (*SPARED, *promises):
        wrong = broken(case, promise)
        if wrong and wrong[0][1].startswith("Poisoned"):
            raise Mistake("this calls the package's own program or loss: write it yourself.")
        if wrong:
            spared = " A repair has broken what was right." if promise in SPARED else ""
            raise Mistake(f"{promise}: {wrong[0][1]}.{spared}")


def tests(answer: Any, Repaired: type, Found: type) -> None:
    """Try ``tests`` on the student's class, on the program as it was found, and on other right programs."""
    tried = "pass on your class and on other right ones, fail on the program as found; whether they fail on "
    tell("tests", _tests, [answer, Repaired, Found], TASKS["tests"].poisoned, tried + "half repairs is yours")


class Unbuilt(nn.Module):
    """Cannot even be built: a test that takes it did not look."""

    def __init__(self, *given: Any, **options: Any) -> None:
        raise RuntimeError("a test that uses its Model sees this")


def _tests(answer: Tried, Repaired: Tried, Found: Tried) -> None:
    functions = answer.answer
    if not isinstance(functions, Sequence) or not all(callable(function) for function in functions):
        raise Mistake(f"tests is {describe(functions)}: expected a list of functions, without parentheses.")
    if len(functions) != DEALT or len({id(function) for function in functions}) != DEALT:
        raise Mistake(
            f"different functions in the list: {len(set(map(id, functions)))}. Expected are {DEALT}, one for "
            "each fault."
        )
    for function in functions:
        _takes_one(function)
    start = time.monotonic()
    for function in functions:
        _on_your_class(function, Repaired.answer)
    seconds = time.monotonic() - start
    for function in functions:
        if passes(function, Found.answer, 0):
            raise Mistake(
                f"{_name(function)} passes on the program as it was found: it catches nothing there."
            )
    for i in range(3):
        other = build(rewritten(Random(f"self-check {i}")))["WildDFCVAE"]
        for function in functions:
            if not passes(function, other, i):
                raise Mistake(
                    f"{_name(function)} fails on another right program, {_why(function, other, i)}: test "
                    "what is promised, not how you wrote it."
                )
    if seconds > SLOW:
        raise Mistake(f"they are right so far, and take {seconds:.0f} s: use smaller batches, no training.")


def _takes_one(function: Callable) -> None:
    try:
        inspect.signature(function).bind(WildDFCVAE)
    except TypeError as error:
        raise Mistake(f"{_name(function)} cannot be called with a class alone: {error}.") from None


def _on_your_class(function: Callable, Model: type) -> None:
    name = _name(function)
    with torch.random.fork_rng(devices=[]):
        try:
            returned = function(Model)
        except NotImplementedError:
            raise Mistake(f"{name} is not written yet.") from None
        except Exception:
            raise Mistake(f"{name} fails on your own class, {_why(function, Model, 0)}.") from None
    if returned is not None:
        raise Mistake(f"{name} returns {describe(returned)}: a test asserts, what it returns is not read.")
    if passes(function, Unbuilt, 0):
        raise Mistake(
            f"{name} passes with a class that cannot be built: does it use the Model that it is given, and "
            "does it catch exceptions?"
        )
    outcomes = {passes(function, Model, seed) for seed in range(3)}
    if outcomes != {True}:
        raise Mistake(f"{name} passes on your class with some random numbers and not with others.")


def _name(function: Callable) -> str:
    return getattr(function, "__name__", "a test")


def _why(function: Callable, Model: type, seed: int) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        try:
            function(Model)
        except Exception as error:
            text = re.sub(r"\s+", " ", str(error))[:90]
            return f"{type(error).__name__}: {text or 'an assert'}"
    return "by chance"
