"""What self-checks share: an answer is tried on stored cases, and one line says what was found.

The cases, the right numbers and the numbers that known mistakes give stand in ``ps1.json`` ..., made by
``python -m dfcvae_classroom.make_checks``. No solution stands here, so none can be handed in.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from random import Random
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

TOLERANCE = 1e-3  # float32 on another machine
M = TypeVar("M", bound=nn.Module)
WHOLE = 12  # numbers of a tensor that are stored one by one


@functools.cache
def stored(module: str) -> dict[str, Any]:
    """The tasks of a problem set, by name."""
    file = resources.files(__package__).joinpath(f"{module.rpartition('.')[2]}.json")
    return json.loads(file.read_text(encoding="utf-8"))


class Mistake(Exception):
    """Ends a self-check with the line that it prints."""


class Poisoned(Exception):
    """An answer called the function that it was to replace."""


class Task:
    """What is stored of a task: ``task[name]`` is an input or a case; ``refuse`` says a sentence."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def __getitem__(self, name: str) -> Any:
        return given(self.data[name])

    def refuse(self, wrong: object, what: str, **values: object) -> None:
        """Raise the Mistake with that sentence where something is wrong."""
        if wrong:
            raise Mistake(self.data["say"][what].format(**values))


def self_check(diagnose: Callable[..., None]) -> Callable[..., None]:
    """Let a function (task, answers) that raises a Mistake print one line instead, whatever happens in it.

    Its task is the stored one of its name; answers arrive as ``Tried``. PyTorch's random state stays.
    """

    @functools.wraps(diagnose)
    def check(*answers: Any) -> None:
        task = Task(stored(diagnose.__module__)[diagnose.__name__])
        with poisoned(task["poisoned"]), torch.random.fork_rng(devices=[]):
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
    """A function or module of somebody's. Where calling it fails, a Mistake says how, and with what."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, *given: Any) -> Any:
        try:
            return self.answer(*given)
        except NotImplementedError:
            raise Mistake("not written yet.") from None
        except Poisoned:
            raise Mistake("this calls the package's or PyTorch's own function: write it yourself.") from None
        except Exception as error:
            shapes = ", ".join(map(describe, given))
            raise Mistake(
                f"stopped with {type(error).__name__}: {first_line(error)} (given: {shapes})."
            ) from None


def describe(value: Any) -> str:
    """A tensor as its shape, short things as they are, others by their type."""
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    return repr(value) if isinstance(value, int | float | str | tuple) else type(value).__name__


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no text"])[0]


# Stored cases


def given(recipe: Any) -> Any:
    """The input that a recipe describes: {"numbers": [...]}, or {"seed", "shape", "low", "high"} for a tensor
    of uniform numbers (from Python's generator, which is the same everywhere); anything else as it is.
    """
    if isinstance(recipe, dict) and "numbers" in recipe:
        return torch.tensor(recipe["numbers"])
    if not isinstance(recipe, dict) or "seed" not in recipe:
        return recipe
    draw, low, high = Random(recipe["seed"]).random, recipe.get("low", 0.0), recipe.get("high", 1.0)
    return torch.tensor([low + (high - low) * draw() for _ in range(math.prod(recipe["shape"]))]).view(
        recipe["shape"]
    )


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


def recognise(found: Any, case: Mapping[str, Any], tolerance: float = TOLERANCE) -> None:
    """Raise the Mistake whose numbers were found, or one that says what was found instead of the right ones.

    case: "right", and perhaps "mistakes" {sentence: numbers}, "unit", and "otherwise", what else to say.
    """
    if same(found, case["right"], tolerance):
        return
    for sentence, numbers in case.get("mistakes", {}).items():
        if same(found, numbers, tolerance):
            raise Mistake(sentence)
    if "otherwise" in case:
        raise Mistake(case["otherwise"])
    theirs, ours, unit = digest(found)[0].item(), digest(case["right"])[0].item(), case.get("unit", "")
    raise Mistake(f"not right yet: a case of the check gives {theirs:.4g}{unit}, expected {ours:.4g}{unit}.")


def expect_gradients(
    total: Any, by: Mapping[str, Tensor], right: Mapping[str, Any], tolerance: float = TOLERANCE
) -> None:
    """Raise the Mistake where a gradient does not arrive, or is another than the right one."""
    if not isinstance(total, Tensor) or not total.requires_grad:
        raise Mistake("no gradient comes back: was something detached (.data, .item(), no_grad)?")
    found = torch.autograd.grad(total, [*by.values()], allow_unused=True)
    for name, gradient in zip(by, found, strict=True):
        if gradient is None:
            raise Mistake(f"no gradient arrives at {name}: is it detached, or unused?")
        if not same(gradient, right[name], tolerance):
            raise Mistake(f"the values are right, but not the gradient by {name}: is a part of it detached?")


def learning(**tensors: Tensor) -> dict[str, Tensor]:
    """Copies that gradients can arrive at."""
    return {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}


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
            tensor.copy_(
                given({"seed": f"{seed} {name}", "shape": list(tensor.shape), "low": low, "high": high})
            )
    return module


@contextmanager
def poisoned(names: Iterable[str]) -> Iterator[None]:
    """Let functions ("module:name") raise Poisoned, under whatever name somebody holds them."""

    def raising(*_: Any, **__: Any) -> None:
        from dfcvae.course.checks.trial import Poisoned

        raise Poisoned

    functions = []
    for name in names:
        module, _, path = name.partition(":")
        with suppress(ImportError, AttributeError):  # what another version does not have, nobody calls
            found: Any = importlib.import_module(module)
            functions.append(inspect.unwrap(functools.reduce(getattr, path.split("."), found)))
    codes = [function.__code__ for function in functions]
    try:
        for function in functions:
            function.__code__ = raising.__code__.replace(co_freevars=function.__code__.co_freevars)
        yield
    finally:
        for function, code in zip(functions, codes, strict=True):
            function.__code__ = code
