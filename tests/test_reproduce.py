"""The paper's recipe, its figures and its report: no number under a name that it was not measured on."""

import importlib.util
import json
import math
import re
import shlex
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dfcvae
from dfcvae import VAE, Images
from dfcvae.cli import parser as cli
from dfcvae.course import lesson_06
from dfcvae.reproduction import report
from dfcvae.reproduction.measure import measure
from dfcvae.reproduction.recipe import Recipe, Training, reproduce

TINY = {"epochs": None, "steps": 2, "batch_size": 8, "size": 32, "device": "cpu", "codes": 200}


class Pooled(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


@pytest.fixture(scope="module")
def done(tmp_path_factory, vgg_file):
    """Two seeds of two presets on drawn faces, two steps each; another network than Inception measures."""
    out = tmp_path_factory.mktemp("reproduced")
    of = {"presets": ("pixel", "vae-123"), "seeds": (0, 1), "pictures": 512, "tested": 51}
    found = reproduce(Recipe(out=out, features=str(vgg_file), **of, **TINY), Pooled(), progress=False)
    report.write(found, {}, ["A note."])
    return found


@pytest.fixture(scope="module")
def text(done):
    return (done.recipe.out / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(done):
    found = (done.recipe.out / "results.json").read_text(encoding="utf-8")
    return json.loads(found, parse_constant=pytest.fail)


def rows(text: str, heading: str = "Figures beside the paper's") -> dict[str, list[str]]:
    """The table of a part of the report: first cell -> the others."""
    part = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines()
             if line.startswith("|")]  # fmt: skip
    assert len({len(line) for line in cells}) == 1, "one table, and every line of it whole"
    return {line[0]: line[1:] for line in cells}


DEVIATIONS = "Deviations: rows whose last cell differs from the first"

# --- the recipe


def test_the_recipe_is_the_papers_unless_it_says_otherwise():
    recipe = Recipe()
    found = recipe.batch_size, recipe.learning_rate, recipe.schedule, recipe.epochs
    assert found == (64, 5e-4, "halve", 5)


def test_its_line_for_a_terminal_is_the_recipe():
    recipe = Recipe("celeba", "data/my faces", Path("runs/paper"), ("vae-123",), (4, 5), (0.5,), "mini")
    name, *arguments = shlex.split(recipe.command())
    parsed = vars(cli.build_parser().parse_args(arguments))
    assert name == "dfcvae" and arguments[0] == "reproduce"
    for key in ("data", "presets", "seeds", "multiples", "features", "batch_size", "codes", "size", "out"):
        found, wanted = parsed[key], getattr(recipe, key)
        assert (tuple(found) if isinstance(found, list) else found) == wanted, key
    assert parsed["root"] == Path(recipe.root)
    assert Recipe().command() == "dfcvae reproduce"


def test_trainings_go_seed_by_seed_and_the_curve_comes_last():
    recipe = Recipe(presets=("pixel", "vae-123"), seeds=(4, 5), multiples=(1, 0.5, 2), features="mini")
    names = [training.name for training in recipe.trainings()]
    assert names[:4] == ["pixel-4", "vae-123-4", "pixel-5", "vae-123-5"]
    assert names[4:] == [f"{p}-4-beta-x{m}" for p in ("pixel", "vae-123") for m in ("0.5", "2")]
    assert recipe.model(Training("pixel", 4, 0.5)).beta == 0.5 * dfcvae.PRESETS["pixel"].beta
    starts = [recipe.model(Training(*t)).to_mu.weight for t in (("pixel", 4), ("vae-123", 4), ("pixel", 5))]
    assert starts[0].equal(starts[1]) and not starts[0].equal(starts[2])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"presets": ("vae-999",)}, "unknown preset 'vae-999'"),
        ({"seeds": ()}, "seeds are"),
        ({"seeds": (1, 1)}, "each once"),
        ({"multiples": (0.0,)}, "above 0"),
        ({"codes": 1}, "two training codes"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**wrong)


def test_it_loads_as_many_pictures_as_it_says():
    recipe = Recipe(pictures=10, tested=7)
    assert [len(recipe.load(split)) for split in ("train", "validation", "test")] == [10, 7, 7]
    with pytest.raises(FileNotFoundError, match="no folder"):
        Recipe("celeba", "not/there").load("train")


