"""``dfcvae reproduce``: the paper's trainings, and one table beside the paper's numbers."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from dfcvae import fid
from dfcvae.cli.train import LENGTHS
from dfcvae.course.profiles import profile
from dfcvae.reproduction import recipe, report

ONE = "data root out features size device batch_size codes pictures tested".split()
SEVERAL = ("presets", "seeds", "multiples")


def reproduce(options: argparse.Namespace) -> None:
    chosen: dict[str, Any] = {key: getattr(options, key) for key in (*ONE, *LENGTHS)}
    chosen |= {key: tuple(getattr(options, key)) for key in SEVERAL}
    if all(chosen[key] is None for key in LENGTHS):
        chosen["epochs"] = recipe.Recipe.epochs
    if options.data == "faces":
        chosen["pictures"] = options.pictures or profile().faces
        chosen["tested"] = options.tested or profile().faces // 10
    inception = fid.inception()
    done = recipe.reproduce(recipe.Recipe(**chosen), inception)
    figures, notes = {}, []
    if importlib.util.find_spec("matplotlib"):
        from dfcvae.reproduction.draw import draw

        figures = draw(done)
    else:
        notes.append("The figures are left out: matplotlib is not installed (pip install matplotlib).")
    if inception is None:
        notes.append(f"FID was not measured. {fid.what_fid_needs()}")
    print(f"done: look at {report.write(done, figures, notes)}")
