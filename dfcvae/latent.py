"""The latent space: codes of images, the way between two, attribute vectors, and what a line can read.

Hou et al., "Deep Feature Consistent Variational Autoencoder", arXiv 1610.00291, section 4: interpolation,
attribute vectors, their correlations, a map by t-SNE, and attributes predicted from z. `Mixture` is an
ex-post sampler. scikit-learn is imported by `linear_reader`, `t_sne` and `fit_mixture` alone.

    mu, log_var = encode(model, images)                      # (N, latent_dim) each
    vectors = attribute_vectors(mu, images.attributes)       # (A, latent_dim)
    smiling = model.decode(mu + vectors[names.index("Smiling")])
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dfcvae.datasets import Images
from dfcvae.mixture import Mixture as Mixture
from dfcvae.mixture import fit_mixture as fit_mixture
from dfcvae.vae import VAE


class Codes(NamedTuple):
    """q(z|x) of N images: mu and log_var, each float32 (N, latent_dim) on the CPU."""

    mu: Tensor
    log_var: Tensor


@torch.no_grad()
def codes_of(model: VAE, images: Images, batch_size: int = 128) -> Iterator[Codes]:
    """The codes batch by batch, on the model's device, the model in eval mode meanwhile."""
    device, was_training = next(model.parameters()).device, model.training
    try:
        for first in range(0, len(images), batch_size):
            model.eval()
            yield Codes(*model.encode(images.float(slice(first, first + batch_size)).to(device)))
    finally:
        model.train(was_training)


def encode(model: VAE, images: Images, batch_size: int = 128) -> Codes:
    """The codes of all images, 8 bytes a latent and image. ValueError where there are no images."""
    if not len(images):
        raise ValueError("there are no images to encode: give a split that holds some.")
    mu, log_var = torch.empty(2, len(images), model.latent_dim)
    for i, part in enumerate(codes_of(model, images, batch_size)):
        rows = slice(i * batch_size, i * batch_size + len(part.mu))
        mu[rows], log_var[rows] = part
    return Codes(mu, log_var)


def kl_per_latent(mu: Tensor, log_var: Tensor) -> Tensor:
    """What each latent carries: nats, mean over images, (latent_dim,); they add up to ``kl_divergence``.

    mu, log_var: (N, latent_dim). Near 0: the latent has collapsed, its z is noise whatever the image.
    """
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).mean(dim=0)


def interpolate(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """The straight way from a to b (latent_dim,), both ends included: (steps, latent_dim).

    As in section 4 of the paper. ValueError for fewer than 2 steps or different shapes.
    """
    if steps < 2 or a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"{steps} steps from {tuple(a.shape)} to {tuple(b.shape)}: expected 2 steps or more between two "
            "codes (latent_dim,)."
        )
    share = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None]
    return (1 - share) * a + share * b


def attribute_vectors(mu: Tensor, attributes: Tensor, n: int = 1000) -> Tensor:
    """Mean code of images with an attribute minus mean code of images without it: (A, latent_dim).

    mu: (N, latent_dim). attributes: bool (N, A). n: at most so many images a side, the first ones (the
    paper takes 1,000). ValueError where a side is empty.
    """
    if attributes.ndim != 2 or len(attributes) != len(mu):
        raise ValueError(
            f"attributes are {tuple(attributes.shape)}, codes {tuple(mu.shape)}: expected a row a code."
        )
    vectors = []
    for column, has in enumerate(attributes.bool().unbind(1)):
        if has.all() or not has.any():
            raise ValueError(
                f"attribute {column} is {'on' if has.all() else 'off'} in all {len(has)} images: "
                "leave it out, or give more images."
            )
        vectors.append(mu[has][:n].mean(dim=0) - mu[~has][:n].mean(dim=0))
    return torch.stack(vectors)


