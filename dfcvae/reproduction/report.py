"""The report of a reproduction: its figures and its settings beside the paper's, and where they come from.

No number stands under the name of data on which it was not measured.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfcvae.datasets import Images
from dfcvae.device import describe, pick_device
from dfcvae.dfc import DFCVAE
from dfcvae.fid import Inception
from dfcvae.files import write_whole
from dfcvae.photos import celeba, lfw
from dfcvae.reproduction.measure import without_nan
from dfcvae.reproduction.recipe import NAMES, Recipe, Reproduction, Training
from dfcvae.version import __version__

# Mean accuracy over the 40 attributes of CelebA, percent: figures of the paper's table, none of ours.
REPORTED = {"FaceTracer": 81.13, "PANDA-w": 79.85, "PANDA-l": 85.42, "LNets+ANet": 87.30, "VAE-Z": 86.95}
DATA = {"faces": "drawn faces", "celeba": "CelebA", "lfw": "Labeled Faces in the Wild"}
CROPS = {
    "celeba": f"the centre {celeba.CROP} × {celeba.CROP} of 178 × 218 pixels, bicubic",
    "lfw": f"the centre {lfw.CROP} × {lfw.CROP} of 250 × 250 pixels, bicubic",
    "folder": "the centre square, bicubic",
}
COMPARED = "", "the paper", "its code", "here"
PACKAGES = ("torchvision", "torchmetrics", "scikit-learn", "scipy", "numpy")
# Label, figure of ``Reproduction.summary``, factor, digits.
LINES = (
    ("accuracy, mean of {attributes} attributes, %", "accuracy", 100, 2),
    ("accuracy of the more frequent label (majority baseline), %", "majority", 100, 2),
    ("ahead of the majority, points", "ahead_of_majority", 100, 2),
    ("balanced accuracy, % (guessing has 50)", "balanced", 100, 2),
    ("PSNR, dB", "psnr", 1, 2),
    ("SSIM", "ssim", 1, 3),
    ("sharpness (1: as the originals)", "sharpness", 1, 3),
    ("KL, nats an image", "kl", 1, 1),
    ("active units of {latents} (latents in use)", "active_units", 1, 1),
    ("{distance}, reconstructions (lower is nearer)", "fid_reconstructions", 1, 1),
    ("{distance}, samples from the prior", "fid_prior", 1, 1),
    ("{distance}, samples from a mixture", "fid_mixture", 1, 1),
)
LEGEND = (
    "Means over the seeds, ± their standard deviation, which is rough where seeds are few; one seed does "
    "not say how far another training would end. [low, high] is the 95 % interval over the test images, of "
    "the models and readers of attributes as they are trained: it says nothing of other trainings, and, as "
    "the columns share the images, overlapping intervals do not say that two columns are alike. The images "
    "are taken as independent (CelebA has about twenty of each person, so its true intervals are wider). "
    "The last column is **from the paper, on CelebA**, not measured here, and compares as far as the "
    "deviations above allow: on other pictures with other attributes not at all. VAE-Z is the paper's name "
    "for attributes read from latent codes; its 86.95 is copied from others who quote the paper: hold it "
    "against your copy. The last four rows are methods trained on the labels, means of 40 figures in the "
    "files of the paper's authors."
)
BELOW = (
    "`results.json` beside this file has every training, every attribute with its interval, how much KL "
    "each latent carries (in nats), how contrast is spread over fine and coarse detail, and error against "
    "KL for every training (trainings at other weights beta appear only there)."
)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def page(title: str, parts: Mapping[str, str]) -> str:
    """Markdown: the title, and below it each part (heading -> text) that is not empty."""
    sections = [f"## {heading}\n\n{text}" for heading, text in parts.items() if text]
    return "\n\n".join([f"# {title}", *sections]) + "\n"


def save(path: Path, text: str) -> Path:
    """Write a text, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
    return path


def title(images: Images) -> str:
    """What stands over every table: data set, split and number, as the pictures themselves say."""
    name, split = DATA.get(images.name, images.name or "unnamed pictures"), images.split or "split unknown"
    return f"{name}, {split}, {len(images):,} pictures"


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, such as ``dict(vgg.named_buffers())``, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().numpy().data)
    return digest.hexdigest()


