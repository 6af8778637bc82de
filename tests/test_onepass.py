"""The one-pass loss against autograd through the loss network: the same terms, the same gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfcvae.device import pick_precision
from dfcvae.fast import onepass
from dfcvae.perceptual import PerceptualLoss
from dfcvae.vgg import VGGFeatures

CPU = torch.device("cpu")


def terms_and_gradient(
    loss: PerceptualLoss, x_hat: Tensor, x: Tensor, bf16: bool = False, of_terms: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    x_hat = x_hat.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        terms = torch.stack(list(loss.per_layer(x_hat, x).values()))
    terms.backward(torch.ones_like(terms) if of_terms is None else of_terms)
    return terms.detach(), x_hat.grad


def both_ways(loss: PerceptualLoss, monkeypatch: pytest.MonkeyPatch, *arguments, **options):
    """(terms, gradient) in one pass, and by autograd."""
    images = arguments[0].clone().requires_grad_()
    assert onepass.applies(loss.vgg, images, arguments[1])
    fast = terms_and_gradient(loss, *arguments, **options)
    with monkeypatch.context() as patch:
        patch.setattr(onepass, "applies", lambda *_: False)
        return fast, terms_and_gradient(loss, *arguments, **options)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture
def pictures() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.rand(5, 3, 32, 32, generator=random), torch.rand(5, 3, 32, 32, generator=random)


@pytest.mark.parametrize(
    "layers",
    [
        ("relu1_1", "relu2_1", "relu3_1"),
        ("relu5_1", "conv1_1", "pool2"),
        ("conv2_1", "relu2_1"),
        ("conv1_1",),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("reduction", ["paper", "mean"])
def test_terms_and_gradient_are_those_of_autograd(monkeypatch, pictures, layers, reduction):
    weights = {layer: 0.3 + place for place, layer in enumerate(layers)}
    loss = PerceptualLoss(VGGFeatures(weights="mini", layers=layers), reduction, weights)
    (terms, gradient), (expected, by_autograd) = both_ways(loss, monkeypatch, *pictures)
    torch.testing.assert_close(terms, expected, rtol=1e-5, atol=0)
    assert relative(gradient, by_autograd) < 1e-5


@pytest.mark.parametrize("pixels", [1, 2 * 32**2, 3 * 32**2, 32**3])
def test_the_number_of_images_at_once_does_not_matter(monkeypatch, pictures, pixels):
    monkeypatch.setattr(onepass, "PIXELS_AT_ONCE", pixels)
    loss = PerceptualLoss(VGGFeatures(weights="mini"), layer_weights={"relu2_1": 3.0})
    (terms, gradient), (expected, by_autograd) = both_ways(loss, monkeypatch, *pictures)
    torch.testing.assert_close(terms, expected, rtol=1e-5, atol=0)
    assert relative(gradient, by_autograd) < 1e-5


def test_terms_may_be_weighed_after_the_fact(monkeypatch, pictures):
    """The gradient was computed for the sum of the terms; another combination has another one."""
    loss = PerceptualLoss(VGGFeatures(weights="mini"))
    for of_terms in torch.tensor([[7.0, 7, 7], [1, 0, 2], [0, 0, -3]]):
        fast, reference = both_ways(loss, monkeypatch, *pictures, of_terms=of_terms)
        assert relative(fast[1], reference[1]) < 1e-5


def test_bf16_is_as_near_to_float32_as_under_autograd(monkeypatch, pictures):
    if pick_precision(CPU) != "bf16":
        pytest.skip("this processor does not compute in bf16")
    loss = PerceptualLoss(VGGFeatures(weights="mini"))
    exact = terms_and_gradient(loss, *pictures)
    fast, autograd = both_ways(loss, monkeypatch, *pictures, bf16=True)
    torch.testing.assert_close(fast[0], exact[0], rtol=5e-3, atol=0)
    assert relative(fast[1], exact[1]) < 1.1 * relative(autograd[1], exact[1]) < 0.1


def test_odd_sizes_and_a_single_image(monkeypatch):
    random = torch.Generator().manual_seed(1)
    x_hat, x = (torch.rand(1, 3, 37, 50, generator=random) for _ in range(2))
    loss = PerceptualLoss(VGGFeatures(weights="mini"))
    fast, reference = both_ways(loss, monkeypatch, x_hat, x)
    assert relative(fast[1], reference[1]) < 1e-5


def test_what_it_cannot_do_is_left_to_autograd(pictures):
    x_hat, x = pictures[0].clone().requires_grad_(), pictures[1]
    vgg = VGGFeatures(weights="mini")
    assert onepass.applies(vgg, x_hat, x)
    assert not onepass.applies(vgg, x_hat.detach(), x)  # nothing to differentiate
    assert not onepass.applies(vgg, x_hat, x.clone().requires_grad_())  # the target wants a say
    assert not onepass.applies(vgg, x_hat.double(), x.double())
    assert not onepass.applies(VGGFeatures("vgg19_bn", weights="random"), x_hat, x)
    with torch.no_grad():
        assert not onepass.applies(vgg, x_hat, x)


def test_neither_picture_changes(pictures):
    x_hat, x = pictures
    before = x_hat.clone(), x.clone()
    loss = PerceptualLoss(VGGFeatures(weights="mini", layers=("conv1_1", "relu1_1")))
    terms_and_gradient(loss, x_hat, x)
    assert torch.equal(x_hat, before[0]) and torch.equal(x, before[1])
