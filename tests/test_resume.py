"""Nothing is lost: power cuts, kills, Ctrl-C, torn files, locks, losses that go wrong, full memory."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest
import tiny_run
import torch
from dfcvae.checkpoint import read_checkpoint, read_config, read_metrics
from dfcvae.memory import batch_that_fits
from filelock import FileLock
from tiny_run import go_on, same, same_runs

from dfcvae import load_run, loop, memory
from dfcvae.training import Trainer

TESTS = Path(__file__).parent
# A constant rate, so that a shorter run is the beginning of a longer one.
SHORT = {"steps": 12, "log_every": 3, "schedule": "constant"}


@pytest.fixture(autouse=True)
def _threads():
    """tiny_run takes one."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 12 steps that nothing has interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    go_on(out, **SHORT)
    return out


def before_step(monkeypatch, step: int, act) -> None:
    """Do something within a step, before its work."""
    usual = Trainer.step

    def acting(self, number):
        if number == step:
            act()
        return usual(self, number)

    monkeypatch.setattr(Trainer, "step", acting)


# --- kills, power cuts, torn files


def check_kills(told: Iterable[dict]) -> None:
    for kill in told:
        assert kill["same"], kill
        assert kill["done"] - kill["saved"] <= tiny_run.EVERY, kill


def test_a_killed_run_ends_like_one_that_nobody_killed(tmp_path):
    check_kills(tiny_run.kills(1, tmp_path))  # late in its life


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_like_one_that_nobody_killed(tmp_path):
    """benchmarks/kills.py does it a hundred times."""
    check_kills(tiny_run.kills(8, tmp_path))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked for each power cut")
@pytest.mark.parametrize("count", [24, pytest.param(100, marks=pytest.mark.slow)])
def test_a_power_cut_while_saving_leaves_a_whole_checkpoint(tmp_path, count):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", TESTS / "faults.py", str(count), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cuts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cuts) == count
    for cut in cuts:
        assert cut["whole"] and cut["tidy"], cut
        assert cut["died"] or cut["kind"] in ("link", "open") and cut["call"] == 1, cut  # called once only
        assert cut["step"] in ((2, 3) if cut["kind"] != "write" else (2,)), cut
        between = (cut["call"], cut["after"]) in ((0, True), (1, False))
        between = between and cut["kind"] == "rename without links"
        assert cut["told"] == between, cut  # only then the first name is missing
    assert {cut["step"] for cut in cuts} == {2, 3}


def test_a_torn_checkpoint_is_told_and_the_one_before_it_goes_on(whole, tmp_path):
    """Cut short, emptied in a block, or a bit turned: the run ends as if nothing had been."""
    damages = random.Random(0)
    go_on(tmp_path, **(SHORT | {"steps": 8}))
    good = {name: (tmp_path / name).read_bytes() for name in ("checkpoint.pt", "checkpoint.previous.pt")}
    bits = 0
    for number in range(100):
        torn = bytearray(good["checkpoint.pt"])
        place = damages.randrange(len(torn))
        if number % 3 == 0:
            del torn[place:]
        elif number % 3 == 1:
            torn[place : place + 512] = bytes(len(torn[place : place + 512]))
        else:
            torn[place] ^= 1 << damages.randrange(8)
        (tmp_path / "checkpoint.pt").write_bytes(torn)
        before = read_checkpoint_quietly(tmp_path)
        assert before["step"] in (4, 8)
        bits += before["step"] == 8  # the padding between the records holds nothing
    assert bits < 30
    (tmp_path / "checkpoint.pt").write_bytes(good["checkpoint.pt"][:-1000])
    with pytest.warns(UserWarning, match=r"checkpoint.pt' is torn: the one before it, of step 4, is used"):
        assert load_run(tmp_path) is not None
    assert (tmp_path / "checkpoint.previous.pt").read_bytes() == good["checkpoint.previous.pt"]
    with pytest.warns(UserWarning, match="of step 4, is used"):
        go_on(tmp_path, seed=99, **(SHORT | {"steps": 8}))
    previous = torch.load(tmp_path / "checkpoint.previous.pt", weights_only=True)
    assert previous["step"] == 4, "the torn one has been kept as the one before"
    go_on(tmp_path, seed=99, **SHORT)
    assert same_runs(whole, tmp_path)


def read_checkpoint_quietly(out: Path) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_checkpoint(out)


def test_both_torn_is_an_error(tmp_path):
    go_on(tmp_path, steps=8)
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-500])
    with pytest.raises(ValueError, match="checkpoint.pt' is no checkpoint of a training"):
        go_on(tmp_path, steps=8)


