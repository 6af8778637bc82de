"""Files from a server on this machine: the right one, or one sentence that says why not."""

import hashlib
import io
import threading
import time
import zipfile

import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from serving import PAGE, cuts, one_after_the_other, refuses, speaks_no_http, stalls

from dfcvae import VGGFeatures, download, files, load
from dfcvae.cli import main
from dfcvae.download import Published, cached_trunk, fetch, fetch_celeba, fetch_trunk, known_arch

CONTENT = bytes(range(256)) * 1000
OTHER = bytes(reversed(CONTENT))
BY_HAND = "fetch it in a browser and give its path"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(download, "TIMEOUT", 0.5)


@pytest.fixture
def file(server):
    return Published(f"{server.address}/file.bin", hashlib.sha256(CONTENT).hexdigest(), BY_HAND)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "down").mkdir()
    return tmp_path / "down" / "file.bin"


# --- one file


def test_a_whole_file_arrives_with_progress(server, file, path, capsys):
    server.files["/file.bin"] = CONTENT
    fetch(file, path)
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert "100%" in capsys.readouterr().err and server.asked == ["/file.bin"]
    fetch(file, path, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "fault",
    [cuts(CONTENT, 70_000), cuts(CONTENT, 0), stalls(CONTENT, 70_000), refuses(503), PAGE],
    ids=["cut", "cut at once", "stalled", "503", "a page"],
)
def test_what_fails_once_is_asked_for_again(server, file, path, fault):
    server.files["/file.bin"] = one_after_the_other(fault, CONTENT)
    fetch(file, path, progress=False)
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert len(server.asked) == 2


FAILS = {
    "cut each time": (cuts(CONTENT, 1000), "its sha256 checksum is not .*: it was cut, or"),
    "another file": (OTHER, "its sha256 checksum is not"),
    "a page": (PAGE, "perhaps a web page in its place"),
    "a shorter length": (cuts(CONTENT, len(CONTENT), length=1000), "checksum"),
    "stalls": (stalls(CONTENT, 0), "nothing came for 0.5 seconds"),
    "403": (refuses(403), "HTTP Error 403: Forbidden"),
    "404": (None, "HTTP Error 404: Not Found"),
    "no HTTP": (speaks_no_http, "220 smtp ready"),
}


@pytest.mark.parametrize("fault", FAILS)
def test_what_does_not_come_is_told_in_one_sentence_and_leaves_what_was_there(server, file, path, fault):
    server.files["/file.bin"], words = FAILS[fault]
    path.write_bytes(b"old and whole")
    with pytest.raises(OSError, match=words) as caught:
        fetch(file, path, progress=False)
    message = str(caught.value)
    assert message.startswith(f"could not download {file.url} (") and message.endswith(f": {BY_HAND}.")
    assert "\n" not in message and "Errno" not in message and len(server.asked) == 3
    assert path.read_bytes() == b"old and whole" and list(path.parent.iterdir()) == [path]


def test_no_server_and_no_network_are_told(server, file, path):
    server.shutdown()
    server.server_close()
    for published, words in ((file, "refused"), (download.VGG["vgg19"], "features='mini'")):
        with pytest.raises(OSError, match=words):
            fetch(published, path, progress=False)
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_process_left_is_removed(server, file, path):
    server.files["/file.bin"] = CONTENT
    path.with_name("file.bin.part.0123.partial").write_bytes(CONTENT[:1000])
    fetch(file, path, progress=False)
    assert list(path.parent.iterdir()) == [path]


# --- torchvision's VGGs


@pytest.fixture
def published(server, vgg_tensors, monkeypatch):
    """torchvision's file as it is published: all tensors, the classifier too, named by its checksum."""

    def publish(arch: str = "vgg19") -> bytes:
        made = io.BytesIO()
        # torchvision's vgg19_bn is older than the counters of batch norm and does not hold them
        tensors = {key: t for key, t in vgg_tensors(arch).items() if not key.endswith("batches_tracked")}
        torch.save(tensors | {"classifier.0.weight": torch.zeros(50, 50)}, made)
        found = hashlib.sha256(made.getvalue()).hexdigest()[:8]
        url = f"{server.address}/{arch}-{found}.pth"
        monkeypatch.setitem(download.VGG, arch, Published(url, found, BY_HAND))
        server.files[f"/{arch}-{found}.pth"] = made.getvalue()
        return made.getvalue()

    return publish


@pytest.mark.parametrize("arch", download.VGG)
def test_a_vgg_is_downloaded_once_and_kept_without_its_classifier(
    server, published, arch, torchvision_features
):
    whole = published(arch)
    assert cached_trunk(arch) is None
    features = VGGFeatures(arch, ["relu3_1"], "torchvision")
    assert features.weights_name == f"{arch} (torchvision, ImageNet)"
    trunk = cached_trunk(arch)
    assert {path.suffix for path in trunk.parent.iterdir()} <= {".safetensors", ".lock"}
    assert trunk.stat().st_size < len(whole)
    with safe_open(trunk, "pt") as file:
        assert all(key.startswith("features.") for key in file.keys())  # noqa: SIM118
        assert file.metadata()["arch"] == arch and "0.485" in file.metadata()["mean"]
    VGGFeatures(arch, ["relu5_1"], "torchvision")
    assert len(server.asked) == 1

    x = torch.rand(1, 3, 32, 32)
    theirs = torchvision_features(arch)[: len(features.trunk)]
    with torch.no_grad():
        expected = theirs((x - features.mean) / features.std)
    torch.testing.assert_close(features(x)["relu3_1"], expected)


