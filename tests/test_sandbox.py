"""What student code may try in the sandbox, and what it gets for it."""

import os
import sys
import types
from pathlib import Path

import pytest
import torch

from dfcvae.course.classroom import guard, isolation, sandbox

pytest.importorskip("IPython", reason="the sandbox runs cells as a notebook does: pip install dfcvae[teach]")

HIDDEN = (Path(__file__).parent / "classroom_fixture" / "hidden" / "ps0.py").read_text(encoding="utf-8")
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
    probes = {
        "loop": "while True:\n    pass",
        "network": "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)",
        "memory": "hog = torch.ones(10**10)",
        "magic": "%time 1 + 1",
        "training": "torch.optim.Adam([torch.ones(1, requires_grad=True)]).zero_grad()",
        "picture": "from IPython.display import HTML, display\ndisplay(HTML('<b>seen</b>'))\n1 + 1",
        "where": f"import os\nprint(os.path.exists({str(tmp_path / 'secret')!r}), os.environ.get('HOME'))",
    }
    result = run({"torch": "import torch"} | RIGHT | probes, tmp_path)
    assert points(result) == [4, 3] and result.fooling == []
    assert result.notes == ["loop was stopped after 3 s"]
    assert "TimeUp" in text(result, "loop")
    assert "no network" in text(result, "network")
    assert "memory" in text(result, "memory").lower() and "error" in text(result, "memory")
    assert "seen" in text(result, "picture") and "'text/plain': '2'" in text(result, "picture")
    assert ("False" in text(result, "where")) == isolation.isolated()
    assert os.path.expanduser("~") + "'" not in text(result, "where")


@pytest.mark.slow
@pytest.mark.parametrize(
    "trick",
    [
        "import torch\ntorch.randn = lambda *a, **k: torch.zeros(3)",
        "import builtins\nbuiltins.abs = lambda x: 0.0",
        "import torch\ntorch.Tensor.item = lambda self: 0.0\ntorch.Tensor.__float__ = lambda self: 0.0",
        "import dfcvae.course.grading as g\ng._true.__code__ = (lambda holds: True).__code__",
        "import dfcvae.course.grading as g\ng.points = lambda *a: 99.0",
        "import sys\nsys.modules['hidden_ps0'].TASKS.clear()",
        "import dfcvae.course.grading as g\ng.Deal.generator = lambda *a: None",
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


@pytest.mark.slow
def test_what_runs_on_is_ended_with_the_process(tmp_path):
    spawn = "import subprocess\nchild = subprocess.Popen(['sleep', '987'])"
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
        "dfcvae.course.classroom.guard.suspicious",
    }
    assert kept.put_back() == []


def test_classes_of_a_student_that_compare_are_found():
    student = types.ModuleType("somebody")
    exec("class A:\n    def __lt__(self, other): return True\nclass B: pass", student.__dict__)
    assert guard.disguised("somebody") == ["class A defines __lt__"]