def test_a_checkpoint_that_does_not_come_back_takes_no_good_ones_place(tmp_path, monkeypatch):
    go_on(tmp_path, steps=4)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    usual = torch.save

    def forgetful(state, part):
        usual(state, part)
        with open(part, "r+b") as file:
            file.seek(5000)
            file.write(bytes([255 - byte for byte in file.read(1)] * 64))

    monkeypatch.setattr(torch, "save", forgetful)
    with pytest.raises(OSError, match="does not come back"):
        go_on(tmp_path, steps=8)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_folder_of_a_release_before_has_one_checkpoint_without_seed_and_goes_on(tmp_path, whole):
    go_on(tmp_path, **(SHORT | {"steps": 6}))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    older = {key: state[key] for key in ("step", "seconds", "model", "optimizer")}
    torch.save(older, tmp_path / "checkpoint.pt")
    (tmp_path / "checkpoint.previous.pt").unlink()
    go_on(tmp_path, seed=99, **SHORT)
    states = [read_checkpoint(out) for out in (whole, tmp_path)]
    assert same(states[0]["model"], states[1]["model"]) and states[1]["seed"] == 0


def test_a_drive_that_cannot_flush_link_or_lock_can_hold_a_run(whole, tmp_path, monkeypatch):
    def cannot(*_, **__):
        raise OSError(errno.ENOSYS, "Function not implemented")

    for name in ("fsync", "link"):
        monkeypatch.setattr(os, name, cannot)
    monkeypatch.setattr(FileLock, "acquire", cannot)
    with pytest.warns(UserWarning, match="cannot be locked"):
        go_on(tmp_path, **SHORT)
    assert same_runs(whole, tmp_path)
    assert torch.load(tmp_path / "checkpoint.previous.pt", weights_only=True)["step"] == 8


def test_a_disk_that_fails_to_flush_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="could not be written .No space left on device"):
        go_on(tmp_path, steps=4)


