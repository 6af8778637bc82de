"""Codes, the way between them, attribute vectors, what a line reads, and priors fitted to codes."""

import math

import pytest
import torch
from torch.distributions import Binomial

import dfcvae
from dfcvae import latent


@pytest.fixture
def model():
    return dfcvae.VAE(32, latent_dim=6, channels=(4, 6))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_codes_are_those_of_eval_mode_in_any_batches(model, images):
    model.train()
    mu, log_var = latent.encode(model, images, batch_size=7)
    assert model.training and mu.shape == log_var.shape == (40, 6) and not mu.requires_grad
    with torch.no_grad():
        expected = model.eval().encode(images.float())
    torch.testing.assert_close((mu, log_var), expected)
    with pytest.raises(ValueError, match="no images to encode"):
        latent.encode(model, images[:0])


def test_the_nats_of_the_latents_add_up(model, images):
    mu, log_var = latent.encode(model, images)
    nats = latent.kl_per_latent(mu, log_var)
    assert nats.shape == (6,) and nats.min() >= 0
    torch.testing.assert_close(nats.sum(), dfcvae.kl_divergence(mu, log_var))
    assert latent.kl_per_latent(torch.zeros(3, 1), torch.zeros(3, 1)).item() == 0


def test_the_way_begins_and_ends_where_it_should():
    a, b = torch.randn(2, 5)
    way = latent.interpolate(a, b, 4)
    assert torch.equal(way[0], a) and torch.equal(way[-1], b)
    torch.testing.assert_close(way[1] - way[0], (b - a) / 3)
    for wrong in ((a, b, 1), (a, b[:4], 3)):
        with pytest.raises(ValueError, match="expected 2 steps or more between two codes"):
            latent.interpolate(*wrong)


def test_attribute_vectors_point_from_without_to_with():
    has = torch.rand(400, 2) < 0.3
    mu = has.float() @ torch.tensor([[2.0, 0, 0], [0, -1.0, 0]]) + 0.01 * torch.randn(400, 3)
    vectors = latent.attribute_vectors(mu, has)
    expected = torch.tensor([2.0, -1.0])
    torch.testing.assert_close(vectors[[0, 1], [0, 1]], expected, atol=0.01, rtol=0)
    mu, has = torch.arange(8.0)[:, None], torch.tensor([True, False] * 4)[:, None]  # the first of each side
    assert latent.attribute_vectors(mu, has, n=2).item() == (0 + 2) / 2 - (1 + 3) / 2


@pytest.mark.parametrize(("label", "word"), [(True, "on"), (False, "off")])
def test_an_attribute_without_two_sides_is_refused(label, word):
    with pytest.raises(ValueError, match=f"attribute 0 is {word} in all 4 images"):
        latent.attribute_vectors(torch.randn(4, 2), torch.full((4, 1), label))
    with pytest.raises(ValueError, match="a row a code"):
        latent.attribute_vectors(torch.randn(4, 2), torch.ones(3, 1))


def test_correlations_are_torchs_and_zero_for_a_constant():
    a, b = torch.randn(90, 3), torch.randn(90, 2)
    everything = torch.corrcoef(torch.cat([a, b], dim=1).T)
    torch.testing.assert_close(latent.correlations(a), everything[:3, :3])
    torch.testing.assert_close(latent.correlations(a, b), everything[:3, 3:])
    assert latent.correlations(a, torch.ones(90, 1)).abs().max() == 0


def test_wilsons_interval_is_known_and_covers():
    assert latent.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-3)  # Newcombe 1998's formula by hand
    assert latent.wilson(10, 10)[1] == 1
    for rate in (0.02, 0.3, 0.97):
        ends = torch.tensor([latent.wilson(hits, 200) for hits in range(201)])
        covers = (ends[:, 0] <= rate) & (rate <= ends[:, 1])
        chances = Binomial(200, torch.tensor(rate)).log_prob(torch.arange(201.0)).exp()
        assert 0.91 < chances[covers].sum() < 0.99
    for wrong in ((5, 4), (0, 0)):
        with pytest.raises(ValueError):
            latent.wilson(*wrong)


# --- readers


def test_a_line_reads_what_a_line_can():
    z = torch.randn(2_000, 4) * torch.tensor([1.0, 100.0, 0.01, 1.0])  # on any scale
    has = torch.stack([z[:, 2] > 0, (z[:, 0] > 0) == (z[:, 3] > 0)], dim=1)
    read = latent.read_attributes(z[:1000], has[:1000], z[1000:])
    linear, xor = latent.predict_attributes(z[:1000], has[:1000], z[1000:], has[1000:], ["linear", "xor"])
    assert linear.name == "linear" and linear.accuracy > 0.97 and linear.balanced > 0.97
    assert linear.interval[0] < linear.accuracy <= linear.interval[1]
    assert xor.balanced_interval[0] < 0.5 < xor.balanced_interval[1]
    by_hand = (read == has[1000:]).double().mean(0).tolist()
    assert [linear.accuracy, xor.accuracy] == by_hand


