"""Figures of ``dfcvae reproduce``, as PNG files beside its report."""

from __future__ import annotations

from pathlib import Path

import torch

from dfcvae import latent
from dfcvae.course.lesson_05 import heat_map, maps
from dfcvae.device import pick_device
from dfcvae.figures import show
from dfcvae.reproduction.recipe import Reproduction
from dfcvae.reproduction.report import DATA, NAMES
from dfcvae.runs import load_run
from dfcvae.vae import VAE

SHOWN, MAPPED = 5, 2_000
LISTED = 12  # attributes that a map of correlations can hold and be read
MARKER = "Eyeglasses"


def draw(done: Reproduction) -> dict[str, str]:
    """Write what can be drawn of the first seed into the reproduction's folder: file name -> alt text."""
    out, seed = Path(done.recipe.out), done.recipe.seeds[0]
    device = pick_device(done.recipe.device)
    models = {preset: load_run(out / f"{preset}-{seed}", device) for preset in done.recipe.presets}
    drawn = {"reconstructions.png": _reconstructions(done, models), "samples.png": _samples(done, models)}
    if len(done.rows) > 1:
        drawn["rate_distortion.png"] = _curve(done)
    if done.train.attribute_names:
        drawn |= _of_attributes(done, models)
    for name, figure in drawn.items():
        figure.figure.savefig(out / name, dpi=show.DPI)
    return {name: figure.alt for name, figure in drawn.items()}


def _title(done: Reproduction) -> str:
    return f"{DATA.get(done.test.name, done.test.name)}, seed {done.recipe.seeds[0]}"


def _reconstructions(done: Reproduction, models: dict[str, VAE]) -> show.Shown:
    x = done.test.float(slice(0, SHOWN))
    made = {NAMES[p]: vae.generate(x.to(_device(vae))).cpu() for p, vae in models.items()}
    alt = f"{_title(done)}: the first {len(x)} test images, and below them what each model makes of them."
    return show.rows({"originals, not trained on": x} | made, alt, note=_title(done))


def _samples(done: Reproduction, models: dict[str, VAE]) -> show.Shown:
    made = {
        NAMES[p]: vae.sample(SHOWN, generator=torch.Generator().manual_seed(0)).cpu()
        for p, vae in models.items()
    }
    alt = f"{_title(done)}: {SHOWN} samples of each model from the prior at temperature 1, from the same z."
    return show.rows(made, alt, note=f"{_title(done)} · temperature 1")


def _curve(done: Reproduction) -> show.Shown:
    """Mean squared error over KL, on the test images: a dot a training, a line through a preset's weights."""
    figure, axis = show.plot(3.2, note=DATA.get(done.test.name, done.test.name))
    points = {point["run"]: (point["kl"], point["mse"]) for point in done.curve()}
    for i, preset in enumerate(done.recipe.presets):
        dots = [points[row.training.name] for row in done.rows if row.training.preset == preset]
        style = {"color": show.COLOURS[show.SERIES[i % 5]], "marker": "os^Dv"[i % 5]}
        axis.plot(*zip(*sorted(dots), strict=True), linestyle="none", label=NAMES[preset], **style)
        of_seed = [row.training for row in done.rows if row.training.preset == preset]
        line = sorted(points[t.name] for t in of_seed if t.seed == done.recipe.seeds[0])
        if len(line) > 1:
            axis.plot(*zip(*line, strict=True), linestyle=show.DASHES[i % 5], **style)
    axis.set_xlabel("rate: KL, nats an image", fontsize=show.POINTS)
    axis.set_ylabel("mean squared error", fontsize=show.POINTS)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=show.POINTS)
    alt = "Rate and distortion on the test images: mean squared error over KL, a dot a training; lines join "
    return show.Shown(figure, alt + "one preset's trainings of the first seed at other weights.")


def _of_attributes(done: Reproduction, models: dict[str, VAE]) -> dict[str, show.Shown]:
    """The paper's two maps: correlations by the first model with a loss network, t-SNE of two models."""
    preset = next((preset for preset in models if preset != "pixel"), next(iter(models)))
    known, share = done.train[: done.recipe.codes], done.train.attributes.double().mean(0)
    drawn = {}
    both = [i for i in (share - 0.5).abs().argsort().tolist() if 0 < share[i] < 1]
    chosen = sorted(both[:LISTED])  # the most even ones, whose means are the surest
    if len(chosen) > 1:
        labels = known.attributes[:, chosen]
        vectors = latent.attribute_vectors(latent.encode(models[preset], known).mu, labels)
        alt = f"{_title(done)}, {NAMES[preset]}: correlations of {len(chosen)} attributes, of their vectors "
        alt += "below the diagonal and of the labels above it."
        names = [done.train.attribute_names[i] for i in chosen]
        tables = latent.correlations(vectors.T), latent.correlations(labels)
        drawn["correlations.png"] = heat_map(*tables, names, alt)
    if len(done.test) >= 8:
        drawn["t_sne.png"] = _map(done, models)
    return drawn


def _map(done: Reproduction, models: dict[str, VAE]) -> show.Shown:
    unseen = done.test[:MAPPED]
    places = {
        NAMES[preset]: latent.t_sne(latent.encode(model, unseen).mu, done.recipe.seeds[0], MAPPED).places
        for preset, model in list(models.items())[:2]
    }
    marker = MARKER if MARKER in unseen.attribute_names else unseen.attribute_names[0]
    has = unseen.attributes[:, unseen.attribute_names.index(marker)]
    alt = f"{_title(done)}: maps by t-SNE of the codes of {len(unseen)} test images, marked by {marker}. "
    alt += "Near codes are near; distances across a map mean little."
    return maps(places, has, (f"without {marker}", f"with {marker}"), alt)


def _device(vae: VAE) -> torch.device:
    return next(vae.parameters()).device
