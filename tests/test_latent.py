"""Codes, the way between them, attribute vectors, and what a line reads."""

import math

import pytest
import torch
from torch.distributions import Binomial

import dfcvae
from dfcvae import latent
from dfcvae.mixture import mixture_of_draws


@pytest.fixture
def model():
    return dfcvae.VAE(32, latent_dim=6, channels=(4, 6))


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
    with pytest.raises(ValueError, match="expected 2 steps"):
        latent.interpolate(a, b, 1)
    with pytest.raises(ValueError, match="between two codes"):
        latent.interpolate(a, b[:4], 3)


def test_attribute_vectors_point_from_without_to_with():
    has = torch.rand(400, 2) < 0.3
    mu = has.float() @ torch.tensor([[2.0, 0, 0], [0, -1.0, 0]]) + 0.01 * torch.randn(400, 3)
    vectors = latent.attribute_vectors(mu, has)
    assert vectors.shape == (2, 3)
    assert vectors[0, 0] == pytest.approx(2, abs=0.01) and vectors[1, 1] == pytest.approx(-1, abs=0.01)


def test_attribute_vectors_take_the_first_n_of_each_side():
    mu, has = torch.arange(8.0)[:, None], torch.tensor([True, False] * 4)[:, None]
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
    half = torch.rand(50, 1) < 0.5
    assert latent.correlations(half, ~half).item() == pytest.approx(-1)


def test_wilsons_interval_is_known_and_covers():
    assert latent.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-3)  # Newcombe 1998's formula by hand
    assert latent.wilson(10, 10)[1] == 1
    for rate in (0.02, 0.3, 0.97):
        ends = torch.tensor([latent.wilson(hits, 200) for hits in range(201)])
        covers = (ends[:, 0] <= rate) & (rate <= ends[:, 1])
        chances = Binomial(200, torch.tensor(rate)).log_prob(torch.arange(201.0)).exp()
        assert 0.91 < chances[covers].sum() < 0.99
    with pytest.raises(ValueError, match="expected 0 to n hits"):
        latent.wilson(5, 4)


def test_a_line_reads_what_a_line_can():
    z = torch.randn(2_000, 4) * torch.tensor([1.0, 100.0, 0.01, 1.0])  # on any scale
    has = torch.stack([z[:, 2] > 0, (z[:, 0] > 0) == (z[:, 3] > 0)], dim=1)
    linear, xor = latent.predict_attributes(z[:1000], has[:1000], z[1000:], has[1000:], ["linear", "xor"])
    assert linear.name == "linear" and linear.accuracy > 0.97 and linear.balanced > 0.97
    assert linear.interval[0] < linear.accuracy <= linear.interval[1]
    assert xor.balanced_interval[0] < 0.5 < xor.balanced_interval[1]
    reader = latent.linear_reader(z, has[:, 0])
    assert ((reader.score(z) > 0) == has[:, 0]).float().mean() > 0.97


def test_always_the_majority_is_no_success():
    rare = torch.zeros(500, 1, dtype=torch.bool)
    rare[::25] = True
    codes = torch.randn(500, 3)
    (p,) = latent.predict_attributes(codes, rare, codes, rare, ["rare"])
    assert p.accuracy == pytest.approx(p.majority) == pytest.approx(0.96) and p.balanced == 0.5
    (weighed,) = latent.predict_attributes(codes, rare, codes, rare, ["rare"], "balanced")
    assert weighed.accuracy < p.accuracy and weighed.balanced > 0.5


def test_one_label_only():
    codes, never = torch.randn(30, 2), torch.zeros(30, 1, dtype=torch.bool)
    (p,) = latent.predict_attributes(codes, never, codes, never, ["never"])
    assert p.accuracy == p.majority == 1 and math.isnan(p.balanced)
    assert (latent.linear_reader(codes, ~never[:, 0]).score(codes) > 0).all()


def test_the_majority_is_that_of_training():
    codes, train = torch.randn(40, 2), torch.arange(40)[:, None] < 30
    (p,) = latent.predict_attributes(codes, train, codes[:10], ~train[:10], ["swapped"])
    assert p.majority == 0


def test_a_mixture_finds_and_draws_two_heaps():
    heaps = torch.cat([torch.randn(900, 2) * 0.5 - 4, torch.randn(300, 2) * 0.2 + 4])
    mixture = latent.fit_mixture(heaps, components=2)
    assert sorted(mixture.weights.tolist()) == pytest.approx([0.25, 0.75], abs=0.01)
    drawn = mixture.sample(4_000, generator=torch.Generator().manual_seed(1))
    assert (drawn[:, 0] > 0).float().mean() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(drawn.mean(0), heaps.mean(0), atol=0.2, rtol=0)
    again = mixture.sample(4_000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again)
    cold = mixture.sample(500, temperature=0.0)
    assert len(cold.unique(dim=0)) == 2


def test_the_density_of_a_mixture_is_scikit_learns():
    from sklearn.mixture import GaussianMixture

    z = torch.randn(300, 3) @ torch.randn(3, 3)
    mixture = latent.fit_mixture(z, components=1)
    trusted = GaussianMixture(1, reg_covar=1e-3, random_state=0).fit(z.double().numpy())
    expected = torch.from_numpy(trusted.score_samples(z.double().numpy())).float()
    torch.testing.assert_close(mixture.log_prob(z), expected, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="take fewer Gaussians"):
        latent.fit_mixture(z[:5], components=2)


def test_a_map_keeps_heaps_apart_and_says_what_it_mapped():
    heaps = torch.randn(60, 5) * 0.1
    heaps[::2] += 10
    found = latent.t_sne(heaps, seed=3, at_most=40)
    assert found.places.shape == (40, 2) and len(found.rows.unique()) == 40
    assert found.rows.equal(found.rows.sort().values) and not found.rows.equal(torch.arange(40))
    apart = torch.cdist(found.places, found.places).fill_diagonal_(math.inf).min(dim=1).indices
    assert ((found.rows % 2) == (found.rows[apart] % 2)).all(), "the nearest on the map is of the same heap"
    assert latent.t_sne(heaps, seed=3, at_most=40).places.equal(found.places)
    assert latent.t_sne(heaps[:9]).rows.equal(torch.arange(9))
    with pytest.raises(ValueError, match="there are 7 codes"):
        latent.t_sne(heaps[:7])


def test_codes_stream_as_they_are(model, images):
    parts = list(latent.codes_of(model, images, batch_size=16))
    assert [len(part.mu) for part in parts] == [16, 16, 8] and model.training
    torch.testing.assert_close(torch.cat([part.mu for part in parts]), latent.encode(model, images).mu)


def test_a_mixture_of_draws_is_wider_than_one_of_mu():
    """q(z|x) of variance 1 around mu of variance 1 makes draws of variance 2."""
    mu = torch.randn(2_000, 2, generator=torch.Generator().manual_seed(7))
    drawn = mixture_of_draws(mu, torch.zeros_like(mu)).sample(
        4_000, generator=torch.Generator().manual_seed(0)
    )
    assert drawn.var(0).tolist() == pytest.approx([2, 2], rel=0.15)
