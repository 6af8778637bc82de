"""``dfcvae reproduce``."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from dfcvae import fid
from dfcvae.cli.train import LENGTHS
from dfcvae.course.profiles import profile
from dfcvae.reproduction import recipe, report


def reproduce(options: argparse.Namespace) -> None:
    """the paper's trainings, and one table beside the paper's numbers"""
    given: dict[str, Any] = {key: value for key, value in vars(options).items() if key != "command"}
    given |= {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    if all(given[key] is None for key in LENGTHS):
        given["epochs"] = recipe.Recipe.epochs
    if options.data == "faces":
        given["pictures"] = options.pictures or profile().faces
        given["tested"] = options.tested or profile().faces // 10
    inception = fid.inception()
    done = recipe.reproduce(recipe.Recipe(**given), inception)
    figures, notes = {}, []
    if importlib.util.find_spec("matplotlib"):
        from dfcvae.reproduction.draw import draw

        figures = draw(done)
    else:
        notes.append("The figures are left out: matplotlib is not installed (pip install matplotlib).")
    if inception is None:
        notes.append(f"FID was not measured. {fid.what_fid_needs()}")
    print(f"done: look at {report.write(done, figures, notes)}")
