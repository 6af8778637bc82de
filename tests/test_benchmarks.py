"""The benchmarks on tiny sizes: what they count, how they pair and split, and what they refuse to report."""

import argparse
import importlib
import json
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dfcvae import DFCVAE, Images, VGGFeatures
from dfcvae.fast import onepass
from dfcvae.training import Settings, Trainer

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
SIZE, LATENT, CHANNELS, WIDTHS = 32, 5, (4, 6), (4, 6, 8)  # WIDTHS: of the tests' VGG, to relu3_1


@pytest.fixture(autouse=True)
def script(monkeypatch):
    """Imports a benchmark as running it would."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def small_trainer(vgg_file, images, batch_size=4, **settings) -> Trainer:
    vgg = VGGFeatures(weights=vgg_file)
    weights = {layer: 1.0 for layer in vgg.layers}
    model = DFCVAE("vae-123", vgg, SIZE, LATENT, CHANNELS, layer_weights=weights)
    return Trainer(model.train(), images, Settings(batch_size, steps=100, **settings), CPU)


def expected_flops(batch_size: int, latent: int = LATENT, channels: tuple[int, ...] = CHANNELS) -> int:
    """By hand: two for each product. Images go three times through the VGG: x, x_hat, and back."""
    work = folding = 0
    pairs = [(3, WIDTHS[0]), (WIDTHS[0],) * 2, WIDTHS[:2], (WIDTHS[1],) * 2, WIDTHS[1:]]
    for (c_in, c_out), shrink in zip(pairs, (1, 1, 2, 2, 4), strict=True):
        work += 3 * 2 * 9 * c_in * c_out * (SIZE // shrink) ** 2
    side = SIZE
    for c_in, c_out in zip((3, *channels), channels, strict=False):
        side //= 2
        passes = 2 if c_in == 3 else 3  # forwards, by the weight, and by the input where that is no image
        work += passes * 2 * 16 * c_in * c_out * side**2
    work += 3 * 3 * 2 * latent * channels[-1] * side**2  # mu, log_var and from z
    for c_in, c_out in zip(reversed(channels), (*reversed(channels[:-1]), 3), strict=True):
        work += 3 * 2 * 4 * c_in * 4 * c_out * (side + 1) ** 2
        folding += 2 * 2 * 16 * 9 * c_in * c_out  # of the taps, once a step, and back
        side *= 2
    return batch_size * work + folding


@pytest.mark.parametrize("way", ["one pass", "autograd"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_flops_of_a_step_are_those_counted_by_hand(
    script, vgg_file, images, monkeypatch, way, precision
):
    if way == "autograd":
        monkeypatch.setattr(onepass, "applies", lambda *_: False)
    trainer = small_trainer(vgg_file, images, precision=precision)
    recording = script("recording")
    assert recording.flops(recording.record(trainer)) == expected_flops(4)
    with FlopCounterMode(display=False) as counter:
        trainer.step(1)
    assert counter.get_total_flops() == expected_flops(4)


def test_calls_of_the_one_pass_are_recorded_a_few_images_at_once(script, vgg_file, images, monkeypatch):
    monkeypatch.setattr(onepass, "PIXELS_AT_ONCE", 2 * SIZE**2)
    calls = script("recording").record(small_trainer(vgg_file, images, precision="fp32"))
    shown = {f"{call} by {call.images}": count for call, count in calls.items()}
    assert shown["convolution, 3 to 4 channels, kernel 3 x 3, from 32 x 32 by 2"] == 4
    assert shown["its gradient by input, 3 to 4 channels, kernel 3 x 3, from 32 x 32 by 2"] == 2
    assert shown["its gradient by weight, 3 to 4 channels, kernel 4 x 4, from 32 x 32 by 4"] == 1


@pytest.mark.parametrize("whole", [torch.randn(2, 3, 4, 5), torch.randn(2, 1, 1, 1).expand(2, 3, 4, 5)])
def test_fresh_tensors_lie_like_those_recorded(script, whole):
    for tensor in (whole, whole.bfloat16().to(memory_format=torch.channels_last), whole[..., 1:-1, 1:-1]):
        fresh = script("recording")._described(tensor).fresh(CPU)
        assert (fresh.shape, fresh.stride(), fresh.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)


def test_a_layer_is_timed_whole_and_in_as_many_parts_as_make_it_whole(script, vgg_file, images, monkeypatch):
    layers = script("layers")
    calls = script("recording").record(small_trainer(vgg_file, images, batch_size=32, precision="fp32"))
    seen = []

    def seconds(work, times, device):
        seen.append((work(), times))
        return times / 1000

    monkeypatch.setattr(layers, "_seconds", seconds)
    for call in calls:
        seen.clear()
        layers.time_call(call, timing := layers.Timing(), CPU)
        if call.images is None:
            assert timing.best == {None: 1.0}
            continue
        assert timing.best == {32: 1.0, 16: 2.0, 8: 4.0}
        outs = [
            (next(out for out in given if out is not None), n) for given, n in seen if type(given) is tuple
        ]
        outs += [(out, n) for out, n in seen if type(out) is torch.Tensor]
        assert all(len(out) * n == 32 for out, n in outs if out.ndim == 4 and "by weight" not in str(call))


def test_steps_and_layers_are_timed_in_turns(script, vgg_file, images):
    trainer = small_trainer(vgg_file, images)
    calls = script("recording").record(trainer)
    timings, step = script("layers").compare(trainer, calls, rounds=1, steps=1)
    assert timings.keys() == calls.keys()
    assert all(0 < timing.milliseconds < math.inf for timing in timings.values()) and step > 0


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class PacedTrainer:
    """A step of nine seconds, and its images from a feed that takes one."""

    def __init__(self, clock: Clock):
        self.clock, self.device, self.feed = clock, CPU, self.Feed(clock)

    class Feed:
        def __init__(self, clock: Clock):
            self.clock, self.waited = clock, 0.0

        def __call__(self, step: int) -> torch.Tensor:
            self.clock.now += 1
            self.waited += 1
            return torch.zeros(2)

    def step(self, step: int) -> dict[str, torch.Tensor]:
        self.feed(step)
        self.clock.now += 9
        return {"loss": torch.zeros(())}


def test_both_measures_of_waiting_find_the_share_that_is_there(script, monkeypatch):
    waiting, clock = script("waiting"), Clock()
    monkeypatch.setattr(waiting, "time", clock)
    found = waiting.measure(PacedTrainer(clock), pairs=6)
    assert found["waited_share"] == found["paired_share"] == pytest.approx(0.1)
    assert found["paired_low"] == found["paired_high"] == pytest.approx(0.1)
    assert found["step_ms"] == pytest.approx(10_000)


def test_waiting_of_a_real_training_is_a_part_of_its_step(script, vgg_file, images):
    trainer = small_trainer(vgg_file, images)
    feed = trainer.feed
    found = script("waiting").measure(trainer, pairs=3, warm_up=1)
    assert 0 < found["waited_share"] < 1
    assert found["paired_low"] <= found["paired_share"] <= found["paired_high"]
    assert trainer.feed is feed


def test_interval_of_a_median_is_taken_from_the_order_of_the_values(script):
    values = [float(n) for n in reversed(range(1, 26))]
    assert script("waiting").median_interval(values) == (8.0, 13.0, 18.0)  # binomial(25, 1/2): 8th and 18th


def test_every_axis_of_growth_changes_one_thing_by_1_2_4_and_8(script):
    for axis, chosen in script("scaling").points(base=64).items():
        place = {"images": 0, "batch": 1, "size": 2}[axis]
        assert [point[place] / chosen[0][place] for point in chosen] == [1, 2, 4, 8]
        assert len({point[:place] + point[place + 1 :] for point in chosen}) == 1


def test_the_steady_state_is_all_after_the_first_line_of_metrics(script, monkeypatch):
    lines = [{"seconds": 5.0, "images": 640}, {"seconds": 9.0, "images": 1_280}]
    lines += [{"seconds": 11.0, "images": 2_640}]
    monkeypatch.setattr("dfcvae.train", lambda *_, **__: SimpleNamespace(metrics=lines))
    scaling = script("scaling")
    found = scaling.measure(scaling.Point(32, 16, 32), CPU)
    assert found["ms_an_image"] == pytest.approx(3.0)  # 6 s for 2,000 images


def test_a_point_of_growth_runs_in_a_process_of_its_own(script):
    script("scaling")
    found = script("reporting").alone(str(ROOT / "benchmarks/scaling.py"), "--point", "64", "4", "32")
    assert found["images_mb"] == pytest.approx(64 * 3 * 32 * 32 / 1e6)
    assert 0 < found["ms_an_image"] < 1000 * found["seconds"] / 24  # the steps after the first ten alone
    assert found["seconds_a_megapixel"] == pytest.approx(found["ms_an_image"] / 1000 / (32 * 32 / 1e6))
    assert found["memory_mb"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what is in use now")
def test_memory_in_use_is_seen(script):
    scaling = script("scaling")
    before = scaling.peak_memory(CPU, now=True)
    held = torch.ones(200_000_000, dtype=torch.uint8)
    assert 190e6 < scaling.peak_memory(CPU, now=True) - before < 300e6
    assert scaling.peak_memory(CPU) >= before + len(held)


def test_what_fails_in_a_process_of_its_own_is_told(script):
    alone = script("reporting").alone
    code = "import json, os; print('chatter'); print(json.dumps({'said': os.environ['SAY']}))"
    assert alone("-c", code, SAY="hello") == {"said": "hello"}
    with pytest.raises(SystemExit, match="no such luck"):
        alone("-c", "raise ValueError('no such luck')")


def test_one_rank_is_timed_here(script):
    rate = script("ranks").images_per_second("mini", batch_size=4, steps=1, device="cpu")
    assert 0 < rate < math.inf


@pytest.mark.slow
def test_two_ranks_are_started_and_one_reports(script):
    assert script("ranks").start(2, 1, "mini", "--steps", "2", "--batch-size", "4", "--device", "cpu") > 0


@pytest.mark.parametrize(
    ("card", "precision", "peak"),
    [
        ("NVIDIA H200", "bf16", 989),
        ("NVIDIA H100 80GB HBM3", "bf16", 989),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("Tesla T4", "fp16", 65),
        ("Tesla T4", "bf16", None),
        ("NVIDIA H200", "fp32", None),
        ("NVIDIA H200 NVL", "bf16", None),
        ("NVIDIA H100 PCIe", "bf16", None),
        ("NVIDIA T400", "fp16", None),
        ("NVIDIA GeForce RTX 9999", "bf16", None),
        ("", "bf16", None),
    ],
)
def test_peaks_are_those_of_known_cards_only(script, card, precision, peak):
    assert script("paper_run").peak_tflops(card, precision) == peak


def options(script, *arguments) -> argparse.Namespace:
    tiny = ("--features", "mini", "--batch-size", "4", "--warm-up", "1", "--precision", "fp32")
    return script("paper_run")._options([*tiny, *arguments])


def test_the_papers_run_on_a_cpu_reports_what_it_measured_and_no_more(script):
    paper_run = script("paper_run")
    chosen = options(script, "--images", "48", "--images-from-few", "32", "--steps", "3")
    found = paper_run.run(chosen, CPU)
    assert found["steps_of_the_whole"] == 5 * 12 and found["steps"] == 3 and found["extrapolated"]
    assert found["whole_seconds"] == pytest.approx(20 * found["seconds"])
    assert found["images_per_second"] == pytest.approx(12 / found["seconds"])
    assert found["utilisation"] is None
    table = paper_run.report(found, CPU)
    assert "32 different ones repeated" in table and "extrapolated from 3 steps" in table
    assert "not reported: no peak is known" in table and "not measured: it takes a GPU" in table


def test_flops_are_those_of_one_image(script, vgg_file, images):
    found = script("paper_run").flops_per_image(VGGFeatures(weights=vgg_file), images, 4)
    assert found == expected_flops(4, 100, (32, 64, 128, 256)) / 4


def test_utilisation_is_the_models_flops_over_the_given_peak(script):
    chosen = options(script, "--images", "32", "--epochs", "1", "--peak-tflops", "2")
    found = script("paper_run").run(chosen, CPU)
    assert not found["extrapolated"]
    rate = found["images_per_second"] * found["flops_per_image"]
    assert found["utilisation"] == pytest.approx(rate / 2e12)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "met"),
        ({"whole_seconds": 31.0}, "missed"),
        ({"extrapolated": True}, "not measured"),
        ({"images": 4_096}, "not measured"),
        ({"epochs": 1}, "not measured"),
    ],
)
def test_the_target_is_judged_on_the_whole_training_only(script, changed, verdict):
    found = {"images": 202_599, "epochs": 5, "batch_size": 64, "extrapolated": False, "whole_seconds": 29.0}
    told = script("paper_run")._target(found | changed, torch.device("cuda"))
    assert told.startswith(verdict)


def test_a_few_faces_are_repeated_in_turn(script):
    images = script("paper_run").faces(70, 32, size=32)
    assert len(images) == 70 and images.pixels[:32].flatten(1).unique(dim=0).shape[0] == 32
    assert images.pixels[5].equal(images.pixels[37]) and images.pixels[5].equal(images.pixels[69])


def compared(script, images: Images, vgg_file, **changed):
    vgg = VGGFeatures(weights=vgg_file)
    pair = [Settings(4, steps=2, precision="fp32") for _ in range(2)]
    pair[0] = Settings(4, steps=2, **({"precision": "fp32"} | changed))
    return script("paired").compare(vgg, images, *pair, seeds=(0, 1), last=2, device=CPU)


def test_a_seed_paired_with_itself_differs_by_nothing_and_from_another_seed(script, images, vgg_file):
    found = compared(script, images, vgg_file)
    assert found["difference"] == 0 and found["holds_0"]
    assert found["losses"][0][0] != found["losses"][1][0]
    assert compared(script, images, vgg_file, precision="bf16")["difference"] != 0


def test_the_paired_difference_has_students_interval(script, images, vgg_file, monkeypatch):
    losses = iter([101.0, 100.0, 203.0, 200.0])
    monkeypatch.setattr(script("paired"), "final_loss", lambda *_: next(losses))
    found = compared(script, images, vgg_file)
    assert found["difference"] == 2 and found["relative"] == pytest.approx(2 / 150)
    assert found["half_width"] == pytest.approx(12.706, abs=1e-3)  # t(0.975, 1) * sqrt(2) / sqrt(2)
    assert found["holds_0"]


def test_faces_drawn_a_second_are_counted(script, monkeypatch):
    drawing, clock = script("drawing"), Clock()
    monkeypatch.setattr(drawing, "time", clock)

    def draw(factors, size):
        clock.now += len(factors) / 500

    monkeypatch.setattr(drawing, "faces", SimpleNamespace(sample_factors=lambda n, seed: [0] * n, draw=draw))
    assert drawing.faces_per_second(640, 64) == pytest.approx(500)


def test_the_page_names_every_script_and_every_file_of_results():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    named = set(re.findall(r"benchmarks/(\w+)\.py", page))
    assert {"step", "layers", "waiting", "drawing", "explorer", "scaling", "ranks", "paper_run"} <= named
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in named)
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert path.name in page
        assert "machine" in json.loads(path.read_text(encoding="utf-8"))
