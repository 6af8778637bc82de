"""Facial attributes read from codes, at scale: the paper's linear SVMs, the baseline, and intervals.

Hou et al., arXiv 1610.00291, section 4. The readers see the codes of at most so many training images; the
test images stream past, and a number an image is kept, for intervals.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from dfcvae.datasets import Images
from dfcvae.latent import Codes, Prediction, codes_of, encode, judge_counts, linear_reader
from dfcvae.vae import VAE

AT_MOST = 50_000  # training codes that the SVMs see: 40 MB of 100 latents, mu and log_var


@dataclass(frozen=True)
class Reading:
    """What linear readers told of the test images.

    predictions: one an attribute. right, majority_right: float32 (N,), the share of the attributes that was
    told rightly of each test image, by the readers and by the label that is more frequent in training.
    learnt_from: number of training codes.
    """

    predictions: list[Prediction]
    right: Tensor
    majority_right: Tensor
    learnt_from: int

    @property
    def accuracy(self) -> float:
        """Mean accuracy over attributes and images, as in the paper's table; in [0, 1]."""
        return self.right.double().mean().item()

    @property
    def balanced(self) -> float:
        """Mean balanced accuracy of the attributes that the test set has on and off; guessing has 0.5."""
        values = [p.balanced for p in self.predictions if not math.isnan(p.balanced)]
        return statistics.fmean(values) if values else math.nan


def read_attributes(
    model: VAE, train: Images, test: Images, at_most: int = AT_MOST, class_weight: str | None = None
) -> Reading:
    """A linear SVM for each attribute on the mu of the first ``at_most`` training images, tried on the test.

    class_weight: as for ``latent.linear_reader``. ValueError where the images have no attributes, or others.
    """
    known = train[:at_most]
    return read_with(model, encode(model, known), known, test, class_weight)


def read_with(
    model: VAE, codes: Codes, train: Images, test: Images, class_weight: str | None = None
) -> Reading:
    """The same, with the codes of the training images at hand: a row an image."""
    if not train.attribute_names or train.attribute_names != test.attribute_names:
        raise ValueError(
            f"the images have {len(train.attribute_names)} attributes in training and "
            f"{len(test.attribute_names)} in the test: expected the same ones, at least one ('faces' and "
            "'celeba' have some, a folder has none)."
        )
    if not len(test):
        raise ValueError("there are no test images: give a split that holds some.")
    readers = [linear_reader(codes.mu, has, class_weight) for has in train.attributes.unbind(1)]
    majority = train.attributes.double().mean(0) > 0.5
    hits = torch.zeros(2, len(readers), dtype=torch.long)  # with the attribute, without it
    right, done = torch.empty(len(test)), 0
    for mu, _ in codes_of(model, test):
        truth = test.attributes[done : done + len(mu)]
        read = torch.stack([reader.score(mu.cpu()) for reader in readers], dim=1) > 0
        hits += torch.stack([(read & truth).sum(0), (~read & ~truth).sum(0)])
        right[done : done + len(mu)] = (read == truth).float().mean(1)
        done += len(mu)
    on = test.attributes.sum(0)
    counts = zip(test.attribute_names, hits.T.tolist(), on.tolist(), majority.tolist(), strict=True)
    predictions = [judge_counts(name, hit, (n, len(test) - n), often) for name, hit, n, often in counts]
    return Reading(predictions, right, (test.attributes == majority).float().mean(1), len(train))


def interval(values: Tensor) -> tuple[float, float]:
    """Mean of values (N,), drawn independently, and half the width of its 95 % interval: Student's.

    The half-width is NaN for a single value. Of images, it is that of other images and the same model.
    """
    from scipy.stats import t

    n = len(values)
    spread = values.double().std().item() / math.sqrt(n) if n > 1 else math.nan
    return values.double().mean().item(), float(t.ppf(0.975, max(1, n - 1))) * spread
