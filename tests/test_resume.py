"""Nothing is lost: power cuts, kills, Ctrl-C, torn files, full disks, locks."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import tiny_run
import torch
from filelock import FileLock
from tiny_run import figures, go_on, in_step, same_ends, same_runs, tiny_model

from dfcvae import load_run
from dfcvae.runs import RunFolder, read_config, read_metrics

TESTS = Path(__file__).parent
# A constant rate, so that a shorter run is the beginning of a longer one.
SHORT = {"steps": 12, "schedule": "constant"}


class PowerCut(Exception):
    pass


def cut():
    raise PowerCut


def saved(out: Path) -> int:
    return RunFolder(out).checkpoint()["step"]


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


# --- cuts, kills, torn files


@pytest.mark.parametrize(("preset", "flip"), [("pixel", True), ("vae-123", False)])
def test_a_run_that_was_cut_ends_bit_equal_to_one_that_was_not(build, images, tmp_path, preset, flip):
    """Weights, moments, pictures, and every line: the mean over the same steps as it would have been."""
    number = random.Random(preset).randrange(5, 17)
    options = {"steps": 17, "log_every": 3, "flip": flip, "validation": images[:10]}
    go_on(tmp_path / "whole", model=build(preset), **options)
    with pytest.raises(PowerCut):
        go_on(tmp_path / "cut", model=in_step(build(preset), number, cut), **options)
    assert saved(tmp_path / "cut") == (number - 1) // 4 * 4
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # torn by the cut
    torch.rand(7)  # the state of the global generator is nobody's business
    go_on(tmp_path / "cut", model=build(preset, seed=99), **options)
    assert same_runs(tmp_path / "whole", tmp_path / "cut")


def test_the_first_step_and_then_the_clock_save_too(whole, tmp_path, monkeypatch):
    """preview_every may be an hour, and is 100 seconds a step here."""
    with monkeypatch.context() as patch:
        for number, (takes, step) in enumerate([(0, 1), (100, 6)]):
            steps = []
            patch.setattr(time, "perf_counter", lambda steps=steps, takes=takes: takes * len(steps))
            model = in_step(tiny_model(), 8, cut)
            model.register_forward_pre_hook(lambda *_, steps=steps: steps.append(1))
            with pytest.raises(PowerCut):
                go_on(tmp_path / str(number), model=model, log_every=3, **(SHORT | {"preview_every": 12}))
            assert saved(tmp_path / str(number)) == step
    for number in (0, 1):
        go_on(tmp_path / str(number), seed=99, **SHORT)
        assert same_ends(whole, tmp_path / str(number))


@pytest.mark.parametrize("count", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_a_killed_run_ends_like_one_that_nobody_killed(tmp_path, count):
    """The first is killed late in its life; benchmarks/kills.py kills a hundred."""
    for kill in tiny_run.kills(count, tmp_path):
        assert kill["same"] and kill["done"] - kill["saved"] <= tiny_run.EVERY, kill


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
        assert cut["died"] or (cut["kind"], cut["call"]) == ("open", 1), cut  # called once only
        assert cut["step"] in ((2,) if cut["kind"] == "write" else (2, 3)), cut
        between = cut["kind"] == "replace" and (cut["call"], cut["after"]) in ((0, True), (1, False))
        assert cut["told"] == between, cut  # only then the first name is missing
    assert {cut["step"] for cut in cuts} == {2, 3}


def test_a_torn_checkpoint_is_told_and_the_one_before_it_goes_on(whole, tmp_path):
    """Cut short, emptied in a block, or a bit turned: the run ends as if nothing had been."""
    damages, bits = random.Random(0), 0
    go_on(tmp_path, **(SHORT | {"steps": 8}))
    last, before = tmp_path / "checkpoint.pt", tmp_path / "checkpoint.previous.pt"
    good, good_before = last.read_bytes(), before.read_bytes()
    for number in range(100):
        torn = bytearray(good)
        place = damages.randrange(len(torn))
        if number % 3 == 0:
            del torn[place:]
        elif number % 3 == 1:
            torn[place : place + 512] = bytes(len(torn[place : place + 512]))
        else:
            torn[place] ^= 1 << damages.randrange(8)
        last.write_bytes(torn)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step = saved(tmp_path)
        assert step in (4, 8)
        bits += step == 8  # the padding between the records holds nothing
    assert bits < 30
    last.write_bytes(good[:-1000])
    with pytest.warns(UserWarning, match=r"checkpoint.pt' is damaged: the one before it, of step 4, is used"):
        assert load_run(tmp_path) is not None
    assert before.read_bytes() == good_before
    with pytest.warns(UserWarning, match="of step 4, is used"):
        go_on(tmp_path, seed=99, **(SHORT | {"steps": 8}))
    kept = torch.load(before, weights_only=True)
    assert kept["step"] == 4, "the torn one has been kept as the one before"
    go_on(tmp_path, seed=99, **SHORT)
    assert same_runs(whole, tmp_path)
    for path in last, before:
        path.write_bytes(good[:-500])
    with pytest.raises(ValueError, match="checkpoint.pt' is no checkpoint of a training"):
        go_on(tmp_path, **SHORT)


def test_a_checkpoint_that_does_not_come_back_takes_no_good_ones_place(tmp_path, monkeypatch):
    go_on(tmp_path, **(SHORT | {"steps": 4}))
    before, usual = (tmp_path / "checkpoint.pt").read_bytes(), torch.save

    def forgetful(state, part):
        usual(state, part)
        with open(part, "r+b") as file:
            file.seek(5000)
            file.write(bytes([255 - byte for byte in file.read(1)] * 64))

    monkeypatch.setattr(torch, "save", forgetful)
    with pytest.raises(OSError, match="does not come back"):
        go_on(tmp_path, **SHORT)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_folder_of_a_release_before_goes_on(whole, tmp_path):
    """One checkpoint, with less in it or more, and one machine."""
    go_on(tmp_path, **(SHORT | {"steps": 4}))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    older = {key: state[key] for key in ("step", "seconds", "model", "optimizer")} | {"seed": 0, "seen": 96}
    torch.save(older, tmp_path / "checkpoint.pt")
    (tmp_path / "checkpoint.previous.pt").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    config["machine"] = config.pop("machines")[0] | {"ranks": 1}
    config["training"]["compile"] = False
    (tmp_path / "config.json").write_text(json.dumps(config))
    go_on(tmp_path, seed=99, **SHORT)
    assert same_ends(whole, tmp_path) and len(read_config(tmp_path)["machines"]) == 1


def test_a_drive_that_can_neither_flush_nor_lock_can_hold_a_run(whole, tmp_path, monkeypatch):
    def cannot(*_, **__):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "fsync", cannot)
    monkeypatch.setattr(FileLock, "acquire", cannot)
    with pytest.warns(UserWarning, match="cannot be locked"):
        go_on(tmp_path, **SHORT)
    assert same_runs(whole, tmp_path)


def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="written .No space left on device.: .*room on the disk") as told:
        go_on(tmp_path, steps=4)
    assert "\n" not in str(told.value)


def test_a_finished_run_takes_no_step_and_writes_nothing(tmp_path):
    first = go_on(tmp_path, steps=4)
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    again = go_on(tmp_path, model=in_step(tiny_model(99), 1, cut), steps=4)
    del files[tmp_path / ".lock"]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == files
    assert tiny_run.same(dict(again.model.state_dict()), dict(first.model.state_dict()))
    assert again.metrics == first.metrics and again.config == first.config


# --- Ctrl-C


@pytest.fixture
def keyboard():
    """Python's own handler: a shell starts what runs in its background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize("log_every", [1, 3])
