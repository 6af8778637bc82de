"""The report of ``dfcvae reproduce``: one table beside the paper's numbers, under a heading that says what
was trained on what, and in what it differs from the paper."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfcvae.files import write_whole
from dfcvae.reproduction.deviations import NAMES, deviations
from dfcvae.reproduction.measure import without_nan
from dfcvae.reproduction.provenance import commit, crop, sha256_of_network, sha256_of_pixels, today, versions
from dfcvae.reproduction.recipe import Reproduction
from dfcvae.vgg import VGGFeatures

# Mean accuracy over the 40 attributes of CelebA, percent: figures of the paper's table, none of ours.
REPORTED = {"FaceTracer": 81.13, "PANDA-w": 79.85, "PANDA-l": 85.42, "LNets+ANet": 87.30, "VAE-Z": 86.95}
DATA = {"faces": "drawn faces", "celeba": "CelebA", "lfw": "Labeled Faces in the Wild"}
# Label, figure of ``Reproduction.summary``, factor, digits.
LINES = (
    ("attributes told rightly, mean of {attributes}, %", "accuracy", 100, 2),
    ("always the more frequent label (majority baseline), %", "majority", 100, 2),
    ("ahead of the majority, points", "ahead_of_majority", 100, 2),
    ("balanced accuracy, % (guessing has 50)", "balanced", 100, 2),
    ("PSNR, dB", "psnr", 1, 2),
    ("SSIM", "ssim", 1, 3),
    ("sharpness (1: as the originals)", "sharpness", 1, 3),
    ("KL, nats an image", "kl", 1, 1),
    ("active units of {latents} (latents in use)", "active_units", 1, 1),
    ("{judge}, reconstructions (lower is nearer)", "fid_reconstructions", 1, 1),
    ("{judge}, samples from the prior", "fid_prior", 1, 1),
    ("{judge}, samples from a mixture", "fid_mixture", 1, 1),
)
OF_ATTRIBUTES = ("accuracy", "majority", "ahead_of_majority", "balanced")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; what is no number stands as it is, and a number with the digits it came with."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def results(done: Reproduction) -> dict[str, Any]:
    """Everything measured and where it comes from, for JSON: facts, summary, curve, runs."""
    recipe, data = done.recipe, done.train
    networks = {
        preset: {
            "name": network.weights_name,
            "layers": list(network.layers),
            "sha256": sha256_of_network(network),
        }
        for preset, network in done.networks.items()
        if isinstance(network, VGGFeatures)
    }
    parts = {split: {"images": len(images), "sha256": sha256_of_pixels(images)} for split, images in
             (("train", done.train), ("test", done.test))}  # fmt: skip
    facts = {
        "data": {"name": data.name, "size": data.pixels.shape[-1], "crop": crop(data)} | parts,
        "attributes": list(data.attribute_names),
        "loss_networks": networks,
        "seeds": list(recipe.seeds),
        "training": {key: getattr(recipe, key) for key in ("batch_size", "learning_rate", "schedule")},
        "judge": {"name": done.judge, "sha256": done.judge_sha256},
        "commit": commit(),
        "versions": versions(),
        "device": done.rows[0].config["machine"]["device"],
        "date": today(),
        "deviations": deviations(done),
    }
    runs = [
        {"name": row.training.name, "preset": row.training.preset, "seed": row.training.seed}
        | {"beta": row.config["model"]["beta"], "steps": row.config["training"]["steps"]}
        | {"effective_weights": row.weights, "figures": row.figures}
        for row in done.rows
    ]
    summary = {preset: done.summary(preset) for preset in recipe.presets}
    return without_nan({"facts": facts, "summary": summary, "curve": done.curve(), "runs": runs})


def write(done: Reproduction, figures: Mapping[str, str], notes: Sequence[str] = ()) -> Path:
    """OUT/results.json and OUT/report.md; figures: file name in OUT -> what it shows. Returns the report."""
    found, out = results(done), Path(done.recipe.out)
    data = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    for name, text in (("results.json", data), ("report.md", report(done, found, figures, notes))):
        write_whole(out / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))
    return out / "report.md"


def report(
    done: Reproduction, found: dict[str, Any], figures: Mapping[str, str], notes: Sequence[str] = ()
) -> str:
    """The whole text, Markdown."""
    facts = found["facts"]
    of_celeba = facts["data"]["name"] == "celeba"
    name = DATA.get(facts["data"]["name"], facts["data"]["name"])
    drawings = [f"![{alt}]({file})\n\n*{alt}*" for file, alt in figures.items()]
    below = (
        "`results.json` beside this file has every training, every attribute with its interval, how much KL "
    )
    below += "each latent carries (in nats), how contrast is spread over fine and coarse detail, and error "
    below += "against KL for every training (trainings at other weights beta appear only there)."
    parts = [
        f"# Reproducing the DFC-VAE on {name}{'' if of_celeba else ' (not CelebA)'}",
        "" if of_celeba else f"**None of this was measured on CelebA, the paper's data: these are {name}.**",
        "\n".join(_heading(facts)),
        "**Deviations from the paper** (Hou et al., arXiv 1610.00291):",
        "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(facts["deviations"], 1)),
        "## Figures beside the paper's",
        _legend(done, of_celeba),
        comparison(done, found, of_celeba),
        *notes,
        below,
        *drawings,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(facts: dict[str, Any]) -> list[str]:
    data, chosen = facts["data"], facts["training"]
    name = DATA.get(data["name"], data["name"])
    counts = f"{data['train']['images']:,} to train on, {data['test']['images']:,} to test on"
    sums = ", ".join(f"{part} `{data[part]['sha256']}`" for part in ("train", "test"))
    lines = [f"- **Data:** {name}; {counts}; SHA-256 of their pixels: {sums}", f"- **Crop:** {data['crop']}"]
    for preset, network in facts["loss_networks"].items():
        layers, digest = ", ".join(network["layers"]), network["sha256"]
        lines.append(
            f"- **Loss network of {NAMES[preset]}:** {network['name']} ({layers}); SHA-256 of its tensors "
            f"`{digest}`"
        )
    if facts["judge"]["sha256"]:
        lines.append(f"- **FID's Inception:** SHA-256 of its weights `{facts['judge']['sha256']}`")
    rate = f"Adam at {chosen['learning_rate']:g}, schedule {chosen['schedule']}"
    installed = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
    return [
        *lines,
        f"- **Seeds:** {', '.join(map(str, facts['seeds']))}; batches of {chosen['batch_size']}, {rate}",
        f"- **Measured** on {facts['date']} at commit {facts['commit']} (trainings that were there already "
        f"may come from earlier code); {facts['device']}; {installed}",
    ]


def _legend(done: Reproduction, of_celeba: bool) -> str:
    seeds = len(done.recipe.seeds)
    over = f"Means over {seeds} seeds; ± is the standard deviation over the seeds"
    over += ", whose trainings also differ in length. " if done.recipe.minutes else ". "
    over += f"Of {seeds} seeds it is a rough figure itself. " if seeds < 5 else ""
    if seeds == 1:
        over = "One seed: how far another training would end from this one is not known. "
    text = over + f"[low, high] is the 95 % interval over the {len(done.test):,} test images, of the models "
    text += "and readers of attributes as they are trained: it says nothing of other trainings, and, as the "
    text += (
        "columns share the images, overlapping intervals do not say that two columns are alike. The images "
    )
    text += "are taken as independent"
    last = "**from the paper, on CelebA, and for orientation only**: nothing in it compares with the other "
    last += "columns, which are of other pictures and other attributes"
    if of_celeba:
        text += " (CelebA has about twenty of each person, so the true intervals are wider)"
        last = "**from the paper**, not measured here, and compares as far as the deviations above allow"
    second_hand = "VAE-Z is the paper's name for attributes read from latent codes; its 86.95 is copied from "
    second_hand += (
        "others who quote the paper: hold it against your copy. The last four rows are methods trained "
    )
    second_hand += "on the labels, means of 40 figures in the files of the paper's authors"
    return f"{text}. The last column is {last}. {second_hand}."


def comparison(done: Reproduction, found: dict[str, Any], of_celeba: bool) -> str:
    """The table: a line a figure, a column a preset, the paper's numbers last."""
    presets = done.recipe.presets
    said = {"accuracy": f"{REPORTED['VAE-Z']:.2f} (its VAE-Z)"}
    words = {"attributes": len(found["facts"]["attributes"]), "judge": done.judge or "FID"}
    words["latents"] = len(done.rows[0].figures["kl_per_latent"])
    lines = []
    for label, figure, times, digits in LINES:
        if figure == "fid_mixture" and not any(figure in found["summary"][preset] for preset in presets):
            continue
        cells = [_cell(found["summary"][preset].get(figure), figure, times, digits) for preset in presets]
        lines.append((label.format(**words), *cells, said.get(figure, "not reported")))
    lines += [
        (f"{method}, trained on the labels, %", *["–"] * len(presets), f"{percent:.2f}")
        for method, percent in REPORTED.items()
        if method != "VAE-Z"
    ]
    last = "the paper, on CelebA" if of_celeba else "the paper, on CelebA: **not comparable**"
    return table(("", *(NAMES[preset] for preset in presets), last), lines)


def _cell(found: dict[str, Any] | None, figure: str, times: float, digits: int) -> str:
    if found is None or found["mean"] is None:
        return "no labels" if figure in OF_ATTRIBUTES else "not measured"
    text = f"{times * found['mean']:.{digits}f}"
    if None not in (found.get("interval") or [None]):
        low, high = (times * end for end in found["interval"])
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return text + (f" ± {times * found['sd']:.{digits}f}" if found["sd"] is not None else "")
