"""What ``accelerate`` puts around a model: the same numbers, names and gradients, and nobody is passed over."""

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
def convolutions(monkeypatch) -> list:
    """A mark for every call of a convolution: the loss in one pass makes none."""
    calls, forward = [], nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, h: calls.append(1) or forward(self, h))
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
    assert (len(calls) == 0) == one_pass
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
def test_terms_and_gradient_are_those_of_autograd(vgg_file, convolutions, layers, pooling):
    network = VGGFeatures(weights=vgg_file, layers=layers, pooling=pooling)
    loss = PerceptualLoss(network, layer_weights={name: 0.3 + place for place, name in enumerate(layers)})
    check(loss, convolutions, torch.rand(5, 3, 32, 32), torch.rand(5, 3, 32, 32))


@pytest.mark.parametrize("size", [(1, 3, 37, 50), (3, 3, 256, 256), (1, 3, 400, 400)])
def test_in_one_go_or_a_few_images_at_a_time(vgg_file, convolutions, size):
    loss = PerceptualLoss(VGGFeatures(weights=vgg_file), "mean")
    check(loss, convolutions, torch.rand(size), torch.rand(size))


@pytest.mark.parametrize("of_terms", [(7.0, 7, 7), (1, 0, 2), (0, 0, -3)])
def test_terms_may_be_weighed_after_the_fact(vgg_file, convolutions, of_terms):
    """The gradient was computed for the sum of the terms; another combination has another one."""
    loss = PerceptualLoss(VGGFeatures(weights=vgg_file))
    pictures = torch.rand(2, 5, 3, 32, 32)
    check(loss, convolutions, *pictures, of_terms=torch.tensor(of_terms, dtype=torch.float32))


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


def test_what_it_does_not_know_is_left_to_autograd(vgg_file, convolutions):
    def network(**layers: nn.Module) -> PerceptualLoss:
        features = VGGFeatures(weights=vgg_file)
        for name, layer in layers.items():
            setattr(features.trunk, name, layer)
        return PerceptualLoss(features)

    x_hat, x = torch.rand(2, 3, 3, 32, 32)
    others = {
        "another window": network(pool1=nn.MaxPool2d(3, stride=2, padding=1)),
        "another border": network(conv1_2=nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
        "another kind": network(relu1_2=nn.Softplus()),
        "batch norm": PerceptualLoss(VGGFeatures("vgg19_bn", ["relu1_1"], "random")),
    }
    check(network(conv1_2=nn.Conv2d(4, 4, 3, padding=1, bias=False)), convolutions, x_hat, x)
    for loss in others.values():
        check(loss, convolutions, x_hat, x, one_pass=False)
    check(network().double(), convolutions, x_hat.double(), x.double(), one_pass=False)
    loss, convolutions[:] = OnePassLoss(network()), []
    loss(x_hat, x)  # nothing to differentiate
    assert convolutions
    target = x.clone().requires_grad_()
    loss(x_hat.requires_grad_(), target).backward()
    assert x_hat.grad is not None and target.grad is None


# --- the model


@pytest.mark.parametrize("preset", ["pixel", "vae-123", "vae-345"])
def test_an_accelerated_model_trains_alike(build, images, preset):
    found = []
    for chosen in (lambda model: model, accelerate):
        model = chosen(build(preset)).train()
        trainer = Trainer(model, images, Settings(batch_size=8, precision="fp32", steps=9), CPU)
        terms = trainer.step(0)
        gradients = [parameter.grad.flatten() for parameter in model.parameters()]
        found.append((terms, torch.cat(gradients), list(model.state_dict())))
    (terms, gradient, names), (fast_terms, fast_gradient, fast_names) = found
    torch.testing.assert_close(fast_terms, terms, rtol=1e-5, atol=1e-6)
    assert relative(fast_gradient, gradient) < 1e-4 and fast_names == names


def test_trained_weights_of_before_load_into_both_and_give_the_same_pictures():
    state = load_file(weights.MINI_FILE.with_name("plain.safetensors"))
    x, pictures = torch.rand(2, 3, 64, 64), []
    for model in (DFCVAE("pixel"), accelerate(DFCVAE("pixel"))):
        model.load_state_dict(state)
        assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
            name: tensor.shape for name, tensor in state.items()
        }
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
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def look_in(how: str, network: VGGFeatures, calls: list, monkeypatch) -> None:
    """Note every call of the loss network, or of a layer of it."""
    note = lambda *_: calls.append(1)  # noqa: E731
    if how == "hook":
        network.register_forward_hook(note)
    elif how == "hook before a layer":
        network.trunk.relu2_1.register_forward_pre_hook(note)
    elif how == "hook on the way back":
        network.trunk.relu2_1.register_full_backward_hook(note)
    elif how == "method of the class":
        forward = VGGFeatures.forward
        monkeypatch.setattr(VGGFeatures, "forward", lambda self, x: note() or forward(self, x))
    elif how == "method of the object":
        normalise = network.normalise
        monkeypatch.setattr(network, "normalise", lambda x: note() or normalise(x))
    elif how == "method of a layer":
        forward = network.trunk.conv1_1.forward
        monkeypatch.setattr(network.trunk.conv1_1, "forward", lambda h: note() or forward(h))


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "how",
    [
        "hook",
        "hook before a layer",
        "hook on the way back",
        "method of the class",
        "method of the object",
        "method of a layer",
    ],
)
def test_whoever_looks_into_the_loss_network_sees_it_called(build, images, monkeypatch, how, when, fast):
    """Twice a step: for the reconstruction, which alone has a way back, and for the original."""
    model, calls = build("vae-123").train(), []
    if when == "before":
        look_in(how, model.perceptual.vgg, calls, monkeypatch)
    model = accelerate(model) if fast else model
    if when == "after":
        look_in(how, model.perceptual.vgg, calls, monkeypatch)
    Trainer(model, images, Settings(batch_size=8, steps=9), CPU).step(0)
    assert len(calls) == (1 if how == "hook on the way back" else 2)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_a_hook_on_all_modules_and_a_subclass_see_it_called_too(build, images, vgg_file, fast):
    network, calls = Watched(weights=vgg_file), []
    model = build("vae-123", features=network).train()
    trainer = Trainer(accelerate(model) if fast else model, images, Settings(batch_size=8, steps=9), CPU)
    trainer.step(0)
    assert network.calls == 2
    model = build("vae-123").train()
    trainer = Trainer(accelerate(model) if fast else model, images, Settings(batch_size=8, steps=9), CPU)
    handle = register_module_forward_hook(lambda module, *_: calls.append(type(module)))
    trainer.step(0)
    handle.remove()
    assert calls.count(VGGFeatures) == 2


# --- torch.compile


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="no C++ compiler")
@pytest.mark.parametrize("preset", ["pixel", "vae-123"])
def test_compiled_steps_are_those_of_eager_and_are_compiled_once(build, images, preset):
    """Also under shifts that change with every step. Measured: terms 1e-7 apart, gradients 5e-7."""
    found = []
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for compiled in (False, True):
        model = accelerate(build(preset), compile=compiled).train()
        trainer = Trainer(model, images, Settings(batch_size=8, precision="fp32", steps=9), CPU)
        terms = trainer.step(0)
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        later = [trainer.step(step) for step in range(1, 6)][-1]
        found.append((terms, gradient, later, list(model.state_dict())))
    (terms, gradient, later, names), (fast_terms, fast_gradient, fast_later, fast_names) = found
    torch.testing.assert_close(fast_terms, terms, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fast_later, later, rtol=1e-3, atol=1e-6)
    assert relative(fast_gradient, gradient) < 1e-5 and fast_names == names
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
