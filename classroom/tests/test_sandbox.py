"""What student code may try in the sandbox, and what it gets for it."""

import os
import sys
import tempfile
import types
from pathlib import Path

import pytest
import torch
from dfcvae_classroom import guard, isolation, sandbox

HIDDEN = (Path(__file__).parent / "fixture" / "hidden" / "ps0.py").read_text(encoding="utf-8")
RIGHT = {
    "mean-square": "def mean_square(x):\n    return (x * x).sum() / len(x)",
    "kl": "def kl(mu, log_var):\n    return (mu**2 + log_var.exp() - 1 - log_var).sum(1).mean() / 2",
}
WRONG = {
    "mean-square": "def mean_square(x):\n    return x + 9",
    "kl": "def kl(mu, log_var):\n    return mu",
}
LIMITS = sandbox.Limits(cell=5, task=5, whole=120, memory_mb=2048)
ALONE = not isolation.hindrance()


def run(cells: dict[str, str], *hidden: Path, limits: sandbox.Limits = LIMITS) -> sandbox.Result:
    work = sandbox.Work(
        list(cells.items()), [("ps0", "mean_square"), ("ps0", "kl")], {"ps0": HIDDEN}, "s3cret"
    )
    return sandbox.run(work, hidden, limits)


def points(result: sandbox.Result) -> list[float]:
    return [result.points["ps0.mean_square"], result.points["ps0.kl"]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory and network")
def test_cells_that_hang_call_out_or_eat_memory_cost_only_themselves(tmp_path):
    other = str(tmp_path / "other")
    probes = {
        "loop": "while True:\n    pass",
        "network": "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)",
        "memory": "hog = torch.ones(10**10)",
        "magic": "%time 1 + 1",
        "training": "torch.optim.Adam([torch.ones(1, requires_grad=True)]).zero_grad()",
        "picture": "from IPython.display import HTML, display\ndisplay(HTML('<b>seen</b>'))\n1 + 1",
        "program": "import subprocess\nsubprocess.run(['true'])",
        "shell": "!echo seen",
        "home": "import os\nprint(os.environ['HOME'], os.path.exists(os.path.expanduser('~/.bashrc')))",
        "write": f"open({other!r}, 'w').write('x')",
    }
    result = run({"torch": "import torch"} | RIGHT | probes)
    shown = {cell: str(outputs) for cell, outputs in result.outputs.items()}
    assert points(result) == [4, 3] and result.fooling == []
    assert result.notes == ["loop was stopped after 5 s"]
    assert "TimeUp" in shown["loop"] and "worker.py" not in shown["loop"]
    assert "no network" in shown["network"]
    assert "memory" in shown["memory"].lower() and "error" in shown["memory"]
    assert "no other program" in shown["program"] and "not run" in shown["shell"]
    assert "seen" in shown["picture"] and "'text/plain': '2'" in shown["picture"]
    assert os.path.expanduser("~") + " " not in shown["home"] and "False" in shown["home"]
    assert os.path.exists(other) != ALONE


@pytest.mark.skipif(not ALONE, reason=f"no sandbox: {isolation.hindrance()}")
def test_in_the_sandbox_there_is_no_course_no_solution_no_right_and_no_place_to_write(tmp_path):
    (tmp_path / "course" / "inside").mkdir(parents=True)
    (tmp_path / "course" / "secret").write_text("s3cret")
    sources = Path(guard.__file__).parent / "sources"
    probes = {
        "course": f"import os\nos.listdir({str(tmp_path / 'course')!r})",
        "solutions": f"os.listdir({str(sources)!r})",
        "rights": "[line for line in open('/proc/self/status') if 'CapEff' in line][0].split()[1]",
        "others": "[name for name in os.listdir('/proc') if name.isdigit()]",
        "devices": "[line.split(':')[0].strip() for line in open('/proc/net/dev')][2:]",
    }
    for place in ("/", tempfile.gettempdir(), "/dev", "/etc", str(sources.parent), sys.prefix):
        probes[place] = f"open({place!r} + '/made by a student', 'w')"
    result = run(RIGHT | probes, tmp_path / "course")
    shown = {cell: str(outputs) for cell, outputs in result.outputs.items()}
    assert "[]" in shown["solutions"]
    assert "[]" in shown["course"] or "FileNotFoundError" in shown["course"]
    assert "'0000000000000000'" in shown["rights"]
    assert "['1', '2']" in shown["others"]
    assert "['lo']" in shown["devices"]
    assert all("OSError" in shown[place] for place in probes if place.startswith("/")), shown
    assert points(result) == [4, 3]


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
def test_changing_what_grades_gains_nothing(trick):
    assert points(run(WRONG | {"trick": trick})) == [0, 0]


@pytest.mark.slow
def test_what_is_changed_during_the_tests_is_reported():
    late = "import builtins\n\ndef mean_square(x):\n    builtins.abs = lambda x: 0.0\n    return x + 9"
    result = run(WRONG | {"mean-square": late})
    assert points(result) == [0, 0]
    assert any("builtins.abs" in what for what in result.fooling)


YES = {
    "class": "class Yes:\n    def item(self): return self\n    def __sub__(self, o): return self\n"
    "    def __abs__(self): return self\n    def __lt__(self, o): return True\nyes = Yes()",
    "mock": "from unittest.mock import MagicMock\nyes = MagicMock()\n"
    "yes.item.return_value.__sub__.return_value = 0.0",
    "tensor": "import torch\n"
    "class T(torch.Tensor):\n    __module__ = 'torch'\n    def item(self): return Yes()\n"
    "class Yes(float):\n    __module__ = 'torch'\n    def __sub__(self, other): return 0.0\n"
    "yes = torch.zeros(()).as_subclass(T)",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", YES)
def test_an_object_that_answers_everything_earns_nothing(kind):
    result = run({"yes": YES[kind] + "\ndef mean_square(x): return yes\ndef kl(mu, log_var): return yes"})
    assert points(result) == [0, 0]
    assert kind != "class" or any("class Yes defines __lt__" in what for what in result.fooling)


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


FORGED = """import json, os
for fd in range(3, 30):
    try:
        os.write(fd, b'{"task": ["ps0", "kl"], "points": 3, "token": "x", "done": "x"}\\n')
    except OSError:
        pass
"""
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
FLOOD = """import os
for fd in range(3, 12):
    try:
        while True: os.write(fd, b"x" * 10**6)
    except OSError:
        pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "told"), [(FORGED, "not ours"), (THIEF, ""), (FLOOD, "went on writing")])
def test_results_of_the_students_own_are_not_taken(cell, told):
    result = run((RIGHT if cell is FLOOD else WRONG) | {"cell": cell})
    assert points(result) == [0, 0]
    assert told in " ".join(result.fooling + result.notes)


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
def test_two_loops_leave_the_time_of_the_other_tasks():
    calls = {f"call-{n}": "mean_square(torch.ones(3))" for n in range(4)}
    endless = RIGHT | {"mean-square": "import torch\ndef mean_square(x):\n    while True: pass"}
    result = run(endless | calls, limits=sandbox.Limits(cell=4, task=4, whole=20))
    assert points(result) == [0, 3]


@pytest.mark.slow
def test_what_runs_on_is_ended_with_the_process():
    spawn = (
        "import ctypes\nlibc = ctypes.CDLL(None)\nif libc.fork() == 0:\n"
        "    libc.execl(b'/bin/sleep', b'sleep', b'987', None)"
    )
    assert points(run(RIGHT | {"spawn": spawn})) == [4, 3]
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert not [line for line in running if b"sleep\x00987" in line]


def test_a_sandbox_that_does_not_start_is_no_zero():
    work = sandbox.Work([("a", "1")], [("ps0", "kl")], {"ps0": "raise RuntimeError('broken tests')"}, "s")
    with pytest.raises(ChildProcessError, match="nothing was graded(.|\n)*broken tests"):
        sandbox.run(work)


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
    assert set(changed) == {"torch.zeros", "torch.Tensor.allclose", "dfcvae_classroom.guard.suspicious"}
    assert kept.put_back() == []


def test_classes_of_a_student_that_compare_are_found():
    student = types.ModuleType("somebody")
    exec("class A:\n    def __lt__(self, other): return True\nclass B: pass", student.__dict__)
    assert guard.disguised("somebody") == ["class A defines __lt__"]
