"""torchvision's VGGs from a server on this machine: whole files are kept, everything else is refused."""

import threading

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dfcvae import VGGFeatures, download, files, vgg
from dfcvae.download import cached_vgg_trunk, vgg_trunk
from dfcvae.fetching import Source, fetch
from dfcvae.files import sha256


@pytest.fixture(autouse=True)
def caches(monkeypatch, tmp_path):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def published(server, vgg_tensors, monkeypatch, tmp_path):
    """torchvision's file as it is published: all tensors, the classifier too, named by its checksum."""

    def publish(arch: str, **extra) -> bytes:
        path = tmp_path / "published.pth"
        torch.save(vgg_tensors(arch) | {"classifier.0.weight": torch.zeros(50, 50)} | extra, path)
        name = f"/{arch}-{sha256(path)[:8]}.pth"
        monkeypatch.setitem(
            download.VGG, arch, Source(server.address + name, sha256(path)[:8], download.OFFLINE)
        )
        server.files[name] = path.read_bytes()
        return server.files[name]

    return publish


def test_no_network(tmp_path):
    with pytest.raises(OSError, match="could not download https://download.pytorch.org/.*mini VGG"):
        fetch(download.VGG["vgg19"], tmp_path / "vgg.pth", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arch", download.VGG)
def test_torchvision_weights_are_downloaded_once_and_kept_without_their_classifier(
    server, published, arch, torchvision_features
):
    whole = published(arch)
    assert cached_vgg_trunk(arch) is None
    last = "relu3_1"
    features = VGGFeatures(arch, [last], "torchvision")
    assert features.weights_name == f"{arch} (torchvision, ImageNet)"
    trunk = cached_vgg_trunk(arch)
    assert {path.suffix for path in trunk.parent.iterdir()} <= {".safetensors", ".lock"}
    assert trunk.stat().st_size < len(whole)
    with safe_open(trunk, "pt") as file:
        assert not any(key.startswith("classifier") for key in file.keys())  # noqa: SIM118
        assert file.metadata()["arch"] == arch and "0.485" in file.metadata()["mean"]
    VGGFeatures(arch, ["relu5_1"], "torchvision")
    assert len(server.asked) == 1

    x = torch.rand(1, 3, 32, 32)
    theirs = torchvision_features(arch)[: len(features.trunk)]
    with torch.no_grad():
        expected = theirs((x - features.mean) / features.std)
    torch.testing.assert_close(features(x)[last], expected)


def test_old_files_without_batch_counters_are_taken(server, published, vgg_tensors, monkeypatch, tmp_path):
    """torchvision's vgg19_bn file is older than the counters of batch norm and does not hold them."""
    tensors = {k: v for k, v in vgg_tensors("vgg19_bn").items() if not k.endswith("num_batches_tracked")}
    torch.save(tensors, tmp_path / "old.pth")
    mean, std = vgg.IMAGENET_MEAN, vgg.IMAGENET_STD
    old = VGGFeatures("vgg19_bn", ["relu3_1"], tmp_path / "old.pth", mean, std)
    torch.save(vgg_tensors("vgg19_bn"), tmp_path / "new.pth")
    new = VGGFeatures("vgg19_bn", ["relu3_1"], tmp_path / "new.pth", mean, std)
    x = torch.rand(1, 3, 32, 32)
    assert old(x)["relu3_1"].equal(new(x)["relu3_1"])


def test_torchvisions_own_copy_is_used_where_it_is_sound(server, published, tmp_path):
    whole = published("vgg19")
    copy = tmp_path / "torch" / "hub" / "checkpoints" / download.VGG["vgg19"].url.rpartition("/")[2]
    copy.parent.mkdir(parents=True)
    copy.write_bytes(whole)
    vgg_trunk("vgg19")
    assert server.asked == [] and copy.read_bytes() == whole  # what is not ours is not deleted


def test_torchvisions_own_copy_is_not_used_where_it_is_damaged(server, published, tmp_path):
    whole = published("vgg19")
    copy = tmp_path / "torch" / "hub" / "checkpoints" / download.VGG["vgg19"].url.rpartition("/")[2]
    copy.parent.mkdir(parents=True)
    copy.write_bytes(whole[:-100])
    vgg_trunk("vgg19")
    assert len(server.asked) == 1


def test_auto_takes_what_was_downloaded_and_downloads_nothing(server, published, vgg_file, monkeypatch):
    published("vgg19")
    monkeypatch.setattr(vgg, "MINI_FILE", vgg_file)
    assert VGGFeatures(layers=["relu1_1"]).weights_name == "tiny VGG" and server.asked == []
    vgg_trunk("vgg19")
    server.asked.clear()
    assert VGGFeatures(layers=["relu1_1"]).weights_name == "vgg19 (torchvision, ImageNet)"
    assert server.asked == []


def test_two_that_ask_at_once_download_once(server, published):
    published("vgg19")
    found = []
    threads = [threading.Thread(target=lambda: found.append(vgg_trunk("vgg19"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1 and len(server.asked) == 1


def test_the_manual_way_that_the_message_names_works(server, published, tmp_path):
    """Fetch it in a browser and give its path: the file says by its checksum what it is."""
    whole = published("vgg19")
    path = tmp_path / download.VGG["vgg19"].url.rpartition("/")[2]
    path.write_bytes(whole)
    features = VGGFeatures(layers=["relu1_1"], weights=path)
    torch.testing.assert_close(features.mean.flatten(), torch.tensor(vgg.IMAGENET_MEAN))


def test_a_file_that_is_no_vgg_is_refused(server, published, monkeypatch):
    published("vgg16")
    monkeypatch.setitem(download.VGG, "vgg19", download.VGG["vgg16"])
    with pytest.raises(ValueError, match="is no vgg19 of torchvision: it has no features"):
        vgg_trunk("vgg19")
    assert cached_vgg_trunk("vgg19") is None


def test_a_trunk_whose_numbers_have_changed_is_refused(server, published):
    """safetensors has no checksum of its own; the package writes one into the file."""
    published("vgg19")
    trunk = vgg_trunk("vgg19")
    with safe_open(trunk, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors["features.0.weight"][0, 0, 0, 0] += 1e-3
    save_file(tensors, trunk, metadata)
    with pytest.raises(ValueError, match=f"is damaged: .*checksum.* Delete '{trunk}' and fetch it again"):
        VGGFeatures("vgg19", ["relu1_1"], "torchvision")


def test_an_unknown_arch_is_refused():
    with pytest.raises(
        ValueError, match="torchvision has no 'vgg11': expected one of vgg16, vgg19, vgg19_bn"
    ):
        vgg_trunk("vgg11")


def test_write_whole_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    files.write_whole(path, lambda part: part.write_bytes(b"old"))

    def fail(part):
        part.write_bytes(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(path, fail)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
