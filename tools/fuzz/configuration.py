"""config.json and metrics.jsonl of a run folder, and the profile: other types, enormous numbers, no text."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

from PIL import Image

from dfcvae import load
from dfcvae.cli import main
from fuzz import checkpoints
from fuzz.mutate import PAGE, damaged
from fuzz.worker import Case

CONFIG, METRICS = "config.json", "metrics.jsonl"

ODD = (
    None, True, False, -1, 0, 1, 2, 7, 31, 33, 128, 10**6, 10**30, -(10**30), 1e308, 0.5, float("nan"),
    float("inf"), "", "x", "64", "a\nb", "\x1b[2J", "../..", "faces", "\ud800", "x" * 10_000, [], [4],
    [4, "6"], [0], [-1], [10**9], [4] * 50, {}, {"a": 1}, [[4]], [1.5],
)  # fmt: skip


def prepare() -> None:
    checkpoints.prepare()
    for split in ("train", "validation", "test"):
        load("faces", split, 32, progress=False)


def make(random_: random.Random, folder: Path) -> Case:
    run = folder / "in"
    for name, content in checkpoints.FILES.items():
        (run / name).write_bytes(content)
    target = CONFIG if random_.random() < 0.85 else METRICS
    what, content = _bad(random_, checkpoints.FILES[target], target)
    (run / target).write_bytes(content)
    if random_.random() < 0.05:
        os.environ["DFCVAE_PROFILE"] = random_.choice(("", "laptop", "\x1b[2J", "x" * 9000, "a\nb"))
    picture = folder / "out" / "s.png"
    commands = {
        "sample": ["sample", "-n", "2", "--out", str(picture)],
        "reconstruct": ["reconstruct", "-n", "2", "--data", "faces", "--out", str(picture)],
        "evaluate": ["evaluate", "--data", "faces", "--json", "--device", "cpu"],
    }
    name = "sample" if target == CONFIG and random_.random() < 0.7 else random_.choice(list(commands))
    command = [*commands[name], "--run", str(run)]
    return Case(
        f"{target}, {name}: {what}",
        lambda: main(command),
        lambda: _check(folder, name),
        past=_opens(content, target),
    )


def _opens(content: bytes, target: str) -> bool:
    """It is JSON; of metrics.jsonl, a line is."""
    try:
        text = content.decode()
        for line in text.splitlines() if target == METRICS else [text]:
            json.loads(line)
        return True
    except (ValueError, RecursionError):
        return False


def _check(folder: Path, name: str) -> str:
    if name == "evaluate":
        text = (folder / "stdout").read_text().splitlines()[-1]
        figures = json.loads(text, parse_constant=lambda constant: constant)
        return "" if figures["images"] == 51 and "NaN" not in text else f"evaluated {text[:100]}"
    with Image.open(folder / "out" / "s.png") as opened:
        return "" if opened.mode == "RGB" and min(opened.size) > 64 else f"the picture is {opened.size}"


def _bad(random_: random.Random, content: bytes, target: str) -> tuple[str, bytes]:
    draw = random_.random()
    if draw < 0.25:
        return damaged(random_, content, header=2)
    if draw < 0.35:
        deep = random_.choice((b"[", b'{"a":')) * random_.choice((50, 100_000))
        others = (
            PAGE,
            b"",
            content.decode().encode("utf-16"),
            b"\xff\xfe" + content,
            deep,
            b"9" * 100_000,
            b"[]",
        )
        return "another text", random_.choice(others)
    lines = [content.decode()] if target == CONFIG else content.decode().splitlines()
    place = random_.randrange(len(lines))
    tree = json.loads(lines[place])
    what = [_change(random_, tree) for _ in range(random_.choice((1, 1, 2, 5)))]
    lines[place] = json.dumps(tree)
    return "; ".join(what), "\n".join(lines).encode("utf-8", "replace")


def _change(random_: random.Random, tree: dict) -> str:
    """Put an odd value somewhere, or take one away, or add one."""
    names = []
    section = random_.choice(["model", "model", "data", "training"])
    while isinstance(tree, dict) and tree:
        key = (
            section
            if not names and section in tree and random_.random() < 0.9
            else random_.choice(list(tree))
        )
        names.append(key)
        if not isinstance(tree[key], dict) or not tree[key] or random_.random() < 0.1:
            break
        tree = tree[key]
    if not names:
        return "nothing left"
    if random_.random() < 0.15:
        del tree[names[-1]]
        return f"{'.'.join(names)} gone"
    value = random_.choice(ODD)
    tree[names[-1] if random_.random() < 0.9 else "unknown"] = value
    return f"{'.'.join(names)} = {str(value)[:40]!r}"
