"""Downloads that are cut, stalled, refused, lied about or replaced: the right file, or one sentence."""

import re
import subprocess
import sys
import threading

import pytest
from serving import (
    PAGE,
    cuts,
    cuts_chunks,
    lies,
    one_after_the_other,
    refuses,
    sends_from,
    speaks_no_http,
    stalls,
    trickles,
)

from dfcvae import fetching, files
from dfcvae.fetching import Source, fetch

CONTENT = bytes(range(256)) * 5000  # more than a chunk
OTHER = bytes(reversed(CONTENT))
BY_HAND = "fetch it in a browser and give its path"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Nobody waits in a test."""
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)


@pytest.fixture
def source(server, tmp_path):
    (tmp_path / "expected").write_bytes(CONTENT)
    return Source(f"{server.address}/file.bin", files.sha256(tmp_path / "expected"), BY_HAND)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "down").mkdir()
    return tmp_path / "down" / "file.bin"


def part_of(path):
    return path.with_name(path.name + ".part")


def told(source, path) -> str:
    """The one sentence of a download that fails."""
    with pytest.raises(OSError) as caught:
        fetch(source, path, progress=False)
    message = str(caught.value)
    assert message.startswith(f"could not download {source.url} (") and BY_HAND in message
    assert "\n" not in message and "Errno" not in message and not path.exists()
    return message


def test_a_whole_file_arrives_with_progress(server, source, path, capsys):
    server.files["/file.bin"] = CONTENT
    fetch(source, path)
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert "100%" in capsys.readouterr().err and server.asked == [("/file.bin", None)]


# --- what a second attempt mends


RECOVERS = {
    "cut once": (cuts(CONTENT, 700_000), "bytes=700000-"),
    "cut at once": (cuts(CONTENT, 0), None),
    "cut in chunks": (cuts_chunks(CONTENT, 700_000), None),
    "stalled": (stalls(CONTENT, 300_000), "bytes=300000-"),
    "429": (refuses(429, Retry_After="0"), None),
    "500": (refuses(500), None),
    "503": (refuses(503), None),
}


@pytest.mark.parametrize("fault", RECOVERS)
def test_what_fails_once_is_asked_for_again_from_where_it_stopped(server, source, path, fault):
    answer, asked = RECOVERS[fault]
    server.files["/file.bin"] = one_after_the_other(answer, CONTENT)
    fetch(source, path, progress=False)
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert len(server.asked) == 2
    assert asked is None or server.asked[1] == ("/file.bin", asked)


def test_a_later_call_goes_on_from_what_came(server, source, path):
    server.files["/file.bin"] = one_after_the_other(cuts(CONTENT, 500_000), refuses(403))
    message = told(source, path)
    assert "403" in message and "The 500,000 bytes that came are kept" in message
    server.asked.clear()
    server.files["/file.bin"] = CONTENT
    fetch(source, path, progress=False)
    assert path.read_bytes() == CONTENT and server.asked == [("/file.bin", "bytes=500000-")]


@pytest.mark.parametrize(
    ("kept", "answer"),
    [
        (CONTENT[:1000], lambda handler: handler.wfile.write(handler.begin(CONTENT, ranges=False))),
        (OTHER[:1000], CONTENT),
        (CONTENT + b"more", CONTENT),
        (CONTENT[:1000], sends_from(CONTENT, 500)),
    ],
    ids=["no ranges", "the file has changed", "too long", "from another byte"],
)
def test_where_it_cannot_go_on_it_starts_anew(server, source, path, kept, answer):
    part_of(path).write_bytes(kept)
    server.files["/file.bin"] = answer
    fetch(source, path, progress=False)
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]


def test_what_was_whole_and_not_renamed_is_not_fetched_again(server, source, path):
    part_of(path).write_bytes(CONTENT)
    fetch(source, path, progress=False)
    assert path.read_bytes() == CONTENT and server.asked == []


def test_a_whole_file_is_taken_whatever_length_was_announced(server, source, path):
    server.files["/file.bin"] = lies(CONTENT, 2_000_000)
    fetch(source, path, progress=False)
    assert path.read_bytes() == CONTENT and len(server.asked) == 1


# --- what stays a failure


FAILS = {
    "cut each time": (cuts(CONTENT, 1000, ranges=False), r"1,000 of 1,280,000 bytes came"),
    "cut in chunks each time": (cuts_chunks(CONTENT, 1000), "was cut|bytes came"),
    "stalls each time": (stalls(CONTENT, 0), r"nothing came for 0.3 seconds"),
    "trickles": (trickles(CONTENT), r"only \d+ bytes came in \d seconds"),
    "another file": (OTHER, r"its checksum is \w{8}, expected \w{8}: another file was sent"),
    "a page": (PAGE, r'a web page with the title "Sign in to the network" came in its place'),
    "a shorter length": (lies(CONTENT, 1000), "another file was sent"),
    "a longer length": (lies(OTHER, 2_000_000), "1,280,000 of 2,000,000 bytes came"),
    "an enormous length": (lies(CONTENT, 10**15), "announces 1,000,000,000,000,000 bytes"),
    "no length": (lies(CONTENT, "many"), "announces a length of 'many'"),
    "403": (refuses(403), "403 Forbidden"),
    "404": (None, "404 Not Found"),
    "429": (refuses(429, Retry_After="3600"), "429 Too Many Requests; it asks to try again in 3600 seconds"),
    "500": (refuses(500), "500 Internal Server Error"),
    "no HTTP": (speaks_no_http, "220 smtp ready"),
}
ATTEMPTS = {"cut each time": 3, "stalls each time": 3, "500": 3, "429": 1, "403": 1, "a page": 1}


@pytest.mark.parametrize("fault", FAILS)
def test_what_does_not_come_is_told_in_one_sentence(server, source, path, fault):
    answer, words = FAILS[fault]
    if answer is not None:
        server.files["/file.bin"] = answer
    message = told(source, path)
    assert re.search(words, message), message
    assert len(server.asked) == ATTEMPTS.get(fault, len(server.asked))
    left = {file.name for file in path.parent.iterdir()}
    assert left == ({"file.bin.part"} if "are kept" in message else set())


def test_a_page_does_not_take_the_place_of_what_came_before(server, source, path):
    part_of(path).write_bytes(CONTENT[:1000])
    server.files["/file.bin"] = lambda handler: handler.wfile.write(handler.begin(PAGE, ranges=False))
    assert "a web page" in told(source, path)
    assert part_of(path).read_bytes() == CONTENT[:1000]


def test_an_earlier_file_survives_a_download_that_fails(server, source, path):
    path.write_bytes(b"old and whole")
    server.files["/file.bin"] = PAGE
    with pytest.raises(OSError):
        fetch(source, path, progress=False)
    assert path.read_bytes() == b"old and whole"


def test_a_server_that_is_not_there(server, source, path):
    server.shutdown()
    server.server_close()
    assert "refused" in told(source, path)


def test_a_disk_without_room_is_told_before_anything_is_written(server, source, path, monkeypatch):
    server.files["/file.bin"] = CONTENT
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    assert "1,280,000 bytes are to come, and the disk has 1,000 free" in told(source, path)
    assert list(path.parent.iterdir()) == []


def test_an_endless_file_ends(server, source, path, monkeypatch):
    monkeypatch.setattr(fetching, "LARGEST", 1_000_000)
    server.files["/file.bin"] = lambda handler: (
        handler.send_response(200),
        handler.end_headers(),
        handler.wfile.write(CONTENT),
    )
    assert "more than 1,000,000 bytes came" in told(source, path)


# --- two at once


CHILD = """
import sys
from pathlib import Path
from dfcvae import download
from dfcvae.fetching import Source
url, checksum, root = sys.argv[1:]
download.CELEBA = {"list.txt": Source(url, checksum, "by hand", "md5")}
download.fetch_celeba(Path(root), progress=False)
"""


def test_two_processes_that_ask_at_once_download_once(server, tmp_path):
    both_are_there = threading.Event()

    def slowly(handler):
        both_are_there.wait(60)
        handler.send_whole(CONTENT)

    server.files["/list.txt"] = slowly
    (tmp_path / "expected").write_bytes(CONTENT)
    arguments = (
        f"{server.address}/list.txt",
        files.digest(tmp_path / "expected", "md5"),
        str(tmp_path / "data"),
    )
    command = [sys.executable, "-c", CHILD, *arguments]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    watched = [threading.Thread(target=lambda p=p: _until_waiting(p, both_are_there)) for p in processes]
    for thread in watched:
        thread.start()
    for thread in watched:
        thread.join(60)
    assert [process.wait(60) for process in processes] == [0, 0]
    assert both_are_there.is_set() and len(server.asked) == 1
    assert (tmp_path / "data" / "list.txt").read_bytes() == CONTENT


def _until_waiting(process, event) -> None:
    """Sets the event when a process says that it waits for the other."""
    for line in process.stderr:
        if "another process downloads CelebA" in line:
            event.set()