def correlations(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Pearson's correlation of each column of a (N, K) with each of b (N, L), or of a itself: (K, L).

    For yes-or-no columns this is the phi coefficient. 0 where a column is constant.
    """

    def standardised(table: Tensor) -> Tensor:
        table = table.double()
        table = table - table.mean(dim=0)
        return table / table.norm(dim=0).clamp_min(1e-12)

    return (standardised(a).T @ standardised(a if b is None else b)).float()


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a rate, of 95 %: where the true rate may lie after ``hits`` of ``n``.

    E. B. Wilson, "Probable inference", JASA 1927. Unlike rate +- 1.96 standard errors it never leaves
    [0, 1], and it is not empty at 0 or n hits.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"{hits} hits of {n}: expected 0 to n hits of at least one.")
    rate = hits / n
    middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


@dataclass(frozen=True)
class Reader:
    """A linear reader of one attribute: weight (latent_dim,), offset. A score above 0 reads "has it"."""

    weight: Tensor
    offset: float

    def score(self, codes: Tensor) -> Tensor:
        """weight . code + offset of codes (N, latent_dim): (N,)."""
        return codes @ self.weight + self.offset


def linear_reader(codes: Tensor, has: Tensor, class_weight: str | None = None) -> Reader:
    """A linear SVM that tells ``has``, bool (N,), from codes (N, latent_dim), which it standardises first.

    class_weight: None, or "balanced" to let both labels count alike. With one label only, it reads that.
    """
    from sklearn.svm import LinearSVC

    if has.all() or not has.any():
        return Reader(torch.zeros(codes.shape[1]), 1.0 if has.all() else -1.0)
    mean, std = codes.mean(dim=0), codes.std(dim=0).clamp_min(1e-8)
    svm = LinearSVC(C=0.1, dual=False, class_weight=class_weight, max_iter=5_000)
    svm.fit(((codes - mean) / std).double().numpy(), has.numpy())
    weight = torch.from_numpy(svm.coef_[0]).float() / std
    return Reader(weight, float(svm.intercept_[0]) - (weight @ mean).item())


@dataclass(frozen=True)
class Prediction:
    """How well a line through the codes tells an attribute; rates in [0, 1], intervals of 95 %.

    majority: the accuracy of the label that is more frequent in training, whatever the code.
    balanced: the mean of the rates of hits with and without the attribute; guessing has 0.5.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    majority: float
    balanced: float
    balanced_interval: tuple[float, float]


def predict_attributes(
    train: Tensor,
    train_attributes: Tensor,
    test: Tensor,
    test_attributes: Tensor,
    names: Sequence[str],
    class_weight: str | None = None,
) -> list[Prediction]:
    """A linear SVM for each attribute, as in the paper's facial attribute prediction.

    train, test: codes (N, latent_dim). attributes: bool (N, A), columns ``names``. class_weight: as for
    ``linear_reader``. Where the test set has one label only there is no balanced accuracy (nan).
    """
    predictions = []
    columns = zip(names, train_attributes.bool().unbind(1), test_attributes.bool().unbind(1), strict=True)
    for name, has, truth in columns:
        read = linear_reader(train, has, class_weight).score(test) > 0
        predictions.append(judge(name, read, truth, majority=bool(has.double().mean() > 0.5)))
    return predictions


def judge(name: str, read: Tensor, truth: Tensor, majority: bool) -> Prediction:
    """What was read against the truth, both bool (N,); majority: the label that was more frequent before."""
    hits = int((read & truth).sum()), int((~read & ~truth).sum())
    return judge_counts(name, hits, (int(truth.sum()), int((~truth).sum())), majority)


def judge_counts(name: str, hits: tuple[int, int], sizes: tuple[int, int], majority: bool) -> Prediction:
    """The same from counts: of images with the attribute and of images without it."""
    n, balanced, interval = sum(sizes), math.nan, (math.nan, math.nan)
    if min(sizes) > 0:
        rates = [h / m for h, m in zip(hits, sizes, strict=True)]
        ends = [wilson(h, m) for h, m in zip(hits, sizes, strict=True)]
        balanced = sum(rates) / 2
        # The two intervals into one of the mean: Newcombe's square-and-add.
        below = math.hypot(*(rate - low for rate, (low, _) in zip(rates, ends, strict=True))) / 2
        above = math.hypot(*(high - rate for rate, (_, high) in zip(rates, ends, strict=True))) / 2
        interval = balanced - below, balanced + above
    baseline = sizes[0 if majority else 1] / n
    return Prediction(name, sum(hits) / n, wilson(sum(hits), n), baseline, balanced, interval)


class Map(NamedTuple):
    """places (n, 2) on a map, and rows (n,): which codes they are of, in rising order."""

    places: Tensor
    rows: Tensor


def t_sne(codes: Tensor, seed: int = 0, at_most: int = 2_000, perplexity: float = 30.0) -> Map:
    """A map of codes (N, latent_dim) on which near ones stay near, by scikit-learn's t-SNE.

    van der Maaten and Hinton, JMLR 2008; distances between far groups mean little. Of more than ``at_most``
    codes a random choice is mapped: ``rows`` says which. perplexity: about how many neighbours count, fewer
    where there are few codes. ValueError for fewer than 8 codes.
    """
    if len(codes) < 8:
        raise ValueError(f"there are {len(codes)} codes: a map by t-SNE needs 8 or more.")
    from sklearn.manifold import TSNE

    shuffled = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    rows = shuffled[:at_most].sort().values
    start = "pca" if codes.shape[1] > 1 else "random"
    tsne = TSNE(perplexity=min(perplexity, len(rows) // 4), init=start, random_state=seed)
    return Map(torch.from_numpy(tsne.fit_transform(codes[rows].float().cpu().numpy())), rows)
