"""The loop: every step a function of the seed, settings that are kept, honest figures."""

import ctypes
import gc
import itertools
import json
import math
import platform
import shutil
import sys
import time
import weakref
from types import SimpleNamespace

import pytest
import torch
from conftest import CALIBRATION
from PIL import Image
from tiny_run import in_step, same
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torchvision.transforms.functional import pil_to_tensor

from dfcvae import PRESETS, Images, load_run, train
from dfcvae.runs import RunFolder, read_config
from dfcvae.training import SCHEDULES, Settings, Trainer, rate_at, steps_in

CPU = torch.device("cpu")
REQUIRED = {"step", "epoch", "images", "seconds", "images_per_second", "loss", "kl", "reconstruction"}
WIDE = Images(torch.zeros(9, 3, 64, 64, dtype=torch.uint8))
QUICK = {"batch_size": 8, "progress": False, "device": "cpu"}


@pytest.fixture
def trainer(build, images):
    def trainer(preset: str = "pixel", **settings) -> Trainer:
        return Trainer(build(preset).train(), images, Settings(**({"batch_size": 8} | settings)), CPU)

    return trainer


@pytest.fixture(scope="module")
def others() -> Images:
    noise = torch.rand(70, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    return Images((noise * 255).byte(), name="noise", split="validation")


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- what a step sees


def test_both_pictures_move_together_below_the_stride_of_the_loss_network(trainer):
    chosen = trainer("vae-123")
    shifts = {tuple(chosen.shift(step)) for step in range(200)}
    assert shifts == {(down, across) for down in range(4) for across in range(4)}
    assert chosen.shift(7) == chosen.shift(7)
    seen = []
    chosen.model.perceptual.vgg.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    for shift in (0, 0), (3, 1):
        chosen.terms(chosen.batch(0), chosen.noise(0), shift)
    assert len(seen) == 4
    for still, moved in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(moved, still.roll((3, 1), (2, 3)))
    for unmoved in trainer("pixel"), trainer("vae-123", shift=False):
        assert {tuple(unmoved.shift(step)) for step in range(20)} == {(0, 0)}


def test_every_epoch_shows_every_image_once_in_a_new_order(trainer, images):
    chosen = trainer()
    epochs = [torch.cat([chosen.batch(5 * epoch + i) for i in range(5)]) for epoch in range(2)]
    expected = images.float().flatten(1).sum(1).sort().values
    for epoch in epochs:
        torch.testing.assert_close(epoch.flatten(1).sum(1).sort().values, expected)
    assert not epochs[0].equal(epochs[1])
    assert trainer().batch(7).equal(chosen.batch(7)) and not trainer(seed=1).batch(7).equal(chosen.batch(7))


def test_flip_mirrors_about_half_of_the_images_one_by_one(trainer):
    plain, flipped, mirrored = trainer(), trainer(flip=True), []
    for step in range(10):
        pairs = list(zip(plain.batch(step), flipped.batch(step), strict=True))
        assert all(b.equal(a) or b.equal(a.flip(-1)) for a, b in pairs)
        mirrored.append(sum(b.equal(a.flip(-1)) for a, b in pairs))
    assert 25 <= sum(mirrored) <= 55 and any(0 < count < 8 for count in mirrored)


def test_the_vae_learns_and_the_loss_network_does_not_move(build, images, tmp_path):
    model = build("vae-123", beta=100.0)
    before = {name: buffer.clone() for name, buffer in model.perceptual.named_buffers()}
    held = Trainer(model, images, Settings(batch_size=8), CPU).optimizer.param_groups[0]["params"]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}
    run = train(model, images, tmp_path, steps=30, log_every=5, **QUICK)
    assert same(before, {name: buffer.contiguous() for name, buffer in model.perceptual.named_buffers()})
    assert run.metrics[-1]["reconstruction"] < 0.8 * run.metrics[0]["reconstruction"]
    assert run.model is model and not model.training


# --- length and learning rate


