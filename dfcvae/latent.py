"""The latent space: codes of images, the way between two, attribute vectors, readers of attributes, priors.

Hou et al., "Deep Feature Consistent Variational Autoencoder", arXiv 1610.00291, section 4: interpolation,
attribute vectors, their correlations, a map by t-SNE, and attributes predicted from z. scikit-learn and
scipy are imported by the functions that need them.

    mu, log_var = codes = encode(model, images)              # (N, latent_dim) each
    vectors = attribute_vectors(mu, images.attributes)       # (A, latent_dim)
    smiling = model.decode(mu + vectors[names.index("Smiling")])
    made_up = model.sample(8, prior=fit_prior(codes))        # (8, 3, S, S)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dfcvae.datasets import Images
from dfcvae.vae import VAE, evaluating


class Codes(NamedTuple):
    """q(z|x) of N images: mu and log_var, each float32 (N, latent_dim) on the CPU."""

    mu: Tensor
    log_var: Tensor


@torch.no_grad()
def encode(model: VAE, images: Images, batch_size: int = 128) -> Codes:
    """The codes of all images, 8 bytes a latent and image: 162 MB for the whole of CelebA.

    The model is in eval mode meanwhile. ValueError where there are no images.
    """
    if not len(images):
        raise ValueError("there are no images to encode: give a split that holds some.")
    device, parts = next(model.parameters()).device, []
    with evaluating(model):
        for first in range(0, len(images), batch_size):
            x = images.float(slice(first, first + batch_size)).to(device)  # (n, 3, S, S)
            parts.append(torch.stack(model.encode(x)).cpu())  # (2, n, latent_dim)
    return Codes(*torch.cat(parts, dim=1))


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
        found = f"{steps} steps from {tuple(a.shape)} to {tuple(b.shape)}"
        raise ValueError(f"{found}: expected 2 steps or more between two codes (latent_dim,).")
    share = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None]  # (steps, 1)
    return (1 - share) * a + share * b


def attribute_vectors(mu: Tensor, attributes: Tensor, n: int = 1000) -> Tensor:
    """Mean code of images with an attribute minus mean code of images without it: (A, latent_dim).

    mu: (N, latent_dim). attributes: bool (N, A). n: at most so many images a side, the first ones (the
    paper takes 1,000). ValueError where a side is empty.
    """
    if attributes.ndim != 2 or len(attributes) != len(mu):
        found = f"attributes are {tuple(attributes.shape)}, codes {tuple(mu.shape)}"
        raise ValueError(f"{found}: expected a row a code.")
    vectors = []
    for column, has in enumerate(attributes.bool().unbind(1)):
        if has.all() or not has.any():
            only = f"attribute {column} is {'on' if has.all() else 'off'} in all {len(has)} images"
            raise ValueError(f"{only}: leave it out, or give more images.")
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


def read_attributes(
    train: Tensor, attributes: Tensor, test: Tensor, class_weight: str | None = None
) -> Tensor:
    """What a ``linear_reader`` for each attribute reads in test (M, latent_dim): bool (M, A).

    train (N, latent_dim) and attributes, bool (N, A): the codes and labels that the readers learn from.
    """
    readers = (linear_reader(train, has, class_weight) for has in attributes.bool().unbind(1))
    return torch.stack([reader.score(test) > 0 for reader in readers], dim=1)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's interval of 95 % for a rate, after ``hits`` of ``n``; E. B. Wilson, JASA 1927.

    Unlike rate +- 1.96 standard errors it never leaves [0, 1], and it is not empty at 0 or n hits. ValueError
    for more hits than n.
    """
    from scipy.stats import binomtest

    low, high = binomtest(hits, n).proportion_ci(method="wilson")
    return float(low), float(high)


@dataclass(frozen=True)
class Prediction:
    """How well an attribute was read; rates in [0, 1], intervals of 95 %.

    majority: the accuracy of the label that is more frequent in training, whatever the code.
    balanced: the mean of the rates of hits with and without the attribute; guessing has 0.5. NaN where the
    test set has one label only.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    majority: float
    balanced: float
    balanced_interval: tuple[float, float]


def judge(name: str, read: Tensor, truth: Tensor, majority: bool) -> Prediction:
    """What was read against the truth, both bool (N,); majority: the label that was more frequent before."""
    right, balanced, both = read == truth, math.nan, (math.nan, math.nan)
    if truth.any() and not truth.all():
        sides = [(int(right[side].sum()), int(side.sum())) for side in (truth, ~truth)]
        rates, ends = [hits / n for hits, n in sides], [wilson(hits, n) for hits, n in sides]
        balanced = sum(rates) / 2
        # The two intervals into one of the mean: square-and-add, Newcombe, Statistics in Medicine 1998.
        below = math.hypot(*(rate - low for rate, (low, _) in zip(rates, ends, strict=True))) / 2
        above = math.hypot(*(high - rate for rate, (_, high) in zip(rates, ends, strict=True))) / 2
        both = balanced - below, balanced + above
    accuracy, hits = right.double().mean().item(), int(right.sum())
    by_majority = (truth == majority).double().mean().item()
    return Prediction(name, accuracy, wilson(hits, len(right)), by_majority, balanced, both)


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
    ``linear_reader``.
    """
    read = read_attributes(train, train_attributes, test, class_weight)  # (M, A)
    majority = (train_attributes.double().mean(dim=0) > 0.5).tolist()
    columns = zip(names, read.unbind(1), test_attributes.bool().unbind(1), majority, strict=True)
    return [judge(*column) for column in columns]


