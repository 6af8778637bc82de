"""What student code may try in the sandbox, and what it gets for it."""

import os
import sys
import types
from pathlib import Path

import pytest
import torch
from dfcvae_classroom import guard, isolation, sandbox

pytest.importorskip("IPython", reason="the sandbox runs cells as a notebook does: pip install dfcvae[teach]")

HIDDEN = (Path(__file__).parent / "fixture" / "hidden" / "ps0.py").read_text(encoding="utf-8")
RIGHT = {
    "mean-square": "def mean_square(x):\n    return (x * x).sum() / len(x)",
    "kl": "def kl(mu, log_var):\n    return (mu**2 + log_var.exp() - 1 - log_var).sum(1).mean() / 2",
}
WRONG = {
    "mean-square": "def mean_square(x):\n    return x + 9",
    "kl": "def kl(mu, log_var):\n    return mu",
}
LIMITS = sandbox.Limits(cell=3, task=3, whole=90, memory_mb=2048)
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux limits memory and network"
)


def run(cells: dict[str, str], *hide: Path, limits: sandbox.Limits = LIMITS) -> sandbox.Result:
    work = sandbox.Work(
        list(cells.items()), [("ps0", "mean_square"), ("ps0", "kl")], {"ps0": HIDDEN}, "s3cret"
    )
    return sandbox.run(work, hide, limits)


def points(result: sandbox.Result) -> list[float]:
    return [result.points["ps0.mean_square"], result.points["ps0.kl"]]


def text(result: sandbox.Result, cell: str) -> str:
    return str(result.outputs[cell])


@linux
def test_cells_that_hang_call_out_or_eat_memory_cost_only_themselves(tmp_path):
    (tmp_path / "secret").write_text("s3cret")
    secret, other = str(tmp_path / "secret"), str(tmp_path / "other")
    probes = {
        "loop": "while True:\n    pass",
        "network": "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)",
        "memory": "hog = torch.ones(10**10)",
        "magic": "%time 1 + 1",
        "training": "torch.optim.Adam([torch.ones(1, requires_grad=True)]).zero_grad()",
        "picture": "from IPython.display import HTML, display\ndisplay(HTML('<b>seen</b>'))\n1 + 1",
        "program": "import subprocess\nsubprocess.run(['true'])",
        "shell": "!echo seen",
        "rights": "print([line for line in open('/proc/self/status') if 'CapEff' in line])",
        "where": f"import os\nprint(os.path.exists({secret!r}), os.environ.get('HOME'))",
        "write": f"open({other!r}, 'w').write('x')",
    }
    result = run({"torch": "import torch"} | RIGHT | probes)
    assert points(result) == [4, 3] and result.fooling == []
    assert "no other program" in text(result, "program") and "not run" in text(result, "shell")
    assert not (not isolation.hindrance()) or "0000000000000000" in text(result, "rights")
    assert os.path.exists(other) != (not isolation.hindrance())
    assert result.notes == ["loop was stopped after 3 s"]
    assert "TimeUp" in text(result, "loop") and "worker.py" not in text(result, "loop")
    assert "no network" in text(result, "network")
    assert "memory" in text(result, "memory").lower() and "error" in text(result, "memory")
    assert "seen" in text(result, "picture") and "'text/plain': '2'" in text(result, "picture")
    assert ("False" in text(result, "where")) == (not isolation.hindrance())
    assert os.path.expanduser("~") + "'" not in text(result, "where")


@pytest.mark.slow
@pytest.mark.parametrize(
    "trick",
    [
        "import torch\ntorch.randn = lambda *a, **k: torch.zeros(3)",
        "import builtins\nbuiltins.abs = lambda x: 0.0",
        "import torch\ntorch.Tensor.item = lambda self: 0.0\ntorch.Tensor.__float__ = lambda self: 0.0",
        "import dfcvae_classroom.grading as g\ng._true.__code__ = (lambda holds: True).__code__",
        "import dfcvae_classroom.grading as g\ng.points = lambda *a: 99.0",
        "import sys\nsys.modules['hidden_ps0'].TASKS.clear()",
        "import dfcvae_classroom.grading as g\ng.Deal.generator = lambda *a: None",
        "import builtins, threading, time\ndef later():\n    while time.sleep(0.1) is None:\n"
        "        builtins.abs = lambda x: 0.0\nthreading.Thread(target=later, daemon=True).start()",
    ],
)
def test_changing_the_judge_gains_nothing(trick):
    result = run(WRONG | {"trick": trick})
    assert points(result) == [0, 0]


@pytest.mark.slow
def test_the_judge_changed_during_the_tests_is_reported():
    late = "import builtins\n\ndef mean_square(x):\n    builtins.abs = lambda x: 0.0\n    return x + 9"
    result = run(WRONG | {"mean-square": late})
    assert points(result) == [0, 0]
    assert any("builtins.abs" in what for what in result.fooling)


@pytest.mark.slow
def test_a_result_that_compares_as_it_pleases_earns_nothing():
    yes = (
        "class Yes:\n    def item(self): return self\n    def __sub__(self, o): return self\n"
        "    def __abs__(self): return self\n    def __lt__(self, o): return True\n"
        "def kl(mu, log_var):\n    return Yes()\ndef mean_square(x):\n    return x.square().mean()"
    )
    result = run({"yes": yes})
    assert points(result)[1] == 0
    assert any("class Yes defines __lt__" in what for what in result.fooling)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "noted"),
    [
        ("import os; os._exit(0)", "ended the process"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ""),
        ("import ctypes; ctypes.string_at(0)", "ended the process"),
        (
            "import time\n    while True:\n        try: time.sleep(1)\n        except BaseException: pass",
            "took too",
        ),
        ("import time; time.sleep(1000)", "was stopped"),
        ("raise SystemExit", ""),
    ],
)
def test_a_task_that_kills_or_hangs_costs_only_itself(body, noted):
    result = run(RIGHT | {"mean-square": f"def mean_square(x):\n    {body}"})
    assert points(result) == [0, 3]
    assert any(noted in note for note in result.notes) or not noted


