"""The command, in this process: from training to pictures; one sentence for each thing that goes wrong."""

import json
import re
import subprocess
import sys

import pytest
import torch
from PIL import Image

import dfcvae
from dfcvae import load
from dfcvae.cli import main
from dfcvae.cli.errors import exit_status
from dfcvae.runs import read_config, read_metrics

QUICK = ("--size", "32", "--batch-size", "8", "--device", "cpu")
SMALL = (*QUICK, "--steps", "2")
FACES = ("train", "--data", "faces", "--preset", "pixel", "--out", "run")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Runs go into a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
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


def refused(capsys, *arguments: str, status: int = 1) -> str:
    """What a failing command says: on stderr, in one line, with nothing of Python's."""
    capsys.readouterr()
    try:
        found = main(list(arguments))
    except SystemExit as end:  # argparse's
        found = end.code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("dfcvae: ")]
    assert found == status and len(lines) == 1, captured.err
    assert captured.err.rstrip().endswith(lines[0]), "something follows the sentence"
    assert not re.search("Traceback|Errno|Error.s. in loading", captured.err) and "done" not in captured.out
    return lines[0].removeprefix("dfcvae: ")


def test_train_then_evaluate_then_reconstruct_then_sample(trained, here, capsys):
    files = {"config.json", "checkpoint.pt", "metrics.jsonl", "reconstructions.png", "samples.png"}
    assert {path.name for path in trained.iterdir()} >= files
    assert read_config(trained)["model"]["features"] == "tiny VGG"
    assert read_metrics(trained)[-1]["step"] == read_config(trained)["training"]["steps"] == 2

    capsys.readouterr()
    assert main(["evaluate", "--run", str(trained), "--json", "--device", "cpu"]) == 0
    figures = json.loads(capsys.readouterr().out)  # one object and nothing else
    assert figures.keys() >= {"psnr", "ssim", "sharpness", "kl", "images_per_second", "run"}
    assert (figures["data"], figures["split"], figures["images"]) == ("faces", "test", 51)
    assert 5 < figures["psnr"] < 40 and figures["kl"] >= 0 and 0 <= figures["sharpness"] < 2
    assert main(["evaluate", "--run", str(trained), "--split", "validation", "--device", "cpu"]) == 0
    assert "validation" in capsys.readouterr().out

    assert main(["reconstruct", "--run", str(trained), "-n", "5", "--out", "r.png"]) == 0
    assert "r.png" in capsys.readouterr().out
    with Image.open(here / "r.png") as picture:
        assert picture.mode == "RGB" and picture.size == (5 * (64 + 2) + 2, 2 * (64 + 4) + 2 * 26)

    def sampled(*options: str) -> bytes:
        assert main(["sample", "--run", str(trained), "-n", "9", "--out", "s.png", *options]) == 0
        return (here / "s.png").read_bytes()

    assert sampled() == sampled("--seed", "0")
    assert sampled() != sampled("--seed", "1")
    assert sampled() != sampled("--temperature", "0.1")
    with Image.open(here / "s.png") as picture:
        assert picture.size == (8 * 66 + 2, 2 * 66 + 2)


def test_evaluate_says_all_there_is_in_json(trained, capsys, monkeypatch):
    monkeypatch.setenv("DFCVAE_INCEPTION", "nowhere/inception.pth")
    everything = ("--json", "--attributes", "--fid", "--device", "cpu")
    assert main(["evaluate", "--run", str(trained), *everything]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out, parse_constant=pytest.fail)  # no NaN, no Infinity
    assert sum(figures["kl_per_latent"]) == pytest.approx(figures["kl"], rel=1e-4)
    assert 0 <= figures["active_units"] <= 100 and len(figures["power_ratio"]) == 4
    assert figures["fid"] is None and "nowhere/inception.pth" in captured.err
    told, images = figures["attributes"], load("faces", "test", size=32, n=51, progress=False)
    train = load("faces", "train", size=32, n=512, progress=False)
    majority = train.attributes.double().mean(0) > 0.5
    assert told["majority"] == pytest.approx((images.attributes == majority).double().mean().item())
    assert [each["name"] for each in told["each"]] == list(images.attribute_names)
    assert told["accuracy_interval"][0] < told["accuracy"] < told["accuracy_interval"][1]


