"""An ex-post sampler: Gaussians fitted to the codes of a model that is already trained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Gaussians in z: weights (K,), means (K, latent_dim), cholesky (K, latent_dim, latent_dim), lower."""

    weights: Tensor
    means: Tensor
    cholesky: Tensor

    def sample(self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """n codes (n, latent_dim): choose a Gaussian by its weight, then draw from it."""
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        epsilon = torch.randn(n, self.means.shape[1], generator=generator)
        return self.means[chosen] + temperature * (self.cholesky[chosen] @ epsilon[:, :, None]).squeeze(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Natural logarithm of the density at z (N, latent_dim): (N,)."""
        gaussians = torch.distributions.MultivariateNormal(self.means, scale_tril=self.cholesky)
        which = torch.distributions.Categorical(self.weights)
        return torch.distributions.MixtureSameFamily(which, gaussians).log_prob(z)


def fit_mixture(z: Tensor, components: int = 10, seed: int = 0) -> Mixture:
    """A Gaussian mixture, with full covariances, fitted to codes z (N, latent_dim) by EM.

    An ex-post sampler (Ghosh et al., arXiv 1903.12436): train first, then ask where the codes lie. Give it
    draws of z, not mu, whose spread is too small. ValueError for fewer codes than latents a component.
    """
    if len(z) < components * z.shape[1]:
        raise ValueError(
            f"{len(z)} codes for {components} Gaussians in {z.shape[1]} dimensions: give "
            f"{components * z.shape[1]} or more, or take fewer Gaussians."
        )
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    em = GaussianMixture(components, reg_covar=1e-3, tol=1e-2, init_params="k-means++", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred rounds are near enough
        em.fit(z.double().numpy())
    weights, means, spread = map(torch.from_numpy, (em.weights_, em.means_, em.covariances_))
    return Mixture(weights.float(), means.float(), torch.linalg.cholesky(spread).float())


def mixture_of_draws(mu: Tensor, log_var: Tensor, seed: int = 0, at_most: int = 20_000) -> Mixture:
    """Ten Gaussians fitted to one draw of z from q(z|x) of each of the first ``at_most`` images.

    mu, log_var: (N, latent_dim). ValueError as for ``fit_mixture``.
    """
    mu, log_var = mu[:at_most], log_var[:at_most]
    epsilon = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))
    return fit_mixture(mu + (0.5 * log_var).exp() * epsilon, seed=seed)