def test_learning_rate_at_each_step():
    cosine = [rate_at(step, 4, 2, 0.8) for step in range(4)]
    assert cosine == pytest.approx([0.8, 0.8 * (0.5 + math.sqrt(0.125)), 0.4, 0.8 * (0.5 - math.sqrt(0.125))])
    assert [rate_at(step, 6, 2, 0.8, "halve") for step in range(6)] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    assert [rate_at(step, 6, 2, 0.8, "constant") for step in (0, 5)] == [0.8, 0.8]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_adam_gets_that_rate_at_each_step(build, images, tmp_path, schedule):
    """The published fault: halving inside the iteration loop, so that nothing was trained from epoch 2 on."""
    used = []
    handle = register_optimizer_step_pre_hook(lambda adam, *_: used.append(adam.param_groups[0]["lr"]))
    try:
        options = {"learning_rate": 2e-3, "schedule": schedule, "log_every": 1}
        run = train(build(), images, tmp_path, epochs=2, **options, **QUICK)
    finally:
        handle.remove()
    assert used == [rate_at(i, 10, 5, 2e-3, schedule) for i in range(10)]
    assert [line["learning_rate"] for line in run.metrics] == used
    assert train(build(), images, tmp_path / "half", epochs=0.5, **QUICK).config["training"]["steps"] == 2


@pytest.fixture
def clock(monkeypatch):
    """One that training steps move: ``clock.takes`` seconds each, ``clock.slow`` the first six."""
    clock = SimpleNamespace(now=0.0, steps=0, takes=0.5, slow=0.5)

    def step(model, *_):
        clock.now += model.training * (clock.slow if clock.steps < 6 else clock.takes)
        clock.steps += model.training

    clock.watch = lambda model: model.register_forward_hook(step) and model
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_timing_leaves_out_the_slow_first_steps_and_leaves_the_model_alone(build, images, clock):
    model, clock.slow = clock.watch(build()), 9.0
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert steps_in(1.0, model, images, "cpu", batch_size=8) == 120
    assert same(before, dict(model.state_dict())) and model.training


def test_minutes_become_steps_that_are_stored_and_not_timed_again(build, images, tmp_path, clock):
    options = {"minutes": 0.1, "preview_every": 4, **QUICK}
    with pytest.raises(ZeroDivisionError):
        train(in_step(clock.watch(build()), 12 + 7, lambda: 1 // 0), images, tmp_path, **options)
    training = read_config(tmp_path)["training"]
    assert (training["minutes"], training["steps"]) == (0.1, 12)
    clock.steps = 0
    assert train(clock.watch(build()), images, tmp_path, **options).metrics[-1]["step"] == 12
    assert clock.steps == 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": None}, "Give one of steps, epochs or minutes"),
        ({"epochs": 1}, "Give one of steps, epochs or minutes"),
        ({"steps": 0}, "above 0"),
        ({"steps": None, "minutes": -1}, "above 0"),
        ({"batch_size": 41}, "batch_size is 41: expected 2 to 40"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"schedule": "linear"}, "unknown schedule 'linear': expected one of cosine, halve, constant"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"log_every": 0}, "expected 1 or more"),
        ({"validation": WIDE}, "the images are 64 pixels wide, the model 32"),
        ({"images": WIDE}, "the images are 64 pixels wide, the model 32"),
    ],
)
def test_settings_that_do_not_fit_are_refused(build, images, tmp_path, settings, words):
    chosen = {"images": images, "steps": 2, "out": tmp_path / "run"} | QUICK | settings
    with pytest.raises(ValueError, match=words):
        train(build(), **chosen)
    assert not (tmp_path / "run").exists()


# --- going on: with the same settings only


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ({}, {"learning_rate": 2e-3}, r"learning_rate = \S+, asked for was 0.002"),
        ({}, {"batch_size": 4}, "batch_size = 8, asked for was 4"),
        ({}, {"seed": 1}, "seed = 0, asked for was 1"),
        ({}, {"flip": True}, "flip = False, asked for was True"),
        ({}, {"schedule": "halve"}, "schedule = constant, asked for was halve"),
        ({}, {"images": slice(39)}, "images = 40, asked for was 39"),
        ({}, {"images": torch.arange(39, -1, -1)}, "checksum = "),
        ({"beta": 2.0}, {}, r"beta = \S+, asked for was 2.0"),
        ({"alpha": 0.5}, {}, r"alpha = 1.0, asked for was 0.5"),
        ({"latent_dim": 6}, {}, "latent_dim = 5, asked for was 6"),
        ({"channels": (4, 8)}, {}, r"channels = \[4, 6\], asked for was \[4, 8\]"),
        ({"preset": "pixel"}, {}, "preset = vae-123, asked for was pixel"),
        ({"features": "mini"}, {}, "features = tiny VGG, asked for was mini VGG"),
        ({"layer_weights": {"relu1_1": 3.0}}, {}, "layer_weights = "),
    ],
)
def test_other_settings_are_refused(begun, build, images, tmp_path, model, settings, words):
    shutil.copytree(begun, tmp_path / "run")
    options = QUICK | {"images": slice(None), "steps": 2, "schedule": "constant"} | settings
    chosen = images[options.pop("images")]
    with pytest.raises(ValueError, match=words + ".*another folder"):
        train(build(**({"preset": "vae-123"} | model)), chosen, tmp_path / "run", **options)
    assert contents(tmp_path / "run") == contents(begun)


