"""Notebook 03: changes to a face and how far each ruler finds them, and the figures that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dfcvae import VGGFeatures, faces
from dfcvae.course.lesson_00 import blur, noisy, shift
from dfcvae.figures.show import COLOURS, DASHES, GREY, POINTS, SERIES, Shown, plot

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def people(n: int, seed: int = 3) -> Tensor:
    """Factors (n, F) of n people who all wear glasses, in light that can still be turned down."""
    factors = faces.sample_factors(n, seed=seed, distribution="independent")
    factors[:, _column("eyeglasses")] = 1
    factors[:, _column("light_level")] = factors[:, _column("light_level")].clamp(min=0.8)
    return factors


def draw(factors: Tensor) -> Tensor:
    """The faces of factors (n, F): float (n, 3, 64, 64) in [0, 1]."""
    return faces.draw(factors).float() / 255


def changed(factors: Tensor, **values: Tensor | float) -> Tensor:
    """True counterfactuals: the same people with some factors set. factors: (n, F) -> (n, 3, 64, 64)."""
    other = factors.clone()
    for name, value in values.items():
        other[:, _column(name)] = value
    return draw(other)


def changes(factors: Tensor) -> dict[str, Tensor]:
    """Eight changes of the same people, four to the picture, four to the factors: (n, 3, 64, 64) each."""
    x = draw(factors)
    tint = torch.tensor([0.85, 1.0, 1.15]).view(3, 1, 1)
    light, curve = factors[:, _column("light_level")], factors[:, _column("mouth_curve")]
    return {
        "shift, 1 pixel": shift(x, 1),
        "blur": blur(x, 1.0),
        "noise": noisy(x),
        "recolour": (x * tint).clamp(0, 1),
        "less light": changed(factors, light_level=light - 0.2),
        "other strands": changed(factors, hair_seed=5, texture_seed=7),
        "glasses off": changed(factors, eyeglasses=0),
        "mouth": changed(factors, mouth_curve=torch.where(curve > 0.25, -0.4, 0.9)),
    }


def _column(name: str) -> int:
    return faces.FACTOR_NAMES.index(name)


@torch.no_grad()
def distances(x_hat: Tensor, x: Tensor, vgg: VGGFeatures) -> dict[str, Tensor]:
    """Mean squared difference of each pair, (N,), in "pixels" and in every layer of ``vgg``."""
    phi_hat, phi = {"pixels": x_hat} | vgg(x_hat), {"pixels": x} | vgg(x)
    return {ruler: (phi_hat[ruler] - phi[ruler]).square().flatten(1).mean(1) for ruler in phi}


@torch.no_grad()
def with_batch_norm(vgg: VGGFeatures, x: Tensor) -> nn.Sequential:
    """``vgg`` with a batch norm behind each convolution which, in eval, changes nothing.

    Its running statistics are those of the pictures x (N, 3, S, S), its scale and shift undo them. A plain
    module with parameters, from a picture in [0, 1] to the deepest layer of ``vgg``.
    """
    normalise = nn.Conv2d(3, 3, 1, groups=3)
    normalise.weight = nn.Parameter(1 / vgg.std.view(3, 1, 1, 1))
    normalise.bias = nn.Parameter(-(vgg.mean / vgg.std).flatten())
    net, h = nn.Sequential(normalise), normalise(x)
    for layer in vgg.trunk:
        h = layer(h)
        if not isinstance(layer, nn.Conv2d):
            net.append(type(layer)(2) if isinstance(layer, nn.MaxPool2d) else nn.ReLU())
            continue
        conv = nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
        conv.load_state_dict(dict(layer.named_buffers()))
        norm = nn.BatchNorm2d(layer.out_channels)
        norm.running_mean, norm.running_var = h.mean((0, 2, 3)), h.var((0, 2, 3))
        norm.weight = nn.Parameter((norm.running_var + norm.eps).sqrt())
        norm.bias = nn.Parameter(norm.running_mean.clone())
        net.extend([conv, norm])
    return net


def slopes(left: Mapping[str, float], right: Mapping[str, float], ends: tuple[str, str], alt: str) -> Shown:
    """Two rankings of the same things side by side, largest on top; a line joins each thing's two places.

    left, right: thing -> size. Lines that fall or rise by two places or more are coloured, the rest grey.
    """
    places = [sorted(values, key=values.__getitem__) for values in (left, right)]  # smallest at the bottom
    figure, axis = plot(3.6)
    moved = 0
    for name in reversed(places[0]):
        a, b = (order.index(name) for order in places)
        far = abs(a - b) >= 2
        colour, dash = (COLOURS[SERIES[moved % 5]], DASHES[moved % 5]) if far else (GREY, "-")
        moved += far
        axis.plot([0, 1], [a, b], color=colour, linestyle=dash, linewidth=2.6 if far else 1.2, marker="o")
        axis.text(-0.06, a, name, ha="right", va="center", fontsize=POINTS, color=colour)
        axis.text(1.06, b, name, ha="left", va="center", fontsize=POINTS, color=colour)
    axis.set_xlim(-1.05, 2.05)
    axis.set_ylim(-0.6, len(left) - 0.1)
    for place, end in enumerate(ends):
        axis.text(place, len(left) - 0.35, end, ha="center", va="bottom", fontsize=POINTS, weight="bold")
    axis.set_axis_off()
    return Shown(figure, alt)


def heat(rows: Mapping[str, Sequence[float]], columns: Sequence[str], alt: str, note: str = "") -> Shown:
    """A table of percentages, the darker the more (0 to 100 % and above); a label at the left of each row."""
    figure, axis = plot(0.36 * len(rows) + 1.0, note)
    table = torch.tensor([list(row) for row in rows.values()])
    axis.imshow(table.clamp(0, 1).sqrt().numpy(), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(table.tolist()):
        for j, value in enumerate(row):
            ink = "white" if value > 0.3 else "black"
            axis.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=POINTS - 1, color=ink)
    axis.set_xticks(range(len(columns)), columns, fontsize=POINTS - 3)
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(rows)), list(rows), fontsize=POINTS - 1)
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    return Shown(figure, alt)
