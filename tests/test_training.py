"""The loop: every step a function of the seed, runs that go on as if never interrupted, honest figures."""

import gc
import json
import math
import random
import shutil
import weakref
from types import SimpleNamespace

import pytest
import torch
from dfcvae.checkpoint import read_checkpoint, read_config, read_metrics
from PIL import Image
from tiny_run import same
from torchvision.transforms.functional import pil_to_tensor

from dfcvae import DFCVAE, PRESETS, Images, load_run, train, training
from dfcvae import device as hardware
from dfcvae.device import layout, pick_device, pick_precision
from dfcvae.training import SCHEDULES, Settings, Trainer, rate_at, steps_in

REQUIRED = {"step", "epoch", "images", "seconds", "images_per_second", "loss", "kl", "reconstruction"}
QUICK = {"batch_size": 8, "progress": False, "device": "cpu"}
WEIGHTS = {"relu1_1": 2.0, "relu2_1": 1.0, "relu3_1": 0.5}


class PowerCut(Exception):
    pass


@pytest.fixture
def build(vgg_file):
    def build(preset: str = "pixel", seed: int = 1, **options) -> DFCVAE:
        torch.manual_seed(seed)
        options = {
            "features": vgg_file,
            "layer_weights": WEIGHTS,
            "latent_dim": 5,
            "channels": (4, 6),
        } | options
        return DFCVAE(preset, image_size=32, **options)

    return build


@pytest.fixture
def others() -> Images:
    noise = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    return Images((noise * 255).byte(), name="noise", split="validation")


def interrupt_in(monkeypatch, step: int) -> None:
    """Raise in the middle of a step: after its backward pass, before Adam."""
    whole = Trainer.step

    def cut(self, number):
        if number != step:
            return whole(self, number)
        self.terms(self.batch(number), self.noise(number), self.shift(number))["loss"].backward()
        raise PowerCut

    monkeypatch.setattr(Trainer, "step", cut)


# --- the shift of the loss network


def test_both_pictures_move_together_below_the_stride_of_the_loss_network(images, monkeypatch):
    model = DFCVAE("vae-123", features="random", image_size=32, latent_dim=4, channels=(4, 8))
    trainer = Trainer(model, images, Settings(batch_size=4, steps=40), torch.device("cpu"))
    shifts = {tuple(trainer.shift(step)) for step in range(200)}
    assert shifts == {(down, across) for down in range(4) for across in range(4)}
    assert trainer.shift(7) == trainer.shift(7)

    seen = []
    monkeypatch.setattr(
        model.perceptual, "per_layer", lambda *pair: seen.append(pair) or {"relu1_1": pair[0].sum()}
    )
    x, noise = trainer.batch(0), trainer.noise(0)
    for shift in (0, 0), (3, 1):
        trainer.terms(x, noise, shift)
    (still, target), (moved, moved_target) = seen
    torch.testing.assert_close(moved, still.roll((3, 1), (2, 3)))
    torch.testing.assert_close(moved_target, target.roll((3, 1), (2, 3)))


def test_pixels_need_no_shift(build, images):
    trainer = Trainer(build(), images, Settings(batch_size=4, steps=40), torch.device("cpu"))
    assert {tuple(trainer.shift(step)) for step in range(20)} == {(0, 0)}


# --- length and learning rate


def test_learning_rate_at_each_step():
    cosine = [rate_at(step, 4, 2, 0.8) for step in range(4)]
    assert cosine == pytest.approx([0.8, 0.8 * (0.5 + math.sqrt(0.125)), 0.4, 0.8 * (0.5 - math.sqrt(0.125))])
    assert [rate_at(step, 6, 2, 0.8, "halve") for step in range(6)] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    assert [rate_at(step, 6, 2, 0.8, "constant") for step in (0, 5)] == [0.8, 0.8]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_adam_gets_that_rate_at_each_step(build, images, tmp_path, monkeypatch, schedule):
    """The published fault: halving inside the iteration loop, so that nothing was trained from epoch 2 on."""
    used, step = [], torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self, *a: used.append(self.param_groups[0]["lr"]) or step(self, *a)
    )
    options = {"learning_rate": 2e-3, "schedule": schedule, "log_every": 1}
    run = train(build(), images, tmp_path, epochs=2, **options, **QUICK)
    assert used == [rate_at(i, 10, 5, 2e-3, schedule) for i in range(10)]
    assert [line["learning_rate"] for line in run.metrics if "loss" in line] == used