@pytest.fixture(scope="module")
def begun(build, tmp_path_factory):
    """A run of one step."""
    from tiny_run import images

    out = tmp_path_factory.mktemp("begun") / "run"
    train(build("vae-123"), images(), out, steps=1, schedule="constant", **QUICK)
    return out


def test_settings_that_a_folder_does_not_name_count_as_their_defaults(begun, build, images, tmp_path):
    """A run folder of a release that did not know them yet."""
    out = shutil.copytree(begun, tmp_path / "run")
    config = read_config(out)
    for younger in ("shift", "flip", "seed", "precision"):
        del config["training"][younger]
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="shift = True, asked for was False"):
        train(build("vae-123"), images, out, steps=2, schedule="constant", shift=False, **QUICK)
    again = train(build("vae-123"), images, out, steps=2, schedule="constant", **QUICK)
    assert again.metrics[-1]["step"] == 2 and read_config(out)["training"]["shift"] is True


def test_a_run_goes_on_on_another_machine_and_names_both(begun, build, images, tmp_path):
    """Calibrated weights round differently there."""
    out, threads = shutil.copytree(begun, tmp_path / "run"), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        almost = {layer: 1.0001 / CALIBRATION[layer] for layer in PRESETS["vae-123"].layers}
        model = build("vae-123", layer_weights=almost)
        config = train(model, images, out, steps=2, schedule="constant", **QUICK).config
    finally:
        torch.set_num_threads(threads)
    devices = [machine["device"] for machine in config["machines"]]
    assert devices == [f"CPU, {threads} threads", f"CPU, {threads + 1} threads"]
    again = train(build("vae-123"), images, out, steps=3, schedule="constant", **QUICK)
    assert again.config["machines"] == config["machines"]


def test_a_checkpoint_of_another_network_is_told_in_one_sentence(begun, build, images, tmp_path):
    out = tmp_path / "other"
    train(build("vae-123", channels=(4, 8)), images, out, steps=1, schedule="constant", **QUICK)
    shutil.copy(begun / "checkpoint.pt", out)
    with pytest.raises(ValueError, match=r"config.json and checkpoint.pt of .*other' disagree"):
        train(build("vae-123", channels=(4, 8)), images, out, steps=2, schedule="constant", **QUICK)
    with pytest.raises(ValueError, match="disagree"):
        load_run(out)


@pytest.mark.parametrize("plain", [False, True], ids=["as here", "plain layout"])
def test_a_checkpoint_of_another_kind_of_device_ends_with_the_same_bits(build, images, tmp_path, plain):
    """Without a fused Adam, as on Apple's GPU, counters stay on the CPU, and pictures lie plainly.

    A fused Adam reads weights and moments in the order of memory, and would mix up kernels without an error.
    """
    options = {"schedule": "constant", "precision": "fp32"} | QUICK
    for steps, out in (4, "whole"), (2, "moved"):
        train(build("vae-123"), images, tmp_path / out, steps=steps, **options)
    state = RunFolder(tmp_path / "moved").checkpoint()
    for group in state["optimizer"]["param_groups"]:
        group["fused"] = False
    lay = {"memory_format": torch.contiguous_format if plain else torch.preserve_format}
    strides = []
    for moments in state["optimizer"]["state"].values():
        moments["step"] = moments["step"].double()  # only what goes to the parameter's device becomes float32
        strides.append(moments["exp_avg"].stride())
        moments.update({name: moments[name].clone(**lay) for name in ("exp_avg", "exp_avg_sq")})
    lie_elsewhere = [m["exp_avg"].stride() for m in state["optimizer"]["state"].values()] != strides
    assert lie_elsewhere == plain, "nothing was tried"
    torch.save(state, tmp_path / "moved" / "checkpoint.pt")
    train(build("vae-123", seed=9), images, tmp_path / "moved", steps=4, **options)
    whole, moved = (RunFolder(tmp_path / out).checkpoint() for out in ("whole", "moved"))
    assert same(whole["model"], moved["model"]) and same(whole["optimizer"], moved["optimizer"])


