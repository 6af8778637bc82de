"""Notebook 06: differences with their intervals, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dfcvae.evaluation import interval as interval
from dfcvae.figures import show


def intervals(
    rows: Mapping[str, tuple[Sequence[float], float, float]], xlabel: str, alt: str, note: str = ""
) -> show.Shown:
    """label -> (dots, such as one a training; their mean; half the width of its interval); a line at 0."""
    step = 0.62 if any(dots for dots, *_ in rows.values()) else 0.44  # inches a row
    figure, axis = show.plot(step * len(rows) + 0.8, note)
    for place, (dots, mean, half) in enumerate(rows.values()):
        colour = show.COLOURS[show.SERIES[place % len(show.SERIES)]]
        axis.hlines(place, mean - half, mean + half, colour, linewidth=4)
        axis.plot([mean], [place], "D", color=colour, markersize=8)
        axis.plot(list(dots), [place + 0.28] * len(dots), "o", color=colour, markersize=6, mfc="white")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.axvline(0, color=show.COLOURS["black"], linewidth=1)
    axis.set_ylim(len(rows) - 0.4, -0.5)
    axis.set_xlabel(xlabel, fontsize=show.POINTS)
    return show.Shown(figure, alt)