@pytest.mark.parametrize(("length", "steps"), [({"steps": 3}, 3), ({"epochs": 2}, 10), ({"epochs": 0.5}, 2)])
def test_length_in_steps_or_epochs(build, images, tmp_path, length, steps):
    run = train(build(), images, tmp_path, **length, **QUICK)
    assert read_checkpoint(tmp_path)["step"] == run.metrics[-1]["step"] == steps
    assert run.config["training"]["steps"] == steps


def test_minutes_become_steps_that_are_stored(build, images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "steps_in", lambda minutes, *_, **__: round(minutes * 2))
    train(build(), images, tmp_path, minutes=3, **QUICK)
    assert read_config(tmp_path)["training"] | {"minutes": 3, "steps": 6} == read_config(tmp_path)["training"]

    def timed_again(*_, **__):
        raise AssertionError("a run that goes on is not timed again")

    monkeypatch.setattr(training, "steps_in", timed_again)
    assert train(build(), images, tmp_path, minutes=3, **QUICK).config["training"]["steps"] == 6


def test_minutes_are_timed_on_this_machine(build, images, tmp_path):
    run = train(build(), images, tmp_path, minutes=0.001, log_every=1, **QUICK)
    assert run.metrics[-1]["step"] == run.config["training"]["steps"] >= 1


def test_timing_leaves_out_the_slow_first_steps_and_leaves_the_model_alone(build, images, monkeypatch):
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    clock, seconds = [0.0], iter([9.0] * 6)
    whole_step = training.Trainer.step

    def timed_step(trainer, index):
        clock[0] += next(seconds, 0.5)  # the first six take nine seconds, each that follows half a one
        return whole_step(trainer, index)

    monkeypatch.setattr(training.Trainer, "step", timed_step)
    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])
    assert steps_in(1.0, model, images, "cpu", batch_size=8) == 120
    assert same(before, dict(model.state_dict())) and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ({}, "Give one of steps, epochs or minutes"),
        ({"steps": 2, "epochs": 1}, "Give one of steps, epochs or minutes"),
        ({"steps": 0}, "above 0"),
        ({"minutes": -1}, "above 0"),
    ],
)
def test_no_length_or_two_are_refused(build, images, tmp_path, length, words):
    with pytest.raises(ValueError, match=words):
        train(build(), images, tmp_path / "run", **length, **QUICK)
    assert not (tmp_path / "run").exists()


# --- what a step sees


def test_every_epoch_shows_every_image_once_in_a_new_order(build, images):
    trainer = Trainer(build(), images, Settings(batch_size=8), torch.device("cpu"))
    epochs = [torch.cat([trainer.batch(5 * epoch + i) for i in range(5)]) for epoch in range(2)]
    expected = images.float().flatten(1).sum(1).sort().values
    for epoch in epochs:
        torch.testing.assert_close(epoch.flatten(1).sum(1).sort().values, expected)
    assert not epochs[0].equal(epochs[1])
    again = Trainer(build(), images, Settings(batch_size=8), torch.device("cpu"))
    assert again.batch(7).equal(trainer.batch(7))
    other = Trainer(build(), images, Settings(batch_size=8, seed=1), torch.device("cpu"))
    assert not other.batch(7).equal(trainer.batch(7))