def test_a_longer_run_goes_on_and_a_shorter_one_is_refused(build, images, tmp_path):
    train(build(), images, tmp_path / "run", steps=4, schedule="constant", **QUICK)
    longer = train(build(seed=9), images, tmp_path / "run", steps=9, schedule="constant", **QUICK)
    whole = train(build(), images, tmp_path / "whole", steps=9, schedule="constant", **QUICK)
    assert same(dict(longer.model.state_dict()), dict(whole.model.state_dict()))
    with pytest.raises(ValueError, match="holds a run of 9 steps, asked for were 3"):
        train(build(), images, tmp_path / "run", steps=3, schedule="constant", **QUICK)
    assert read_config(tmp_path / "run")["training"]["steps"] == 9
    train(build(), images, tmp_path / "cosine", steps=2, **QUICK)
    with pytest.warns(UserWarning, match="begun for 2 steps and goes on to 4"):
        train(build(), images, tmp_path / "cosine", steps=4, **QUICK)


# --- what is written


def test_a_run_folder_holds_what_the_design_says(build, images, others, tmp_path):
    run = train(build("vae-123"), images, tmp_path / "deep" / "run", steps=5, validation=others, **QUICK)
    names = {"config.json", "checkpoint.pt", "metrics.jsonl", "reconstructions.png", "samples.png"}
    assert set(contents(run.out)) == names | {"checkpoint.previous.pt", ".lock"}  # and no half-written file
    for picture in ("reconstructions.png", "samples.png"):
        opened = Image.open(run.out / picture)
        assert opened.size == (8 * 66 + 2, 4 * 66 + 2) and opened.mode == "RGB"
    config = json.loads((run.out / "config.json").read_text())
    assert config == run.config and config["model"]["features"] == "tiny VGG"
    assert config["model"]["layer_weights"] == run.model.perceptual.layer_weights
    data = {"name": "noise", "split": "train", "images": 40, "size": 32}
    assert config["data"] == data | {"checksum": config["data"]["checksum"]}
    assert [machine["torch"] for machine in config["machines"]] == [torch.__version__]
    state = torch.load(run.out / "checkpoint.pt", weights_only=True)
    assert list(state["model"]) == list(build().state_dict())
    loaded, x = load_run(run.out), images.float(slice(0, 4))
    assert not loaded.training and not hasattr(loaded, "perceptual")
    torch.testing.assert_close(loaded.generate(x), run.model.generate(x))


def test_every_line_of_the_metrics_has_the_keys_of_the_design(build, images, tmp_path):
    train(build(), images, tmp_path, steps=7, log_every=2, **QUICK)
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.keys() >= REQUIRED and "validation_loss" not in line, line
        assert line["images"] == 8 * line["step"] and line["epoch"] == line["step"] / 5
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps)) and {1, 2, 4, 6, 7} <= set(steps)


def test_lines_are_means_over_the_steps_since_the_line_before(build, images, tmp_path):
    options = {"steps": 7, "preview_every": 7} | QUICK
    by_step, by_line = (
        train(build("vae-123"), images, tmp_path / str(every), log_every=every, **options) for every in (1, 3)
    )
    assert [line["step"] for line in by_line.metrics] == [1, 3, 6, 7]
    for line, (first, last) in zip(by_line.metrics, [(0, 1), (1, 3), (3, 6), (6, 7)], strict=True):
        for name in ("loss", "kl", "reconstruction", "relu3_1"):
            mean = sum(step[name] for step in by_step.metrics[first:last]) / (last - first)
            assert line[name] == pytest.approx(mean, rel=1e-5), name
        expected = line["kl"] + PRESETS["vae-123"].beta * line["reconstruction"]
        assert line["loss"] == pytest.approx(expected, rel=1e-4)


def test_validation_is_the_trainings_loss_in_eval_weighs_images_alike_and_moves_nothing(
    build, images, others, tmp_path
):
    """The published fault: validation weighed the KL 4,000 times as heavily as training did."""
    options = {"steps": 2, "precision": "fp32"} | QUICK
    plain = train(build("vae-123", alpha=0.3, beta=7.0), images, tmp_path / "plain", **options)
    run = train(build("vae-123", alpha=0.3, beta=7.0), images, tmp_path / "run", validation=others, **options)
    assert same(dict(run.model.state_dict()), dict(plain.model.state_dict()))
    trainer = Trainer(run.model, images, Settings(batch_size=8), CPU)
    x, means = others.float(), {"loss": 0.0, "kl": 0.0, "reconstruction": 0.0}
    with torch.no_grad():
        for first, last in (0, 64), (64, 70):
            out = run.model(x[first:last], generator=trainer.generator("validation", first))
            terms = run.model.loss_function(out, x[first:last])
            means = {name: mean + terms[name].item() * (last - first) / 70 for name, mean in means.items()}
    assert means["loss"] == pytest.approx(0.3 * means["kl"] + 7.0 * means["reconstruction"], rel=1e-5)
    for name, mean in means.items():
        assert run.metrics[-1][f"validation_{name}"] == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("n", [8, 12, 40])
