"""Figures of the course: faces in rows and grids, bars, lines, maps.

Every function takes the alt text and returns a ``Shown``, which a notebook displays as the last value of a
cell. A figure is five inches wide with twelve-point labels, so that it can be read on a phone. Colours are
those of Okabe and Ito, which people with any kind of colour vision can tell apart.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dfcvae.figures.png import enlarged, grid, to_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73", "yellow": "#F0E442", "blue": "#0072B2"}
COLOURS |= {"vermillion": "#D55E00", "purple": "#CC79A7", "black": "#000000"}
SERIES = ("blue", "vermillion", "green", "purple", "black")  # in this order; yellow is too pale for a line
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # so that a print in grey can be read as well
WIDTH, DPI, POINTS = 656, 128, 12  # pixels: five faces of 64 twice enlarged; pixels an inch; size of letters
GAP, LINE, GREY = 4, 34, "#444444"  # pixels between faces, and of a line of text; colour of notes


@dataclass(eq=False, repr=False)
class Shown:
    """A matplotlib figure with the text that stands for it: what a notebook displays.

    alt states what the figure shows, for those who do not see it; ``repr`` is the same text. Raises
    ValueError where it is shorter than a sentence.
    """

    figure: Figure
    alt: str

    def __post_init__(self) -> None:
        if len(self.alt.split()) < 5:
            raise ValueError(f"the alt text is {self.alt!r}: expected a sentence that states the finding.")

    def __repr__(self) -> str:
        return self.alt

    def html(self, small: bool = True) -> str:
        """An <img> with its alt text. small: see ``encode``."""
        # JupyterLab drops the alt text of an image/png output, and keeps that of an <img>.
        kind, data = self.encode(small)
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
        style = "max-width:100%;height:auto"
        return f'<img src="{source}" alt="{html.escape(self.alt, quote=True)}" style="{style}">'

    _repr_html_ = html

    def encode(self, small: bool = True) -> tuple[str, bytes]:
        """The picture, without loss: ("webp", bytes), a third smaller than a PNG.

        small=False: a larger "png" in a tenth of the time, for a picture that follows a slider.
        """
        from PIL import Image

        buffer, encoded = io.BytesIO(), io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
        if not small:
            return "png", buffer.getvalue()
        Image.open(buffer).convert("RGB").save(encoded, "webp", lossless=True)
        return "webp", encoded.getvalue()


def faces(pictures: Tensor, alt: str, titles: Sequence[str] = (), columns: int = 5, note: str = "") -> Shown:
    """Pictures (N, 3, S, S), uint8 or float in [0, 1], in a grid; a title above each, a note under all.

    ValueError where titles are given, but not one a picture.
    """
    _check_titles(titles, len(pictures), "pictures")
    starts = range(0, len(pictures), columns)
    sheet = [(titles[i : i + columns], pictures[i : i + columns]) for i in starts]
    return Shown(_sheet(sheet, note), alt)


def rows(labelled: Mapping[str, Tensor], alt: str, note: str = "", columns: Sequence[str] = ()) -> Shown:
    """A row of pictures (N, 3, S, S) for each label, which stands above its row; a note under the last.

    columns: a title above each column. ValueError for rows of different lengths, or a title too many.
    """
    lengths = {label: len(pictures) for label, pictures in labelled.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the rows hold {lengths} pictures: expected as many in each.")
    first = next(iter(labelled.values()))
    _check_titles(columns, len(first), "columns")
    above: list[tuple[Sequence[str], Tensor]] = [(columns, first[:0])] if columns else []
    return Shown(_sheet(above + [([label], pictures) for label, pictures in labelled.items()], note), alt)


def _check_titles(titles: Sequence[str], count: int, of: str) -> None:
    if titles and len(titles) != count:
        raise ValueError(f"there are {len(titles)} titles for {count} {of}: give one each, or none.")


def bars(
    values: Mapping[str, float],
    xlabel: str,
    alt: str,
    fmt: str = "{:.2f}",
    note: str = "",
    colours: Sequence[str] = ("blue",),
) -> Shown:
    """A horizontal bar for each label, with its value at the end, in the order of the mapping from above.

    colours: names in COLOURS, one for all or one each where they mean something.
    """
    figure, axis = plot(0.42 * len(values) + 0.7, note, xlabel)
    colour = [COLOURS[name] for name in colours]
    drawn = axis.barh(list(values), list(values.values()), color=colour, height=0.62)
    axis.bar_label(drawn, [fmt.format(value) for value in values.values()], padding=4, fontsize=POINTS)
    axis.invert_yaxis()
    axis.margins(x=0.18)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return Shown(figure, alt)


def lines(
    x: Tensor,
    curves: Mapping[str, Tensor],
    xlabel: str,
    ylabel: str,
    alt: str,
    marks: Mapping[str, tuple[float, float, str]] | None = None,
    columns: int = 1,
    note: str = "",
) -> Shown:
    """A curve over x (N,) for each label, told apart by colour and by dashes; whole ticks for whole x.

    marks: dots with a text, text -> (x, y, "above" | "below"). columns: of the legend, which stands above.
    """
    figure, axis = plot(3.0 if columns == 1 else 3.6, note, xlabel, ylabel)
    for i, (label, y) in enumerate(curves.items()):
        colour = COLOURS[SERIES[i]]
        axis.plot(x.tolist(), y.tolist(), label=label, color=colour, linestyle=DASHES[i], linewidth=2.2)
    for text, (at_x, at_y, where) in (marks or {}).items():
        axis.plot([at_x], [at_y], "o", color=COLOURS["black"], markersize=6)
        offset, va, ha = ((-7, 5), "bottom", "right") if where == "above" else ((7, -5), "top", "left")
        axis.annotate(text, (at_x, at_y), offset, textcoords="offset points", fontsize=POINTS, va=va, ha=ha)
    axis.locator_params(axis="x", integer=bool((x == x.long()).all()))
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, fontsize=POINTS, handlelength=2.4)
    return Shown(figure, alt)


def planes(
    panels: Mapping[str, tuple[Tensor, Tensor, Tensor, float]], kinds: Sequence[str], alt: str
) -> Shown:
    """For each label the points of a latent plane, and beside them the pictures decoded from the same square.

    panels: label -> (points (N, 2), kind of each (N,), pictures (k * k, 3, S, S) from the top left on,
    limit): both parts show -limit to limit. kinds: what the numbers of the kinds mean. Dashed circles hold
    39, 86 and 99 % of N(0, I).
    """
    from matplotlib.patches import Circle

    figure = empty(2.5 * len(panels) + 0.75)
    for pair, (label, (points, kind, pictures, limit)) in zip(
        figure.subplots(len(panels), 2, squeeze=False), panels.items(), strict=True
    ):
        for i, name in enumerate(kinds):
            x, y = points[kind == i].T.tolist()
            first = name if pair[0].get_subplotspec().is_first_row() else None
            pair[0].plot(x, y, "os^"[i % 3], color=COLOURS[SERIES[i]], markersize=2.5, alpha=0.6, label=first)
        extent = (-limit, limit, -limit, limit)
        coarse = to_uint8(pictures) // 8 * 8 + 4  # 32 levels are enough so small, and halve the file
        mosaic = grid(coarse, round(len(pictures) ** 0.5), gap=0)  # (3, k * S, k * S)
        pair[1].imshow(mosaic.permute(1, 2, 0).numpy(), extent=extent, interpolation="nearest")
        for axis, ink in zip(pair, ("black", "white"), strict=True):
            for radius in (1, 2, 3):
                axis.add_patch(Circle((0, 0), radius, fill=False, linestyle="--", edgecolor=ink))
            axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
            axis.tick_params(labelsize=POINTS - 2)
        pair[0].set_title(label, fontsize=POINTS, loc="left")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=POINTS, markerscale=3)
    return Shown(figure, alt)


def heat_map(below: Tensor, above: Tensor, names: Sequence[str], alt: str) -> Shown:
    """Two tables of correlations (A, A) in one: ``below`` the diagonal and ``above`` it."""
    figure, axis = plot(4.4)
    table = torch.tril(below, -1) + torch.triu(above, 1)
    table.fill_diagonal_(float("nan"))
    drawn = axis.imshow(table.numpy(), cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    axis.set_xticks(range(len(names)), [str(i + 1) for i in range(len(names))])
    axis.set_yticks(range(len(names)), [f"{name}  {i}" for i, name in enumerate(names, 1)])
    axis.tick_params(labelsize=POINTS - 2)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=axis, location="top", shrink=0.9, aspect=30)
    bar.set_label("below: vectors, above: labels", fontsize=POINTS)
    return Shown(figure, alt)


def maps(places: Mapping[str, Tensor], has: Tensor, names: tuple[str, str], alt: str) -> Shown:
    """Maps of the same faces side by side, (N, 2) each; dots for faces without, crosses for faces with."""
    figure = empty(3.3)
    styles = ((~has, "o", COLOURS["sky"], names[0]), (has, "x", COLOURS["vermillion"], names[1]))
    axes = figure.subplots(1, len(places), squeeze=False)[0]
    for axis, (title, place) in zip(axes, places.items(), strict=True):
        for rows, marker, colour, name in styles:
            axis.scatter(*place[rows].T.tolist(), s=14, marker=marker, color=colour, label=name, linewidths=1)
        axis.set_title(title, fontsize=POINTS)
        axis.set(xticks=[], yticks=[])
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=POINTS
    )
    return Shown(figure, alt)


def empty(height: float) -> Figure:
    """A figure without axes, as wide as all others and ``height`` inches high."""
    # Not pyplot: a figure that pyplot knows would be displayed a second time, without its alt text.
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / DPI, height), dpi=DPI, layout="constrained", facecolor="white")


def plot(height: float, note: str = "", xlabel: str = "", ylabel: str = "") -> tuple[Figure, Axes]:
    """An empty plot in the course's style, for what has no function here; a note stands under it."""
    figure = empty(height)
    axis = figure.add_subplot()
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=POINTS - 1)
    axis.set_xlabel(xlabel, fontsize=POINTS)
    axis.set_ylabel(ylabel, fontsize=POINTS)
    if note:
        figure.supxlabel(note, fontsize=POINTS - 2, color=GREY, x=0.01, ha="left")
    return figure, axis