def commit() -> str:
    """The commit of the checkout that the package runs from, "-dirty" where it was changed since."""
    found, folder = "", Path(__file__).resolve().parents[2]
    if shutil.which("git") and (folder / ".git").exists():  # not a checkout around an installed package
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return found or "not known (no git checkout)"


def facts(recipe: Recipe, train: Images, test: Images, models: Mapping[str, DFCVAE]) -> dict[str, str]:
    """Where figures come from: checksums of data and loss networks, commit, machine, versions, date."""
    found = {
        "Data": f"{title(train)}; {title(test)}",
        "SHA-256 of the pixels to train on": fingerprint({"": train.pixels}),
        "SHA-256 of the pixels to test on": fingerprint({"": test.pixels}),
    }
    for preset, model in models.items():
        if model.perceptual:
            vgg = model.perceptual.vgg
            which = f"{vgg.weights_name} ({', '.join(vgg.layers)}), SHA-256 of its tensors "
            found[f"Loss network of {NAMES[preset]}"] = which + fingerprint(dict(vgg.named_buffers()))
    packages = {one.name: one.version for one in importlib.metadata.distributions()}
    versions = {"dfcvae": __version__, "Python": platform.python_version()}
    versions["torch"] = torch.__version__  # with the CUDA that it was built for
    versions |= {name: packages.get(name, "not installed") for name in PACKAGES}
    return found | {
        "Seeds": ", ".join(map(str, recipe.seeds)),
        "Commit": f"{commit()} (trainings that were there already may come from earlier code)",
        "Device": describe(pick_device(recipe.device)),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def bullets(found: Mapping[str, str]) -> str:
    """``facts`` as a Markdown list."""
    return "\n".join(f"- **{name}:** {value}" for name, value in found.items())


def settings(
    recipe: Recipe,
    train: Images,
    test: Images,
    models: Mapping[str, DFCVAE],
    configs: Sequence[Mapping[str, Any]] = (),
) -> list[tuple[str, str, str, str]]:
    """Each setting, in the paper, in its authors' code, and here: rows for ``table``.

    models: one a preset. configs: of the runs, where there are some; else no precision is known.
    """
    model, per_epoch = next(iter(models.values())), len(train) // recipe.batch_size
    planned = recipe.steps or round((recipe.epochs or 0) * per_epoch)
    steps = sorted({config["training"]["steps"] for config in configs} or {planned})
    precisions = sorted({config["training"]["precision"] for config in configs})
    networks, weights = set(), []
    for preset, one in models.items():
        layers = ", ".join(f"{layer} {weight:.3g}" for layer, weight in one.effective_weights.items())
        weights.append(f"{NAMES[preset]}: {layers}")
        if one.perceptual:
            vgg = one.perceptual.vgg
            networks.add(f"{vgg.weights_name}, {vgg.trunk[0].out_channels} channels where VGG-19 has 64")
    side, parameters = f"{model.image_size} × {model.image_size}", sum(p.numel() for p in model.parameters())
    rate = f"{recipe.learning_rate:g}, {recipe.schedule}".replace("halve", "halved every epoch")
    codes, count = min(len(train), recipe.codes), len(train.attribute_names)
    svms = f"{count}, linear SVMs on standardised mu of {codes:,}"
    return [  # – is what we do not know
        ("pictures", "CelebA, 202,599; no split named", "CelebA", f"{title(train)}; {title(test)}"),
        ("crop", "cropped and scaled", "138 pixels, off-centre", CROPS.get(train.name, "none")),
        ("pixels", "64 × 64", "128 × 128", side),
        ("trained parameters", "2,312,811", "4,956,267", f"{parameters:,}"),
        ("loss network", "VGG-19", "VGG-19 on pixels of 0 to 255", "; ".join(sorted(networks)) or "none"),
        ("λ: KL + λ · mean squared feature", "0.25 a layer", "0.0125 a layer", "; ".join(weights)),
        ("batch", "64", "–", str(recipe.batch_size)),
        ("learning rate of Adam", "0.0005, halved every epoch", "halved in the loop over steps", rate),
        ("epochs", "5", "–", ", ".join(f"{n / per_epoch:.3g}" for n in steps)),
        ("steps", "15,825, if it trained on all", "–", ", ".join(f"{n:,}" for n in steps)),
        ("precision of convolutions", "–", "–", ", ".join(precisions) or "–"),
        ("before the loss network", "as they are", "as they are", "both moved by the same few pixels"),
        ("the plain VAE", "–", "twice as wide, other rate and batch", "same network, start, rate, batches"),
        ("temperature of samples", "–", "0.4", "1"),
        ("attribute vectors", "means of 1,000 codes", "100 pictures, z drawn", "means of up to 1,000 codes"),
        ("attributes", "CelebA's 40, linear SVMs on z", "–", svms),
    ]


def write(done: Reproduction, figures: Mapping[str, str], notes: Sequence[str] = ()) -> Path:
    """OUT/results.json and OUT/report.md; figures: file name in OUT -> what it shows. Returns the report."""
    out, found = Path(done.recipe.out), results(done)
    text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False, default=str)  # str: of paths
    save(out / "results.json", text + "\n")
    return save(out / "report.md", report(done, found, figures, notes))


