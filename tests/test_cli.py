"""The command, in this process: from training to pictures; one sentence for each thing that goes wrong."""

import json
import math
import re
import subprocess
import sys

import pytest
import torch
from dfcvae.checkpoint import read_checkpoint, read_config, read_metrics
from PIL import Image

from dfcvae import load, vgg
from dfcvae.cli import commands, main
from dfcvae.course import compare
from dfcvae.reproduction import measure

SMALL = ("--size", "32", "--steps", "2", "--batch-size", "8", "--device", "cpu")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path, vgg_file):
    """Runs go into a folder of the test's own, and the mini VGG is a small random one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vgg, "MINI_FILE", vgg_file)
    return tmp_path


def training(vgg_file, out) -> list[str]:
    named = ("--data", "faces", "--preset", "vae-123", "--features", str(vgg_file), "--out", str(out))
    return ["train", *named, *SMALL]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, vgg_file):
    """A run folder of vae-123 on drawn faces, for commands that read one."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    assert main(training(vgg_file, out)) == 0
    return out


def one_sentence(capsys, *arguments: str) -> str:
    """What a failing command says: on stderr, in one line, with nothing of Python's."""
    capsys.readouterr()
    status = main(list(arguments))
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("dfcvae: ")]
    assert status == 1 and len(lines) == 1, captured.err
    assert captured.err.rstrip().endswith(lines[0]), "something follows the sentence"
    assert "Traceback" not in captured.err and "done" not in captured.out
    assert "[Errno" not in lines[0] and "Error(s) in loading" not in lines[0], lines[0]
    return lines[0].removeprefix("dfcvae: ")


def test_train_then_evaluate_then_reconstruct_then_sample(trained, here, capsys):
    assert {path.name for path in trained.iterdir()} == {
        "config.json",
        "checkpoint.pt",
        "checkpoint.previous.pt",
        ".lock",
        "metrics.jsonl",
        "reconstructions.png",
        "samples.png",
    }
    assert read_config(trained)["model"]["features"] == "tiny VGG"
    assert read_metrics(trained)[-1]["step"] == read_config(trained)["training"]["steps"] == 2

    assert main(["evaluate", "--run", str(trained), "--json", "--device", "cpu"]) == 0
    figures = json.loads(capsys.readouterr().out)  # one object and nothing else
    assert figures.keys() >= {"psnr", "ssim", "sharpness", "kl", "images_per_second", "run", "data", "split"}
    assert (figures["data"], figures["split"], figures["images"]) == ("faces", "test", 51)
    assert 5 < figures["psnr"] < 40 and figures["kl"] >= 0 and 0 <= figures["sharpness"] < 2

    assert main(["evaluate", "--run", str(trained), "--split", "validation", "--device", "cpu"]) == 0
    assert "validation" in capsys.readouterr().out

    assert main(["reconstruct", "--run", str(trained), "-n", "5", "--out", "r.png"]) == 0
    assert "r.png" in capsys.readouterr().out
    with Image.open(here / "r.png") as picture:
        assert picture.mode == "RGB" and picture.size[0] == 5 * (64 + 2) + 2
        assert picture.size[1] == 2 * (64 + 4) + 2 * 26  # two rows with a label each

    assert main(["sample", "--run", str(trained), "-n", "9", "--out", "s.png"]) == 0
    with Image.open(here / "s.png") as picture:
        assert picture.size == (8 * 66 + 2, 2 * 66 + 2)


def test_evaluate_says_all_there_is_in_json(trained, capsys):
    assert main(["evaluate", "--run", str(trained), "--json", "--attributes", "--device", "cpu"]) == 0
    figures = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # no NaN, no Infinity
    assert len(figures["kl_per_latent"]) == 100 and sum(figures["kl_per_latent"]) == pytest.approx(
        figures["kl"], rel=1e-4
    )
    assert 0 <= figures["active_units"] <= 100 and len(figures["power_ratio"]) == 4
    told, images = figures["attributes"], load("faces", split="test", size=32, progress=False)
    majority = load("faces", split="train", size=32, progress=False).attributes.double().mean(0) > 0.5
    assert told["majority"] == pytest.approx((images.attributes == majority).double().mean().item())
    assert [each["name"] for each in told["each"]] == list(images.attribute_names)
    assert told["accuracy_interval"][0] < told["accuracy"] < told["accuracy_interval"][1]
    assert "fid" not in figures