def test_flip_mirrors_about_half_of_the_images_and_only_with_flip(build, images):
    plain, flipped = (
        Trainer(build(), images, Settings(batch_size=8, flip=flip), torch.device("cpu"))
        for flip in (False, True)
    )
    mirrored = []
    for step in range(10):
        pairs = list(zip(plain.batch(step), flipped.batch(step), strict=True))
        assert all(b.equal(a) or b.equal(a.flip(-1)) for a, b in pairs)
        mirrored.append(sum(b.equal(a.flip(-1)) for a, b in pairs))
    assert 25 <= sum(mirrored) <= 55
    assert any(0 < count < 8 for count in mirrored), "image by image, not batch by batch"


def test_optimizer_holds_the_vae_and_not_the_vgg(build, images):
    model = build("vae-123")
    trainer = Trainer(model, images, Settings(batch_size=8), torch.device("cpu"))
    held = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}
    assert not {p.data_ptr() for p in held} & {b.data_ptr() for b in model.perceptual.buffers()}


def test_training_leaves_the_vgg_bit_equal_and_learns(build, images, tmp_path):
    model = build("vae-123", beta=100.0)
    before = {name: buffer.clone() for name, buffer in model.perceptual.named_buffers()}
    run = train(model, images, tmp_path, steps=30, log_every=5, **QUICK)
    assert same(before, {name: buffer.contiguous() for name, buffer in model.perceptual.named_buffers()})
    lines = [line for line in run.metrics if "loss" in line]
    assert lines[-1]["reconstruction"] < 0.8 * lines[0]["reconstruction"]
    assert not run.model.training


# --- going on


