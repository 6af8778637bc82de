"""bf16 and fp16 mean what fp32 means; fp16 skips steps that overflow, and goes on as if never interrupted."""

import pytest
import torch
from dfcvae.checkpoint import read_checkpoint
from two_ranks import build

from dfcvae import train
from dfcvae.device import autocast, loss_scaler, pick_precision
from dfcvae.training import Settings, Trainer

CPU = torch.device("cpu")
QUICK = {"batch_size": 8, "progress": False, "device": "cpu", "schedule": "constant", "precision": "fp16"}
PRESETS = ("pixel", "vae-123")
# The largest relative distance from fp32 of a term, of all gradients together and of the loss after a short
# training. Measured: bf16 0.005, 0.014 and 0.0001; fp16 0.0002, 0.004 and 0.0001.
NEAR = {"bf16": (0.02, 0.05, 0.002), "fp16": (0.002, 0.015, 0.002)}


@pytest.fixture(params=NEAR)
def precision(request) -> str:
    """A fast precision that this processor can train in."""
    return trained_in(request.param)


@pytest.fixture
def fp16() -> str:
    return trained_in("fp16")


def trained_in(precision: str) -> str:
    x, kernel = torch.ones(2, 3, 4, 4, requires_grad=True), torch.ones(4, 3, 3, 3, requires_grad=True)
    try:
        with autocast(CPU, precision):
            torch.conv2d(x, kernel).float().sum().backward()
    except RuntimeError as error:
        pytest.skip(f"this processor does not train in {precision}: {error}")
    return precision


def first_step(preset: str, vgg_file, images, precision: str) -> tuple[dict[str, float], torch.Tensor]:
    """The terms of the first step and all its gradients in a row, unscaled."""
    model = build(preset, vgg_file).train()
    trainer = Trainer(model, images, Settings(batch_size=8, precision=precision), CPU)
    terms = trainer.terms(trainer.batch(0), trainer.noise(0), trainer.shift(0))
    assert all(term.dtype == torch.float32 for term in terms.values())
    trainer.scaler.scale(terms["loss"]).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return {name: term.item() for name, term in terms.items()}, gradient / trainer.scaler.get_scale()


@pytest.mark.parametrize("preset", PRESETS)
def test_terms_and_gradients_are_those_of_fp32(vgg_file, images, precision, preset):
    near_terms, near_gradient, _ = NEAR[precision]
    (terms, gradient), (expected, whole) = (
        first_step(preset, vgg_file, images, chosen) for chosen in (precision, "fp32")
    )
    assert terms == pytest.approx(expected, rel=near_terms)
    assert not gradient.equal(whole), "nothing was computed in another precision"
    assert (gradient - whole).norm() < near_gradient * whole.norm()


def test_a_short_training_ends_where_that_in_fp32_ends(vgg_file, images, tmp_path, precision):
    lines = [
        train(
            build("vae-123", vgg_file),
            images,
            tmp_path / chosen,
            steps=20,
            **(QUICK | {"precision": chosen}),
        ).metrics[-1]
        for chosen in (precision, "fp32")
    ]
    assert lines[0]["loss"] == pytest.approx(lines[1]["loss"], rel=NEAR[precision][2])
    assert lines[0].get("skipped_steps") == (0 if precision == "fp16" else None)


@pytest.fixture
def scaled_too_high(monkeypatch):
    """A first scale under which gradients overflow until it has been halved several times."""
    monkeypatch.setattr("dfcvae.device.FIRST_SCALE", 2.0**17)


def test_steps_that_overflow_are_skipped_counted_and_change_no_weight(
    vgg_file, images, tmp_path, fp16, scaled_too_high
):
    model = build("pixel", vgg_file)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trainer = Trainer(model.train(), images, Settings(batch_size=8, precision="fp16", steps=30), CPU)
    trainer.step(0)
    assert all(new.equal(old) for new, old in zip(model.parameters(), before, strict=True))
    assert trainer.scaler.get_scale() == 2.0**16 and trainer.skipped(1) == {"skipped_steps": 1}

    run = train(build("pixel", vgg_file), images, tmp_path, steps=30, log_every=10, **QUICK)
    skipped = [line["skipped_steps"] for line in run.metrics]
    assert skipped[0] >= 1 and skipped == sorted(skipped) and skipped[-1] < 20
    assert run.metrics[-1]["loss"] < run.metrics[0]["loss"]
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())


def test_a_run_in_fp16_goes_on_to_the_same_bits(vgg_file, images, tmp_path, fp16, scaled_too_high):
    """The scale is part of what a run needs: it is still falling where this one is cut."""
    whole = train(build("pixel", vgg_file), images, tmp_path / "whole", steps=24, **QUICK)
    train(build("pixel", vgg_file), images, tmp_path / "cut", steps=4, **QUICK)
    halfway = read_checkpoint(tmp_path / "cut")["scaler"]["scale"]
    resumed = train(build("pixel", vgg_file), images, tmp_path / "cut", steps=24, **QUICK)
    first, second = (read_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert first["scaler"] == second["scaler"] and first["scaler"]["scale"] < halfway < 2.0**17
    for name, tensor in first["model"].items():
        assert tensor.equal(second["model"][name]), name
    assert whole.metrics[-1]["skipped_steps"] == resumed.metrics[-1]["skipped_steps"]


def test_a_run_goes_on_in_another_precision(vgg_file, images, tmp_path, fp16):
    for steps, precision in ((2, "fp32"), (4, "fp16"), (6, "fp32")):
        options = QUICK | {"steps": steps, "precision": precision}
        run = train(build("pixel", vgg_file), images, tmp_path, **options)
    assert read_checkpoint(tmp_path)["step"] == 6 and run.config["training"]["precision"] == "fp32"


@pytest.mark.parametrize(
    ("card", "capability", "expected"),
    [
        ("NVIDIA A100", (8, 0), "bf16"),
        ("Tesla T4", (7, 5), "fp16"),
        ("NVIDIA GeForce GTX 1660", (7, 5), "fp32"),
        ("Tesla P4", (6, 1), "fp32"),
    ],
)
def test_auto_is_fp16_on_cuda_without_bf16(monkeypatch, card, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: card)
    assert pick_precision(torch.device("cuda")) == expected


def test_apples_gpu_stays_in_fp32():
    assert pick_precision(torch.device("mps")) == "fp32"
    for precision in ("fp16", "bf16"):
        with pytest.raises(ValueError, match=f"'{precision}' on Apple's GPU.*give auto or fp32"):
            pick_precision(torch.device("mps"), precision)


def test_nothing_is_scaled_but_in_fp16():
    assert [loss_scaler(CPU, chosen).is_enabled() for chosen in ("fp32", "bf16", "fp16")] == [
        False,
        False,
        True,
    ]
