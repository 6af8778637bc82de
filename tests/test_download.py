"""Downloads, from a server on this machine: whole files are kept, everything else is refused."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors import safe_open

from dfcvae import VGGFeatures, download, files, vgg
from dfcvae.download import Source, cached_vgg_trunk, fetch, vgg_trunk
from dfcvae.files import sha256

PAGE = b"<!DOCTYPE html><html><body>Sign in to the network</body></html>"


@pytest.fixture
def server():
    """``files``: bytes to send, or a function that is given the request. ``asked``: what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = self.server.files.get(self.path)
            self.server.asked.append(self.path)
            if callable(answer):
                answer(self)
            elif answer is None:
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked = {}, []
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


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
        monkeypatch.setitem(download.VGG, arch, Source(server.address + name, sha256(path)[:8]))
        server.files[name] = path.read_bytes()
        return server.files[name]

    return publish


def source(server, content: bytes, tmp_path) -> Source:
    (tmp_path / "expected").write_bytes(content)
    return Source(f"{server.address}/file.bin", sha256(tmp_path / "expected")[:8])


def cut_short(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"x" * 300)


def cut_short_in_chunks(handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"3e8\r\n" + b"x" * 300)
    handler.close_connection = True


def no_http(handler) -> None:
    handler.wfile.write(b"220 smtp ready\r\n\r\n")


def test_whole_file_arrives(server, tmp_path):
    content = bytes(range(256)) * 9000  # more than two chunks
    server.files["/file.bin"] = content
    fetch(source(server, content, tmp_path), tmp_path / "file.bin", progress=False)
    assert (tmp_path / "file.bin").read_bytes() == content
    assert not (tmp_path / "file.bin.part").exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (cut_short, "300 of 1,000 bytes came"),
        (cut_short_in_chunks, "IncompleteRead|bytes came|cut short"),
        (b"y" * 1000, "its checksum is .*, expected .*another file was sent"),
        (PAGE, "its checksum is .*another file was sent"),
        (None, "Not Found"),
        (no_http, "220 smtp ready"),
    ],
    ids=["cut short", "cut short in chunks", "wrong checksum", "page in its place", "404", "no HTTP"],
)
def test_anything_else_is_told_in_one_sentence_and_leaves_nothing(server, tmp_path, answer, words):
    if answer is not None:
        server.files["/file.bin"] = answer
    (tmp_path / "down").mkdir()
    with pytest.raises(OSError, match=words) as caught:
        fetch(source(server, b"x" * 1000, tmp_path), tmp_path / "down" / "file.bin", progress=False)
    message = str(caught.value)
    assert message.startswith(f"could not download {server.address}/file.bin (")
    assert "mini VGG" in message and "browser" in message and "\n" not in message
    assert list((tmp_path / "down").iterdir()) == []


def test_a_server_that_is_not_there(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match="could not download .*refused.*mini VGG"):
        fetch(source(server, b"x", tmp_path), tmp_path / "file.bin", progress=False)


def test_no_network(tmp_path):
    with pytest.raises(OSError, match="could not download https://download.pytorch.org/.*mini VGG"):
        fetch(download.VGG["vgg19"], tmp_path / "vgg.pth", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_file_survives_a_download_that_fails(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"old and whole")
    server.files["/file.bin"] = cut_short
    with pytest.raises(OSError):
        fetch(source(server, b"x" * 1000, tmp_path), tmp_path / "file.bin", progress=False)
    assert (tmp_path / "file.bin").read_bytes() == b"old and whole"


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