@pytest.mark.parametrize(("preset", "flip"), [("pixel", True), ("vae-123", False)])
def test_interrupted_run_ends_bit_equal_to_an_uninterrupted_one(
    build, images, others, tmp_path, monkeypatch, preset, flip
):
    steps, cut = 17, random.Random(preset).randrange(5, 17)
    options = {"steps": steps, "preview_every": 4, "log_every": 3, "flip": flip, "validation": others} | QUICK
    whole = train(build(preset), images, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        interrupt_in(patch, cut)
        with pytest.raises(PowerCut):
            train(build(preset), images, tmp_path / "cut", **options)
    assert read_checkpoint(tmp_path / "cut")["step"] == cut // 4 * 4
    torch.rand(7)  # the state of the global generator is nobody's business
    resumed = train(build(preset, seed=99), images, tmp_path / "cut", **options)

    first, second = (read_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert first["step"] == second["step"] == steps
    assert same(first["model"], second["model"]) and same(first["optimizer"], second["optimizer"])
    assert same(dict(whole.model.state_dict()), dict(resumed.model.state_dict()))
    for picture in ("reconstructions.png", "samples.png"):
        assert (tmp_path / "whole" / picture).read_bytes() == (tmp_path / "cut" / picture).read_bytes()
    assert [line["step"] for line in whole.metrics][-1] == [line["step"] for line in resumed.metrics][-1]


def test_interrupted_run_has_the_figures_of_an_uninterrupted_one(
    build, images, others, tmp_path, monkeypatch
):
    """A line after the resume must be the mean over the same steps as it would have been."""
    options = {"steps": 12, "preview_every": 4, "log_every": 3, "validation": others} | QUICK
    whole = train(build(), images, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        interrupt_in(patch, 10)
        with pytest.raises(PowerCut):
            train(build(), images, tmp_path / "cut", **options)
    resumed = train(build(), images, tmp_path / "cut", **options)
    clocks = {"seconds", "images_per_second"}
    figures = [
        [{k: v for k, v in line.items() if k not in clocks} for line in run.metrics]
        for run in (whole, resumed)
    ]
    assert figures[0] == figures[1]


def test_interrupted_before_the_first_preview_goes_on_from_step_1(build, images, tmp_path, monkeypatch):
    options = {"steps": 6, "preview_every": 5, "log_every": 1} | QUICK
    with monkeypatch.context() as patch:
        interrupt_in(patch, 3)
        with pytest.raises(PowerCut):
            train(build(), images, tmp_path / "cut", **options)
    assert read_checkpoint(tmp_path / "cut")["step"] == 1
    resumed = train(build(seed=99), images, tmp_path / "cut", **options)
    whole = train(build(), images, tmp_path / "whole", **options)
    assert same(dict(whole.model.state_dict()), dict(resumed.model.state_dict()))
    assert [line["step"] for line in resumed.metrics] == [1, 2, 3, 4, 5, 6]


def test_finished_run_does_nothing(build, images, tmp_path, monkeypatch):
    options = {"steps": 4, **QUICK}
    first = train(build(), images, tmp_path, **options)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def stepped(*_):
        raise AssertionError("a finished run takes no step")

    monkeypatch.setattr(Trainer, "step", stepped)
    again = train(build(seed=9), images, tmp_path, **options)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert (
        same(dict(again.model.state_dict()), dict(first.model.state_dict()))
        and again.metrics == first.metrics
    )


def test_config_never_says_fewer_steps_than_were_trained(build, images, tmp_path):
    train(build(), images, tmp_path, steps=6, **QUICK)
    try:
        train(build(), images, tmp_path, steps=3, **QUICK)
    except ValueError:
        pass  # to refuse would be right too
    assert read_config(tmp_path)["training"]["steps"] >= read_checkpoint(tmp_path)["step"]


def test_a_longer_length_goes_on(build, images, tmp_path):
    train(build(), images, tmp_path, steps=4, schedule="constant", **QUICK)
    longer = train(build(), images, tmp_path, steps=9, schedule="constant", **QUICK)
    whole = train(build(), images, tmp_path / "whole", steps=9, schedule="constant", **QUICK)
    assert same(dict(longer.model.state_dict()), dict(whole.model.state_dict()))


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ({}, {"learning_rate": 2e-3}, r"learning_rate = \S+, asked for was 0.002"),
        ({}, {"batch_size": 4}, "batch_size = 8, asked for was 4"),
        ({}, {"seed": 1}, "seed = 0, asked for was 1"),
        ({}, {"flip": True}, "flip = False, asked for was True"),
        ({}, {"schedule": "halve"}, "schedule = cosine, asked for was halve"),
        ({"beta": 2.0}, {}, r"beta = \S+, asked for was 2.0"),
        ({"alpha": 0.5}, {}, r"alpha = 1.0, asked for was 0.5"),
        ({"latent_dim": 6}, {}, "latent_dim = 5, asked for was 6"),
        ({"channels": (4, 8)}, {}, r"channels = \[4, 6\], asked for was \[4, 8\]"),
        ({"preset": "vae-123"}, {}, "preset = pixel, asked for was vae-123"),
    ],
)
def test_other_settings_are_refused_with_the_difference_named(
    build, images, tmp_path, model, settings, words
):
    train(build(), images, tmp_path, steps=1, **QUICK)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=words + ".*another folder"):
        train(build(**model), images, tmp_path, steps=1, **(QUICK | settings))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_settings_that_a_folder_does_not_name_count_as_their_defaults(build, images, tmp_path):
    """A run folder of a release that did not know them yet."""
    train(build("vae-123"), images, tmp_path, steps=1, schedule="constant", **QUICK)
    config = read_config(tmp_path)
    younger = ("shift", "flip", "seed", "compile", "precision")
    config["training"] = {k: v for k, v in config["training"].items() if k not in younger}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="shift = True, asked for was False"):
        train(build("vae-123"), images, tmp_path, steps=2, schedule="constant", shift=False, **QUICK)
    again = train(build("vae-123"), images, tmp_path, steps=2, schedule="constant", **QUICK)
    assert again.metrics[-1]["step"] == 2 and read_config(tmp_path)["training"]["shift"] is True