@pytest.mark.parametrize("cut", [0, 100], ids=["sound", "damaged"])
def test_torchvisions_own_copy_is_used_where_it_is_sound_and_never_deleted(server, published, tmp_path, cut):
    whole = published()
    copy = tmp_path / "torch/hub/checkpoints" / download.VGG["vgg19"].url.rpartition("/")[2]
    copy.parent.mkdir(parents=True)
    copy.write_bytes(whole[: len(whole) - cut])
    fetch_trunk("vgg19")
    assert len(server.asked) == (1 if cut else 0) and copy.is_file()


def test_auto_takes_what_was_downloaded_and_downloads_nothing(server, published):
    published()
    assert "mini" in VGGFeatures(layers=["relu1_1"]).weights_name
    fetch_trunk("vgg19")
    assert VGGFeatures(layers=["relu1_1"]).weights_name == "vgg19 (torchvision, ImageNet)"
    assert len(server.asked) == 1


def test_a_file_fetched_by_hand_is_known_by_its_content(server, published, tmp_path):
    (tmp_path / "some.pth").write_bytes(published())
    assert known_arch(tmp_path / "some.pth") == "vgg19"
    features = VGGFeatures(layers=["relu1_1"], weights=tmp_path / "some.pth")
    torch.testing.assert_close(features.mean.flatten(), torch.tensor(download.IMAGENET_MEAN))
    assert known_arch(tmp_path) is None and known_arch(tmp_path / "nowhere") is None


def test_a_trunk_whose_numbers_have_changed_is_refused(server, published):
    published()
    trunk = fetch_trunk("vgg19")
    with safe_open(trunk, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors["features.0.weight"][0, 0, 0, 0] += 1e-3
    save_file(tensors, trunk, metadata)
    with pytest.raises(ValueError, match=f"is damaged: .*checksum.* Delete '{trunk}' and fetch it again"):
        VGGFeatures("vgg19", ["relu1_1"], "torchvision")


def test_an_unknown_arch_is_refused():
    with pytest.raises(ValueError, match="no 'vgg11': expected one of vgg16, vgg19, vgg19_bn"):
        fetch_trunk("vgg11")


# --- CelebA


@pytest.fixture
def celeba(server, monkeypatch, tmp_path):
    """Six pictures as the authors publish them; where they are to go."""
    picture, archive = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (178, 218), "red").save(picture, "JPEG")
    names = [f"{i:06d}.jpg" for i in range(1, 7)]
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in names:
            zipped.writestr(f"img_align_celeba/{name}", picture.getvalue())
    contents = {
        "list_attr_celeba.txt": ("6\nSmiling Young\n" + "".join(f"{name} 1 -1\n" for name in names)).encode(),
        "list_eval_partition.txt": "".join(f"{name} {i % 3}\n" for i, name in enumerate(names)).encode(),
        "img_align_celeba.zip": archive.getvalue(),
    }
    for name, content in contents.items():
        server.files[f"/{name}"] = content
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        file = download.CELEBA[name]._replace(url=f"{server.address}/{name}", checksum=md5)
        monkeypatch.setitem(download.CELEBA, name, file)
    return tmp_path / "celeba"


def test_celebas_checksums_are_those_of_torchvision():
    from torchvision.datasets import CelebA

    theirs = {name: (file_id, md5) for file_id, md5, name in CelebA.file_list}
    for name, file in download.CELEBA.items():
        assert file.checksum == theirs[name][1] and theirs[name][0] in file.url and file.algorithm == "md5"


def test_celeba_is_downloaded_when_it_is_asked_for_and_only_once(server, celeba, capsys):
    command = ["prepare", "celeba", "--root", str(celeba), "--size", "32"]
    assert main(command) == 1 and server.asked == []  # not unasked
    assert "no folder" in capsys.readouterr().err
    assert main([*command, "--download"]) == 0
    assert "non-commercial research only" in capsys.readouterr().out
    assert main([*command, "--download"]) == 0 and len(server.asked) == 3
    assert torch.equal(load("celeba", "test", 32, celeba).attributes, torch.tensor([[True, False]] * 2))


def test_where_drive_has_no_quota_left_the_way_by_hand_is_told(server, celeba, capsys):
    page = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"
    server.files["/img_align_celeba.zip"] = page
    assert main(["prepare", "celeba", "--root", str(celeba), "--size", "32", "--download"]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("dfcvae: "))
    assert "a web page in its place" in line and "data/README.md says how to get CelebA by hand" in line
    (celeba / "img_align_celeba.zip").write_bytes(page)  # as a browser saves it
    assert main(["prepare", "celeba", "--root", str(celeba), "--size", "32"]) == 1
    assert "not a whole zip file (it begins with '<!DOCTYPE html>" in capsys.readouterr().err


def test_who_comes_second_waits_for_the_first(server, celeba, capsys):
    celeba.mkdir()
    second, told = threading.Thread(target=fetch_celeba, args=(celeba, False)), ""
    with FileLock(celeba / ".download.lock"):
        second.start()
        while second.is_alive() and "another process downloads CelebA" not in told:
            told += capsys.readouterr().err
            time.sleep(0.01)
        assert server.asked == []
    second.join(60)
    assert "waiting for it" in told and len(server.asked) == 3


def test_downloading_is_of_celeba_and_needs_a_place(capsys):
    for arguments in (["lfw"], ["folder", "--root", "."], ["celeba"]):
        assert main(["prepare", *arguments, "--download"]) == 1
        assert "--download is of celeba, with the --root" in capsys.readouterr().err


def test_write_whole_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    files.write_whole(path, lambda part: part.write_bytes(b"old"))

    def fail(part):
        part.write_bytes(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(path, fail)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