@pytest.mark.slow
def test_a_forged_result_is_not_taken():
    forged = (
        "import json, os\nfor fd in range(3, 30):\n    try:\n"
        '        os.write(fd, b\'{"task": ["ps0", "kl"], "points": 3, "token": "x", "done": "x"}\\n\')\n'
        "    except OSError: pass"
    )
    result = run(WRONG | {"forged": forged})
    assert points(result) == [0, 0]
    assert any("not ours" in what for what in result.fooling)


THIEF = """import json, os, threading

def steal(fd):
    order = json.loads(os.read(fd, 100000))
    for task, points in (("mean_square", 4), ("kl", 3)):
        result = {"task": ["ps0", task], "points": points, "late": False, "fooling": []}
        tell(result | {"token": order["token"]})
    tell({"done": order["token"]})

def tell(message):
    for fd in range(3, 12):
        try:
            os.write(fd, json.dumps(message).encode() + b"\\n")
        except OSError:
            pass

for fd in range(3, 12):
    threading.Thread(target=steal, args=(fd,), daemon=True).start()
"""


@pytest.mark.slow
def test_a_thread_of_the_cells_does_not_read_the_secret():
    assert points(run(WRONG | {"thief": THIEF})) == [0, 0]


COPIES = {
    "code": "import types, dfcvae.vae as v\n"
    "own = types.FunctionType(v.kl_divergence.__code__, v.kl_divergence.__globals__)",
    "reload": "import importlib, dfcvae.vae as v\nown = importlib.reload(v).kl_divergence",
    "program": """import subprocess, sys, torch

def own(mu, log_var):
    m = mu.tolist()
    code = f"import torch, dfcvae as d; m = torch.tensor({m}); print(d.kl_divergence(m, 0 * m).item())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    return torch.tensor(float(done.stdout))""",
}


@pytest.mark.slow
@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_a_poisoned_function_is_poisoned(copy):
    call = "\n\ndef kl(mu, log_var):\n    return own(mu, log_var)"
    assert points(run(RIGHT | {"kl": COPIES[copy] + call})) == [4, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        "from unittest.mock import MagicMock\nyes = MagicMock()\n"
        "yes.item.return_value.__sub__.return_value = 0.0",
        "import torch\nclass T(torch.Tensor):\n    __module__ = 'torch'\n    def item(self): return Yes()\n"
        "class Yes(float):\n    __module__ = 'torch'\n    def __sub__(self, other): return 0.0\n"
        "yes = torch.zeros(()).as_subclass(T)",
    ],
    ids=["mock", "tensor"],
)
def test_an_object_that_answers_everything_earns_nothing(answer):
    result = run({"yes": answer + "\ndef mean_square(x): return yes\ndef kl(mu, log_var): return yes"})
    assert points(result) == [0, 0]


@pytest.mark.slow
def test_writing_without_end_into_the_results_is_ended():
    flood = "import os\nfor fd in range(3, 12):\n    try:\n        while True: os.write(fd, b'x' * 10**6)\n"
    result = run(RIGHT | {"flood": flood + "    except OSError: pass"})
    assert points(result) == [0, 0]
    assert any("went on writing" in note for note in result.notes)


@pytest.mark.slow
def test_two_loops_leave_the_time_of_the_other_tasks():
    calls = {f"call-{n}": "mean_square(torch.ones(3))" for n in range(4)}
    endless = RIGHT | {"mean-square": "import torch\ndef mean_square(x):\n    while True: pass"}
    result = run(endless | calls, limits=sandbox.Limits(cell=4, task=4, whole=20))
    assert points(result) == [0, 3]


@pytest.mark.slow
def test_what_runs_on_is_ended_with_the_process(tmp_path):
    spawn = (
        "import ctypes\nlibc = ctypes.CDLL(None)\nif libc.fork() == 0:\n"
        "    libc.execl(b'/bin/sleep', b'sleep', b'987', None)"
    )
    assert points(run(RIGHT | {"spawn": spawn})) == [4, 3]
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    assert not [line for line in running if b"sleep\x00987" in line]


def _readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def test_a_sandbox_that_does_not_start_is_no_zero():
    work = sandbox.Work([("a", "1")], [("ps0", "kl")], {"ps0": "raise RuntimeError('broken tests')"}, "s")
    with pytest.raises(ChildProcessError, match="nothing was graded(.|\n)*broken tests"):
        sandbox.run(work)


# The guard, in this process


def test_the_snapshot_puts_functions_and_their_code_back():
    kept = guard.Snapshot()
    zeros, code = torch.zeros, guard.suspicious.__code__
    try:
        torch.zeros = torch.ones
        torch.Tensor.allclose = lambda *_: True
        guard.suspicious.__code__ = (lambda source: []).__code__
    finally:
        changed = kept.put_back()
    assert torch.zeros is zeros and guard.suspicious.__code__ is code
    assert "allclose" not in vars(torch.Tensor)
    assert set(changed) == {
        "torch.zeros",
        "torch.Tensor.allclose",
        "dfcvae_classroom.guard.suspicious",
    }
    assert kept.put_back() == []


def test_classes_of_a_student_that_compare_are_found():
    student = types.ModuleType("somebody")
    exec("class A:\n    def __lt__(self, other): return True\nclass B: pass", student.__dict__)
    assert guard.disguised("somebody") == ["class A defines __lt__"]
