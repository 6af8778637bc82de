"""In the sandbox's process: what student code may not do, and whether it changed what judges it.

The hidden tests run in the process that ran the student's cells, since gradients, hooks and modules cannot
be judged from outside. So the functions that tests lean on are noted before and put back after.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import gc
import importlib
import math
import platform
import random
import re
import socket
import sys
import types
import unittest.mock
from collections.abc import Callable, Iterator

import numpy
import torch

from dfcvae_classroom.grading import Task

# A result that compares as it pleases passes any test: no task asks for a class that defines one of these.
DISGUISES = frozenset(
    "__torch_function__ __torch_dispatch__ __array_ufunc__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __sub__ "
    "__rsub__ __abs__ __bool__ __float__ __instancecheck__".split()
)
# Words that an honest answer hardly needs; they cost nothing and are shown to the instructor.
SUSPICIOUS = (
    "_getframe gc.get_ __code__ __globals__ __closure__ sys.modules sys.settrace sys.setprofile "
    "inspect.stack currentframe f_back tb_frame gi_frame addaudithook __subclasses__ FunctionType importlib "
    "getsource mock exec( __module__ as_subclass ctypes os._exit os.fork /proc dfcvae_classroom "
    "grading.points TASKS signal."
).split()


class TimeUp(BaseException):
    """A cell or a task took too long; no ``except Exception`` of a student catches it."""


def block_network() -> None:
    """For Python's own sockets; on Linux the sandbox has no network at all."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("there is no network while your notebook is graded: use what the notebook was given.")

    socket.socket.connect = socket.socket.connect_ex = refuse
    socket.getaddrinfo = socket.create_connection = refuse


STARTS = frozenset(
    "subprocess.Popen os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system pty.spawn".split()
)
PROCESSES = 200  # threads and processes of a submission together, against fork bombs


def block_programs() -> Callable:
    """Refuse to start programs and processes, and return what allows it for a moment.

    A fresh Python would know nothing of poisoned functions, and outlive the time of a cell.
    """
    allowed: list[bool] = []

    def refuse(event: str, _: tuple) -> None:
        if event in STARTS and not allowed:
            raise PermissionError(
                "no other program or process can be started while your notebook is graded: leave it out "
                "(a DataLoader takes num_workers=0)."
            )

    @contextlib.contextmanager
    def allow() -> Iterator[None]:
        allowed.append(True)
        yield
        allowed.clear()

    sys.addaudithook(refuse)
    return allow


def block_mocks() -> None:
    """Objects that answer to everything, and equal everything, pass tests that ask for a number."""
    for name in vars(unittest.mock).copy():
        if name.endswith(("ANY", "Mock", "Mixin", "sentinel")):
            setattr(unittest.mock, name, None)


