"""What a machine has, and that bf16 and fp16 mean what fp32 means; fp16 skips steps that overflow."""

import math

import pytest
import torch
from tiny_run import in_step, same

from dfcvae import train
from dfcvae.device import autocast, layout, loss_scaler, pick_device, pick_precision, repeating_steps
from dfcvae.runs import RunFolder
from dfcvae.training import Settings, Trainer

CPU = torch.device("cpu")
QUICK = {"batch_size": 8, "progress": False, "device": "cpu", "schedule": "constant", "precision": "fp16"}
# The largest relative distance from fp32 of a term, of all gradients together and of the loss after a short
# training. Measured: bf16 0.005, 0.014 and 0.0001; fp16 0.0002, 0.004 and 0.0001.
NEAR = {"bf16": (0.02, 0.05, 0.002), "fp16": (0.002, 0.015, 0.002)}
BF16_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def trained_in(precision: str) -> str:
    x, kernel = torch.ones(2, 3, 4, 4, requires_grad=True), torch.ones(4, 3, 3, 3, requires_grad=True)
    try:
        with autocast(CPU, precision):
            torch.conv2d(x, kernel).float().sum().backward()
    except RuntimeError as error:
        pytest.skip(f"this processor does not train in {precision}: {error}")
    return precision


@pytest.fixture(params=NEAR)
def precision(request) -> str:
    """A fast precision that this processor can train in."""
    return trained_in(request.param)


@pytest.fixture
def fp16() -> str:
    return trained_in("fp16")


@pytest.mark.parametrize("preset", ["pixel", "vae-123"])
def test_terms_and_gradients_are_those_of_fp32(build, images, precision, preset):
    near_terms, near_gradient, _ = NEAR[precision]
    found = []
    for chosen in (precision, "fp32"):
        model = build(preset).train()
        trainer = Trainer(model, images, Settings(batch_size=8, precision=chosen), CPU)
        terms = trainer.terms(trainer.batch(0), trainer.noise(0), trainer.shift(0))
        assert all(term.dtype == torch.float32 for term in terms.values())
        trainer.scaler.scale(terms["loss"]).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        terms = {name: term.item() for name, term in terms.items()}
        found.append((terms, gradient / trainer.scaler.get_scale()))
    (terms, gradient), (expected, whole) = found
    assert terms == pytest.approx(expected, rel=near_terms)
    assert not gradient.equal(whole), "nothing was computed in another precision"
    assert (gradient - whole).norm() < near_gradient * whole.norm()


def test_a_short_training_ends_where_that_in_fp32_ends(build, images, tmp_path, precision):
    ends = []
    for chosen in (precision, "fp32"):
        options = QUICK | {"steps": 20, "precision": chosen}
        ends.append(train(build("vae-123"), images, tmp_path / chosen, **options).metrics[-1]["loss"])
    assert ends[0] == pytest.approx(ends[1], rel=NEAR[precision][2])


def test_steps_that_overflow_are_skipped_and_a_cut_run_ends_with_the_same_bits(
    build, images, tmp_path, fp16, monkeypatch
):
    """The first scale is so high that gradients overflow until it has been halved several times."""
    monkeypatch.setattr("dfcvae.device.FIRST_SCALE", 2.0**17)
    model = build().train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trainer = Trainer(model, images, Settings(batch_size=8, precision="fp16", steps=30), CPU)
    trainer.step(0)
    assert all(new.equal(old) for new, old in zip(model.parameters(), before, strict=True))
    assert trainer.scaler.get_scale() == 2.0**16

    whole = train(build(), images, tmp_path / "whole", steps=24, **QUICK)
    assert whole.metrics[-1]["loss"] < whole.metrics[0]["loss"]
    train(build(), images, tmp_path / "cut", steps=4, **QUICK)
    halfway = RunFolder(tmp_path / "cut").checkpoint()["scaler"]["scale"]
    train(build(seed=9), images, tmp_path / "cut", steps=24, **QUICK)
    first, second = (RunFolder(tmp_path / name).checkpoint() for name in ("whole", "cut"))
    assert first["scaler"]["scale"] < halfway < 2.0**17
    assert same(first["scaler"], second["scaler"]) and same(first["model"], second["model"])


def test_a_run_goes_on_in_another_precision(build, images, tmp_path, fp16):
    for steps, chosen in ((2, "fp32"), (4, "fp16"), (6, "fp32")):
        run = train(build(), images, tmp_path, **(QUICK | {"steps": steps, "precision": chosen}))
    assert run.metrics[-1]["step"] == 6 and run.config["training"]["precision"] == "fp32"


def test_nan_in_fp16_advises_fp32(build, images, tmp_path, fp16):
    model = build()
    in_step(model, 1, lambda: model(torch.rand(8, 3, 32, 32))._replace(mu=torch.full((8, 5), math.nan)))
    with pytest.raises(FloatingPointError, match="or give precision='fp32', since fp16 ends at 65,504"):
        train(model, images, tmp_path, steps=2, **QUICK)


def test_nothing_is_scaled_but_in_fp16():
    assert [name for name in ("fp32", "bf16", "fp16") if loss_scaler(CPU, name).is_enabled()] == ["fp16"]


@pytest.mark.parametrize("missing", [False, True])
def test_bf16_is_not_asked_of_a_processor_without_it(monkeypatch, missing):
    """Apple's, AVX2, AVX-512 without bf16 (which oneDNN emulates), and a torch that cannot tell."""
    for name in BF16_CHECKS:
        if missing:
            monkeypatch.delattr(torch.cpu, name, raising=False)
        else:
            monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert pick_precision(CPU) == "fp32"


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
    assert pick_precision(CPU) == "fp32"
    assert torch.random.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("card", "capability", "expected"),
    [
        ("NVIDIA A100", (8, 0), "bf16"),
        ("Tesla T4", (7, 5), "fp16"),
        ("NVIDIA GeForce GTX 1660", (7, 5), "fp32"),
        ("Tesla P4", (6, 1), "fp32"),
    ],
)
def test_auto_on_cuda_follows_the_card(monkeypatch, card, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: card)
    assert pick_precision(torch.device("cuda")) == expected


def test_apples_gpu_stays_in_fp32_and_pictures_lie_plainly_on_it():
    mps = torch.device("mps")
    assert pick_precision(mps) == "fp32" and layout(mps) is torch.contiguous_format
    assert layout(CPU) is layout(torch.device("cuda")) is torch.channels_last
    for precision in ("fp16", "bf16"):
        with pytest.raises(ValueError, match=f"'{precision}' on Apple's GPU.*give auto or fp32"):
            pick_precision(mps, precision)


def test_device_auto_is_one_that_works():
    assert torch.ones(2, device=pick_device()).sum().item() == 2
    assert pick_device("cpu") == CPU


def test_cudnn_is_tuned_within_a_training_on_cuda_and_nowhere_else():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    with repeating_steps(CPU):
        assert cudnn.benchmark == before
    with pytest.raises(KeyError), repeating_steps(torch.device("cuda")):
        assert cudnn.benchmark
        raise KeyError
    assert cudnn.benchmark == before
