"""Notebook 05: true counterfactuals, a measure of maps, and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dfcvae import faces
from dfcvae.datasets import Images
from dfcvae.figures import show
from dfcvae.latent import Prediction

# The factor that brings an attribute about, and the value that it takes.
CHANGES = {
    "Eyeglasses": ("eyeglasses", 1.0),
    "Wearing_Hat": ("hat", 1.0),
    "Blond_Hair": ("hair_lightness", 0.82),
    "Long_Hair": ("hair_length", 0.85),
    "Bangs": ("bangs", 1.0),
    "Pale_Skin": ("skin_tone", 0.94),
    "Mouth_Slightly_Open": ("mouth_opening", 0.7),
    "Smiling": ("mouth_curve", 0.75),
    "Wearing_Lipstick": ("lipstick", 1.0),
}


class Counterfactuals(NamedTuple):
    """rows (n,) of the images; before and after, float (n, 3, S, S) in [0, 1]; labels after, bool (n, A)."""

    rows: Tensor
    before: Tensor
    after: Tensor
    labels: Tensor


def counterfactuals(images: Images, name: str, n: int = 100) -> Counterfactuals:
    """The same faces with one attribute more: up to n drawn faces without it, their one factor changed.

    Faces on which the change would not be seen (blond hair on a bald head) are left out. ValueError where
    no face is left.
    """
    column = images.attribute_names.index(name)
    rows = (~images.attributes[:, column]).nonzero().flatten()
    labels = faces.attributes(change(images.factors[rows], name))
    seen = labels[:, column]
    rows, labels = rows[seen][:n], labels[seen][:n]
    if not len(rows):
        raise ValueError(f"there is no face that could take on {name!r}: give more images.")
    after = faces.draw(change(images.factors[rows], name), images.pixels.shape[-1])
    return Counterfactuals(rows, images.float(rows), after.float() / 255, labels)


def change(factors: Tensor, name: str) -> Tensor:
    """Factors (n, F) with the one changed that brings the attribute about; what excludes it stays."""
    factor, value = CHANGES[name]
    changed = factors.clone()
    changed[:, faces.FACTOR_NAMES.index(factor)] = value
    return changed


def nearer(codes: Tensor, places: Tensor, questions: int = 20_000, seed: int = 0) -> float:
    """How often a map answers "which of two is nearer to a third?" as the codes do; a coin has 0.5.

    codes: (N, latent_dim). places on the map: (N, 2).
    """
    drawn = torch.randint(len(codes), (3, questions), generator=torch.Generator().manual_seed(seed))
    i, j, k = drawn[:, (drawn[0] != drawn[1]) & (drawn[0] != drawn[2]) & (drawn[1] != drawn[2])]
    truth, mapped = torch.cdist(codes, codes), torch.cdist(places, places)
    return ((truth[i, j] < truth[i, k]) == (mapped[i, j] < mapped[i, k])).double().mean().item()


def pairs(
    values: Mapping[str, tuple[float, float]], names: tuple[str, str], xlabel: str, alt: str
) -> show.Shown:
    """Two horizontal bars for each label, with a legend of their two names above."""
    figure, axis = show.plot(0.52 * len(values) + 1.2)
    places = torch.arange(len(values)).double()
    for i, (name, colour) in enumerate(zip(names, ("vermillion", "sky"), strict=True)):
        at, widths = (places + 0.38 * i - 0.19).tolist(), [pair[i] for pair in values.values()]
        axis.barh(at, widths, height=0.36, color=show.COLOURS[colour], label=name)
    axis.set_yticks(places.tolist(), list(values))
    axis.axvline(0, color=show.COLOURS["black"], linewidth=1)
    axis.invert_yaxis()
    axis.set_xlabel(xlabel, fontsize=show.POINTS)
    figure.legend(loc="outside upper left", frameon=False, fontsize=show.POINTS)
    return show.Shown(figure, alt)


def accuracies(predictions: Sequence[Prediction], alt: str) -> show.Shown:
    """Accuracy with its interval and the majority's accuracy, an attribute a line, the largest gain first."""
    figure, axis = show.plot(0.31 * len(predictions) + 1.2)
    ordered = sorted(predictions, key=lambda p: p.accuracy - p.majority)
    places = list(range(len(ordered)))
    blue, orange = show.COLOURS["blue"], show.COLOURS["vermillion"]
    axis.hlines(places, [p.interval[0] for p in ordered], [p.interval[1] for p in ordered], blue, linewidth=3)
    axis.plot([p.accuracy for p in ordered], places, "o", color=blue, label="a line through z, 95 % interval")
    majority = [p.majority for p in ordered]
    axis.plot(majority, places, "D", color=orange, mfc="white", label="always the more frequent label")
    axis.set_yticks(places, [p.name for p in ordered])
    axis.grid(axis="x", color="#dddddd")
    axis.set_xlabel("accuracy on unseen faces", fontsize=show.POINTS)
    figure.legend(loc="outside upper left", frameon=False, fontsize=show.POINTS)
    return show.Shown(figure, alt)
