"""What every test finds: the same seed, two threads, caches of its own, the smallest profile, no network."""

import ipaddress
import json
import os
import socket

# A thread that waits for its turn must not spin: it would take the core from the one that it waits for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

torch.set_num_threads(2)

NORMALISATION = {"mean": json.dumps([0.485, 0.456, 0.406]), "std": json.dumps([0.229, 0.224, 0.225])}
WIDTHS = (4, 6, 8, 10, 10)  # channels of the five blocks of the tests' VGGs: few
# Of the tests' VGG, made up: measuring them draws 64 faces, a second each time that a model is built.
CALIBRATION = {"relu1_1": 0.5, "relu2_1": 1.0, "relu3_1": 2.0, "relu4_1": 1.0, "relu5_1": 1.0}


def _is_loopback(host: object) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host if isinstance(host, str) else "").is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory):
    """A test neither reads nor writes the caches of whoever runs it, and reaches this machine only."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connect_nearby(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise OSError(f"the tests have no network: {address[0]} was asked for")
        return connect(self, address)

    def look_up_nearby(host, *arguments, **options):
        if not _is_loopback(host):
            raise socket.gaierror(socket.EAI_NONAME, f"the tests have no network: {host} was asked for")
        return look_up(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_nearby)
        patch.setattr(socket, "getaddrinfo", look_up_nearby)
        patch.setenv("DFCVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("DFCVAE_PROFILE", "smoke")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def torchvision_features():
    """torchvision's own convolutions of a VGG, few channels, random tensors: arch -> Sequential."""
    from torchvision.models.vgg import cfgs, make_layers

    def build(arch: str, widths=WIDTHS, seed: int = 0) -> torch.nn.Sequential:
        block, config = 0, []
        for entry in cfgs["D" if arch == "vgg16" else "E"]:
            config.append(entry if entry == "M" else widths[block])
            block += entry == "M"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = make_layers(config, batch_norm=arch.endswith("_bn"))
            for layer in layers:
                if isinstance(layer, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    torch.nn.init.normal_(layer.bias, std=0.1)
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.running_mean.normal_(std=0.2)
                    layer.running_var.uniform_(0.5, 2)
                    torch.nn.init.uniform_(layer.weight, 0.5, 2)
                    torch.nn.init.normal_(layer.bias, std=0.2)
        return layers.eval()

    return build


@pytest.fixture(scope="session")
def vgg_tensors(torchvision_features):
    """The same under torchvision's names, ``features.0.weight`` and so on: arch -> tensors."""

    def tensors(arch: str = "vgg19", **options) -> dict[str, torch.Tensor]:
        state = torchvision_features(arch, **options).state_dict()
        return {f"features.{key}": tensor.contiguous() for key, tensor in state.items()}

    return tensors


@pytest.fixture(scope="session")
def vgg_file(vgg_tensors, tmp_path_factory):
    """A whole VGG-19 of few channels that says its normalisation: what tests give as ``features``."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "tiny_vgg.safetensors"
    metadata = {"name": "tiny VGG", "arch": "vgg19", "calibration": json.dumps(CALIBRATION)}
    save_file(vgg_tensors(), path, metadata | NORMALISATION)
    return path


@pytest.fixture(scope="session")
def build(vgg_file):
    """A small model: preset, seed and what ``DFCVAE`` takes -> DFCVAE."""
    from dfcvae import DFCVAE

    def build(preset: str = "pixel", seed: int = 1, **options) -> DFCVAE:
        torch.manual_seed(seed)
        small = {"features": vgg_file, "image_size": 32, "latent_dim": 5, "channels": (4, 6)}
        return DFCVAE(preset, **(small | options))

    return build


@pytest.fixture
def images():
    """40 pictures of 32 x 32 pixels: blurred noise, so that there is something smooth to learn."""
    import tiny_run

    return tiny_run.images()


@pytest.fixture
def server():
    """A server on this machine: serving.py says how it answers."""
    from serving import serving

    with serving() as running:
        yield running
