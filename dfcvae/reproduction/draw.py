"""Figures of ``dfcvae reproduce``, as PNG files beside its report. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

import torch

from dfcvae import latent
from dfcvae.figures import show
from dfcvae.reproduction.recipe import NAMES, Reproduction
from dfcvae.reproduction.report import title
from dfcvae.vae import VAE

SHOWN, MAPPED = 5, 2_000
LISTED = 12  # attributes that a map of correlations can hold and be read
MARKER = "Eyeglasses"


def draw(done: Reproduction) -> dict[str, str]:
    """Write what can be drawn of the first seed into the reproduction's folder: file name -> alt text."""
    models, x = done.recipe.models(done.test), done.test.float(slice(0, SHOWN))
    note = f"{title(done.test)}, seed {done.recipe.seeds[0]}"
    rebuilt = {NAMES[preset]: vae.generate(x.to(_device(vae))).cpu() for preset, vae in models.items()}
    samples = {
        NAMES[preset]: vae.sample(SHOWN, generator=torch.Generator().manual_seed(0)).cpu()
        for preset, vae in models.items()
    }
    drawn = {
        "reconstructions.png": show.rows(
            {"originals, not trained on": x} | rebuilt,
            f"{note}: the first {len(x)} test images, and below them what each model makes of them.",
            note,
        ),
        "samples.png": show.rows(
            samples,
            f"{note}: {SHOWN} samples of each model from the prior at temperature 1, from the same z.",
            f"{note} · temperature 1",
        ),
    }
    if len(done.rows) > 1:
        drawn["rate_distortion.png"] = _curve(done)
    if done.train.attribute_names:
        drawn |= _of_attributes(done, models, note)
    for name, figure in drawn.items():
        figure.figure.savefig(Path(done.recipe.out) / name, dpi=show.DPI)
    return {name: figure.alt for name, figure in drawn.items()}


def _curve(done: Reproduction) -> show.Shown:
    """Mean squared error over KL, on the test images: a dot a training, a line through a preset's weights."""
    figure, axis = show.plot(3.2, note=title(done.test))
    for i, preset in enumerate(done.recipe.presets):
        rows = [row for row in done.rows if row.training.preset == preset]
        points = {row.training: (row.figures["kl"], row.figures["mse"]) for row in rows}
        colour, marker = show.COLOURS[show.SERIES[i % 5]], "os^Dv"[i % 5]
        axis.plot(*zip(*points.values(), strict=True), marker, color=colour, label=NAMES[preset])
        line = sorted(point for training, point in points.items() if training.seed == done.recipe.seeds[0])
        axis.plot(*zip(*line, strict=True), linestyle=show.DASHES[i % 5], color=colour)
    axis.set_xlabel("rate: KL, nats an image", fontsize=show.POINTS)
    axis.set_ylabel("mean squared error", fontsize=show.POINTS)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=show.POINTS)
    alt = "Rate and distortion on the test images: mean squared error over KL, a dot a training; lines join "
    return show.Shown(figure, alt + "one preset's trainings of the first seed at other weights.")


def _of_attributes(done: Reproduction, models: dict[str, VAE], note: str) -> dict[str, show.Shown]:
    """The paper's two maps: correlations by the first model with a loss network, t-SNE of two models."""
    preset = next((preset for preset in models if preset != "pixel"), next(iter(models)))
    known, share = done.train[: done.recipe.codes], done.train.attributes.double().mean(0)
    drawn = {}
    # The most even attributes, whose means are the surest.
    chosen = sorted([i for i in (share - 0.5).abs().argsort().tolist() if 0 < share[i] < 1][:LISTED])
    if len(chosen) > 1:
        labels = known.attributes[:, chosen]
        vectors = latent.attribute_vectors(latent.encode(models[preset], known).mu, labels)
        alt = (
            f"{note}, {NAMES[preset]}: correlations of {len(chosen)} attributes, of their vectors below the "
        )
        alt += "diagonal and of the labels above it."
        names = [done.train.attribute_names[i] for i in chosen]
        tables = latent.correlations(vectors.T), latent.correlations(labels)
        drawn["correlations.png"] = show.heat_map(*tables, names, alt)
    if len(unseen := done.test[:MAPPED]) >= 8:
        places = {
            NAMES[preset]: latent.t_sne(latent.encode(model, unseen).mu, done.recipe.seeds[0])
            for preset, model in list(models.items())[:2]
        }
        marker = MARKER if MARKER in unseen.attribute_names else unseen.attribute_names[0]
        has = unseen.attributes[:, unseen.attribute_names.index(marker)]
        alt = f"{note}: maps by t-SNE of the codes of {len(unseen)} test images, marked by {marker}. "
        alt += "Near codes are near; distances across a map mean little."
        drawn["t_sne.png"] = show.maps(places, has, (f"without {marker}", f"with {marker}"), alt)
    return drawn


def _device(vae: VAE) -> torch.device:
    return next(vae.parameters()).device