def results(done: Reproduction) -> dict[str, Any]:
    """Everything measured and where it comes from, for JSON."""
    recipe, images = done.recipe, (done.train, done.test)
    models = {preset: recipe.model(Training(preset, recipe.seeds[0])) for preset in recipe.presets}
    found = facts(recipe, *images, models)
    if isinstance(done.extractor, Inception):
        found["SHA-256 of FID's Inception"] = done.extractor.sha256
    everything = {
        "recipe": asdict(recipe),
        "facts": found,
        "settings": settings(recipe, *images, models, [row.config for row in done.rows]),
        "summary": {preset: done.summary(preset) for preset in recipe.presets},
        "curve": done.curve(),
        "runs": [{"name": r.training.name, "config": r.config, "figures": r.figures} for r in done.rows],
    }
    return without_nan(everything)


def report(
    done: Reproduction, found: Mapping[str, Any], figures: Mapping[str, str], notes: Sequence[str] = ()
) -> str:
    """The whole text, Markdown; found: what ``results`` gives."""
    of_celeba, name = done.train.name == "celeba", DATA.get(done.train.name, done.train.name)
    warning = f"**None of this was measured on CelebA, the paper's data: these are {name}.**\n\n"
    measured = [LEGEND, comparison(done, found["summary"]), *notes, BELOW]
    parts = {
        "What was measured": ("" if of_celeba else warning) + bullets(found["facts"]),
        "Deviations: rows whose last cell differs from the first": table(COMPARED, found["settings"]),
        "Figures beside the paper's": "\n\n".join(measured),
        "Pictures": "\n\n".join(f"![{alt}]({file})\n\n*{alt}*" for file, alt in figures.items()),
    }
    return page(f"Reproducing the DFC-VAE on {name}{'' if of_celeba else ' (not CelebA)'}", parts)


def comparison(done: Reproduction, summary: Mapping[str, Any]) -> str:
    """The table: a line a figure, a column a preset, the paper's numbers last."""
    presets, extractor = done.recipe.presets, done.extractor
    by_inception = extractor is None or isinstance(extractor, Inception)
    words = {
        "attributes": len(done.train.attribute_names),
        "latents": len(done.rows[0].figures["kl_per_latent"]),
        "distance": "FID" if by_inception else f"Fréchet distance by {type(extractor).__name__}",
    }
    lines = []
    for label, figure, times, digits in LINES:
        cells = [_cell(summary[preset].get(figure), times, digits) for preset in presets]
        said = f"{REPORTED['VAE-Z']:.2f} (its VAE-Z)" if figure == "accuracy" else "not reported"
        lines.append((label.format(**words), *cells, said))
    for method, percent in list(REPORTED.items())[:-1]:
        lines.append((f"{method}, trained on the labels, %", *["–"] * len(presets), f"{percent:.2f}"))
    last = "the paper, on CelebA" + ("" if done.train.name == "celeba" else ": **not comparable**")
    return table(("", *(NAMES[preset] for preset in presets), last), lines)


def _cell(found: Mapping[str, Any] | None, times: float, digits: int) -> str:
    if found is None or found["mean"] is None:
        return "not measured"
    text = f"{times * found['mean']:.{digits}f}"
    if None not in found.get("interval", [None]):
        low, high = (times * end for end in found["interval"])
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return text + (f" ± {times * found['sd']:.{digits}f}" if found["sd"] is not None else "")