def test_a_training_is_found_again_and_not_done_again(done):
    recipe, training = done.recipe, Training("pixel", 1)
    run = recipe.train(training, done.train, done.test, progress=False)
    assert run.out == recipe.folder(training) and run.config["training"]["steps"] == 2
    found, x = recipe.models(done.test, seed=1), done.test.float(slice(0, 2))
    assert tuple(found) == recipe.presets
    torch.testing.assert_close(found["pixel"].generate(x), run.model.generate(x))
    with pytest.raises(ValueError, match="was trained on 'faces', and the pictures are of 'celeba'"):
        recipe.models(replace(done.test, name="celeba"))
    with pytest.raises(FileNotFoundError, match="pixel-7"):
        recipe.models(done.test, seed=7)


# --- attributes


class Corner(VAE):
    """Its codes are known: the top left pixel, a latent a channel."""

    def encode(self, x):
        mu = x[:, :, 0, 0]
        return mu, torch.zeros_like(mu)


def faces(n: int, seed: int) -> Images:
    """ "bright" is the red corner, "coin" stands nowhere in the picture, "never" is off."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (n, 3, 32, 32), generator=generator).byte()
    pixels[:, 0, 0, 0] = torch.where(torch.arange(n) % 4 == 0, 230, 20)
    coin, never = torch.rand(n, generator=generator) < 0.9, torch.zeros(n, dtype=torch.bool)
    return Images(
        pixels, torch.stack([pixels[:, 0, 0, 0] > 128, coin, never], 1), ("bright", "coin", "never")
    )


def test_what_a_line_can_read_is_read_and_what_it_cannot_is_not():
    train, test = faces(400, 0), faces(300, 1)
    found = measure(Corner(32, 3, (4, 6)), test, train, attributes=True)
    figures, (bright, coin, never) = found.figures["attributes"], found.figures["attributes"]["each"]
    assert (bright["accuracy"], bright["balanced"], bright["majority"]) == (1, 1, 0.75)
    often = test.attributes[:, 1].double().mean().item()
    assert coin["accuracy"] == pytest.approx(coin["majority"]) == pytest.approx(often)
    assert coin["balanced"] == 0.5 and never["accuracy"] == 1 and math.isnan(never["balanced"])
    assert figures["accuracy"] == pytest.approx((1 + often + 1) / 3) and figures["balanced"] == 0.75
    assert figures["majority"] == pytest.approx((0.75 + often + 1) / 3)
    assert (figures["learnt_from"], figures["test_images"], found.correct.shape) == (400, 300, (300,))
    # The difference is paired: the majority of training says "not bright", and "coin".
    gains = (test.attributes[:, 0]).double() / 3
    half = 1.968 * gains.std().item() / math.sqrt(300)  # Student's t of 299
    low, high = figures["ahead_of_majority_interval"]
    assert figures["ahead_of_majority"] == pytest.approx(gains.mean().item(), rel=1e-5)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-3)


def test_only_so_many_codes_are_learnt_from():
    train = faces(400, 0)
    train.attributes[100:, 0] ^= True
    found = measure(Corner(32, 3, (4, 6)), faces(80, 1), train, attributes=True, at_most=100)
    assert found.figures["attributes"]["learnt_from"] == 100
    assert found.figures["attributes"]["each"][0]["accuracy"] == 1


def test_images_without_labels_or_with_others_are_refused():
    model, train, test = Corner(32, 3, (4, 6)), faces(40, 0), faces(30, 1)
    for names, labels in (((), torch.empty(0, 0)), (("a", "b", "c"), test.attributes)):
        with pytest.raises(ValueError, match=f"3 attributes in training and {len(names)} in the test"):
            measure(model, Images(test.pixels, labels, names), train, attributes=True)
    with pytest.raises(ValueError, match="learnt from training images"):
        measure(model, test, attributes=True)


# --- the report


def test_summary_is_over_the_seeds_and_over_the_images(done, results):
    summary, of_seeds = (
        results["summary"]["vae-123"],
        [r["figures"] for r in results["runs"] if "123" in r["name"]],
    )
    assert len(of_seeds) == 2 and len(results["runs"]) == 4
    for name in ("psnr", "kl", "active_units"):
        values = [figures[name] for figures in of_seeds]
        assert summary[name] == {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}
    assert summary["fid_prior"]["mean"] == statistics.fmean(figures["fid"]["prior"] for figures in of_seeds)
    right = (
        torch.stack([row.correct for row in done.rows if row.training.preset == "vae-123"]).double().mean(0)
    )
    half = 2.0086 * right.std().item() / len(done.test) ** 0.5  # Student's t of 50
    low, high = summary["accuracy"]["interval"]
    assert summary["accuracy"]["mean"] == pytest.approx((low + high) / 2)
    assert len(done.test) == 51 and (high - low) / 2 == pytest.approx(half, rel=1e-3)
    often = done.train.attributes[:200].double().mean(0) > 0.5  # of the codes that the readers saw
    by_hand = (done.test.attributes == often).double().mean().item()
    assert summary["majority"]["mean"] == pytest.approx(by_hand)


def test_one_table_with_the_papers_numbers_marked_as_such(text, results):
    table = rows(text)
    assert table[""] == ["plain VAE", "VAE-123", "the paper, on CelebA: **not comparable**"]
    read, summary = table["accuracy, mean of 20 attributes, %"], results["summary"]["pixel"]["accuracy"]
    low, high = (100 * end for end in summary["interval"])
    assert read[0] == f"{100 * summary['mean']:.2f} [{low:.2f}, {high:.2f}] ± {100 * summary['sd']:.2f}"
    assert read[-1] == "86.95 (its VAE-Z)"
    assert table["FaceTracer, trained on the labels, %"] == ["–", "–", "81.13"]
    assert all(re.fullmatch(r"\d+\.\d+ ± \d+\.\d+", cell) for cell in table["PSNR, dB"][:2])
    assert "active units of 100 (latents in use)" in table and "KL, nats an image" in table
    assert "Fréchet distance by Pooled, samples from the prior" in table
    assert not any("FID" in label for label in table), "what Inception did not measure is no FID"


def test_the_report_says_what_was_measured_on_what(done, text, results):
    head = text.partition("## Deviations")[0]
    assert head.startswith("# Reproducing the DFC-VAE on drawn faces (not CelebA)")
    assert "None of this was measured on CelebA" in head and "A note." in text
    for words in (
        report.commit(),
        torch.__version__,
        "drawn faces, train, 512 pictures",
        "**Seeds:** 0, 1",
        "CPU",
    ):
        assert words in head
    vgg = done.recipe.model(Training("vae-123")).perceptual.vgg
    for tensors in ({"": done.train.pixels}, {"": done.test.pixels}, dict(vgg.named_buffers())):
        assert report.fingerprint(tensors) in head
    here = {name: cells[-1] for name, cells in rows(text, DEVIATIONS).items()}
    assert here["pixels"] == "32 × 32" and here["steps"] == "2" and here["batch"] == "8"
    assert here["loss network"] == "tiny VGG, 4 channels where VGG-19 has 64"
    assert here["attributes"] == "20, linear SVMs on standardised mu of 200"
    assert "VAE-123: relu1_1" in here["λ: KL + λ · mean squared feature"]


def test_on_celeba_the_papers_column_compares(done):
    found = replace(done, train=replace(done.train, name="celeba"), test=replace(done.test, name="celeba"))
    text = report.report(found, report.results(found), {})
    assert text.startswith("# Reproducing the DFC-VAE on CelebA\n")
    assert "not comparable" not in text and "None of this" not in text
    assert rows(text)[""][-1] == "the paper, on CelebA"
    assert rows(text, DEVIATIONS)["crop"][-1] == "the centre 148 × 148 of 178 × 218 pixels, bicubic"


def test_what_was_not_measured_is_said(done):
    row = done.rows[0]
    figures = {key: value for key, value in row.figures.items() if key not in ("attributes", "fid")}
    only = [replace(row, figures=figures | {"sharpness": math.nan}, correct=torch.empty(0))]
    recipe = replace(done.recipe, presets=("pixel",), seeds=(0,))
    alone = replace(done, rows=only, recipe=recipe, extractor=None)
    found = report.results(alone)
    json.dumps(found, allow_nan=False, default=str)
    text = report.report(alone, found, {})
    for label in (
        "accuracy, mean of 20 attributes, %",
        "FID, samples from the prior",
        "sharpness (1: as the originals)",
    ):
        assert rows(text)[label][0] == "not measured"
    assert "±" not in rows(text)["PSNR, dB"][0]


def test_settings_of_a_plan_stand_beside_the_papers(images):
    model = dfcvae.DFCVAE("paper-123", "mini")
    found = report.settings(Recipe(batch_size=8), images, images, {"paper-123": model})
    paper, here = ({row[0]: row[column] for row in found} for column in (1, 3))
    for same in ("pixels", "trained parameters", "learning rate of Adam", "epochs"):
        assert here[same] == paper[same]
    assert here["λ: KL + λ · mean squared feature"].endswith("relu1_1 0.25, relu2_1 0.25, relu3_1 0.25")
    assert here["steps"] == "25" and here["pictures"].startswith("noise, train, 40 pictures")


def test_a_fingerprint_knows_every_bit():
    tensors = {"a": torch.zeros(3, 4), "b": torch.arange(5, dtype=torch.uint8)}
    found = {report.fingerprint(tensors), report.fingerprint(dict(reversed(tensors.items())))}
    assert len(found) == 1 and len(found.pop()) == 64
    changed = tensors | {"b": tensors["b"] ^ torch.tensor([0, 0, 0, 0, 1], dtype=torch.uint8)}
    renamed = {"a": tensors["a"], "c": tensors["b"]}
    assert len({report.fingerprint(each) for each in (tensors, changed, renamed)}) == 3


# --- the command


@pytest.fixture
def again(done, tmp_path, monkeypatch):
    """The finished run folders, copied, and the command that made them."""
    out = tmp_path / "again"
    shutil.copytree(done.recipe.out, out, ignore=shutil.ignore_patterns("report.md", "results.json"))
    monkeypatch.setenv("DFCVAE_INCEPTION", "nowhere.pth")
    named = ("--presets", "pixel", "vae-123", "--seeds", "0", "--features", done.recipe.features)
    sizes = ("--steps", "2", "--size", "32", "--batch-size", "8", "--device", "cpu")
    return ["reproduce", *named, "--out", str(out), *sizes]


def test_the_command_goes_on_in_its_folder_and_draws(again, capsys):
    out = Path(again[again.index("--out") + 1])
    before = (out / "vae-123-0" / "checkpoint.pt").read_bytes()
    assert cli.main([*again, "--multiples", "0.5"]) == 0
    assert (out / "vae-123-0" / "checkpoint.pt").read_bytes() == before, "trained again"
    assert capsys.readouterr().out.strip().endswith(f"done: look at {out / 'report.md'}")
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "FID was not measured. FID needs" in text
    drawn = re.findall(r"!\[[^\]]{30,}\]\((\w+)\.png\)", text)
    assert drawn == ["reconstructions", "samples", "rate_distortion", "correlations", "t_sne"]
    assert all((out / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in drawn)
    curve = json.loads((out / "results.json").read_text(encoding="utf-8"))["curve"]
    assert len(curve) == 4 and [p["kl"] for p in curve] == sorted(p["kl"] for p in curve)
    assert {"pixel-0-beta-x0.5", "vae-123-0-beta-x0.5"} < {point["run"] for point in curve}


@pytest.mark.parametrize(("package", "rc"), [("matplotlib", 0), ("sklearn", 1)])
def test_what_a_missing_package_costs(again, monkeypatch, capsys, package, rc):
    """Without matplotlib the report says that figures are left out; without scikit-learn nothing is begun."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: None if name == package else find(name, *of)
    )
    out = Path(again[again.index("--out") + 1])
    if rc:
        out = again[again.index("--out") + 1] = f"{out}-new"
    assert cli.main(again) == rc
    if rc:
        assert "pip install scikit-learn" in capsys.readouterr().err and not Path(out).exists()
    else:
        assert "matplotlib is not installed" in (out / "report.md").read_text(encoding="utf-8")


# --- notebook 06's own


def test_headings_are_named_by_the_pictures(images):
    assert report.title(dfcvae.load("faces", "test", n=51)) == "drawn faces, test, 51 pictures"
    assert report.title(replace(images, name="celeba")) == "CelebA, train, 40 pictures"
    assert report.title(replace(images, name="", split="")) == "unnamed pictures, split unknown, 40 pictures"


def test_intervals_are_drawn_with_their_dots():
    found = {"PSNR": ((0.1, -0.2), -0.05, 0.3)}
    shown = lesson_06.intervals(found, "dB", "A difference whose interval holds 0.")
    axis = shown.figure.axes[0]
    assert axis.get_xlim()[0] <= -0.35 and axis.get_yticklabels()[0].get_text() == "PSNR"
    assert shown.encode()[1]
