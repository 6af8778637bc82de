"""The frozen VGG: the layers that the names promise, nothing that moves, nothing that is saved."""

import copy

import pytest
import torch
from conftest import NORMALISATION, WIDTHS
from safetensors.torch import save_file
from torch import nn

from dfcvae import VGGFeatures, download, vgg
from dfcvae.perceptual import PerceptualLoss

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RELU_1 = [f"relu{block}_1" for block in range(1, 6)]
INDICES = {"vgg19": (1, 6, 11, 20, 29), "vgg19_bn": (2, 9, 16, 29, 42), "vgg16": (1, 6, 11, 18, 25)}
KINDS = {"conv": nn.Conv2d, "bn": nn.BatchNorm2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}


def names_of(arch: str) -> list[str]:
    return [name for name, _ in vgg.build_layers(arch, widths=(1,) * 5).named_children()]


@pytest.mark.parametrize("arch", INDICES)
def test_names_stand_where_torchvision_has_these_layers(arch):
    import torchvision

    with torch.device("meta"):
        theirs = getattr(torchvision.models, arch)(weights=None).features
        ours = vgg.build_layers(arch)
    assert len(ours) == len(theirs)
    for (name, layer), other in zip(ours.named_children(), theirs, strict=True):
        assert type(layer) is type(other) is KINDS[name.rstrip("0123456789_")], name
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.shape == other.weight.shape, name
    assert tuple(names_of(arch).index(name) for name in RELU_1) == INDICES[arch]


@pytest.mark.parametrize("arch", INDICES)
def test_features_are_those_of_torchvision(arch, torchvision_features, vgg_tensors, tmp_path):
    path = tmp_path / f"{arch}.pth"
    torch.save(vgg_tensors(arch) | {"classifier.0.weight": torch.zeros(2, 2)}, path)
    names = names_of(arch)
    ours = VGGFeatures(arch, names[:-1], path, MEAN, STD)
    x = torch.rand(2, 3, 32, 32)
    features = ours(x)

    h = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        for name, layer in zip(names[:-1], torchvision_features(arch), strict=False):
            h = layer(h)  # ReLUs in place: what follows must not overwrite what we compare
            torch.testing.assert_close(features[name], h.clone(), msg=lambda m, name=name: f"{name}: {m}")
    assert all(features[name].abs().max() > 0.01 for name in RELU_1)


def test_every_layer_is_of_the_kind_that_its_name_says(vgg_file):
    trunk = VGGFeatures(layers=["pool5"], weights=vgg_file).trunk
    for name, layer in trunk.named_children():
        assert isinstance(layer, KINDS[name.rstrip("0123456789_")])
    assert not any(layer.inplace for layer in trunk if isinstance(layer, nn.ReLU))


@pytest.mark.parametrize(
    ("layers", "length"),
    [(["relu1_1"], 2), (["relu3_1", "relu1_1"], 12), (["relu2_1", "conv2_1"], 7), (["relu5_1"], 30)],
)
def test_trunk_ends_at_the_last_named_layer(vgg_file, layers, length):
    features = VGGFeatures(layers=layers, weights=vgg_file)
    assert len(features.trunk) == length
    assert list(features(torch.rand(1, 3, 32, 32))) == layers


