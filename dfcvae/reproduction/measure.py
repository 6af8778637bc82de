"""All figures of one trained model together: reconstructions, FID, and attributes read from its codes."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfcvae.datasets import Images
from dfcvae.evaluation import evaluate, fid, interval
from dfcvae.latent import encode, fit_prior, judge, read_attributes
from dfcvae.vae import VAE

AT_MOST = 50_000  # training codes that the SVMs see: 40 MB of 100 latents, mu and log_var
COMPONENTS = 10  # Gaussians of the mixture


class Measured(NamedTuple):
    """figures: numbers, lists and tables of them, ready for JSON but for NaN. correct, majority: of each test
    image the share of attributes that is predicted correctly, by the SVMs and by the label that is more
    frequent in training; float32 (N,), empty where none are predicted."""

    figures: dict[str, Any]
    correct: Tensor = torch.empty(0)
    majority: Tensor = torch.empty(0)


def measure(
    model: VAE,
    test: Images,
    train: Images | None = None,
    attributes: bool = False,
    extractor: nn.Module | None = None,
    at_most: int = AT_MOST,
    seed: int = 0,
) -> Measured:
    """``evaluate`` on the test images, and on demand Fréchet distances and the attributes.

    train: images whose codes attributes and a mixture are learnt from, the first ``at_most``. extractor: as
    for ``fid``; figures["fid"] holds the distances. ValueError where ``attributes`` or an extractor are given
    without training images, and attributes without scikit-learn.
    """
    if attributes:
        require_scikit_learn()
    if train is None and (attributes or extractor is not None):
        raise ValueError("attributes and samples of a mixture are learnt from training images: give some.")
    found = Measured(evaluate(model, test))
    if train is not None:
        train = train[:at_most]
        codes = encode(model, train)
        if extractor is not None:
            enough = len(codes.mu) >= COMPONENTS * model.latent_dim and importlib.util.find_spec("sklearn")
            priors = {"mixture": fit_prior(codes, "mixture", COMPONENTS, seed)} if enough else {}
            found.figures["fid"] = fid(model, test, extractor, priors, seed)
        if attributes:
            read = predict(codes.mu, train, encode(model, test).mu, test)
            found = read._replace(figures=found.figures | {"attributes": read.figures})
    return found


def predict(codes: Tensor, train: Images, unseen: Tensor, test: Images) -> Measured:
    """The paper's linear SVMs on codes (N, K) of training images, tried on codes (M, K) of test images.

    Rates are in [0, 1], intervals of 95 % over the test images, as [low, high]. ValueError where the images
    have no attributes, or others.
    """
    if not train.attribute_names or train.attribute_names != test.attribute_names:
        found = (
            f"{len(train.attribute_names)} attributes in training and {len(test.attribute_names)} in the test"
        )
        raise ValueError(
            f"{found}: expected the same ones, and some ('faces' and 'celeba' have, a folder not)."
        )
    read, truth = read_attributes(codes, train.attributes, unseen), test.attributes  # (M, A) each
    often = train.attributes.double().mean(0) > 0.5  # (A,)
    columns = zip(test.attribute_names, read.T, truth.T, often.tolist(), strict=True)
    each = [judge(*column) for column in columns]
    correct, majority = ((labels == truth).float().mean(1) for labels in (read, often))  # (M,) each
    figures = {
        "accuracy": correct.double().mean().item(),
        "accuracy_interval": ends(correct),
        "majority": majority.double().mean().item(),
        "ahead_of_majority": (correct - majority).double().mean().item(),
        "ahead_of_majority_interval": ends(correct - majority),
        "balanced": torch.tensor([one.balanced for one in each]).nanmean().item(),
        "learnt_from": len(train),
        "test_images": len(test),
        "each": [asdict(one) for one in each],
    }
    return Measured(figures, correct, majority)


def ends(values: Tensor) -> list[float]:
    """Low and high end of Student's interval of 95 % for the mean of values (N,)."""
    mean, half = interval(values)
    return [mean - half, mean + half]


def require_scikit_learn() -> None:
    if not importlib.util.find_spec("sklearn"):
        raise ValueError("attributes are predicted with scikit-learn: pip install scikit-learn.")


def without_nan(value: Any) -> Any:
    """For JSON, which knows no NaN and no infinity (a flat picture gives them): None in their place."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
