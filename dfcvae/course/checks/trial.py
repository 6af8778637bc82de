"""What self-checks share: an answer is tried on stored cases, and one line says what was found.

The cases, the right numbers and the numbers that known mistakes give stand in ``ps1.json`` ..., made by
``python -m dfcvae_classroom.make_checks``. No solution stands here, so none can be handed in.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from random import Random
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

TOLERANCE = 1e-3  # float32 on another machine
M = TypeVar("M", bound=nn.Module)
WHOLE = 12  # numbers of a tensor that are stored one by one


class Mistake(Exception):
    """Ends a self-check with the line that it prints."""


class Poisoned(Exception):
    """An answer called the function that it was to replace."""


class Task(dict[str, Any]):
    """What is stored of a task: inputs, cases, and the sentences that ``refuse`` says."""

    def refuse(self, wrong: object, what: str, **values: object) -> None:
        """Raise the Mistake with that sentence where something is wrong."""
        if wrong:
            raise Mistake(self["say"][what].format(**values))


def self_check(diagnose: Callable[..., None]) -> Callable[..., None]:
    """Let a function (task, answers) that raises a Mistake print one line instead, whatever happens in it.

    Its task is the stored one of its name; answers arrive as ``Tried``. PyTorch's random state stays.
    """
    file = resources.files(__package__) / f"{diagnose.__module__.rpartition('.')[2]}.json"

    @functools.wraps(diagnose)
    def check(*answers: Any) -> None:
        task = Task(given(json.loads(file.read_text(encoding="utf-8"))[diagnose.__name__]))
        with poisoned(map(pkgutil.resolve_name, task["poisoned"])), torch.random.fork_rng(devices=[]):
            try:
                diagnose(task, *map(Tried, answers))
                line = f"looks right so far ({task['tried']})."
            except Mistake as mistake:
                line = str(mistake)
            except Exception as error:  # what came back is nothing that the check could compute with
                line = f"what came back cannot be compared: {type(error).__name__}: {first_line(error)}"
        print(f"{diagnose.__name__}: {line}")

    del check.__wrapped__  # help() is to show what a notebook writes
    return check


class Tried:
    """Somebody's function or module. A call that fails, or changes a given tensor, is a Mistake."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, *given: Any) -> Any:
        before = [(value, value.detach().clone()) for value in given if isinstance(value, Tensor)]
        try:
            found = self.answer(*given)
        except NotImplementedError:
            raise Mistake("not written yet.") from None
        except Poisoned:
            raise Mistake("this calls the package's or PyTorch's own function: write it yourself.") from None
        except Exception as error:
            shapes = ", ".join(map(describe, given))
            what = f"{type(error).__name__}: {first_line(error)}"
            raise Mistake(f"stopped with {what} (given: {shapes}).") from None
        for value, copy in before:
            if not torch.equal(value, copy):
                raise Mistake(f"the {describe(value)} that was handed over is changed: work on a copy.")
        return found

    def error(self, *given: Any) -> Exception | None:
        """What it raises."""
        try:
            self.answer(*given)
        except Exception as error:
            return error
        return None


def describe(value: Any) -> str:
    """A tensor as its shape, short things as they are, others by their type."""
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    return repr(value) if isinstance(value, int | float | str | tuple) else type(value).__name__


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no text"])[0]


def given(stored: Any) -> Any:
    """What was stored, with a tensor for each recipe in it: {"numbers": [...]}, or {"seed", "shape", "low",
    "high"} for uniform numbers (from Python's generator, which is the same everywhere).
    """
    if isinstance(stored, list):
        return [*map(given, stored)]
    if not isinstance(stored, dict):
        return stored
    if "numbers" in stored:
        return torch.tensor(stored["numbers"])
    if "seed" not in stored:
        return {name: given(value) for name, value in stored.items()}
    draw, low, high = Random(stored["seed"]).random, stored.get("low", 0.0), stored.get("high", 1.0)
    numbers = [low + (high - low) * draw() for _ in range(math.prod(stored["shape"]))]
    return torch.tensor(numbers).view(stored["shape"])


def digest(tensor: Any) -> Tensor:
    """Float64 numbers that stand for a tensor: all of a small one, else the first and five weighted sums.

    They stand for themselves, so that stored ones and tensors can be compared.
    """
    flat = torch.as_tensor(tensor).detach().cpu().double().flatten()
    if len(flat) <= WHOLE:
        return flat
    waves = torch.outer(torch.arange(1, 6).double(), torch.arange(len(flat)).double() ** 1.5).cos()
    return torch.cat([flat[:1], waves @ flat / len(flat) ** 0.5])