def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(whole, tmp_path, log_every):
    usual, options = signal.getsignal(signal.SIGINT), SHORT | {"log_every": log_every}
    with pytest.raises(KeyboardInterrupt, match="after step 7 of 12, .*saved in .* goes on from there"):
        go_on(tmp_path, model=in_step(tiny_model(), 7, ctrl_c), **options)
    assert saved(tmp_path) == 7 and signal.getsignal(signal.SIGINT) is usual
    go_on(tmp_path, seed=99, **options)
    assert same_ends(whole, tmp_path)
    lines = [line["step"] for line in figures(tmp_path)]
    assert lines == ([1, 3, 4, 6, 7, 8, 9, 12] if log_every == 3 else list(range(1, 13)))
    assert log_every == 3 or same_runs(whole, tmp_path)


@pytest.mark.usefixtures("keyboard")
def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def twice():
        ctrl_c()
        ctrl_c()
        raise AssertionError("went on after the second")

    with pytest.raises(KeyboardInterrupt):
        go_on(tmp_path, model=in_step(tiny_model(), 7, twice), steps=12)
    assert saved(tmp_path) == 4


def test_a_training_in_a_thread_goes_without_signals(whole, tmp_path):
    thread = threading.Thread(target=go_on, args=(tmp_path,), kwargs=SHORT)
    thread.start()
    thread.join()
    assert same_runs(whole, tmp_path)


def test_a_handler_of_the_programs_own_is_left_alone(tmp_path):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        go_on(tmp_path, model=in_step(tiny_model(), 2, ctrl_c), steps=4)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1] and saved(tmp_path) == 4


# --- the lock

HOLDS = (
    "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
    "print(1, flush=True); time.sleep(60)"
)


def test_two_trainings_in_one_folder_are_refused_and_a_lock_goes_with_its_process(tmp_path):
    go_on(tmp_path, steps=2, schedule="constant")
    command = [sys.executable, "-c", HOLDS, tmp_path / ".lock"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(BlockingIOError, match="another training is under way .*another folder") as told:
            go_on(tmp_path, steps=4, schedule="constant")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert str(tmp_path) in str(told.value) and read_config(tmp_path)["training"]["steps"] == 2
    go_on(tmp_path, steps=4, schedule="constant")
    assert saved(tmp_path) == 4 and len(read_metrics(tmp_path)) == 4
