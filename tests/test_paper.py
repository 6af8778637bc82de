"""The plan of notebook 06, its tables and its report: no number under a name that it was not measured on."""

import importlib.util
import json
import math
import shlex
from dataclasses import replace

import pytest
import torch

import dfcvae
from dfcvae.cli import parser as cli
from dfcvae.course import lesson_06 as paper
from dfcvae.vgg import VGGFeatures

SMALL = {"presets": ("pixel",), "batch_size": 8, "epochs": 1, "features": "mini"}
FAST = {"device": "cpu", "progress": False}


@pytest.fixture
def plan(tmp_path):
    return paper.Plan(out=tmp_path / "runs", **SMALL)


def faces(images):
    """The fixture's pictures under the name of the drawn faces."""
    return replace(images, name="faces")


def test_defaults_are_the_papers():
    plan = paper.Plan(root="somewhere")
    assert (plan.batch_size, plan.learning_rate, plan.schedule, plan.epochs) == (64, 5e-4, "halve", 5)
    assert plan.data == "celeba" and plan.presets == tuple(paper.NAMES)
    assert plan.folder("pixel", 3).as_posix() == "runs/paper/celeba/pixel-seed3"


def test_plan_loads_as_many_pictures_as_it_says():
    plan = paper.Plan(pictures=10, tested=7)
    assert [len(plan.load(split)) for split in ("train", "test")] == [10, 7]
    assert plan.load("train").pixels.equal(dfcvae.load("faces", "train")[:10].pixels)
    with pytest.raises(FileNotFoundError, match="no folder"):
        paper.Plan(root="not/there").load("train")


def test_commands_are_the_plan(tmp_path):
    plan = paper.Plan(root="data/celeba", seeds=(0, 1), out=tmp_path)
    prepare, *lines = [shlex.split(line)[1:] for line in plan.commands().splitlines()]
    parser = cli._parser()
    assert vars(parser.parse_args(prepare))["name"] == "celeba"
    asked = [vars(parser.parse_args(line)) for line in lines]
    assert [(each["preset"], each["seed"]) for each in asked] == [(p, s) for s in (0, 1) for p in paper.NAMES]
    for each in asked:
        assert each["out"] == plan.folder(each["preset"], each["seed"])
        for key in ("batch_size", "learning_rate", "schedule", "epochs", "features", "data"):
            assert each[key] == getattr(plan, key)


def test_a_training_lands_where_the_plan_looks_for_it(plan, images):
    images = faces(images)
    run = plan.train("pixel", 0, images, images, **FAST)
    assert run.out == plan.folder("pixel", 0) and run.config["training"]["steps"] == 5
    (found,) = plan.models(images).values()
    x = images.float(slice(0, 2))
    torch.testing.assert_close(found.generate(x), run.model.generate(x))
    assert plan.train("pixel", 0, images, images, **FAST).metrics == run.metrics  # it is done, not done again


def test_models_belong_to_their_pictures(plan, images):
    with pytest.raises(FileNotFoundError, match="train pixel first"):
        plan.models(images)
    plan.train("pixel", 0, faces(images), images, **FAST)
    with pytest.raises(ValueError, match="was trained on 'faces', and the pictures are of 'celeba'"):
        plan.models(replace(images, name="celeba"))
    with pytest.raises(FileNotFoundError):
        plan.models(faces(images), seed=1)


def test_headings_are_named_by_the_pictures(images):
    assert paper.title(dfcvae.load("faces", "test")) == "drawn faces, test, 51 pictures"
    assert paper.title(replace(images, name="celeba")) == "CelebA, train, 40 pictures"
    assert paper.title(images) == "noise, train, 40 pictures"


def test_settings_stand_beside_the_papers(plan, images):
    lines = paper.settings(plan, images, dfcvae.DFCVAE("paper-123", features="mini")).splitlines()
    cells = [[part.strip() for part in line.strip("|").split(" | ")] for line in lines[2:]]
    assert [row[0] for row in cells] == list(paper.STATED) and {len(row) for row in cells} == {4}
    here = {row[0]: row[3] for row in cells}
    assert here["trained parameters"] == paper.STATED["trained parameters"][0]
    assert here["λ: KL + λ · mean squared feature"] == "0.25, 0.25, 0.25"
    assert (here["gradient steps"], here["loss network"]) == ("5", "mini VGG")
    assert "CelebA" not in here["pictures"]


def test_interval_is_students():
    mean, half = paper.interval(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert mean == 3.0
    assert half == pytest.approx(2.776445 * math.sqrt(2.5) / math.sqrt(5), rel=1e-5)
    assert math.isnan(paper.interval(torch.ones(1))[1])


def test_readers_read_what_a_line_can_read():
    codes = torch.randn(400, 3)
    has = torch.stack([codes[:, 0] > 0, torch.rand(400) < 0.5], dim=1)
    right = paper.read_all(codes[:300], has[:300], codes[300:], has[300:])
    assert right.shape == (100, 2) and right.dtype == torch.bool
    assert right[:, 0].float().mean() > 0.95 and right[:, 1].float().mean() < 0.75


def test_fingerprint_knows_the_weights():
    first, again = (VGGFeatures(layers=("relu1_1",), weights="random", seed=0) for _ in range(2))
    assert paper.fingerprint(first) == paper.fingerprint(again) and len(paper.fingerprint(first)) == 12
    again.trunk[0].weight[0, 0, 0, 0] += 1e-6
    other = VGGFeatures(layers=("relu1_1",), weights="random", seed=0, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert len({paper.fingerprint(network) for network in (first, again, other)}) == 3


def test_fid_waits_for_inception(monkeypatch, tmp_path):
    monkeypatch.delenv("DFCVAE_INCEPTION", raising=False)
    x = torch.rand(4, 3, 32, 32)
    assert paper.inception_weights() is None and paper.fid(x, x) is None
    weights = tmp_path / "inception.pth"
    weights.write_bytes(b"")
    monkeypatch.setenv("DFCVAE_INCEPTION", str(weights))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert paper.inception_weights() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert paper.inception_weights() == weights


def test_report_holds_plan_versions_and_checksum(plan, tmp_path):
    mini = VGGFeatures(layers=("relu1_1",), weights="mini")
    parts = {"Figures": paper.table(("", "PSNR"), [("VAE-123", 24.8)]), "Not measured": "FID"}
    text = paper.report(tmp_path / "new" / "report.md", parts, plan, mini)
    assert (tmp_path / "new" / "report.md").read_text(encoding="utf-8") == text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[1:] == ["## Figures", "## Not measured", "## The plan", "## Versions"]
    stored = json.loads(text.partition("```json\n")[2].partition("\n```")[0])
    assert stored["epochs"] == 1 and stored["features"] == "mini" and stored["presets"] == ["pixel"]
    for fact in (paper.fingerprint(mini), torch.__version__, dfcvae.__version__, "| VAE-123 | 24.8 |"):
        assert fact in text


def test_intervals_are_drawn_with_their_dots():
    figure = paper.intervals(
        {"PSNR": ((0.1, -0.2), -0.05, 0.3)}, "dB", "A difference whose interval holds 0."
    )
    axis = figure.figure.axes[0]
    assert axis.get_xlim()[0] <= -0.35 and axis.get_yticklabels()[0].get_text() == "PSNR"
    assert figure.encode()[1]