def test_originals_stand_above_their_reconstructions(build, images, tmp_path, n):
    """With 12 images the second pair of rows, where there is one, holds four."""
    run = train(build(), images[:n], tmp_path, steps=1, **QUICK)
    sheet = pil_to_tensor(Image.open(tmp_path / "reconstructions.png"))
    rows = (sheet.shape[1] - 2) // 66
    assert rows in (2, 4) and sheet.shape[2] == 8 * 66 + 2
    rebuilt = (run.model.generate(images.float()) * 255).round().byte()
    for i in range(min(n, 4 * rows)):
        top, left = 2 + i // 8 * 2 * 66, 2 + i % 8 * 66
        original = sheet[:, top : top + 64 : 2, left : left + 64 : 2]
        below = sheet[:, top + 66 : top + 66 + 64 : 2, left : left + 64 : 2]
        assert original.equal(images.pixels[i]), f"image {i}"
        assert (below.int() - rebuilt[i].int()).abs().max() <= 1, f"reconstruction {i}"


# --- what goes wrong


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_spoils_no_checkpoint(build, images, tmp_path, value):
    """At step 6; a checkpoint is due at 8, a line only at 10."""
    model = build()
    in_step(model, 6, lambda: model(torch.rand(8, 3, 32, 32))._replace(mu=torch.full((8, 5), value)))
    with pytest.raises(FloatingPointError, match="NaN or infinite by step 8: lower the .* .0.0005."):
        train(model, images, tmp_path, steps=20, preview_every=4, log_every=10, **QUICK)
    state = RunFolder(tmp_path).checkpoint()
    assert state["step"] == 4 and all(tensor.isfinite().all() for tensor in state["model"].values())


def test_weights_that_are_not_finite_are_not_saved(build, images, tmp_path):
    """The loss of a step is that of the weights before it: step 4 breaks them, its loss is sound."""
    model, steps = build(), itertools.count(1)
    spoil = lambda *_: next(steps) == 4 and model.to_mu.weight.data.fill_(math.nan)  # noqa: E731
    handle = register_optimizer_step_post_hook(spoil)
    try:
        with pytest.raises(FloatingPointError, match="to_mu.weight is NaN or infinite by step 4"):
            train(model, images, tmp_path, steps=20, preview_every=2, **QUICK)
    finally:
        handle.remove()
    assert RunFolder(tmp_path).checkpoint()["step"] == 2


def test_full_memory_names_the_batch_size(build, images, tmp_path):
    def full():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    for number, length in enumerate(({"steps": 4}, {"minutes": 1})):
        model, out = in_step(build(), 1, full), tmp_path / str(number)
        with pytest.raises(torch.cuda.OutOfMemoryError, match="at batch_size 8: give a smaller one"):
            train(model, images, out, **length, **QUICK)
        assert not (out / "checkpoint.pt").exists(), "another batch size would be refused"


# --- memory


def test_what_a_trainer_holds_goes_with_its_last_name(trainer):
    """At once, not when Python looks for cycles: the images of one training could fill half of a GPU."""
    chosen = trainer(steps=4)
    chosen.step(0)
    still_there = weakref.ref(chosen)
    gc.disable()
    del chosen
    gone = still_there() is None
    gc.enable()
    assert gone


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_until_the_end_of_a_training(build, images, tmp_path, monkeypatch):
    asked = []

    class Library:
        def __getattr__(self, name):
            return lambda *numbers: asked.append((name, *numbers))

    model = in_step(build(), 1, lambda: asked.append("step"))
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda _: Library())
        train(model, images, tmp_path / "linux", steps=1, **QUICK)
    names = [call if call == "step" else call[0] for call in asked]
    assert names == ["mallopt", "mallopt", "step", "mallopt", "mallopt", "malloc_trim"]
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("asked for a library that is not there"))
    monkeypatch.setattr(sys, "platform", "win32")
    train(build(), images, tmp_path / "windows", steps=1, **QUICK)
