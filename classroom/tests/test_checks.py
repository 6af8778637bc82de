"""Self-checks keep solutions back: nothing that a notebook reaches through its imports earns a point.

Everything that can be called is tried as the answer to every task.
"""

import ast
import contextlib
import functools
import inspect
import io
import signal
import sys
import types
from pathlib import Path

import dfcvae_classroom
import nbformat
import pytest
import torch
from dfcvae_classroom import make_checks
from dfcvae_classroom.grading import Deal, points, ps1, ps2, ps3, ps4

import dfcvae
import dfcvae.course.checks.ps4
from dfcvae.course import checks as self_checks

SOURCES = Path(dfcvae_classroom.__file__).parent / "sources"
SETS = {"ps1_vae": ps1, "ps2_perceptual": ps2, "ps3_latent_evidence": ps3, "ps4_find_the_bugs": ps4}
NAMES = {"decoder": ("up_block", "make_decoder"), "repaired": ("Repaired",)}  # else as the task
ARGUMENTS = {
    "draw_z": 4, "kl_normal": 4, "kl_from_draws": 5, "elbo": 5, "decoder": 2, "train_vae": 8,
    "normalise": 2, "name_layers": 1, "features": 4, "capture": 3, "sees": 2, "dfc_loss": 8, "restore": 5,
    "disagree": 2, "matched_vector": 3, "counterfactual_gains": 6, "choose_then_measure": 3, "evidence": 5,
    "split_by_person": 3, "compare_seeds": 2, "repaired": 1, "tests": 1,
}  # fmt: skip
SECONDS = 8  # of the processor, for what was written for something else


def imported(name: str) -> list:
    """What a problem set's notebook imports of the package."""
    book, found = nbformat.read(SOURCES / name / f"{name}.ipynb", as_version=4), {}
    trees = [ast.parse(cell.source) for cell in book.cells if cell.cell_type == "code"]
    for node in [node for tree in trees for node in ast.walk(tree)]:
        modules = [node.module] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if any(module.split(".")[0] == "dfcvae" for module in modules):
            exec(compile(ast.Module([node], []), name, "exec"), found)
    return [value for key, value in found.items() if key != "__builtins__"]


def ours(module: object) -> bool:
    return isinstance(module, str) and module.split(".")[0] == "dfcvae"


def inside(thing) -> list:
    """What somebody who holds a thing can get hold of; other libraries are left closed."""
    if isinstance(thing, types.ModuleType):
        return [*vars(thing).values()] if ours(thing.__name__) else []
    if isinstance(thing, dict):
        return [*thing.values()]
    if isinstance(thing, list | tuple | set | frozenset):
        return [*thing]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType | staticmethod | classmethod):
        return [thing.__func__, getattr(thing, "__self__", None)]
    if isinstance(thing, property | functools.cached_property):
        return [getattr(thing, name, None) for name in ("fget", "fset", "func")]
    more = [getattr(thing, "__wrapped__", None)] if callable(thing) else []
    if isinstance(thing, types.FunctionType):
        with contextlib.suppress(ValueError):  # an empty cell
            more += [cell.cell_contents for cell in thing.__closure__ or ()]
        more += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    module = getattr(thing if isinstance(thing, type | types.FunctionType) else type(thing), "__module__", "")
    if ours(module):
        more += [sys.modules[module], *getattr(thing, "__dict__", {}).values()]
        more += thing.__mro__ if isinstance(thing, type) else []
    return more


def reachable(*roots) -> list:
    seen, waiting = {}, list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) not in seen:
            seen[id(thing)] = thing
            waiting += inside(thing)
    return [*seen.values()]


def takes(thing, arguments: int) -> bool:
    try:
        inspect.signature(thing).bind(*range(arguments))
    except (TypeError, ValueError):
        return False
    return True


def candidates(task: str, things: list) -> list:
    """What could be an answer at all: a dict, a class, or something of ours that takes as many arguments."""
    if task in ("claim", "found"):
        return [thing for thing in things if isinstance(thing, dict) and thing]
    callables = [thing for thing in things if callable(thing) and takes(thing, ARGUMENTS[task])]
    if task == "repaired":
        return [thing for thing in callables if isinstance(thing, type)]
    return [thing for thing in callables if ours(getattr(thing, "__module__", type(thing).__module__))]