def test_always_the_majority_is_no_success():
    rare = torch.zeros(500, 1, dtype=torch.bool)
    rare[::25] = True
    codes = torch.randn(500, 3)
    (p,) = latent.predict_attributes(codes, rare, codes, rare, ["rare"])
    assert p.accuracy == pytest.approx(p.majority) == pytest.approx(0.96) and p.balanced == 0.5
    (weighed,) = latent.predict_attributes(codes, rare, codes, rare, ["rare"], "balanced")
    assert weighed.accuracy < p.accuracy and weighed.balanced > 0.5
    (swapped,) = latent.predict_attributes(codes, rare, codes, ~rare, ["the majority is that of training"])
    assert swapped.majority == pytest.approx(0.04)


def test_one_label_only():
    codes, never = torch.randn(30, 2), torch.zeros(30, 1, dtype=torch.bool)
    (p,) = latent.predict_attributes(codes, never, codes, never, ["never"])
    assert p.accuracy == p.majority == 1 and math.isnan(p.balanced)
    assert (latent.linear_reader(codes, ~never[:, 0]).score(codes) > 0).all()


def test_a_map_keeps_heaps_apart():
    heaps = torch.randn(40, 5) * 0.1
    heaps[::2] += 10
    places = latent.t_sne(heaps, seed=3)
    assert places.shape == (40, 2) and latent.t_sne(heaps, seed=3).equal(places)
    nearest = torch.cdist(places, places).fill_diagonal_(math.inf).argmin(dim=1)
    assert (nearest % 2 == torch.arange(40) % 2).all(), "the nearest on the map is of the same heap"
    with pytest.raises(ValueError, match="there are 7 codes"):
        latent.t_sne(heaps[:7])


# --- priors


@pytest.fixture
def codes():
    """mu correlates and lies off the origin; the posteriors' own variance differs between latents."""
    mixing = torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    mu = torch.randn(4_000, 2, generator=seeded(7)) @ mixing + torch.tensor([3.0, -1.0])
    return latent.Codes(mu, torch.tensor([0.25, 4.0]).log().expand(4_000, 2))


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_a_prior_has_the_mean_and_covariance_of_draws_of_z(codes, kind):
    prior = latent.fit_prior(codes, kind, seed=3)
    z = prior.sample(40_000, seeded())
    expected = torch.cov(codes.mu.T) + torch.tensor([0.25, 4.0]).diag()
    torch.testing.assert_close(z.mean(0), codes.mu.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), expected, atol=0.25, rtol=0)
    assert z.equal(prior.sample(40_000, seeded())), "the generator decides"
    assert prior.sample(5, seeded()).equal(latent.fit_prior(codes, kind, seed=3).sample(5, seeded()))


def test_the_gaussian_prior_is_exact_and_an_unknown_kind_is_refused(codes):
    prior = latent.fit_prior(codes)
    expected = torch.cov(codes.mu.T, correction=0) + torch.tensor([0.25, 4.0]).diag()
    torch.testing.assert_close(prior.cholesky @ prior.cholesky.T, expected)
    trusted = torch.distributions.MultivariateNormal(codes.mu.mean(0), expected)
    torch.testing.assert_close(prior.log_prob(codes.mu[:5]), trusted.log_prob(codes.mu[:5]))
    with pytest.raises(ValueError, match="unknown kind of prior 'uniform'"):
        latent.fit_prior(codes, "uniform")


def test_a_model_draws_from_a_prior(model, images):
    prior = latent.fit_prior(latent.encode(model, images))
    with torch.no_grad():
        expected = model.eval().decode(prior.sample(3, seeded()))
    torch.testing.assert_close(model.sample(3, prior=prior, generator=seeded()), expected)


def test_a_mixture_finds_and_draws_two_heaps():
    heaps = torch.cat([torch.randn(900, 2) * 0.5 - 4, torch.randn(300, 2) * 0.2 + 4])
    mixture = latent.fit_mixture(heaps, components=2)
    assert sorted(mixture.weights.tolist()) == pytest.approx([0.25, 0.75], abs=0.01)
    drawn = mixture.sample(4_000, seeded(1))
    assert (drawn[:, 0] > 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert drawn[drawn[:, 0] > 0].std(0).tolist() == pytest.approx([0.2, 0.2], abs=0.05)
    with pytest.raises(ValueError, match="take fewer Gaussians"):
        latent.fit_mixture(heaps[:5], components=3)


def test_the_density_of_a_mixture_is_scikit_learns():
    from sklearn.mixture import GaussianMixture

    z = torch.randn(300, 3) @ torch.randn(3, 3)
    mixture = latent.fit_mixture(z, components=1)
    trusted = GaussianMixture(1, reg_covar=1e-3, random_state=0).fit(z.double().numpy())
    expected = torch.from_numpy(trusted.score_samples(z.double().numpy())).float()
    torch.testing.assert_close(mixture.log_prob(z), expected, atol=1e-3, rtol=1e-3)
