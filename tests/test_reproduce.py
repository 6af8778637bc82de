"""``dfcvae reproduce``: its trainings, its one table, and a heading that says what was measured on what."""

import json
import re
import shutil
import statistics
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dfcvae
from dfcvae.cli import measuring as measuring_commands
from dfcvae.cli import parser as cli
from dfcvae.reproduction import provenance, report
from dfcvae.reproduction import recipe as reproduce
from dfcvae.reproduction.recipe import Recipe, Training

TINY = ("--steps", "2", "--size", "32", "--batch-size", "8", "--device", "cpu")


class Pooled(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


@pytest.fixture(scope="module")
def done(tmp_path_factory, vgg_file):
    """Two seeds of two presets on the drawn faces, two steps each, with a judge that is not Inception."""
    lengths = {"epochs": None, "steps": 2, "batch_size": 8, "size": 32, "device": "cpu", "codes": 200}
    out = tmp_path_factory.mktemp("reproduced")
    recipe = Recipe(out=out, presets=("pixel", "vae-123"), seeds=(0, 1), features=str(vgg_file), **lengths)
    found = reproduce.reproduce(recipe, Pooled(), progress=False)
    report.write(found, {}, ["A note."])
    return found


@pytest.fixture(scope="module")
def text(done):
    return (done.recipe.out / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(done):
    return json.loads(
        (done.recipe.out / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail
    )


def rows(text: str) -> dict[str, list[str]]:
    cells = [[part.strip() for part in line.strip("|").split("|")] for line in text.splitlines()
             if line.startswith("|")]  # fmt: skip
    assert len({len(line) for line in cells}) == 1, "one table, and every line of it whole"
    return {line[0]: line[1:] for line in cells}


def test_the_recipe_is_the_papers_unless_it_says_otherwise():
    recipe = Recipe()
    found = recipe.batch_size, recipe.learning_rate, recipe.schedule, recipe.epochs
    assert found == (64, 5e-4, "halve", 5)
    parsed = cli._parser().parse_args(["reproduce", "--data", "celeba", "--root", "here"])
    for key in ("presets", "seeds", "multiples", "batch_size", "codes", "size", "features", "out"):
        assert getattr(parsed, key) == getattr(recipe, key), key


def test_trainings_go_seed_by_seed_and_the_curve_comes_last():
    recipe = Recipe(presets=("pixel", "vae-123"), seeds=(4, 5), multiples=(1, 0.5, 2))
    names = [training.name for training in recipe.trainings()]
    assert names[:4] == ["pixel-4", "vae-123-4", "pixel-5", "vae-123-5"]
    assert names[4:] == [f"{p}-4-beta-x{m}" for p in ("pixel", "vae-123") for m in ("0.5", "2")]
    half = recipe.model(Training("pixel", 4, 0.5), "mini")
    assert half.beta == 0.5 * dfcvae.PRESETS["pixel"].beta


def test_presets_of_one_seed_start_alike_and_seeds_do_not():
    recipe = Recipe()
    starts = {
        (preset, seed): recipe.model(Training(preset, seed), "mini").to_mu.weight
        for preset, seed in (("pixel", 0), ("vae-123", 0), ("pixel", 1))
    }
    assert starts["pixel", 0].equal(starts["vae-123", 0])
    assert not starts["pixel", 0].equal(starts["pixel", 1])


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


def test_summary_is_over_the_seeds_and_over_the_images(done, results):
    summary, runs = results["summary"]["vae-123"], results["runs"]
    of_seeds = [run["figures"] for run in runs if run["preset"] == "vae-123"]
    assert len(of_seeds) == 2 and len(runs) == 4
    for name in ("psnr", "kl", "active_units"):
        values = [figures[name] for figures in of_seeds]
        assert summary[name] == {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}
    assert summary["accuracy"]["mean"] == pytest.approx(
        statistics.fmean(figures["attributes"]["accuracy"] for figures in of_seeds)
    )
    right = torch.stack([row.right for row in done.rows if row.training.preset == "vae-123"]).double().mean(0)
    half = 2.0086 * right.std().item() / len(done.test) ** 0.5  # Student's t of 50
    low, high = summary["accuracy"]["interval"]
    assert len(done.test) == 51 and (high - low) / 2 == pytest.approx(half, rel=1e-3)
    assert summary["fid_prior"]["mean"] == statistics.fmean(figures["fid"]["prior"] for figures in of_seeds)


def test_the_baseline_is_the_label_that_training_has_more_often(done, results):
    often = done.train.attributes[:200].double().mean(0) > 0.5  # of the codes that the readers saw
    by_hand = (done.test.attributes == often).double().mean().item()
    for preset in ("pixel", "vae-123"):
        assert results["summary"][preset]["majority"]["mean"] == pytest.approx(by_hand)


def test_one_table_with_the_papers_numbers_marked_as_such(text, results):
    table = rows(text)
    assert table[""] == ["plain VAE", "VAE-123", "the paper, on CelebA: **not comparable**"]
    read = table["attributes told rightly, mean of 20, %"]
    summary = results["summary"]["pixel"]["accuracy"]
    low, high = (100 * end for end in summary["interval"])
    assert read[0] == f"{100 * summary['mean']:.2f} [{low:.2f}, {high:.2f}] ± {100 * summary['sd']:.2f}"
    assert read[-1] == "86.95 (its VAE-Z)"
    assert table["FaceTracer, trained on the labels, %"] == ["–", "–", "81.13"]
    assert all(re.fullmatch(r"\d+\.\d+ ± \d+\.\d+", cell) for cell in table["PSNR, dB"][:2])
    assert "active units of 100 (latents in use)" in table and "KL, nats an image" in table
    assert "Fréchet distance by Pooled, samples from the prior" in table
    assert not any("FID" in label for label in table), "what Inception did not measure is no FID"


def test_the_heading_says_what_was_measured_on_what(done, text, results):
    heading = text.partition("| --- |")[0]
    assert heading.startswith("# Reproducing the DFC-VAE on drawn faces (not CelebA)")
    facts = results["facts"]
    for part, images in (("train", done.train), ("test", done.test)):
        assert facts["data"][part]["sha256"] == provenance.sha256_of_pixels(images)
        assert facts["data"][part]["sha256"] in heading and f"{len(images):,} to" in heading
    network = facts["loss_networks"]["vae-123"]
    assert network["name"] == "tiny VGG" and network["sha256"] in heading and "tiny VGG" in heading
    for words in (provenance.commit(), torch.__version__, "**Seeds:** 0, 1", "none: drawn at 32 × 32", "CPU"):
        assert words in heading
    assert "None of this was measured on CelebA" in heading and "A note." in text


def test_deviations_are_made_from_the_settings(results):
    said = " ".join(results["facts"]["deviations"])
    for words in ("'faces'", "32 × 32 pixels, the paper's 64", "tiny VGG", "narrower than VGG-19's"):
        assert words in said
    for words in ("2 steps of 8 images", "first 200 training images", "set by the scale"):
        assert words in said


def of_celeba(done):
    """The same figures, as if the pictures were CelebA's."""
    return replace(done, train=replace(done.train, name="celeba"), test=replace(done.test, name="celeba"))


def test_on_celeba_the_papers_column_compares(done):
    found = of_celeba(done)
    text = report.report(found, report.results(found), {})
    assert text.startswith("# Reproducing the DFC-VAE on CelebA\n")
    assert "not comparable" not in text and "about twenty of each person" in text
    assert rows(text)[""][-1] == "the paper, on CelebA"
    assert "the centre 148 × 148 of 178 × 218" in text
    assert "where the official parts have 162,770 and 19,962" in text  # these are 512 and 51


def test_without_labels_judge_or_a_second_seed_the_table_says_so(done):
    row = done.rows[0]
    figures = {key: value for key, value in row.figures.items() if key not in ("attributes", "fid")}
    figures["sharpness"] = float("nan")
    only = [replace(row, figures=figures, right=torch.empty(0))]
    recipe = replace(done.recipe, presets=("pixel",), seeds=(0,))
    alone = replace(done, rows=only, recipe=recipe, majority_right=torch.empty(0), judge=None)
    found = report.results(alone)
    json.dumps(found, allow_nan=False)
    table, text = rows(report.report(alone, found, {})), report.report(alone, found, {})
    assert table["attributes told rightly, mean of 20, %"][0] == "no labels"
    assert (
        table["FID, samples from the prior"][0]
        == table["sharpness (1: as the originals)"][0]
        == "not measured"
    )
    assert "±" not in table["PSNR, dB"][0] and "One seed:" in text


@pytest.fixture
def again(done, tmp_path, monkeypatch):
    """The finished run folders, copied, and the command that made them."""
    out = tmp_path / "again"
    shutil.copytree(done.recipe.out, out)
    for name in ("report.md", "results.json"):
        (out / name).unlink()
    monkeypatch.setenv("DFCVAE_INCEPTION", "nowhere.pth")
    named = ("--presets", "pixel", "vae-123", "--seeds", "0", "--features", done.recipe.features)
    return ["reproduce", *named, "--out", str(out), *TINY]


def test_the_command_goes_on_in_its_folder_and_draws(again, done, capsys):
    out = Path(again[again.index("--out") + 1])
    before = (out / "vae-123-0" / "checkpoint.pt").read_bytes()
    assert cli.main([*again, "--multiples", "0.5"]) == 0
    assert (out / "vae-123-0" / "checkpoint.pt").read_bytes() == before, "trained again"
    assert capsys.readouterr().out.strip().endswith(f"done: look at {out / 'report.md'}")
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "FID was not measured. FID needs" in text and "One seed:" in text
    drawn = re.findall(r"!\[[^\]]{30,}\]\((\w+\.png)\)", text)
    assert drawn == [
        "reconstructions.png",
        "samples.png",
        "rate_distortion.png",
        "correlations.png",
        "t_sne.png",
    ]
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in drawn)
    curve = json.loads((out / "results.json").read_text(encoding="utf-8"))["curve"]
    assert len(curve) == 4 and [p["kl"] for p in curve] == sorted(p["kl"] for p in curve)
    assert {"pixel-0-beta-x0.5", "vae-123-0-beta-x0.5"} < {point["run"] for point in curve}


def test_without_matplotlib_the_report_says_that_figures_are_left_out(done, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    figures, notes = measuring_commands._figures(done)
    assert not figures and "matplotlib is not installed" in notes[0]


def test_what_is_missing_is_told_before_the_first_training(again, monkeypatch, capsys):
    monkeypatch.setattr("dfcvae.reproduction.recipe.has_scikit_learn", lambda: False)
    out = again[again.index("--out") + 1] = again[again.index("--out") + 1] + "-new"
    assert cli.main(again) == 1
    assert "pip install scikit-learn" in capsys.readouterr().err and not Path(out).exists()


def test_checksums_know_every_pixel_and_weight(done):
    images = done.test[:9]
    other = replace(images, pixels=images.pixels.clone())
    assert provenance.sha256_of_pixels(images) == provenance.sha256_of_pixels(other)
    other.pixels[8, 2, 31, 31] ^= 1
    assert provenance.sha256_of_pixels(images) != provenance.sha256_of_pixels(other)
    assert len(provenance.sha256_of_network(done.networks["vae-123"])) == 64


def test_commit_is_that_of_the_checkout_that_holds_the_package(tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("there is no git here")
    package = tmp_path / "checkout" / "dfcvae"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("one = 1\n")
    monkeypatch.setattr(dfcvae, "__file__", str(package / "__init__.py"))
    assert provenance.commit() == f"not known (no git checkout); dfcvae {dfcvae.__version__}"

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(package.parent), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (package.parent / "notes.txt").write_text("nothing of the package\n")
    git("init", "-q"), git("add", "notes.txt"), git("commit", "-qm", "notes")
    assert "not known" in provenance.commit(), "it lies in a checkout that does not hold it"
    git("add", "."), git("commit", "-qm", "first")
    assert provenance.commit() == git("rev-parse", "--short", "HEAD")
    (package / "__init__.py").write_text("one = 2\n")
    assert provenance.commit() == git("rev-parse", "--short", "HEAD") + "+changes"