def test_another_loss_network_and_other_images_are_refused(build, images, tmp_path):
    options = {"steps": 1, **QUICK}
    train(build("vae-123"), images, tmp_path, **options)
    with pytest.raises(ValueError, match=r"features = tiny VGG, asked for was random \(seed 0\)"):
        train(build("vae-123", features="random"), images, tmp_path, **options)
    with pytest.raises(ValueError, match="layer_weights"):
        train(build("vae-123", layer_weights=WEIGHTS | {"relu1_1": 3.0}), images, tmp_path, **options)
    with pytest.raises(ValueError, match="images = 40, asked for was 39"):
        train(build("vae-123"), images[:39], tmp_path, **options)
    almost = {layer: weight * 1.0001 for layer, weight in WEIGHTS.items()}  # another machine's rounding
    train(build("vae-123", layer_weights=almost), images, tmp_path, **options)


def test_a_checkpoint_of_another_network_is_told_in_one_sentence(build, images, tmp_path):
    train(build(), images, tmp_path / "a", steps=2, **QUICK)
    train(build(channels=(4, 8)), images, tmp_path / "b", steps=1, **QUICK)
    shutil.copy(tmp_path / "b" / "checkpoint.pt", tmp_path / "a" / "checkpoint.pt")
    with pytest.raises(ValueError, match="checkpoint"):
        train(build(), images, tmp_path / "a", steps=2, **QUICK)


# --- what is written


def test_run_folder_holds_what_the_design_says(build, images, others, tmp_path):
    run = train(build("vae-123"), images, tmp_path / "deep" / "run", steps=5, validation=others, **QUICK)
    names = {"config.json", "checkpoint.pt", "metrics.jsonl", "reconstructions.png", "samples.png"}
    names |= {"checkpoint.previous.pt", ".lock"}
    assert {path.name for path in run.out.iterdir()} == names  # and no half-written file beside them
    for picture in ("reconstructions.png", "samples.png"):
        opened = Image.open(run.out / picture)
        assert opened.size == (8 * 66 + 2, 4 * 66 + 2) and opened.mode == "RGB"
    config = json.loads((run.out / "config.json").read_text())
    assert config == run.config
    assert config["model"]["features"] == "tiny VGG" and config["model"]["layer_weights"] == WEIGHTS
    data = {"name": "noise", "split": "train", "images": 40, "size": 32}
    assert config["data"] == data | {"checksum": config["data"]["checksum"]}
    assert config["machine"]["torch"] == torch.__version__
    state = torch.load(run.out / "checkpoint.pt", weights_only=True)
    assert not any("perceptual" in name or "trunk" in name for name in state["model"])


@pytest.mark.parametrize("validated", [False, True])
def test_every_line_of_the_metrics_has_the_keys_of_the_design(build, images, others, tmp_path, validated):
    train(build(), images, tmp_path, steps=7, log_every=2, validation=others if validated else None, **QUICK)
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.keys() >= REQUIRED, f"a line without {REQUIRED - line.keys()}"
        assert line["images"] == 8 * line["step"] and line["epoch"] == line["step"] / 5
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps)) and {2, 4, 6, 7} <= set(steps)
    assert all(a["seconds"] <= b["seconds"] for a, b in zip(lines, lines[1:], strict=False))
    assert ("validation_loss" in lines[-1]) == validated


def test_no_step_stands_twice_in_the_metrics_after_a_resume(build, images, tmp_path, monkeypatch):
    options = {"steps": 9, "preview_every": 4, "log_every": 1} | QUICK
    with monkeypatch.context() as patch:
        interrupt_in(patch, 6)
        with pytest.raises(PowerCut):
            train(build(), images, tmp_path, **options)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # torn by a power cut
    run = train(build(), images, tmp_path, **options)
    assert [line["step"] for line in run.metrics] == list(range(1, 10))


def test_lines_are_means_over_the_steps_since_the_line_before(build, images, tmp_path, monkeypatch):
    seen, step = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, n: seen.append(step(self, n)) or seen[-1])
    run = train(build("vae-123"), images, tmp_path, steps=6, log_every=3, preview_every=6, **QUICK)
    assert [line["step"] for line in run.metrics] == [3, 6]
    for line, terms in zip(run.metrics, (seen[:3], seen[3:]), strict=True):
        for name in ("loss", "kl", "reconstruction", "relu3_1"):
            assert line[name] == pytest.approx(sum(term[name].item() for term in terms) / 3, rel=1e-5)
        expected = line["kl"] + PRESETS["vae-123"].beta * line["reconstruction"]
        assert line["loss"] == pytest.approx(expected, rel=1e-4)


