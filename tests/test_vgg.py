"""The frozen VGG: the layers that the names promise, nothing that moves, nothing that is saved."""

import copy

import pytest
import torch
from conftest import CALIBRATION, NORMALISATION, WIDTHS
from safetensors.torch import save_file
from torch import nn

from dfcvae import PerceptualLoss, VGGFeatures, vgg

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RELU_1 = [f"relu{block}_1" for block in range(1, 6)]
INDICES = {"vgg19": (1, 6, 11, 20, 29), "vgg19_bn": (2, 9, 16, 29, 42), "vgg16": (1, 6, 11, 18, 25)}
KINDS = {"conv": nn.Conv2d, "bn": nn.BatchNorm2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}


@pytest.fixture
def weights(vgg_tensors, tmp_path):
    """A .pth file of an arch: arch -> path."""

    def weights(arch: str):
        torch.save(vgg_tensors(arch) | {"classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return weights


@pytest.mark.parametrize("arch", INDICES)
def test_names_and_features_are_those_of_torchvision(arch, torchvision_features, weights):
    import torchvision

    with torch.device("meta"):
        theirs, ours = getattr(torchvision.models, arch)(weights=None).features, vgg.build_layers(arch)
    for (name, layer), other in zip(ours.named_children(), theirs, strict=True):
        assert type(layer) is type(other) is KINDS[name.rstrip("0123456789_")], name
        assert [p.shape for p in layer.parameters()] == [p.shape for p in other.parameters()], name
    names = vgg.layer_names(arch)[:-1]
    assert tuple(names.index(name) for name in RELU_1) == INDICES[arch]

    x = torch.rand(2, 3, 32, 32)
    features = VGGFeatures(arch, names, weights(arch), MEAN, STD)(x)
    h = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        for name, layer in zip(names, torchvision_features(arch), strict=False):
            h = layer(h)  # ReLUs in place: what follows must not overwrite what we compare
            torch.testing.assert_close(features[name], h.clone(), msg=lambda m, name=name: f"{name}: {m}")
    assert all(features[name].abs().max() > 0.01 for name in RELU_1)


@pytest.mark.parametrize("pooling", vgg.POOLS)
@pytest.mark.parametrize(
    ("layers", "length", "stride"),
    [(["relu1_1"], 2, 1), (["relu3_1", "relu1_1"], 12, 4), (["relu2_1", "conv2_1"], 7, 2), (RELU_1, 30, 16)],
)
def test_trunk_ends_at_the_deepest_layer(vgg_file, layers, length, stride, pooling):
    features = VGGFeatures(layers=layers, weights=vgg_file, pooling=pooling)
    assert len(features.trunk) == length and features.stride == stride
    found = features(torch.rand(2, 3, 64, 64))
    assert list(found) == layers
    for name, phi in found.items():
        block = int(name[4]) - 1
        assert phi.shape == (2, WIDTHS[block], 64 // 2**block, 64 // 2**block)


def test_average_pooling_has_no_constants_of_max_pooling(vgg_file):
    plain, average = (VGGFeatures(weights=vgg_file, pooling=pooling) for pooling in ("max", "average"))
    assert plain.calibration == CALIBRATION and average.calibration == {}
    h = average(torch.rand(1, 3, 32, 32))["relu1_1"]
    assert average.trunk.pool1(h).equal(nn.functional.avg_pool2d(h, 2)) and "average" in repr(average)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("arch", INDICES)
def test_captured_tensors_equal_hooked_ones(arch, in_place, weights):
    """The published fault: a convolution's output was captured and the ReLU after it wrote over it."""
    layers = RELU_1 if in_place else vgg.layer_names(arch)
    features, hooked = VGGFeatures(arch, layers, weights(arch), MEAN, STD), {}
    for name, layer in features.trunk.named_children():
        if isinstance(layer, nn.ReLU):
            assert not layer.inplace
            layer.inplace = in_place
        layer.register_forward_hook(lambda _, __, out, name=name: hooked.update({name: out.clone()}))
    captured = features(torch.rand(2, 3, 32, 32))
    assert list(captured) == layers and all(phi.equal(hooked[name]) for name, phi in captured.items())


@pytest.mark.parametrize("arch", ["vgg19", "vgg19_bn"])
def test_frozen_in_eval_with_nothing_to_train_and_nothing_to_save(arch, weights):
    loss = PerceptualLoss(VGGFeatures(arch, RELU_1, weights(arch), MEAN, STD))
    parent, features = nn.ModuleDict({"loss": loss, "net": nn.Linear(1, 1)}), loss.vgg
    before = {name: buffer.clone() for name, buffer in features.named_buffers()}
    parent.train().requires_grad_(True)
    features.train(True)
    assert parent["net"].training and not any(module.training for module in features.modules())
    assert list(loss.parameters()) == [] and loss.state_dict() == {}
    assert parent.load_state_dict(parent.state_dict(), strict=True) and len(parent.state_dict()) == 2
    x = torch.rand(4, 3, 32, 32)
    x_hat = x.flip(0).requires_grad_()
    loss(x_hat, x).backward()
    assert x_hat.grad.abs().sum() > 0
    torch.testing.assert_close(features(x)["relu5_1"][:1], features(x[:1])["relu5_1"])  # no norm by batch
    after = dict(features.named_buffers())
    assert before.keys() == after.keys() and len(before) > 20
    assert all(after[name].equal(before[name]) and after[name].grad is None for name in before)
    double = copy.deepcopy(features).double()(x.double())["relu5_1"]
    torch.testing.assert_close(double.float(), features(x)["relu5_1"], rtol=1e-3, atol=1e-4)


def test_input_is_normalised_by_the_files_own_numbers_unless_others_are_given(vgg_tensors, tmp_path):
    path, x = tmp_path / "a.safetensors", torch.rand(2, 3, 16, 16)
    save_file(vgg_tensors(), path, {"mean": "[0.1, 0.2, 0.3]", "std": "[0.5, 0.6, 0.7]"})
    given = {"mean": MEAN, "std": STD}
    for options, mean, std in ({}, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), (given, MEAN, STD):
        features = VGGFeatures(layers=["relu1_1"], weights=path, **options)
        by_hand = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        torch.testing.assert_close(features(x)["relu1_1"], features.trunk(by_hand))


def test_random_weights_are_seeded_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    one, again, other = (VGGFeatures(layers=["relu1_1"], weights="random", seed=seed) for seed in (1, 1, 2))
    assert torch.get_rng_state().equal(state) and one.weights_name == "random (seed 1)"
    assert one.trunk[0].weight.equal(again.trunk[0].weight)
    assert not one.trunk[0].weight.equal(other.trunk[0].weight)


def test_auto_takes_the_cached_vgg_or_the_mini_one_and_never_downloads(vgg_tensors, monkeypatch, tmp_path):
    """A download would fail: the tests have no network."""
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path))
    assert VGGFeatures(weights="auto").weights_name == VGGFeatures(weights="mini").weights_name == "mini VGG"
    metadata = {"name": "vgg19 (torchvision, ImageNet)", "arch": "vgg19"} | NORMALISATION
    save_file(vgg_tensors(seed=3), tmp_path / "vgg19-torchvision-features.safetensors", metadata)
    features = VGGFeatures(weights="auto")
    assert features.weights_name == "vgg19 (torchvision, ImageNet)" and "torchvision" in repr(features)
    assert features.trunk[0].weight.equal(vgg_tensors(seed=3)["features.0.weight"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arch": "vgg11"}, "unknown VGG 'vgg11': expected one of vgg16, vgg19, vgg19_bn"),
        ({"layers": ["relu1_1", "relu3_9"]}, "vgg19 has no layer relu3_9: its layers are conv1_1"),
        ({"arch": "vgg16", "layers": ["relu3_4"]}, "vgg16 has no layer relu3_4"),
        ({"layers": "relu1_1"}, "expected a list of names"),
        ({"layers": []}, "expected a list of names"),
        ({"pooling": "median"}, "unknown pooling 'median': expected one of max, average"),
    ],
)
def test_unknown_names_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        VGGFeatures(weights="random", **options)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (3, 8, 8)])
def test_input_of_another_kind_is_refused(vgg_file, shape):
    for x in torch.zeros(shape), torch.zeros(1, 3, 8, 8, dtype=torch.uint8):
        with pytest.raises(ValueError, match=r"expected float \(N, 3, H, W\) in \[0, 1\]"):
            VGGFeatures(layers=["relu1_1"], weights=vgg_file)(x)