def t_sne(codes: Tensor, seed: int = 0, perplexity: float = 30.0) -> Tensor:
    """A map of codes (N, latent_dim) on which near ones stay near, by scikit-learn's t-SNE: (N, 2).

    van der Maaten and Hinton, JMLR 2008; distances between far groups mean little. perplexity: about how many
    neighbours count, fewer where there are few codes. Some thousand codes take minutes. ValueError for fewer
    than 8.
    """
    if len(codes) < 8:
        raise ValueError(f"there are {len(codes)} codes: a map by t-SNE needs 8 or more.")
    from sklearn.manifold import TSNE

    start = "pca" if codes.shape[1] > 1 else "random"
    tsne = TSNE(perplexity=min(perplexity, len(codes) // 4), init=start, random_state=seed)
    return torch.from_numpy(tsne.fit_transform(codes.float().cpu().numpy()))


@dataclass(frozen=True)
class Gaussian:
    """One Gaussian in z: mean (latent_dim,), cholesky (latent_dim, latent_dim), lower triangular."""

    mean: Tensor
    cholesky: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes: (n, latent_dim)."""
        epsilon = torch.randn(n, len(self.mean), generator=generator)
        return self.mean + epsilon @ self.cholesky.T  # (n, latent_dim)

    def log_prob(self, z: Tensor) -> Tensor:
        """Natural logarithm of the density at z (N, latent_dim): (N,)."""
        return torch.distributions.MultivariateNormal(self.mean, scale_tril=self.cholesky).log_prob(z)


@dataclass(frozen=True)
class Mixture:
    """Gaussians in z: weights (K,), means (K, latent_dim), cholesky (K, latent_dim, latent_dim), lower."""

    weights: Tensor
    means: Tensor
    cholesky: Tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes (n, latent_dim): choose a Gaussian by its weight, then draw from it."""
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)  # (n,)
        z = torch.empty(n, self.means.shape[1])
        for k, (mean, cholesky) in enumerate(zip(self.means, self.cholesky, strict=True)):
            z[chosen == k] = Gaussian(mean, cholesky).sample(int((chosen == k).sum()), generator)
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """Natural logarithm of the density at z (N, latent_dim): (N,)."""
        gaussians = torch.distributions.MultivariateNormal(self.means, scale_tril=self.cholesky)
        which = torch.distributions.Categorical(self.weights)
        return torch.distributions.MixtureSameFamily(which, gaussians).log_prob(z)


def fit_prior(
    codes: Codes, kind: str = "gaussian", components: int = 10, seed: int = 0
) -> Gaussian | Mixture:
    """Where the codes of a trained model lie, to draw new ones from: for ``VAE.sample(n, prior=...)``.

    Ghosh et al., "From Variational to Deterministic Autoencoders", arXiv 1903.12436: train first, then fit.
    Both kinds describe draws of z from q(z|x), which spread wider than mu. "gaussian" has their exact mean
    and covariance; "mixture" is fitted by EM, with so many ``components`` and from this ``seed``, to one draw
    for each of the first 20,000 images. ValueError for an unknown kind or too few codes for a mixture.
    """
    if kind == "gaussian":
        mu, variances = codes.mu.double(), codes.log_var.double().exp()
        covariance = torch.cov(mu.T, correction=0) + variances.mean(dim=0).diag()
        return Gaussian(mu.mean(dim=0).float(), torch.linalg.cholesky(covariance).float())
    if kind == "mixture":
        mu, log_var = codes.mu[:20_000], codes.log_var[:20_000]
        epsilon = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))
        return fit_mixture(mu + (0.5 * log_var).exp() * epsilon, components, seed)
    raise ValueError(f"unknown kind of prior {kind!r}: expected 'gaussian' or 'mixture'.")


def fit_mixture(z: Tensor, components: int = 10, seed: int = 0) -> Mixture:
    """A Gaussian mixture, with full covariances, fitted to z (N, latent_dim) by EM.

    ValueError for fewer codes than latents a component.
    """
    if len(z) < (needed := components * z.shape[1]):
        found = f"{len(z)} codes for {components} Gaussians in {z.shape[1]} dimensions"
        raise ValueError(f"{found}: give {needed} or more, or take fewer Gaussians.")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    em = GaussianMixture(components, reg_covar=1e-3, tol=1e-2, init_params="k-means++", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred rounds are near enough
        em.fit(z.double().numpy())
    weights, means, spread = map(torch.from_numpy, (em.weights_, em.means_, em.covariances_))
    return Mixture(weights.float(), means.float(), torch.linalg.cholesky(spread).float())