def test_validation_uses_the_weights_of_the_training(build, images, others):
    """The published fault: validation weighed the KL 4,000 times as heavily as training did."""
    model = build("vae-123", alpha=0.3, beta=7.0)
    trainer = Trainer(model, images, Settings(batch_size=8, precision="fp32"), torch.device("cpu"))
    figures = trainer.validate(others)
    expected = 0.3 * figures["validation_kl"] + 7.0 * figures["validation_reconstruction"]
    assert figures["validation_loss"] == pytest.approx(expected, rel=1e-5)
    model.eval()
    with torch.no_grad():
        out = model(others.float(), generator=trainer.random("validation", 0))
        terms = model.loss_function(out, others.float())
    for name in ("loss", "kl", "reconstruction"):
        assert figures[f"validation_{name}"] == pytest.approx(terms[name].item(), rel=1e-4)


def test_validation_is_repeatable_weighs_images_alike_and_moves_nothing(build, images, monkeypatch):
    noise = torch.rand(70, 3, 32, 32)
    many = Images((noise * 255).byte())
    trainer = Trainer(build(), images, Settings(batch_size=8), torch.device("cpu"))
    trainer.model.train()
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    figures = trainer.validate(many)
    assert figures == trainer.validate(many) and trainer.model.training
    assert same(before, dict(trainer.model.state_dict()))  # batch norm's statistics too
    halves = [trainer.validate(many[:64])["validation_kl"], trainer.validate(many[64:])["validation_kl"]]
    assert figures["validation_kl"] == pytest.approx((64 * halves[0] + 6 * halves[1]) / 70, rel=1e-4)


@pytest.mark.parametrize("n", [8, 12, 40])
def test_originals_stand_above_their_reconstructions(build, images, tmp_path, n):
    """With 12 images the second pair of rows, where there is one, holds four."""
    run = train(build(), images[:n], tmp_path, steps=1, **QUICK)
    sheet = pil_to_tensor(Image.open(tmp_path / "reconstructions.png"))
    rows = (sheet.shape[1] - 2) // 66
    assert rows in (2, 4) and sheet.shape[2] == 8 * 66 + 2
    with torch.no_grad():
        rebuilt = (run.model.generate(images.float()) * 255).round().byte()
    for i in range(min(n, 4 * rows)):
        top, left = 2 + i // 8 * 2 * 66, 2 + i % 8 * 66
        original = sheet[:, top : top + 64 : 2, left : left + 64 : 2]
        below = sheet[:, top + 66 : top + 66 + 64 : 2, left : left + 64 : 2]
        assert original.equal(images.pixels[i]), f"image {i}"
        assert (below.int() - rebuilt[i].int()).abs().max() <= 1, f"reconstruction {i}"


def broken_from(monkeypatch, step: int) -> None:
    whole = Trainer.terms

    def terms(self, x, noise, *shift):
        found = whole(self, x, noise, *shift)
        self.calls = getattr(self, "calls", -1) + 1
        return (
            {k: v * math.nan if k in ("loss", "kl") else v for k, v in found.items()}
            if self.calls >= step
            else found
        )

    monkeypatch.setattr(Trainer, "terms", terms)


def test_a_loss_that_is_no_number_stops_the_run_and_spoils_no_checkpoint(
    build, images, tmp_path, monkeypatch
):
    """Steps 6 and 7 give NaN; a checkpoint is due at 8, a line only at 10."""
    broken_from(monkeypatch, 5)
    with pytest.raises(FloatingPointError, match="step 6: kl is nan, which is no number"):
        train(build(), images, tmp_path, steps=20, preview_every=4, log_every=10, **QUICK)
    state = read_checkpoint(tmp_path)
    assert all(tensor.isfinite().all() for tensor in state["model"].values()), "the checkpoint holds NaN"
    assert state["step"] == 4


