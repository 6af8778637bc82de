"""All figures of one trained model together, for ``dfcvae evaluate`` and ``dfcvae reproduce``."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from dfcvae.datasets import Images
from dfcvae.evaluation import evaluate, fid
from dfcvae.latent import Codes, encode
from dfcvae.mixture import mixture_of_draws
from dfcvae.reproduction.attributes import AT_MOST, Reading, interval, read_with
from dfcvae.vae import VAE

COMPONENTS = 10


@dataclass(frozen=True)
class Measured:
    """figures: numbers, lists and tables of them, ready for JSON but for NaN. codes: of the first training
    images; reading: of the attributes; None where they were not asked for."""

    figures: dict[str, Any]
    codes: Codes | None = None
    reading: Reading | None = None


def measure(
    model: VAE,
    test: Images,
    train: Images | None = None,
    attributes: bool = False,
    extractor: nn.Module | None = None,
    at_most: int = AT_MOST,
    seed: int = 0,
) -> Measured:
    """``evaluate`` on the test images, and on demand FID and the attributes.

    train: where codes are learnt from, the first ``at_most``; attributes and the samples of a mixture need
    them. extractor: as for ``fid``; with it, figures["fid"] holds the distances. ValueError where
    ``attributes`` are asked for without training images or scikit-learn.
    """
    if attributes and (train is None or not has_scikit_learn()):
        missing = "training images" if train is None else "scikit-learn: pip install scikit-learn"
        raise ValueError(f"attributes are read by linear SVMs, and there is no {missing}.")
    figures, codes, reading = evaluate(model, test), None, None
    if train is not None and (attributes or extractor is not None):
        train = train[:at_most]
        codes = encode(model, train)
    if extractor is not None:
        enough = codes is not None and len(codes.mu) >= COMPONENTS * model.latent_dim and has_scikit_learn()
        mixture = mixture_of_draws(*codes, seed=seed) if enough else None
        figures["fid"] = fid(model, test, extractor, mixture, seed)
    if attributes:
        reading = read_with(model, codes, train, test)
        figures["attributes"] = told(reading)
    return Measured(figures, codes, reading)


def told(reading: Reading) -> dict[str, Any]:
    """A reading in numbers: rates in [0, 1]; intervals of 95 % over the test images, as (low, high)."""
    (right, half), (ahead, ahead_half) = (
        interval(values) for values in (reading.right, reading.right - reading.majority_right)
    )
    return {
        "accuracy": right,
        "accuracy_interval": [right - half, right + half],
        "majority": reading.majority_right.double().mean().item(),
        "ahead_of_majority": ahead,
        "ahead_of_majority_interval": [ahead - ahead_half, ahead + ahead_half],
        "balanced": reading.balanced,
        "learnt_from": reading.learnt_from,
        "test_images": len(reading.right),
        "each": [asdict(prediction) for prediction in reading.predictions],
    }


def has_scikit_learn() -> bool:
    return importlib.util.find_spec("sklearn") is not None


def without_nan(value: Any) -> Any:
    """For JSON, which knows no NaN and no infinity (a flat picture gives them): None in their place."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
