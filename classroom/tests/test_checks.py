"""Self-checks keep solutions back: nothing that a notebook can reach through them earns a point."""

import contextlib
import functools
import inspect
import io
import sys
import types

import pytest
import torch
from dfcvae_classroom.grading import Deal, points, ps1, ps2, ps3, ps4

import dfcvae
from dfcvae.course.checks import ps1 as check_1
from dfcvae.course.checks import ps2 as check_2
from dfcvae.course.checks import ps3 as check_3
from dfcvae.course.checks import ps4 as check_4

SETS = {"ps1": (ps1, check_1), "ps2": (ps2, check_2), "ps3": (ps3, check_3), "ps4": (ps4, check_4)}
# A task's names in the notebook, and how many arguments an answer is called with.
ASKED = {
    "draw_z": (("draw_z",), 4),
    "kl_normal": (("kl_normal",), 4),
    "kl_from_draws": (("kl_from_draws",), 5),
    "elbo": (("elbo",), 5),
    "decoder": (("up_block", "make_decoder"), 2),
    "train_vae": (("train_vae",), 8),
    "normalise": (("normalise",), 2),
    "name_layers": (("name_layers",), 1),
    "features": (("features",), 4),
    "capture": (("capture",), 3),
    "sees": (("sees",), 2),
    "dfc_loss": (("dfc_loss",), 8),
    "restore": (("restore",), 5),
    "disagree": (("disagree",), 2),
    "matched_vector": (("matched_vector",), 3),
    "counterfactual_gains": (("counterfactual_gains",), 6),
    "choose_then_measure": (("choose_then_measure",), 3),
    "evidence": (("evidence",), 5),
    "split_by_person": (("split_by_person",), 3),
    "compare_seeds": (("compare_seeds",), 2),
    "claim": (("claim",), None),
    "found": (("found",), None),
    "repaired": (("Repaired",), 1),
    "tests": (("tests",), 1),
}


def inside(thing) -> list:
    """What somebody who holds a thing can get hold of; libraries other than ours are left closed."""
    if isinstance(thing, types.ModuleType):
        ours = thing.__name__.startswith(("dfcvae.", "dfcvae_classroom.grading")) or thing is dfcvae
        return [value for name, value in vars(thing).items() if name != "__builtins__"] if ours else []
    if isinstance(thing, dict):
        return [*thing.values()]
    if isinstance(thing, list | tuple | set | frozenset):
        return [*thing]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, staticmethod | classmethod):
        return [thing.__func__]
    if isinstance(thing, property | functools.cached_property):
        return [f for name in ("fget", "fset", "func") if (f := getattr(thing, name, None))]
    more = [getattr(thing, "__wrapped__", None)]
    if isinstance(thing, types.FunctionType):
        with contextlib.suppress(ValueError):  # an empty cell
            more += [cell.cell_contents for cell in thing.__closure__ or ()]
        more += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    module = getattr(thing if isinstance(thing, type | types.FunctionType) else type(thing), "__module__", "")
    if isinstance(module, str) and module.startswith("dfcvae"):
        more += [sys.modules.get(module), *getattr(thing, "__dict__", {}).values()]
        if isinstance(thing, type):
            more += thing.__mro__
    return more


def reachable(*roots) -> list:
    seen, waiting = {}, list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) not in seen:
            seen[id(thing)] = thing
            waiting += inside(thing)
    return [*seen.values()]


def takes(candidate, arguments: int) -> bool:
    try:
        inspect.signature(candidate).bind(*range(arguments))
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        return True
    return True


def candidates(task: str, things: list) -> list:
    """What could be an answer at all."""
    arguments = ASKED[task][1]
    if arguments is None:
        return [thing for thing in things if isinstance(thing, dict) and thing]
    kinds = type if task == "repaired" else object
    return [thing for thing in things if callable(thing) and isinstance(thing, kinds) and takes(thing, arguments)]


# What little is made of a function's result by whoever hands it in.
FINISHED = {
    "as it is": lambda found: found,
    "its mean": lambda found: found.mean(),
    "minus the sum of its parts": lambda found: -sum(found),
}


def finished(thing, how: str):
    """The thing as an answer; a class and what is no function only as it is."""
    if how == "as it is" or isinstance(thing, type) or not callable(thing):
        return thing
    return lambda *given: FINISHED[how](thing(*given))


def earned(problem_set, task: str, thing) -> float:
    answer = [thing] if task == "tests" else thing
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        return points(dict.fromkeys(ASKED[task][0], answer), problem_set.TASKS[task], Deal())


@pytest.mark.parametrize("name", SETS)
def test_nothing_that_a_self_check_can_reach_earns_a_point(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem_set, check = SETS[name]
    things = reachable(check, dfcvae)
    for task in problem_set.TASKS:
        for how in FINISHED:
            paid = [
                (thing, how) for thing in candidates(task, things) if earned(problem_set, task, finished(thing, how))
            ]
            assert paid == [], task