def test_weights_that_are_no_numbers_are_not_saved(build, images, tmp_path, monkeypatch):
    """The loss of a step is that of the weights before it: step 4 breaks them, its loss is sound."""
    whole = Trainer.step

    def step(self, number):
        terms = whole(self, number)
        if number == 3:
            self.model.to_mu.weight.data[0, 0] = math.nan
        return terms

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(FloatingPointError, match="to_mu.weight holds NaN or infinity after step 4"):
        train(build(), images, tmp_path, steps=20, preview_every=2, **QUICK)
    assert read_checkpoint(tmp_path)["step"] == 2


def test_counters_of_another_machine_go_where_this_machine_keeps_them(build, images, tmp_path):
    """Without a fused Adam, as on Apple's GPU, they stay on the CPU, where one on CUDA finds no step."""
    train(build(), images, tmp_path, steps=2, **QUICK)
    state = read_checkpoint(tmp_path)
    for group in state["optimizer"]["param_groups"]:
        group["fused"] = False
    for moments in state["optimizer"]["state"].values():
        moments["step"] = moments["step"].double()  # only what goes to the parameter's device becomes float32
    torch.save(state, tmp_path / "checkpoint.pt")
    trainer = Trainer(build(), images, Settings(batch_size=8, steps=4), torch.device("cpu"))
    trainer.resume(tmp_path)
    assert all(group["fused"] for group in trainer.optimizer.param_groups)
    for moments in trainer.optimizer.state.values():
        assert moments["step"].dtype == torch.float32 and moments["step"].item() == 2


def test_what_a_trainer_holds_goes_with_its_last_name(build, images):
    """At once, not when Python looks for cycles: the images of one training could fill half of a GPU."""
    trainer = Trainer(build().train(), images, Settings(batch_size=8, steps=4), torch.device("cpu"))
    trainer.step(0)
    still_there = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert still_there() is None
    finally:
        gc.enable()