def test_shapes_of_the_features(vgg_file):
    features = VGGFeatures(layers=RELU_1, weights=vgg_file)(torch.rand(2, 3, 64, 64))
    shapes = [tuple(phi.shape) for phi in features.values()]
    assert shapes == [(2, width, 64 // 2**i, 64 // 2**i) for i, width in enumerate(WIDTHS)]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("arch", INDICES)
def test_captured_tensors_equal_hooked_ones(arch, in_place, vgg_tensors, tmp_path):
    """The published fault: a convolution's output was captured and the ReLU after it wrote over it."""
    path = tmp_path / "weights.pth"
    torch.save(vgg_tensors(arch), path)
    layers = RELU_1 if in_place else names_of(arch)
    features = VGGFeatures(arch, layers, path, MEAN, STD)
    hooked = {}
    for name, layer in features.trunk.named_children():
        if isinstance(layer, nn.ReLU):
            layer.inplace = in_place
        layer.register_forward_hook(lambda _, __, out, name=name: hooked.update({name: out.clone()}))
    captured = features(torch.rand(2, 3, 32, 32))
    assert list(captured) == layers
    for name, phi in captured.items():
        assert phi.equal(hooked[name]), name


@pytest.mark.parametrize("arch", ["vgg19", "vgg19_bn"])
def test_train_leaves_it_in_eval_and_its_buffers_bit_equal(arch, vgg_tensors, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(vgg_tensors(arch), path)
    parent = nn.ModuleDict(
        {"loss": PerceptualLoss(VGGFeatures(arch, RELU_1, path, MEAN, STD)), "net": nn.Dropout()}
    )
    features = parent["loss"].vgg
    before = {name: buffer.clone() for name, buffer in features.named_buffers()}
    parent.train()
    features.train(True)
    assert parent["net"].training and not any(module.training for module in features.modules())
    x = torch.rand(4, 3, 32, 32)
    parent["loss"](x.flip(0).requires_grad_(), x).backward()
    alone = features(x[:1])["relu5_1"]
    torch.testing.assert_close(features(x)["relu5_1"][:1], alone)  # nothing is normalised by its own batch
    after = dict(features.named_buffers())
    assert before.keys() == after.keys() and len(before) > 20
    assert all(after[name].equal(before[name]) for name in before)


def test_nothing_to_train_and_nothing_to_save(vgg_file):
    features = VGGFeatures(layers=RELU_1, weights=vgg_file)
    parent = nn.ModuleList([features, nn.Linear(1, 1)])
    parent.requires_grad_(True)
    assert list(features.parameters()) == [] and features.state_dict() == {}
    assert set(parent.state_dict()) == {"1.weight", "1.bias"}
    assert not any(buffer.requires_grad for buffer in features.buffers())
    parent.load_state_dict(parent.state_dict(), strict=True)


def test_gradient_reaches_the_image_and_never_the_network(vgg_file):
    features = VGGFeatures(layers=["relu3_1"], weights=vgg_file)
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    features(x)["relu3_1"].sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(buffer.grad is None for buffer in features.buffers())


def test_it_can_be_copied_and_moved_to_another_dtype(vgg_file):
    features = VGGFeatures(layers=["relu2_1"], weights=vgg_file)
    x = torch.rand(1, 3, 32, 32)
    double = copy.deepcopy(features).double()
    assert features(x)["relu2_1"].dtype == torch.float32
    torch.testing.assert_close(double(x.double())["relu2_1"].float(), features(x)["relu2_1"])


def test_input_is_normalised_by_the_network_itself(vgg_tensors, tmp_path):
    """The same tensors with another normalisation are another network; the files' own is used."""
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    save_file(vgg_tensors(), tmp_path / "a.safetensors", {"mean": str(list(mean)), "std": str(list(std))})
    features = VGGFeatures(layers=["relu1_1"], weights=tmp_path / "a.safetensors")
    x = torch.rand(2, 3, 16, 16)
    by_hand = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(features(x)["relu1_1"], features.trunk(by_hand))
    other = VGGFeatures(layers=["relu1_1"], weights=tmp_path / "a.safetensors", mean=MEAN, std=STD)
    assert not torch.allclose(other(x)["relu1_1"], features(x)["relu1_1"], atol=0.01)


@pytest.mark.parametrize(
    "x", [torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8), torch.zeros(3, 8, 8)]
)
def test_input_of_another_kind_is_refused(vgg_file, x):
    with pytest.raises(ValueError, match=r"expected float \(N, 3, H, W\) in \[0, 1\]"):
        VGGFeatures(layers=["relu1_1"], weights=vgg_file)(x)


def test_random_weights_are_seeded_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    first, again, other = (VGGFeatures(layers=["relu1_1"], weights="random", seed=seed) for seed in (1, 1, 2))
    assert torch.get_rng_state().equal(state)
    weights = [features.trunk[0].weight for features in (first, again, other)]
    assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])
    assert first.weights_name == "random (seed 1)"


def test_auto_takes_the_cached_vgg_or_the_mini_one_and_never_downloads(
    vgg_file, vgg_tensors, monkeypatch, tmp_path
):
    def no_download(*_, **__):
        raise AssertionError("auto must not download")

    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(vgg, "MINI_FILE", vgg_file)
    monkeypatch.setattr(download, "fetch", no_download)
    monkeypatch.setattr(download, "vgg_trunk", no_download)
    assert VGGFeatures(weights="auto").weights_name == VGGFeatures(weights="mini").weights_name == "tiny VGG"
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
    ],
)
def test_unknown_names_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        VGGFeatures(weights="random", **options)


@pytest.mark.parametrize(
    ("layers", "stride"), [(["relu1_1"], 1), (["relu3_1", "relu1_1"], 4), (["relu5_1"], 16)]
)
def test_stride_is_that_of_the_deepest_layer(layers, stride):
    vgg = VGGFeatures(layers=layers, weights="mini")
    deepest = min(features.shape[-1] for features in vgg(torch.rand(1, 3, 64, 64)).values())
    assert vgg.stride == stride == 64 // deepest
