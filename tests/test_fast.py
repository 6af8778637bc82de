"""What ``accelerate`` puts around a model: the same numbers and names, and hooks that are called."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from dfcvae import DFCVAE, PerceptualLoss, VGGFeatures, vgg, weights
from dfcvae.device import pick_precision
from dfcvae.fast import FoldedUpsampleConv2d, OnePassLoss, accelerate
from dfcvae.training import Settings, Trainer
from dfcvae.vae import UpsampleConv2d

CPU = torch.device("cpu")


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture
def passes(monkeypatch) -> list:
    """A mark for every way back that the loss in one pass takes; the plain one leaves it to ``backward``."""
    calls, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: calls.append(1) or grad(*given))
    return calls


# --- upsampling


@pytest.mark.parametrize("shape", [(2, 5, 4, 4), (1, 5, 3, 7), (3, 5, 1, 1)])
def test_folded_upsampling_has_the_numbers_and_gradients_of_the_plain_one(shape):
    plain = UpsampleConv2d(5, 6)
    h, weighting, found = torch.randn(shape), torch.randn(shape[0], 6, 2 * shape[2], 2 * shape[3]), []
    for layer in (plain, FoldedUpsampleConv2d.around(plain)):
        plain.zero_grad()
        seen = h.clone().requires_grad_()
        out = layer(seen)
        (out * weighting).sum().backward()
        found.append([out, seen.grad, plain.weight.grad.clone(), plain.bias.grad.clone()])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


# --- the loss in one pass


def terms_and_gradient(loss, x_hat, x, bf16=False, of_terms=None) -> tuple[Tensor, Tensor]:
    x_hat = x_hat.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        terms = torch.stack(list(loss.per_layer(x_hat, x).values()))
    terms.backward(torch.ones_like(terms) if of_terms is None else of_terms)
    return terms.detach(), x_hat.grad


def check(plain: PerceptualLoss, calls: list, x_hat: Tensor, x: Tensor, one_pass=True, **options) -> None:
    before = x_hat.clone(), x.clone()
    expected = terms_and_gradient(plain, x_hat, x, **options)
    calls.clear()
    found = terms_and_gradient(OnePassLoss(plain), x_hat, x, **options)
    assert (len(calls) > 0) == one_pass
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    assert relative(found[1], expected[1]) < 1e-5
    assert x_hat.equal(before[0]) and x.equal(before[1])


@pytest.mark.parametrize("pooling", vgg.POOLS)
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
def test_terms_and_gradient_are_those_of_autograd(vgg_file, passes, layers, pooling):
    network = VGGFeatures(weights=vgg_file, layers=layers, pooling=pooling)
    loss = PerceptualLoss(network, layer_weights={name: 0.3 + place for place, name in enumerate(layers)})
    check(loss, passes, torch.rand(5, 3, 32, 32), torch.rand(5, 3, 32, 32))


@pytest.mark.parametrize("size", [(1, 3, 37, 50), (3, 3, 256, 256), (1, 3, 400, 400)])
def test_in_one_go_or_a_few_images_at_a_time(vgg_file, passes, size):
    loss = PerceptualLoss(VGGFeatures(weights=vgg_file), "mean")
    check(loss, passes, torch.rand(size), torch.rand(size))


@pytest.mark.parametrize("of_terms", [(7.0, 7, 7), (1, 0, 2), (0, 0, -3)])
def test_terms_may_be_weighed_after_the_fact(vgg_file, passes, of_terms):
    """The gradient was computed for the sum of the terms; another combination has another one."""
    loss = PerceptualLoss(VGGFeatures(weights=vgg_file))
    pictures = torch.rand(2, 5, 3, 32, 32)
    check(loss, passes, *pictures, of_terms=torch.tensor(of_terms, dtype=torch.float32))


def test_bf16_is_as_near_to_float32_as_under_autograd():
    if pick_precision(CPU) != "bf16":
        pytest.skip("this processor does not compute in bf16")
    loss, pictures = PerceptualLoss(VGGFeatures(weights="mini")), torch.rand(2, 5, 3, 32, 32)
    exact = terms_and_gradient(loss, *pictures)
    fast, autograd = (
        terms_and_gradient(chosen, *pictures, bf16=True) for chosen in (OnePassLoss(loss), loss)
    )
    torch.testing.assert_close(fast[0], exact[0], rtol=5e-3, atol=0)
    assert relative(fast[1], exact[1]) < 1.1 * relative(autograd[1], exact[1]) < 0.1


def test_what_it_does_not_know_is_left_to_autograd(vgg_file, passes):
    def loss(**layers: nn.Module) -> PerceptualLoss:
        features = VGGFeatures(weights=vgg_file)
        for name, layer in layers.items():
            setattr(features.trunk, name, layer)
        return PerceptualLoss(features)

    x_hat, x = torch.rand(2, 3, 3, 32, 32)
    for other in (
        loss(pool1=nn.MaxPool2d(3, stride=2, padding=1)),
        loss(conv1_2=nn.Conv2d(4, 4, 3, padding=1, bias=False, padding_mode="reflect")),
    ):
        check(other, passes, x_hat, x)
    for other in (
        loss(relu1_2=nn.Softplus()),
        PerceptualLoss(VGGFeatures("vgg19_bn", ["relu1_1"], "random")),
    ):
        check(other, passes, x_hat, x, one_pass=False)
    check(loss().double(), passes, x_hat.double(), x.double(), one_pass=False)
    passes.clear()
    OnePassLoss(loss())(x_hat, x)  # nothing to differentiate
    assert not passes
    target = x.clone().requires_grad_()
    OnePassLoss(loss())(x_hat.requires_grad_(), target).backward()
    assert x_hat.grad is not None and target.grad is None


# --- the model


def first_step(model: DFCVAE, images) -> tuple[dict, Tensor, list[str]]:
    """Terms, all gradients in a row, and the names of the state dict."""
    trainer = Trainer(model.train(), images, Settings(batch_size=8, precision="fp32", steps=9), CPU)
    terms = trainer.step(0)
    gradients = [parameter.grad.flatten() for parameter in model.parameters()]
    return terms, torch.cat(gradients), list(model.state_dict())


@pytest.mark.parametrize("preset", ["pixel", "vae-123", "vae-345"])
def test_an_accelerated_model_trains_alike(build, images, preset):
    terms, gradient, names = first_step(build(preset), images)
    fast = first_step(accelerate(build(preset)), images)
    torch.testing.assert_close(fast[0], terms, rtol=1e-5, atol=1e-6)
    assert relative(fast[1], gradient) < 1e-4 and fast[2] == names


def test_trained_weights_of_before_load_into_both_and_give_the_same_pictures():
    state = load_file(weights.MINI_FILE.with_name("plain.safetensors"))
    x, pictures = torch.rand(2, 3, 64, 64), []
    for model in (DFCVAE("pixel"), accelerate(DFCVAE("pixel"))):
        model.load_state_dict(state)
        assert model.state_dict().keys() == state.keys()
        pictures.append(model.generate(x))
    torch.testing.assert_close(*pictures)


def test_accelerating_twice_or_a_layer_of_ones_own_changes_nothing(build):
    class Own(UpsampleConv2d):
        pass

    model = build("vae-123")
    model.decoder[0][0] = own = Own(6, 4)
    hooked = model.decoder[1][0]
    hooked.register_full_backward_hook(lambda *_: None)
    model = accelerate(model)
    assert model.decoder[0][0] is own and model.decoder[1][0] is hooked
    layers, loss = list(accelerate(build()).decoder.modules()), model.perceptual
    assert any(type(layer) is FoldedUpsampleConv2d for layer in layers)
    assert accelerate(model).perceptual is loss and isinstance(loss, OnePassLoss)


class Watched(VGGFeatures):
    def forward(self, x):
        self.note()
        return super().forward(x)


def method(part: nn.Module | type, name: str, note, patch) -> None:
    """Put another method in the place of one that notes its call."""
    usual = getattr(part, name)
    patch.setattr(part, name, lambda *arguments: note() or usual(*arguments))


LOOK = {  # ways to see every call of the loss network, or of a layer of it
    "hook": lambda vgg, note, _: vgg.register_forward_hook(note),
    "hook before a layer": lambda vgg, note, _: vgg.trunk.relu2_1.register_forward_pre_hook(note),
    "hook on the way back": lambda vgg, note, _: vgg.trunk.relu2_1.register_full_backward_hook(note),
    "hook on all modules": lambda vgg, note, _: register_module_forward_hook(
        lambda module, *_: note() if module is vgg else None
    ),
    "method of the class": lambda vgg, note, patch: method(VGGFeatures, "forward", note, patch),
    "method of the object": lambda vgg, note, patch: method(vgg, "normalise", note, patch),
    "method of a layer": lambda vgg, note, patch: method(vgg.trunk.conv1_1, "forward", note, patch),
    "subclass": lambda vgg, note, _: setattr(vgg, "note", note),
}


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("how", LOOK)
def test_whoever_looks_into_the_loss_network_sees_it_called(build, images, vgg_file, monkeypatch, how, fast):
    """Twice a step: for the reconstruction, which alone has a way back, and for the original."""
    network, calls = (Watched if how == "subclass" else VGGFeatures)(weights=vgg_file), []
    model = build("vae-123", features=network).train()
    trainer = Trainer(accelerate(model) if fast else model, images, Settings(batch_size=8, steps=9), CPU)
    handle = LOOK[how](network, lambda *_: calls.append(1), monkeypatch)
    trainer.step(0)
    if how == "hook on all modules":
        handle.remove()
    assert len(calls) == (1 if how == "hook on the way back" else 2)


# --- torch.compile


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="no C++ compiler")
@pytest.mark.parametrize("preset", ["pixel", "vae-123"])
def test_compiled_steps_are_those_of_eager_and_are_compiled_once(build, images, preset):
    """Also under shifts that change with every step. Measured: terms 1e-7 apart, gradients 5e-7."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    terms, gradient, names = first_step(build(preset), images)
    compiled = accelerate(build(preset), compile=True)
    fast = first_step(compiled, images)
    torch.testing.assert_close(fast[0], terms, rtol=1e-5, atol=1e-6)
    assert relative(fast[1], gradient) < 1e-5 and fast[2] == names
    trainer = Trainer(compiled, images, Settings(batch_size=8, precision="fp32", steps=9), CPU)
    for step in range(1, 6):
        trainer.step(step)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