class Endless(BaseException):
    """A function of the package was called with what it was not made for."""


@contextlib.contextmanager
def guarded():
    """Silence, and an end: Endless is raised after so many seconds of the processor."""

    def ring(*_):
        raise Endless

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    silence = io.StringIO()
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            with torch.random.fork_rng(devices=[]), contextlib.suppress(SystemExit):
                yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def earned(problem_set, task: str, answer) -> float:
    given = dict.fromkeys(NAMES.get(task, (task,)), [answer] if task == "tests" else answer)
    return points(given, problem_set.TASKS[task], Deal())


def at_all(task: str, thing) -> bool:
    """Of the two tasks whose tests take seconds: whether it gives two pictures, or takes a right program."""
    with contextlib.suppress(Exception, SystemExit):
        if task == "disagree":
            x = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
            return len(thing(x, lambda y, x: (y - x).square().mean())) == 2
        return task != "tests" or ps4.passes(thing, ps4.right_programs(Deal())[0], 0)
    return False


def best(problem_set, task: str, thing) -> float:
    """What a thing is worth as it is, or with the next to nothing that somebody does to its result."""
    returned = []
    if not at_all(task, thing):
        return 0.0

    def finished(how):
        return lambda *given: (returned.append(thing(*given)), how(returned[-1]))[1]

    worth = earned(problem_set, task, thing)
    if worth or task in ("claim", "found", "repaired", "tests"):
        return worth
    for how in (lambda found: found.mean(), lambda found: -sum(found)):
        worth = max(worth, earned(problem_set, task, finished(how)))
        if not returned:  # it stops with an exception whatever it is given
            break
    return worth


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")
@pytest.mark.parametrize("name", SETS)
def test_nothing_that_a_notebook_reaches_earns_a_point(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    things, paid, endless = reachable(dfcvae, *imported(name)), {}, set()
    assert len(things) > 1_000
    for task in SETS[name].TASKS:
        for thing in candidates(task, things):
            if id(thing) in endless:
                continue
            worth = 0.0
            try:
                with guarded():
                    worth = best(SETS[name], task, thing)
            except Endless:
                endless.add(id(thing))
            if worth:
                paid[task, getattr(thing, "__qualname__", repr(thing)[:50])] = worth
    assert paid == {}
    assert len(endless) < 20


def test_the_walk_finds_a_solution_wherever_it_hides():
    def kl_normal(mu, log_var, m, s):
        return 0.5 * (2 * s.log() - log_var + (log_var.exp() + (mu - m) ** 2) / s**2 - 1).sum(dim=1)

    def enclosing():
        return kl_normal

    for hidden in enclosing, functools.partial(kl_normal), {"a": [kl_normal]}, property(kl_normal):
        assert any(thing is kl_normal for thing in reachable(hidden))
    assert candidates("kl_normal", [kl_normal]) == []  # it is not of the package
    with guarded():
        assert best(ps1, "kl_normal", kl_normal) == 6


def test_the_self_check_of_a_repair_does_not_tell_what_is_broken(capsys):
    """Whoever repaired nothing learns nothing about the program that was found."""
    around = {"__name__": "notebook"}
    exec("import copy, torch\nimport torch.nn.functional as F\nfrom torch import nn", around)
    exec("\n".join(ps4.program_cells(Deal()).values()), around)
    copied = ps4.program_cells(Deal())["program-model"].replace("class WildDFCVAE", "class Repaired")
    told, breakable = set(), list(ps4.PROMISES)[:10]
    for source in "class Repaired(WildDFCVAE):\n    pass\n", copied:
        exec(source, around)
        for named in [*([promise] for promise in breakable), breakable[:5], breakable[5:]]:
            self_checks.ps4.repaired(around["Repaired"], dict.fromkeys(named, "WildDFCVAE.encode"))
            told.add(capsys.readouterr().out)
    assert len(told) == 1 and "as in the program that was found" in told.pop()


@pytest.mark.parametrize("name", make_checks.SETS)
def test_the_stored_numbers_are_those_of_the_reference_functions(name):
    assert not make_checks.out_of_date(name), "run  python -m dfcvae_classroom.make_checks"