def test_the_c_library_is_asked_for_on_linux_only(monkeypatch):
    monkeypatch.setattr(hardware, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(hardware, "ctypes", None)
    monkeypatch.setattr("platform.libc_ver", lambda: pytest.fail("opened Python's own file"))
    with hardware.reusing_memory():
        pass


def test_training_on_a_cpu_keeps_freed_memory_and_gives_it_back_at_the_end(
    build, images, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr("dfcvae.device._glibc", lambda function, *numbers: asked.append(function))
    train(build(), images, tmp_path, steps=1, **QUICK)
    assert asked == ["mallopt", "mallopt", "mallopt", "mallopt", "malloc_trim"]


def test_moments_lie_like_their_weights_after_another_machine(build, images, tmp_path, monkeypatch):
    """A fused Adam reads both in the order of memory, and would mix up kernels without an error."""
    train(build(), images, tmp_path, steps=2, **QUICK)  # channels last
    monkeypatch.setattr("dfcvae.trainer.layout", lambda *_: torch.contiguous_format)
    trainer = Trainer(build(seed=9), images, Settings(batch_size=8, steps=4), torch.device("cpu"))
    trainer.resume(tmp_path)
    saved = read_checkpoint(tmp_path)["optimizer"]["state"]
    for index, (parameter, moments) in enumerate(trainer.optimizer.state.items()):
        for name in ("exp_avg", "exp_avg_sq"):
            assert moments[name].stride() == parameter.stride()
            assert moments[name].equal(saved[index][name])
    assert any(
        moment["exp_avg"].stride() != saved[i]["exp_avg"].stride()
        for i, moment in enumerate(trainer.optimizer.state.values())
    ), "nothing was tried"


def test_longer_run_on_a_cosine_says_that_it_is_another_curve(build, images, tmp_path):
    train(build(), images, tmp_path, steps=2, **QUICK)
    with pytest.warns(UserWarning, match="begun for 2 steps and goes on to 4"):
        train(build(), images, tmp_path, steps=4, **QUICK)


def test_other_pictures_of_the_same_number_are_refused(build, images, tmp_path):
    train(build(), images, tmp_path, steps=2, **QUICK)
    changed = Images(images.pixels.flip(0), name=images.name, split=images.split)
    with pytest.raises(ValueError, match="checksum"):
        train(build(), changed, tmp_path, steps=4, **QUICK)


def test_validation_images_of_another_size_are_refused_before_the_first_step(build, images, tmp_path):
    wide = Images(torch.zeros(9, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="64 pixels wide and the model 32"):
        train(build(), images, tmp_path / "run", steps=1, validation=wide, **QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 41}, "batch_size is 41: expected 2 to 40"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"schedule": "linear"}, "unknown schedule 'linear': expected one of cosine, halve, constant"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"log_every": 0}, "expected 1 or more"),
    ],
)
def test_settings_that_do_not_fit_are_refused(build, images, tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        train(build(), images, tmp_path / "run", steps=1, **(QUICK | settings))
    assert not (tmp_path / "run").exists()


def test_images_of_another_size_are_refused(build, tmp_path):
    wide = Images(torch.zeros(9, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(
        ValueError, match="the images are 64 pixels wide and the model 32: load them with size=32"
    ):
        train(build(), wide, tmp_path, steps=1, **QUICK)


def test_load_run_gives_the_trained_model_without_its_vgg(build, images, tmp_path):
    run = train(build("vae-123"), images, tmp_path, steps=3, **QUICK)
    loaded = load_run(tmp_path)
    assert not loaded.training and not hasattr(loaded, "perceptual")
    x = images.float(slice(0, 4))
    torch.testing.assert_close(loaded.generate(x), run.model.generate(x))


# --- hardware


BF16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.mark.parametrize("missing", [False, True])
def test_bf16_is_not_asked_of_a_processor_without_it(monkeypatch, missing):
    """Apple's, AVX2, AVX-512 without bf16 (which oneDNN emulates), and a torch that cannot tell."""
    for name in BF16_CHECKS:
        if missing:
            monkeypatch.delattr(torch.cpu, name, raising=False)
        else:
            monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert pick_precision(torch.device("cpu")) == "fp32"


def test_bf16_is_not_asked_of_a_processor_that_cannot_train_in_it(monkeypatch):
    """Some run a bf16 convolution forwards and raise in its backward pass."""
    for name in BF16_CHECKS:
        monkeypatch.setattr(torch.cpu, name, lambda: True, raising=False)

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, kernel):
            return x.sum()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("DNNL does not support bf16/f16 backward on the platform")

    before = torch.random.get_rng_state()
    monkeypatch.setattr(torch, "conv2d", Fails.apply)
    assert pick_precision(torch.device("cpu")) == "fp32"
    assert torch.random.get_rng_state().equal(before)


def test_pictures_lie_plainly_on_apples_gpu():
    assert layout(torch.device("mps")) is torch.contiguous_format
    assert layout(torch.device("cpu")) is layout(torch.device("cuda")) is torch.channels_last


def test_device_auto_is_one_that_works():
    device = pick_device()
    assert torch.ones(2, device=device).sum().item() == 2
    assert pick_device("cpu") == torch.device("cpu")


def test_half_precision_changes_speed_and_not_meaning(build, images):
    terms = {}
    for precision in ("fp32", "bf16"):
        trainer = Trainer(
            build("vae-123"), images, Settings(batch_size=8, precision=precision), torch.device("cpu")
        )
        terms[precision] = trainer.step(0)
        assert all(term.dtype == torch.float32 for term in terms[precision].values())
    for name, term in terms["fp32"].items():
        assert terms["bf16"][name].item() == pytest.approx(term.item(), rel=0.1), name