def _sheet(labelled: Sequence[tuple[Sequence[str], Tensor]], note: str) -> Figure:
    """Rows of square pictures, each enlarged a whole number of times so that its pixels stay square.

    labelled: (titles, pictures) a row; one title stands above the row's left end, several above one each. A
    row may have no pictures: then its titles stand alone.
    """
    from matplotlib.figure import Figure

    columns, size = max(len(pictures) for _, pictures in labelled), labelled[0][1].shape[-1]
    zoom = max(1, (WIDTH - (columns - 1) * GAP) // (max(columns, 2) * size))
    step = zoom * size + GAP  # from one picture to the next
    heights = [(step if len(row) else 0) + (LINE if titles else 0) for titles, row in labelled]
    width, height = columns * step - GAP, sum(heights) + (LINE if note else 0)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    top = height  # matplotlib counts upwards
    for (titles, pictures), used in zip(labelled, heights, strict=True):
        for column, picture in enumerate(enlarged(pictures, zoom).permute(0, 2, 3, 1)):  # (H, W, 3) each
            figure.figimage(picture.numpy(), column * step, top - used + GAP, origin="upper")
        for column, title in enumerate(titles):  # one stands above the row's left end
            align, inwards = ("left", 0) if len(titles) == 1 else ("center", zoom * size / 2)
            at = (column * step + inwards) / width, (top - LINE + 8) / height
            figure.text(*at, title, fontsize=POINTS, ha=align)
        top -= used
    if note:
        figure.text(0, 8 / height, note, fontsize=POINTS - 2, color=GREY)
    return figure