def test_the_first_step_and_then_the_clock_save_too(tmp_path, monkeypatch):
    """preview_every may be an hour; the line that step 1 belongs to is not cut in two by its checkpoint."""
    options = {"steps": 12, "preview_every": 12, "log_every": 3}
    go_on(tmp_path / "whole", **options)
    for number, (after, step, saved) in enumerate([(300.0, 7, 1), (0.0, 7, 6)]):
        monkeypatch.setattr(loop, "SAVE_AFTER", after)
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            before_step(patch, step, lambda: 1 // 0)
            go_on(tmp_path / str(number), **options)
        assert read_checkpoint(tmp_path / str(number))["step"] == saved
        go_on(tmp_path / str(number), seed=99, **options)
        assert same_runs(tmp_path / "whole", tmp_path / str(number))


# --- Ctrl-C


@pytest.fixture
def keyboard():
    """Python's own handler: a shell starts what runs in its background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(whole, tmp_path, monkeypatch):
    usual = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        before_step(patch, 6, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="after step 7 of 12, .*saved in .* goes on from there"):
            go_on(tmp_path, **SHORT)
    assert read_checkpoint(tmp_path)["step"] == 7 and signal.getsignal(signal.SIGINT) is usual
    assert [line["step"] for line in read_metrics(tmp_path)] == [3, 4, 6]
    go_on(tmp_path, seed=99, **SHORT)
    assert same_runs(whole, tmp_path)  # the line of step 8 too, which was half done


@pytest.mark.usefixtures("keyboard")
def test_a_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on after the second")

    before_step(monkeypatch, 6, twice)
    with pytest.raises(KeyboardInterrupt):
        go_on(tmp_path, steps=12)
    assert read_checkpoint(tmp_path)["step"] == 4


def test_a_training_in_a_thread_goes_without_signals(whole, tmp_path):
    thread = threading.Thread(target=go_on, args=(tmp_path,), kwargs=SHORT)
    thread.start()
    thread.join()
    assert same_runs(whole, tmp_path)


def test_a_handler_of_the_programs_own_is_left_alone(tmp_path, monkeypatch):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        before_step(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGINT))
        go_on(tmp_path, steps=4)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1] and read_checkpoint(tmp_path)["step"] == 4


# --- the lock


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    go_on(tmp_path, steps=2)
    with FileLock(tmp_path / ".lock"), pytest.raises(BlockingIOError) as told:
        go_on(tmp_path, steps=4)
    assert str(tmp_path) in str(told.value) and "another folder" in str(told.value)
    assert read_config(tmp_path)["training"]["steps"] == 2
    go_on(tmp_path, steps=4)


HOLDS = (
    "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
    "print(1, flush=True); time.sleep(60)"
)


def test_a_lock_goes_with_the_process_that_held_it(tmp_path):
    command = [sys.executable, "-c", HOLDS, tmp_path / ".lock"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(BlockingIOError):
            go_on(tmp_path, steps=2)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    go_on(tmp_path, steps=2)
    assert read_checkpoint(tmp_path)["step"] == 2


def test_a_finished_run_writes_nothing(tmp_path, monkeypatch):
    go_on(tmp_path, steps=4)

    def written(*_, **__):
        raise AssertionError("a finished run writes nothing")

    for name in ("write_config", "write_metrics", "save_checkpoint"):
        monkeypatch.setattr(loop, name, written)
    assert go_on(tmp_path, seed=99, steps=4).metrics[-1]["step"] == 4


# --- a loss that goes wrong


def changed_at(monkeypatch, steps, change) -> None:
    """Change the terms of some steps."""
    usual = Trainer.step

    def changing(self, number):
        terms = usual(self, number)
        return change(terms) if number + 1 in steps else terms

    monkeypatch.setattr(Trainer, "step", changing)


def scaled(name: str, factor: float):
    return lambda terms: {k: v * factor if k in (name, "loss") else v for k, v in terms.items()}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_number_names_step_term_and_cause_and_leaves_a_good_checkpoint(tmp_path, monkeypatch, value):
    changed_at(monkeypatch, [7], scaled("kl", value))
    with pytest.raises(FloatingPointError, match=rf"step 7: kl is {value}.*learning rate 0.0005"):
        go_on(tmp_path, steps=20, log_every=5)
    assert read_checkpoint(tmp_path)["step"] == 4


def test_no_number_at_the_first_step_is_not_put_on_the_learning_rate(tmp_path, monkeypatch):
    changed_at(monkeypatch, [1], scaled("reconstruction", math.nan))
    with pytest.raises(FloatingPointError, match="step 1: reconstruction is nan.*Nothing has been learnt"):
        go_on(tmp_path, steps=20)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("last", [99, 12])
def test_an_explosion_stops_the_run_at_the_checkpoint_before_it(tmp_path, monkeypatch, last):
    """After ten steps in a row, or at the last one, which is sooner here in one of the cases."""
    changed_at(monkeypatch, range(7, 100), scaled("kl", 1e6))
    with pytest.raises(FloatingPointError, match=r"step 7: kl explodes; at step \d+ it is \S+, and was"):
        go_on(tmp_path, steps=last, log_every=3)
    assert read_checkpoint(tmp_path)["step"] == 4


def test_a_spike_is_no_explosion(tmp_path, monkeypatch):
    changed_at(monkeypatch, [*range(7, 16), *range(17, 20)], scaled("kl", 1e6))
    go_on(tmp_path, steps=24, log_every=1)
    assert read_checkpoint(tmp_path)["step"] == 24


def test_a_learning_rate_far_too_high_is_named(tmp_path):
    with pytest.raises(FloatingPointError, match="(explodes|no number|NaN).*learning rate"):
        go_on(tmp_path, steps=200, preview_every=100, learning_rate=30.0)
    if (tmp_path / "checkpoint.pt").exists():
        assert all(tensor.isfinite().all() for tensor in read_checkpoint(tmp_path)["model"].values())


# --- memory


def test_the_batch_that_fits_is_read_off_two_small_ones():
    def peak(images: int) -> float:
        return 100 + 3 * images

    assert batch_that_fits(256, peak, usable=100 + 3 * 130) == 128
    assert batch_that_fits(256, peak, usable=100 + 3 * 127) == 64
    assert batch_that_fits(64, peak, usable=1e9) == 32, "never the one that has just failed"
    assert batch_that_fits(60, peak, usable=1e9) == 32
    assert batch_that_fits(256, peak, usable=50) == 0
    assert batch_that_fits(256, lambda _: 100, usable=1e9) == 128, "images that take nothing"


def test_full_memory_names_the_batch_that_fits(tmp_path, monkeypatch):
    def full():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    before_step(monkeypatch, 0, full)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="at batch_size 24: give 16"):
        go_on(tmp_path, steps=4, batch_size=24)
    monkeypatch.setattr(memory, "_fitting", lambda trainer: 0)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="at batch_size 8: .*smaller images"):
        go_on(tmp_path, steps=4)
    assert not (tmp_path / "checkpoint.pt").exists(), "another batch size would be refused"


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own account of memory")
def test_a_thousand_steps_and_a_hundred_pictures_take_no_more_memory(tmp_path):
    """benchmarks/memory.py does it with the network of the course."""
    from dfcvae.figures.explore import Space, State

    found = []
    usual = Trainer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", lambda self, n: (found.append(resident()), usual(self, n))[1])
        run = go_on(tmp_path, steps=1000, preview_every=100, log_every=10)
    assert max(found[-100:]) - max(found[200:300]) < 8, "MiB more after 700 steps"
    space, redraws = Space(run.model, torch.randn(4, 5), torch.randn(2, 5), ("a", "b")), []
    for number in range(120):
        space.png(State(number % 4, {"a": number / 60 - 1}))
        redraws.append(resident())
    assert redraws[-1] - redraws[19] < 4, "MiB more after a hundred pictures"
