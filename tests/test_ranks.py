"""Two ranks are one training: the same gradients, weights and figures, one folder, one message."""

import os
import re
import subprocess
import sys

import pytest
import torch
import two_ranks
from dfcvae.checkpoint import read_checkpoint, read_config, read_metrics
from two_ranks import PRESETS, TRAINING

from dfcvae import Images, train


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative, in the Euclidean norm."""
    return ((a - b).norm() / b.norm()).item()


def cancelled_by_a_batch_norm(name: str, names) -> bool:
    """A bias before a batch norm: its gradient is nought, what is computed for it is rounding."""
    stem, _, kind = name.rpartition(".")
    *level, place = stem.split(".")
    return (
        kind == "bias" and ".".join([*level, str(int(place) + 1), "running_mean"]) in names
        if level
        else False
    )


@pytest.fixture(scope="module")
def others() -> Images:
    noise = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    return Images((noise * 255).byte(), name="noise", split="validation")


@pytest.fixture(scope="module")
def pictures() -> Images:
    noise = torch.rand(40, 3, 34, 34, generator=torch.Generator().manual_seed(5))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1)
    return Images((smooth * 255).byte(), name="noise", split="train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, vgg_file, pictures, others):
    """What two ranks have left behind, and for comparison one process in ``one/``."""
    folder = tmp_path_factory.mktemp("ranks")
    train(two_ranks.build("pixel", vgg_file), pictures, folder / "begun on one", steps=3, **TRAINING)
    two_ranks.start(two_ranks.train_together, folder, vgg_file, pictures, others)
    for preset in PRESETS:
        model = two_ranks.build(preset, vgg_file)
        train(model, pictures, folder / "one" / preset, steps=10, validation=others, **TRAINING)
    return folder


@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_and_statistics_are_those_of_the_whole_batch(folder, vgg_file, pictures, preset):
    """Measured: a relative distance of 5e-6 at most, tensor by tensor."""
    expected = two_ranks.gradients(preset, vgg_file, pictures)
    found, again = (torch.load(folder / f"{preset}-gradients-{rank}.pt") for rank in (0, 1))
    names = two_ranks.build(preset, vgg_file).state_dict()
    whole = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        assert found[name].equal(again[name]), name
        if cancelled_by_a_batch_norm(name, names):
            assert found[name].norm() < 1e-5 * whole, name
        else:
            assert distance(found[name], gradient) < 2e-5, name


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_and_statistics_after_ten_steps_are_those_of_one_process(folder, preset):
    """Measured: 3e-6 at most (a bias that began at nought), most below 3e-7.

    Left out are the biases before a batch norm, since Adam divides their rounding by its own size and
    walks, and the running means, which follow these biases; the test above compares the means.
    """
    expected = read_checkpoint(folder / "one" / preset)["model"]
    found = read_checkpoint(folder / preset)["model"]
    again = torch.load(folder / f"{preset}-model-1.pt")
    assert found.keys() == expected.keys() == again.keys()
    for name, tensor in expected.items():
        assert found[name].equal(again[name]), f"{name} differs between the ranks"
        if not (cancelled_by_a_batch_norm(name, expected) or name.endswith("running_mean")):
            assert distance(found[name].float(), tensor.float()) < 1e-5, name


@pytest.mark.parametrize("preset", PRESETS)
def test_figures_are_those_of_the_whole_batch(folder, preset):
    """Those of validation feel the running means of the test above, which hang back behind their biases."""
    lines = [read_metrics(where / preset) for where in (folder, folder / "one")]
    for line, whole in zip(*lines, strict=True):
        assert line.keys() == whole.keys()
        for name in whole.keys() - {"seconds", "images_per_second"}:
            near = 0.02 if name.startswith("validation") else 1e-5
            assert line[name] == pytest.approx(whole[name], rel=near), name
    assert read_config(folder / preset)["machine"]["ranks"] == 2
    assert read_config(folder / "one" / preset)["machine"]["ranks"] == 1


def test_runs_go_on_with_another_number_of_ranks(folder, vgg_file, pictures):
    """Begun on one rank and gone on with on two, and the other way round: as if it had been one run."""
    build = two_ranks.build
    whole = train(build("pixel", vgg_file), pictures, folder / "whole", steps=6, **TRAINING).model
    train(build("pixel", vgg_file), pictures, folder / "begun on two", steps=6, **TRAINING)
    for name in "begun on one", "begun on two":
        state = read_checkpoint(folder / name)
        assert state["step"] == 6
        for key in "to_mu.weight", "decoder.1.0.weight", "encoder.0.1.running_var":
            assert distance(state["model"][key], whole.state_dict()[key]) < 1e-5


def test_only_the_first_rank_writes(folder):
    assert [torch.load(folder / f"wrote-{rank}.pt") for rank in (0, 1)] == [True, False]
    names = {"config.json", "checkpoint.pt", "metrics.jsonl", "reconstructions.png", "samples.png"}
    names |= {"checkpoint.previous.pt", ".lock"}
    assert {path.name for path in (folder / "pixel").iterdir()} == names


def test_minutes_are_the_same_steps_on_every_rank(folder):
    steps = [torch.load(folder / f"steps-{rank}.pt") for rank in (0, 1)]
    assert steps[0] == steps[1] == read_checkpoint(folder / "minutes")["step"] >= 1


@pytest.mark.parametrize(
    ("case", "kind", "words"),
    [
        ("batch size", "ValueError", "batch_size is 7 on 2 ranks: expected a multiple of 2, .* give 8"),
        (
            "too small a batch",
            "ValueError",
            "batch_size is 2 on 2 ranks: .* 2 images a rank at least: give 4",
        ),
        ("a device", "ValueError", "device is 'abacus' on 2 ranks: expected auto, cpu or cuda"),
        ("other settings", "ValueError", "learning_rate = 0.0005, asked for was 1.0"),
        ("other images", "ValueError", "rank 1 has images = 32, the first has 40"),
        ("no number", "FloatingPointError", "step 1: kl is nan, which is no number"),
        ("disk", "OSError", "the disk is full"),
    ],
)
def test_what_goes_wrong_on_one_rank_ends_both_with_the_same_words(folder, case, kind, words):
    for rank in (0, 1):
        found, message = torch.load(folder / f"told-{rank}.pt")[case]
        assert found == kind
        assert re.search(words, message), message


def torchrun(*arguments: str) -> subprocess.CompletedProcess:
    """Two ranks by the real command line, on this machine only."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    own = {"OMP_NUM_THREADS": "1"} | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=os.environ | own, timeout=300
    )


