"""Modules that have moved: imported by the old name they go on working for one release, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PARTS = {  # where modules are now: the old names
    "cli": "commands",
    "cli.doctor": "doctor",
    "cli.errors": "telling",
    "cli.evaluate": "measuring_commands",
    "course.compare": "compare",
    "course.lesson_00": "course.closer course.distortions",
    "course.lesson_01": "course.plain",
    "course.lesson_02": "course.seeing",
    "course.lesson_03": "course.rankings",
    "course.lesson_04": "course.tradeoffs",
    "course.lesson_05": "course.latents",
    "course.lesson_06": "course.paper",
    "device": "hardware",
    "download": "fetching",
    "evaluation": "spectra streams",
    "fast": "onepass upsampling",
    "fid": "frechet",
    "figures.explore": "explore",
    "figures.png": "pictures",
    "figures.show": "show",
    "latent": "mixture",
    "photos.celeba": "celeba",
    "photos.decode": "decoding",
    "photos.folder": "photographs",
    "photos.lfw": "lfw",
    "photos.pack": "packing",
    "reproduction.draw": "course.reproduction",
    "reproduction.measure": "attributes measure",
    "reproduction.recipe": "reproduce",
    "reproduction.report": "deviations provenance report",
    "runs": "checkpoint conditions locks",
    "training": "feeding loop metrics settings stopping trainer",
}
MOVED = {f"dfcvae.{old}": f"dfcvae.{new}" for new, names in PARTS.items() for old in names.split()}


class _Finder(MetaPathFinder, Loader):
    """Asked last, when no file has the name."""

    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old, new = module.__name__, MOVED[module.__name__]
        warnings.warn(f"{old} is now {new}; the old name goes with the next release", DeprecationWarning, 2)
        sys.modules[old] = importlib.import_module(new)


sys.meta_path.append(_Finder())