def test_several_runs_are_a_curve(trained, vgg_file, here, capsys):
    assert main([*training(vgg_file, here / "other"), "--beta", "1"]) == 0
    capsys.readouterr()
    both = ("--run", str(trained), "--run", str(here / "other"), "--device", "cpu")
    assert main(["evaluate", *both, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["rate_distortion"]
    assert {point["run"] for point in points} == {str(trained), str(here / "other")}
    assert points[0]["kl"] < points[1]["kl"] and points[0].keys() >= {"mse", "psnr", "sharpness"}
    assert main(["evaluate", *both]) == 0
    assert "by rising KL" in capsys.readouterr().out
    assert "single --run" in refused(capsys, "evaluate", *both, "--fid")
    assert main([*FACES, *SMALL, "--size", "48"]) == 0
    assert "the same images for all" in refused(capsys, "evaluate", *both[:2], "--run", "run")


def test_options_reach_the_training(here, capsys):
    options = ["--alpha", "0.5", "--beta", "3", "--learning-rate", "0.002", "--schedule", "halve", "--flip"]
    assert main([*FACES, "--seed", "7", *SMALL, *options]) == 0
    config = read_config(here / "run")
    assert (config["model"]["alpha"], config["model"]["beta"]) == (0.5, 3)
    assert config["training"].items() >= {
        "learning_rate": 0.002, "schedule": "halve", "flip": True, "seed": 7, "batch_size": 8, "steps": 2,
    }.items()  # fmt: skip
    captured = capsys.readouterr()
    assert "loss network: pixels" in captured.out
    last = captured.out.strip().splitlines()[-1]
    assert "reconstructions.png" in last and "samples.png" in last
    assert all(words in captured.err for words in ("images/s", "kl", "reconstruction")), "the progress bar"


def test_train_without_arguments_compares_both_models(here, capsys):
    """All of the defaults but the sizes of the profile "smoke"."""
    assert main(["train", "--size", "32", "--device", "cpu"]) == 0
    out = here / "runs" / "compare"
    assert str(out.relative_to(here) / "comparison.png") in capsys.readouterr().out.splitlines()[-1]
    plain, dfc = (read_config(out / preset) for preset in ("pixel", "vae-123"))
    assert plain["training"] == dfc["training"] and plain["data"] == dfc["data"]
    assert (plain["model"]["preset"], dfc["model"]["preset"]) == ("pixel", "vae-123")
    first, other = (read_metrics(out / preset) for preset in ("pixel", "vae-123"))
    assert first[0]["step"] == other[0]["step"] == 1 and first[-1]["step"] == other[-1]["step"] == 6
    assert first[0]["kl"] == pytest.approx(other[0]["kl"], rel=1e-6), "the same start, the same images"
    assert first[-1]["kl"] != pytest.approx(other[-1]["kl"], rel=1e-6)
    with Image.open(out / "comparison.png") as picture:
        assert picture.size == (10 * 66 + 2, 5 * (68 + 26) + 26)  # five labelled rows and the note
        originals = torch.tensor(list(picture.crop((2, 28, 66, 92)).resize((32, 32), 0).tobytes()))
    shown = load("faces", "validation", size=32, n=51, progress=False)
    assert originals.view(32, 32, 3).permute(2, 0, 1).equal(shown.pixels[0].long())


def test_comparison_with_other_minutes_is_not_silently_the_old_one(here, capsys):
    assert main(["train", "--steps", "1", *QUICK]) == 0
    capsys.readouterr()
    assert main(["train", "--minutes", "0.05", *QUICK]) == 0
    assert "was begun with 1 steps and keeps them" in capsys.readouterr().out
    assert read_config(here / "runs" / "compare" / "pixel")["training"]["steps"] == 1
    assert "--beta are of one model" in refused(capsys, "train", "--beta", "5", *SMALL)


def test_doctor_names_machine_versions_profile_data_and_weights(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    assert all(words in report for words in (torch.__version__, "smoke", "mini VGG", "CelebA", "device"))
    monkeypatch.setenv("DFCVAE_PROFILE", "smok")
    assert "expected one of smoke, cpu, gpu" in refused(capsys, "doctor")


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(dfcvae, "train", interrupted)
    assert main([*FACES, *SMALL]) == 130
    assert "The same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
     RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)  # fmt: skip
def test_out_of_memory_is_one_line_without_an_invented_number(capsys, error):
    def fail():
        raise error

    assert exit_status(fail) == 1
    said = capsys.readouterr().err
    assert said.startswith("dfcvae: out of memory: give a smaller --batch-size") and not re.search(
        r"\d", said
    )


def test_commands_that_moved_say_where_and_still_work(here, capfd, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "badges.py").write_text("import sys; print(sys.argv[1:]); sys.exit(3)")
    assert main(["badges", "--check"]) == 3
    said = capfd.readouterr()
    assert said.out == "['--check']\n" and said.err.endswith("is now  python tools/badges.py\n")
    main(["classroom", "--help"])
    assert "is now  dfcvae-classroom" in capfd.readouterr().err


def test_module_can_be_run(tmp_path):
    command = [sys.executable, "-m", "dfcvae", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert shown.returncode == 0
    for command in ("train", "evaluate", "reproduce", "reconstruct", "sample", "prepare", "doctor"):
        assert command in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train --preset pixel --steps 2", "--data, --preset and --out"),
        ("train --steps 0", "expected a number above 0"),
        ("train --minutes nan", "expected a number above 0"),
        ("train --data folder --preset pixel --out run", "needs root"),
        ("train --data folder --root nowhere --preset pixel --out run", "nowhere"),
        ("train --data faces --preset vae-123 --features no.pth --out run", "'no.pth'"),
        ((*FACES, "--size", "40"), "image_size is 40.*multiple of 16"),
        ((*FACES, *SMALL, "--batch-size", "1000"), "batch_size is 1000: expected 2 to 512"),
        ((*FACES, *SMALL, "--batch-size", "0"), "batch_size is 0"),
        ((*FACES, "--steps", "-2"), "expected a number above 0"),
        ((*FACES, "--epochs", "-1"), "expected a number above 0"),
        ((*FACES, "--learning-rate", "0"), "learning_rate is 0"),
        ((*FACES, "--beta", "-1"), "beta is -1"),
        ((*FACES, "--alpha", "nan"), "alpha is nan"),
        ((*FACES, "--device", "abacus"), "device 'abacus' cannot be used"),
        ("evaluate --run nowhere", "'nowhere' holds no config.json"),
        ("sample --run nowhere", "'nowhere' holds no config.json"),
        ("sample --run TRAINED -n -1", "n is -1"),
        ("sample --run TRAINED -n 0", "n is 0"),
        ("sample --run TRAINED --out no/such/folder/s.png", "no.such.folder"),
        ("reconstruct --run TRAINED -n 0", "n is 0"),
        ("reconstruct --run TRAINED --data folder", "root"),
        ("prepare celeba --root nowhere", "nowhere"),
        ("prepare lfw --download", "--download is of celeba"),
    ],
    ids=str,
)
def test_what_goes_wrong_is_told_in_one_sentence(here, trained, capsys, arguments, words):
    arguments = arguments.split() if isinstance(arguments, str) else arguments
    assert re.search(words, refused(capsys, *(str(trained) if a == "TRAINED" else a for a in arguments)))
    assert not (here / "run").exists() and not (here / "runs").exists()


def test_what_argparse_refuses_is_one_line(capsys):
    assert "invalid choice: 'vae-999'" in refused(capsys, "train", "--preset", "vae-999", status=2)
    assert "invalid int value" in refused(capsys, "sample", "-n", "many\nlines", status=2)


def test_out_that_is_a_file_is_told_in_one_sentence(here, capsys):
    (here / "run").write_text("I was here first")
    assert "run" in refused(capsys, *FACES, *SMALL)
    assert (here / "run").read_text() == "I was here first"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_is_told_in_one_sentence_and_leaves_the_last_checkpoint(here, capsys):
    """A limit on the size of files stands for the full disk: writing the checkpoint fails half-way."""
    import resource

    assert main([*FACES, *QUICK, "--steps", "1"]) == 0
    before = (here / "run" / "checkpoint.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        message = refused(capsys, *FACES, *SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "checkpoint" in message
    assert (here / "run" / "checkpoint.pt").read_bytes() == before
    assert not list((here / "run").glob("*.part"))