def options(vgg_file, out) -> list[str]:
    named = ("--data", "faces", "--preset", "vae-123", "--features", str(vgg_file), "--out", str(out))
    return ["train", *named, "--size", "32", "--batch-size", "8", "--device", "cpu"]


@pytest.mark.slow
def test_the_command_on_two_ranks_ends_with_one_folder_and_speaks_once(vgg_file, tmp_path):
    done = torchrun("-m", "dfcvae", *options(vgg_file, tmp_path / "run"), "--steps", "4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: look at") == 1 and done.stdout.count("loss network") == 1
    assert "4/4" in done.stderr and read_checkpoint(tmp_path / "run")["step"] == 4
    again = torchrun("-m", "dfcvae", *options(vgg_file, tmp_path / "run"), "--steps", "4", "--seed", "1")
    assert again.returncode != 0
    told = [line for line in again.stderr.splitlines() if line.startswith("dfcvae: ")]
    assert len(told) == 1 and "seed = 0, asked for was 1" in told[0]


BREAKS_ON_RANK_1 = """
import sys
from dfcvae import ranks
from dfcvae.cli import main
from dfcvae.training import Trainer

whole = Trainer.batch

def batch(self, step):
    if step == 2 and ranks.rank() == 1:
        raise OSError("the pictures cannot be read any more")
    return whole(self, step)

Trainer.batch = batch
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_rank_that_fails_within_a_step_ends_all_with_its_message(vgg_file, tmp_path):
    (tmp_path / "breaks.py").write_text(BREAKS_ON_RANK_1)
    done = torchrun(str(tmp_path / "breaks.py"), *options(vgg_file, tmp_path / "run"), "--steps", "9")
    assert done.returncode != 0
    assert "dfcvae: the pictures cannot be read any more\n" in done.stderr
    assert done.stderr.count("dfcvae: ") == 1 and "Connection closed" not in done.stderr
