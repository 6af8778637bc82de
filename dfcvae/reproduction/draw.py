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
    x = done.test.float(slice(0, SHOWN))
    models = {NAMES[preset]: vae for preset, vae in done.recipe.models(done.test).items()}
    note = f"{title(done.test)}, seed {done.recipe.seeds[0]}"
    rebuilt, samples = {"originals, not trained on": x}, {}
    for name, vae in models.items():
        rebuilt[name] = vae.generate(x.to(next(vae.parameters()).device)).cpu()
        samples[name] = vae.sample(SHOWN, generator=torch.Generator().manual_seed(0)).cpu()
    of_images = f"{note}: the first {len(x)} test images, and below them what each model makes of them."
    of_samples = f"{note}: {SHOWN} samples of each model from the prior at temperature 1, from the same z."
    drawn = {
        "reconstructions.png": show.rows(rebuilt, of_images, note),
        "samples.png": show.rows(samples, of_samples, f"{note} · temperature 1"),
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
    figure, axis = show.plot(3.2, title(done.test), "rate: KL, nats an image", "mean squared error")
    for i, preset in enumerate(done.recipe.presets):
        rows = [row for row in done.rows if row.training.preset == preset]
        points = {row.training: (row.figures["kl"], row.figures["mse"]) for row in rows}
        colour, marker = show.COLOURS[show.SERIES[i % 5]], "os^Dv"[i % 5]
        axis.plot(*zip(*points.values(), strict=True), marker, color=colour, label=NAMES[preset])
        line = sorted(point for training, point in points.items() if training.seed == done.recipe.seeds[0])
        axis.plot(*zip(*line, strict=True), linestyle=show.DASHES[i % 5], color=colour)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=show.POINTS)
    alt = "Rate and distortion on the test images: mean squared error over KL, a dot a training; lines join "
    return show.Shown(figure, alt + "one preset's trainings of the first seed at other weights.")


def _of_attributes(done: Reproduction, models: dict[str, VAE], note: str) -> dict[str, show.Shown]:
    """The paper's two maps: correlations by the first model with a loss network, t-SNE of two models."""
    drawn, known, unseen = {}, done.train[: done.recipe.codes], done.test[:MAPPED]
    share = done.train.attributes.double().mean(0)
    # The most even attributes, whose means are the surest.
    chosen = sorted([i for i in (share - 0.5).abs().argsort().tolist() if 0 < share[i] < 1][:LISTED])
    if len(chosen) > 1:
        name = next((name for name in models if name != NAMES["pixel"]), NAMES["pixel"])
        labels = known.attributes[:, chosen]
        vectors = latent.attribute_vectors(latent.encode(models[name], known).mu, labels)
        alt = (
            f"{note}, {name}: correlations of {len(chosen)} attributes, of their vectors below the diagonal "
        )
        tables = latent.correlations(vectors.T), latent.correlations(labels)
        names = [known.attribute_names[i] for i in chosen]
        drawn["correlations.png"] = show.heat_map(*tables, names, alt + "and of the labels above it.")
    if len(unseen) >= 8:
        places = {
            name: latent.t_sne(latent.encode(model, unseen).mu, done.recipe.seeds[0])
            for name, model in list(models.items())[:2]
        }
        marker = MARKER if MARKER in unseen.attribute_names else unseen.attribute_names[0]
        has = unseen.attributes[:, unseen.attribute_names.index(marker)]
        alt = f"{note}: maps by t-SNE of the codes of {len(unseen)} test images, marked by {marker}. "
        alt += "Near codes are near; distances across a map mean little."
        drawn["t_sne.png"] = show.maps(places, has, (f"without {marker}", f"with {marker}"), alt)
    return drawn