def same(found: Any, right: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether a tensor has the right numbers, no further apart than ``tolerance`` of the largest of them."""
    numbers, expected = digest(found), digest(right)
    slack = tolerance * expected.abs().max().clamp_min(0.01)
    return numbers.shape == expected.shape and bool(((numbers - expected).abs() <= slack).all())


def expect_shape(found: Any, shape: Iterable[int], meaning: str) -> None:
    shape = tuple(shape)
    if not isinstance(found, Tensor):
        raise Mistake(f"gives {describe(found)}: expected a tensor of shape {shape}, {meaning}.")
    if tuple(found.shape) != shape:
        raise Mistake(f"gives shape {tuple(found.shape)}: expected {shape}, {meaning}.")
    if not found.isfinite().all():
        raise Mistake("gives NaN or infinity.")


def expect_parts(found: Any, *names: str) -> list[Any]:
    """So many parts, in a tuple or a list."""
    if not isinstance(found, tuple | list) or len(found) != len(names):
        raise Mistake(f"gives {describe(found)}: expected ({', '.join(names)}).")
    return [*found]


def recognise(found: Any, case: Mapping[str, Any], tolerance: float = TOLERANCE) -> None:
    """Raise the Mistake whose numbers were found, or one that says what was found instead of the right ones.

    case: "right", and perhaps "mistakes" {sentence: numbers}, "unit", and "otherwise", what else to say.
    """
    if same(found, case["right"], tolerance):
        return
    mistakes, unit = case.get("mistakes", {}), case.get("unit", "")
    theirs, ours = (f"{digest(value)[0].item():.4g}{unit}" for value in (found, case["right"]))
    otherwise = f"not right yet: a case of the check gives {theirs}, expected {ours}."
    named = (sentence for sentence, numbers in mistakes.items() if same(found, numbers, tolerance))
    raise Mistake(next(named, case.get("otherwise", otherwise)))


def expect_case(found: Any, case: Mapping[str, Any]) -> None:
    """Shape and numbers. case: as ``recognise`` takes it, "shape" and "meaning" of a result, and perhaps
    "kinds", sentences by what was found: a type, a shape such as "(4, 3)", or "NaN".
    """
    kind = type(found).__name__
    if isinstance(found, Tensor):
        kind = str(tuple(found.shape)) if found.isfinite().all() else "NaN"
    if kind in case.get("kinds", {}):
        raise Mistake(case["kinds"][kind])
    expect_shape(found, case["shape"], case["meaning"])
    recognise(found, case)


def try_cases(task: Task, answer: Callable[..., Any]) -> None:
    """An answer on each of the task's cases, its arguments "given"; then the "gradients" of the last one."""
    for case in task["cases"]:
        expect_case(answer(*case["given"].values()), case)
    if right := case.get("gradients"):
        by = {name: case["given"][name] for name in right}
        expect_gradients(lambda **by: answer(*(case["given"] | by).values()), by, right)


def expect_gradients(
    answer: Callable[..., Any],
    by: Mapping[str, Tensor],
    right: Mapping[str, Any],
    tolerance: float = TOLERANCE,
) -> None:
    """Raise the Mistake where a gradient does not arrive, or is another than the right one.

    The gradients are those of the sum of what ``answer`` gives; it is called with copies of ``by``.
    """
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in by.items()}
    found = answer(**leaves)
    if not isinstance(found, Tensor) or not found.requires_grad:
        raise Mistake("no gradient comes back: was something detached (.data, .item(), no_grad)?")
    gradients = torch.autograd.grad(found.sum(), [*leaves.values()], allow_unused=True)
    for name, gradient in zip(by, gradients, strict=True):
        if gradient is None:
            raise Mistake(f"no gradient arrives at {name}: is it detached, or unused?")
        if not same(gradient, right[name], tolerance):
            raise Mistake(f"the values are right, but not the gradient by {name}: is a part of it detached?")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(layers: Iterable[tuple[str, list, dict[str, Any]]]) -> nn.Sequential:
    """A chain of PyTorch's layers, each as (kind, arguments, options)."""
    return nn.Sequential(*(getattr(nn, kind)(*arguments, **options) for kind, arguments, options in layers))


@torch.no_grad()
def filled(module: M, seed: int) -> M:
    """The module with parameters, and averages of batch norm, that are the same everywhere."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            bound = (6 / tensor[0].numel()) ** 0.5  # keeps the size of what passes through a ReLU
            low, high = (0.2, 1.0) if tensor.ndim == 1 else (-bound, bound)
            recipe = {"seed": f"{seed} {name}", "shape": list(tensor.shape), "low": low, "high": high}
            tensor.copy_(given(recipe))
    return module


@contextmanager
def poisoned(functions: Iterable[Any]) -> Iterator[None]:
    """Let functions written in Python raise Poisoned, under whatever name somebody holds them.

    Their code is exchanged; a function with free variables (``super()`` is one) takes only code with as many.
    """

    def raising(*_: Any, **__: Any) -> None:
        from dfcvae.course.checks.trial import Poisoned

        raise Poisoned

    originals = [(function, function.__code__) for function in map(inspect.unwrap, functions)]
    try:
        for function, _ in originals:
            function.__code__ = raising.__code__.replace(co_freevars=function.__code__.co_freevars)
        yield
    finally:
        for function, code in originals:
            function.__code__ = code
