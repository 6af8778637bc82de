"""The benchmarks on tiny sizes: what they count, how they pair and split, and what they refuse to report."""

import json
import math
import re
from pathlib import Path

import layers
import paired
import paper_run
import pytest
import recording
import reporting
import scaling
import step
import torch
from torch.utils.flop_counter import FlopCounterMode

from dfcvae import DFCVAE, VGGFeatures
from dfcvae.fast import accelerate
from dfcvae.training import Settings, Trainer

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")


def small_trainer(vgg_file, images, fast: bool, batch_size: int = 4, **settings) -> Trainer:
    vgg = VGGFeatures(weights=vgg_file)
    model = DFCVAE("vae-123", vgg, 32, 5, (4, 6), layer_weights=dict.fromkeys(vgg.layers, 1.0))
    model = accelerate(model) if fast else model
    return Trainer(model.train(), images, Settings(batch_size, steps=100, **settings), CPU)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_flops_of_a_step_are_torchs(vgg_file, images, fast, precision):
    trainer = small_trainer(vgg_file, images, fast, precision=precision)
    found = recording.flops(recording.record(trainer))
    with FlopCounterMode(display=False) as counter:
        trainer.step(1)
    assert found == counter.get_total_flops()
    # By hand, two for each product: three 3 x 3 convolutions through the VGG's first block, of 32 x 32.
    assert found > 4 * 3 * 2 * 9 * (3 * 4 + 4 * 4) * 32**2


def test_fresh_tensors_lie_like_those_recorded():
    whole = torch.randn(2, 3, 4, 5)
    for tensor in (whole, whole.bfloat16().to(memory_format=torch.channels_last), whole[..., 1:-1, 1:-1]):
        fresh = recording.Shape(tuple(tensor.shape), tensor.stride(), tensor.dtype).fresh(CPU)
        assert (fresh.shape, fresh.stride(), fresh.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)


def test_layers_are_timed_whole_and_in_parts_in_turns_with_the_step(vgg_file, images):
    trainer = small_trainer(vgg_file, images, True, batch_size=32, precision="fp32")
    calls = recording.record(trainer)
    timings, milliseconds = layers.compare(trainer, calls, rounds=1, steps=1)
    assert timings.keys() == calls.keys() and milliseconds > 0
    assert all(0 < timing.milliseconds < math.inf for timing in timings.values())
    split = {None: {None}, 32: {32, 16, 8}}
    assert all(set(timing.best) == split[call.images] for call, timing in timings.items() if call.images != 3)


def test_each_fast_step_stands_beside_its_plain_one():
    names = [name for name in step.ROWS if name.startswith("dfcvae")]
    assert [name.replace("fast", "plain") for name in names[1::2]] == names[::2]


def test_every_axis_of_growth_changes_one_thing_by_1_2_4_and_8():
    for axis, chosen in scaling.points(base=64).items():
        place = {"images": 0, "batch": 1, "size": 2}[axis]
        assert [point[place] / chosen[0][place] for point in chosen] == [1, 2, 4, 8]
        assert len({point[:place] + point[place + 1 :] for point in chosen}) == 1


def test_a_point_of_growth_runs_in_a_process_of_its_own_and_what_fails_there_is_told():
    found = reporting.alone(str(ROOT / "benchmarks/scaling.py"), "--point", "64", "4", "32")
    assert found["images_mb"] == pytest.approx(64 * 3 * 32 * 32 / 1e6) and found["memory_mb"] > 0
    assert found["seconds_a_megapixel"] == pytest.approx(found["ms_an_image"] / 1000 / (32 * 32 / 1e6))
    with pytest.raises(SystemExit, match="no such luck"):
        reporting.alone("-c", "raise ValueError('no such luck')")


def test_the_papers_run_reports_what_it_measured_and_no_more(monkeypatch):
    peaks = {("NVIDIA H100 80GB HBM3", "bf16"): 989, ("NVIDIA A100-SXM4-80GB", "bf16"): 312}
    peaks |= {("Tesla T4", "fp16"): 65, ("Tesla T4", "bf16"): None, ("NVIDIA H200 NVL", "bf16"): None}
    for (card, precision), peak in peaks.items():
        assert paper_run.peak_tflops(card, precision) == peak
    tiny = "--features mini --batch-size 4 --warm-up 1 --precision fp32 --images 48 --images-from-few 32"
    monkeypatch.setattr("sys.argv", ["paper_run.py", *tiny.split(), "--steps", "3", "--peak-tflops", "2"])
    found = paper_run.run(paper_run.options(), CPU)
    assert found["steps_of_the_whole"] == 5 * 12 and found["steps"] == 3 and found["extrapolated"]
    assert found["whole_seconds"] == pytest.approx(20 * found["seconds"])
    rate = found["images_per_second"] * found["flops_per_image"]
    assert found["utilisation"] == pytest.approx(rate / 2e12)
    told = paper_run.report(found, CPU)
    assert "32 different ones repeated" in told and "extrapolated from 3 steps" in told
    assert "not measured: it takes a GPU" in told
    whole = found | {"images": 202_599, "batch_size": 64, "extrapolated": False, "whole_seconds": 29.0}
    assert "| met |" in paper_run.report(whole, torch.device("cuda"))
    assert "| missed |" in paper_run.report(whole | {"whole_seconds": 31.0}, torch.device("cuda"))


def test_a_seed_paired_with_itself_differs_by_nothing(images, vgg_file):
    def compared(precision: str) -> dict:
        pair = (Settings(4, steps=2, precision=chosen) for chosen in (precision, "fp32"))
        return paired.compare(VGGFeatures(weights=vgg_file), images, *pair, seeds=(0, 1), last=2, device=CPU)

    found = compared("fp32")
    assert found["difference"] == 0 and found["holds_0"] and found["losses"][0][0] != found["losses"][1][0]
    assert compared("bf16")["difference"] != 0


def test_the_page_names_every_script_and_every_file_of_results():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    named = set(re.findall(r"benchmarks/(\w+)\.py", page))
    assert named >= {"step", "layers", "drawing", "explorer", "scaling", "paper_run"}
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in named)
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert path.name in page and "machine" in json.loads(path.read_text(encoding="utf-8"))