def test_evaluate_says_what_fid_needs_and_measures_the_rest(trained, capsys, monkeypatch):
    monkeypatch.setenv("DFCVAE_INCEPTION", "nowhere/inception.pth")
    assert main(["evaluate", "--run", str(trained), "--json", "--fid", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert figures["fid"] is None and figures["psnr"] > 5
    assert "nowhere/inception.pth" in captured.err and "nothing is downloaded" in captured.err


def test_several_runs_are_a_curve(trained, vgg_file, here, capsys):
    other = [*training(vgg_file, here / "other"), "--beta", "1"]
    assert main(other) == 0
    capsys.readouterr()
    both = ("--run", str(trained), "--run", str(here / "other"), "--device", "cpu")
    assert main(["evaluate", *both, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["rate_distortion"]
    assert {point["run"] for point in points} == {str(trained), str(here / "other")}
    assert points[0]["kl"] < points[1]["kl"] and points[0].keys() >= {"mse", "psnr", "sharpness"}
    assert main(["evaluate", *both]) == 0
    assert "by rising KL" in capsys.readouterr().out
    assert "single --run" in one_sentence(capsys, "evaluate", *both, "--fid")
    assert main([*FACES, "--size", "48", "--steps", "1", "--batch-size", "8", "--device", "cpu"]) == 0
    message = one_sentence(capsys, "evaluate", "--run", str(trained), "--run", "run", "--device", "cpu")
    assert "the same images for all" in message


def test_sample_follows_seed_and_temperature(trained, here):
    def sampled(*options: str) -> bytes:
        assert main(["sample", "--run", str(trained), "--out", "s.png", *options]) == 0
        return (here / "s.png").read_bytes()

    assert sampled() == sampled("--seed", "0")
    assert sampled() != sampled("--seed", "1")
    assert sampled() != sampled("--temperature", "0.1")


def test_the_same_command_again_has_nothing_left_to_do(trained, vgg_file, capsys):
    before = (trained / "checkpoint.pt").read_bytes()
    assert main(training(vgg_file, trained)) == 0
    assert (trained / "checkpoint.pt").read_bytes() == before
    assert str(trained / "reconstructions.png") in capsys.readouterr().out  # the last line says where to look


def test_train_says_which_loss_network_and_where_to_look(here, capsys):
    assert main(["train", "--data", "faces", "--preset", "pixel", "--out", "run", *SMALL]) == 0
    captured = capsys.readouterr()
    assert "loss network: pixels" in captured.out
    last = captured.out.strip().splitlines()[-1]
    assert "reconstructions.png" in last and "samples.png" in last
    for words in ("images/s", "kl", "reconstruction"):
        assert words in captured.err, "the progress bar shows it"


def test_options_reach_the_training(here):
    options = ["--alpha", "0.5", "--beta", "3", "--learning-rate", "0.002", "--schedule", "halve", "--flip"]
    train = ["train", "--data", "faces", "--preset", "pixel", "--out", "run", "--seed", "7", *SMALL, *options]
    assert main(train) == 0
    config = read_config(here / "run")
    assert (config["model"]["alpha"], config["model"]["beta"]) == (0.5, 3)
    found = {
        key: config["training"][key] for key in ("learning_rate", "schedule", "flip", "seed", "batch_size")
    }
    assert found == {"learning_rate": 0.002, "schedule": "halve", "flip": True, "seed": 7, "batch_size": 8}


def test_minutes_are_turned_into_steps(here):
    train = ["train", "--data", "faces", "--preset", "pixel", "--out", "run", "--minutes", "0.001"]
    assert main([*train, "--size", "32", "--batch-size", "8", "--device", "cpu"]) == 0
    assert read_checkpoint(here / "run")["step"] == read_config(here / "run")["training"]["steps"] >= 1


def test_train_without_arguments_compares_both_models(here, capsys, monkeypatch):
    """All of the defaults but the sizes of the profile "smoke"."""
    starts, train = {}, compare.train

    def noted(model, images, out, **options):
        starts[out.name] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return train(model, images, out, **options)

    monkeypatch.setattr(compare, "train", noted)
    assert main(["train", "--size", "32", "--device", "cpu"]) == 0
    out = here / "runs" / "compare"
    assert str(commands.COMPARISON / "comparison.png") in capsys.readouterr().out.strip().splitlines()[-1]
    configs = {preset: read_config(out / preset) for preset in ("pixel", "vae-123")}
    assert configs["pixel"]["training"] == configs["vae-123"]["training"]
    assert configs["pixel"]["data"] == configs["vae-123"]["data"]
    assert [config["model"]["preset"] for config in configs.values()] == ["pixel", "vae-123"]
    assert all(starts["pixel"][name].equal(tensor) for name, tensor in starts["vae-123"].items())
    checkpoints = {preset: read_checkpoint(out / preset) for preset in configs}
    assert checkpoints["pixel"]["step"] == checkpoints["vae-123"]["step"] == 6
    assert not checkpoints["pixel"]["model"]["to_mu.weight"].equal(
        checkpoints["vae-123"]["model"]["to_mu.weight"]
    )
    with Image.open(out / "comparison.png") as picture:
        assert picture.size == (10 * 66 + 2, 5 * (68 + 26) + 26)  # five labelled rows and the note
        originals = torch.tensor(list(picture.crop((2, 28, 66, 92)).resize((32, 32), 0).tobytes()))
    shown = load("faces", split="validation", size=32, progress=False)
    assert originals.view(32, 32, 3).permute(2, 0, 1).equal(shown.pixels[0].long())


def test_comparison_refuses_what_it_cannot_follow(here, capsys):
    """--alpha and --beta are of one model; a comparison that drops them silently would be another one."""
    message = one_sentence(capsys, "train", "--beta", "5", *SMALL)
    assert "--beta" in message or "beta" in message


def test_comparison_with_other_minutes_is_not_silently_the_old_one(here, capsys):
    def finished_steps() -> int:
        return read_config(here / "runs" / "compare" / "pixel")["training"]["steps"]

    quick = ("--size", "32", "--batch-size", "8", "--device", "cpu")
    assert main(["train", "--steps", "1", *quick]) == 0
    capsys.readouterr()
    assert main(["train", "--minutes", "0.05", *quick]) == 0
    assert finished_steps() == 1 and "was begun with 1 steps and keeps them" in capsys.readouterr().out
    assert main(["train", "--steps", "2", "--out", str(here / "another"), *quick]) == 0
    assert (here / "another" / "comparison.png").is_file()


@pytest.mark.parametrize(
    "length", [("--epochs", "-1"), ("--minutes", "0"), ("--epochs", "nan"), ("--steps", "0")]
)
def test_comparison_refuses_a_length_that_is_none(here, capsys, length):
    message = one_sentence(capsys, "train", *length, "--size", "32", "--batch-size", "8", "--device", "cpu")
    assert "expected a number above 0" in message
    assert not (here / "runs").exists()


def test_what_is_no_number_is_null_in_json():
    assert measure.without_nan([1.0, math.nan, math.inf, 3]) == [1.0, None, None, 3]
    assert measure.without_nan({"a": (math.nan, "nan")}) == {"a": [None, "nan"]}


def test_full_memory_is_one_sentence(here, capsys, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("dfcvae.course.compare.compare", full)
    assert main(["train", "--steps", "1", "--size", "32", "--batch-size", "8", "--device", "cpu"]) == 1
    assert "smaller --batch-size" in capsys.readouterr().err


def test_doctor_names_machine_versions_profile_data_and_weights(capsys):
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    for words in (torch.__version__, "smoke", "tiny VGG", "CelebA", "device"):
        assert words in report


def test_doctor_works_where_the_weights_are_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(vgg, "MINI_FILE", tmp_path / "missing.safetensors")
    monkeypatch.setattr("dfcvae.cli.doctor.MINI_FILE", tmp_path / "missing.safetensors")
    assert main(["doctor"]) == 0
    assert "install dfcvae again" in capsys.readouterr().out


def test_doctor_works_where_the_profile_is_misspelt(capsys, monkeypatch):
    monkeypatch.setenv("DFCVAE_PROFILE", "smok")
    main(["doctor"])
    captured = capsys.readouterr()
    assert "smoke" in captured.out + captured.err and "Traceback" not in captured.err


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dfcvae.train", interrupted)
    assert main(["train", "--data", "faces", "--preset", "pixel", "--out", "run", *SMALL]) == 130
    assert "The same command goes on" in capsys.readouterr().err


def test_module_can_be_run(tmp_path):
    shown = subprocess.run(
        [sys.executable, "-m", "dfcvae", "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert shown.returncode == 0
    for command in ("train", "evaluate", "reproduce", "reconstruct", "sample", "prepare", "doctor"):
        assert command in shown.stdout


FACES = ("train", "--data", "faces", "--preset", "pixel", "--out", "run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("train", "--data", "faces", "--preset", "vae-999", "--out", "run", *SMALL),
            "unknown preset 'vae-999'",
        ),
        (("train", "--preset", "pixel", *SMALL), "--data, --preset and --out"),
        (("train", "--data", "folder", "--preset", "pixel", "--out", "run", *SMALL), "needs root"),
        (("train", "--data", "folder", "--root", "nowhere", "--preset", "pixel", "--out", "run"), "nowhere"),
        ((*FACES, "--size", "40"), "image_size is 40.*multiple of 16"),
        ((*FACES, "--size", "32", "--batch-size", "1000"), "batch_size is 1000: expected 2 to 512"),
        ((*FACES, "--size", "32", "--batch-size", "0"), "batch_size is 0"),
        ((*FACES, "--size", "32", "--steps", "0"), "expected a number above 0"),
        ((*FACES, "--size", "32", "--steps", "-2"), "expected a number above 0"),
        ((*FACES, "--size", "32", "--minutes", "0"), "expected a number above 0"),
        ((*FACES, "--size", "32", "--minutes", "nan"), "expected a number above 0"),
        ((*FACES, "--size", "32", "--learning-rate", "0", "--steps", "1"), "learning_rate is 0"),
        ((*FACES, "--size", "32", "--beta", "-1", "--steps", "1"), "beta is -1"),
        ((*FACES, "--size", "32", "--alpha", "nan", "--steps", "1"), "alpha is nan"),
        ((*FACES, "--device", "abacus", "--size", "32", "--steps", "1"), "device 'abacus' cannot be used"),
        (
            ("train", "--data", "faces", "--preset", "vae-123", "--features", "no.pth", "--out", "run"),
            "'no.pth'",
        ),
        (("evaluate", "--run", "nowhere"), "'nowhere' holds no config.json"),
        (("sample", "--run", "nowhere"), "'nowhere' holds no config.json"),
        (("prepare", "celeba", "--root", "nowhere"), "nowhere"),
    ],
)
def test_what_goes_wrong_is_told_in_one_sentence(here, capsys, arguments, words):
    assert re.search(words, one_sentence(capsys, *arguments))
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sample", "-n", "-1"), "n is -1"),
        (("sample", "-n", "0"), "n is 0"),
        (("reconstruct", "-n", "0"), "n is 0"),
        (("sample", "--out", "no/such/folder/s.png"), "no/such/folder|no.such.folder"),
        (("reconstruct", "--data", "folder"), "root"),
    ],
)
def test_pictures_that_cannot_be_made_are_told_in_one_sentence(trained, capsys, arguments, words):
    assert re.search(words, one_sentence(capsys, *arguments, "--run", str(trained)))


def test_out_that_is_a_file_is_told_in_one_sentence(here, capsys):
    (here / "run").write_text("I was here first")
    assert "run" in one_sentence(capsys, *FACES, *SMALL)
    assert (here / "run").read_text() == "I was here first"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_is_told_in_one_sentence_and_leaves_the_last_checkpoint(here, capsys):
    """A limit on the size of files stands for the full disk: writing the checkpoint fails half-way."""
    import resource

    assert main([*FACES, "--size", "32", "--batch-size", "8", "--device", "cpu", "--steps", "1"]) == 0
    before = (here / "run" / "checkpoint.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        message = one_sentence(capsys, *FACES, *SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "checkpoint" in message
    assert (here / "run" / "checkpoint.pt").read_bytes() == before
    assert not list((here / "run").glob("*.part"))