def limit(memory_mb: int, file_mb: int = 256) -> None:
    """Let this process take so much more memory, and write no larger file. Linux; else nothing."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        most = now + memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_mb * 2**20,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux" and _kernel() >= (5, 14):  # before, all that you run counted
            resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    except (ImportError, OSError, ValueError):
        pass


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


Tests = dict[str, dict[str, Task]]


def copies(tests: Tests) -> list[types.FunctionType]:
    """Functions with the code of a poisoned one, as ``types.FunctionType`` or ``importlib.reload`` make them.

    The hidden tests keep some for themselves: only those that a notebook's cells made are a student's.
    """
    poisoned = {f for tasks in tests.values() for task in tasks.values() for f in task.poisoned}
    names, codes = {f.__code__.co_name for f in poisoned}, {f.__code__ for f in poisoned}
    functions = [thing for thing in gc.get_objects() if type(thing) is types.FunctionType]
    alike = [f for f in functions if f.__code__.co_name in names and f not in poisoned]  # quickly told
    return [f for f in alike if f.__code__ in codes]


def with_copies(tests: Tests, made: list[types.FunctionType]) -> Tests:
    """The tasks, each with the copies of its poisoned functions poisoned as well."""

    def whole(task: Task) -> Task:
        codes = [f.__code__ for f in task.poisoned]
        more = tuple(f for f in made if f.__code__ in codes)
        return dataclasses.replace(task, poisoned=task.poisoned + more)

    return {name: {task: whole(tasks[task]) for task in tasks} for name, tasks in tests.items()}


class Snapshot:
    """What the tests lean on, as it was: functions of torch, of the package, of the tests themselves."""

    def __init__(self) -> None:
        # An optimizer loads it, and it then replaces torch.manual_seed: no student did that.
        importlib.import_module("torch._dynamo")
        owners = [builtins, math, random, torch, torch.Tensor, torch.nn.Module, torch.nn.functional]
        owners += [torch.testing, torch.autograd, torch.linalg, numpy]
        owners += [module for name, module in sys.modules.items() if _ours(name) and module is not None]
        self._kept = {id(owner): (owner, dict(vars(owner))) for owner in owners}
        self._codes = {}
        ours = [value for _, held in self._kept.values() for value in held.values() if _own_class(value)]
        self._kept |= {id(value): (value, dict(vars(value))) for value in ours}
        for _, held in self._kept.values():
            for value in held.values():
                if isinstance(value, types.FunctionType):
                    code = (value, value.__code__, value.__defaults__, value.__kwdefaults__)
                    self._codes[id(value)] = code

    def put_back(self) -> list[str]:
        """Undo what was changed, and name it."""
        changed = []
        for owner, held in self._kept.values():
            now = vars(owner)
            for name, value in held.items():
                if now.get(name) is not value and _judges(value):
                    changed.append(f"{_name(owner)}.{name}")
                    setattr(owner, name, value)
            if owner is torch.Tensor:  # a new name there hides the one that it inherits
                for name in [n for n in now if n not in held and hasattr(torch._C.TensorBase, n)]:
                    changed.append(f"torch.Tensor.{name}")
                    delattr(owner, name)
        for function, code, defaults, keywords in self._codes.values():
            if function.__code__ is not code or function.__defaults__ is not defaults:
                changed.append(f"{function.__module__}.{function.__qualname__}")
                function.__code__, function.__defaults__ = code, defaults
                function.__kwdefaults__ = keywords
        return changed


def _ours(name: str) -> bool:
    return name.startswith(("dfcvae", "hidden_")) and ".checks" not in name


def _own_class(value: object) -> bool:
    return isinstance(value, type) and _ours(value.__module__)


def _judges(value: object) -> bool:
    """Functions and classes: a module's variables may change by use."""
    return isinstance(value, Callable) or isinstance(value, staticmethod | classmethod | property)


def _name(owner: object) -> str:
    return getattr(owner, "__qualname__", None) or owner.__name__


def disguised(module: str) -> list[str]:
    """Classes that student code made (in the module of that name) and whose objects could pass any test."""
    found = []
    for thing in gc.get_objects():
        # Of the type, not by isinstance: that would ask each object, and some of torch's complain.
        if not issubclass(type(thing), type):
            continue
        tensor = torch.Tensor in thing.__mro__
        own = DISGUISES & vars(thing).keys()
        if not (own or tensor) or not (thing.__module__ == module or _of_a_cell(thing)):
            continue
        if "__dataclass_fields__" in vars(thing):
            own = own - {"__eq__"}
        found += [f"class {thing.__qualname__} defines {name}" for name in sorted(own)]
        found += [f"class {thing.__qualname__} is a tensor of its own kind"] * tensor
    return found


def _of_a_cell(thing: type) -> bool:
    """Whether a cell defined a method of it, whatever module it says that it is of."""
    codes = [getattr(value, "__code__", None) for value in vars(thing).values()]
    return any(code is not None and code.co_filename.startswith("<ipython-input") for code in codes)


def suspicious(source: str) -> list[str]:
    return [word for word in SUSPICIOUS if word in source]
