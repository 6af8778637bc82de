"""What self-checks share: an answer is tried, and one line says what was found. Nothing is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from dfcvae_classroom.grading import Poisoned, poisoned
from torch import Tensor

TOLERANCE = 1e-3


class Mistake(Exception):
    """Ends a self-check with the line that it prints."""


def tell(
    name: str, diagnose: Callable[..., None], answers: Iterable[Any], instead: Iterable[Callable], tried: str
) -> None:
    """Print one line: the Mistake that ``diagnose(*answers)`` raises, or that the answer looks right so far.

    instead: functions of the package that must not do the work, as ``Task.poisoned``. tried: what was tried,
    for the line. PyTorch's random state is left as it was.
    """
    with poisoned(instead), torch.random.fork_rng(devices=[]):
        try:
            diagnose(*(Tried(answer) for answer in answers))
            line = f"looks right so far ({tried})."
        except Mistake as mistake:
            line = str(mistake)
        except Exception as error:  # what came back is nothing that the check could compute with
            line = f"what came back cannot be compared: {type(error).__name__}: {_first_line(error)}"
    print(f"{name}: {line}")


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
                f"stopped with {type(error).__name__}: {_first_line(error)} (given: {shapes})."
            ) from None


def describe(value: Any) -> str:
    """A tensor as its shape, short things as they are, others by their type."""
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    return repr(value) if isinstance(value, int | float | str | tuple) else type(value).__name__


def expect_shape(found: Any, shape: tuple[int, ...], meaning: str) -> None:
    if not isinstance(found, Tensor):
        raise Mistake(f"gives {describe(found)}: expected a tensor of shape {shape}, {meaning}.")
    if tuple(found.shape) != shape:
        raise Mistake(f"gives shape {tuple(found.shape)}: expected {shape}, {meaning}.")
    if not found.isfinite().all():
        raise Mistake("gives NaN or infinity.")


def same(found: Tensor, expected: Tensor, tolerance: float | Tensor = TOLERANCE) -> bool:
    """No further apart than ``tolerance`` of the largest expected number."""
    difference = (found.detach().double() - expected.detach().double()).abs()
    return bool((difference <= tolerance * expected.detach().double().abs().max().clamp_min(0.01)).all())


def recognise(found: Tensor, right: Tensor, mistakes: Mapping[str, Tensor], unit: str = "") -> None:
    """Raise the Mistake whose value was found, or one that says what was found; nothing where it is right."""
    if same(found, right):
        return
    for name, value in mistakes.items():
        if value.shape == found.shape and same(found, value):
            raise Mistake(name)
    ours, theirs = (tensor.detach().flatten()[0].item() for tensor in (right, found))
    raise Mistake(f"not right yet: a case of the check gives {theirs:.4g}{unit}, expected {ours:.4g}{unit}.")


def expect_gradients(total: Tensor, by: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    """Raise the Mistake where a gradient does not arrive, or is another than the right one."""
    if not isinstance(total, Tensor) or not total.requires_grad:
        raise Mistake("no gradient comes back: was something detached (.data, .item(), no_grad)?")
    found = torch.autograd.grad(total, [*by.values()], allow_unused=True)
    for name, gradient in zip(by, found, strict=True):
        if gradient is None:
            raise Mistake(f"no gradient arrives at {name}: is it detached, or unused?")
        if not same(gradient, right[name]):
            raise Mistake(f"the values are right, but not the gradient by {name}: is a part of it detached?")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no text"])[0]
