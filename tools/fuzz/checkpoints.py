"""Checkpoints of a run folder: damaged, made up, with code; with and without the one before it."""

from __future__ import annotations

import io
import random
import tempfile
import warnings
import zipfile
from pathlib import Path

import torch
from PIL import Image
from tiny_run import go_on, same

from dfcvae.cli import main
from dfcvae.runs import RunFolder
from fuzz.mutate import damaged
from fuzz.weights import Trap
from fuzz.worker import Case

CHECKPOINT, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
FILES: dict[str, bytes] = {}
STATES: dict[str, dict] = {}
ODD = (None, -1, 10**30, float("nan"), "x", [], {}, torch.zeros(3), (1,), True)


def prepare() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        go_on(out, steps=2, preview_every=1)
        FILES.update({path.name: path.read_bytes() for path in out.iterdir() if path.is_file()})
        STATES[CHECKPOINT] = RunFolder(out).checkpoint()
        (out / CHECKPOINT).unlink()
        (out / PREVIOUS).rename(out / CHECKPOINT)
        STATES[PREVIOUS] = RunFolder(out).checkpoint()


def make(random_: random.Random, folder: Path) -> Case:
    run, fall_back = folder / "in", random_.random() < 0.4
    for name, content in FILES.items():
        if name != PREVIOUS or fall_back:
            (run / name).write_bytes(content)
    checked = random_.random() < 0.6
    if checked:
        what, content = damaged(random_, FILES[CHECKPOINT], header=600)
    else:
        what, content = _crafted(random_, folder / "code was run")
    (run / CHECKPOINT).write_bytes(content)
    command = ["sample", "--run", str(run), "-n", "2", "--out", str(folder / "out" / "s.png")]
    return Case(
        f"{what}{', with one before' if fall_back else ''}",
        lambda: main(command),
        lambda: _check(run, folder / "out" / "s.png", checked),
        past=_opens(content),
    )


def _opens(content: bytes) -> bool:
    """The zip's directory is read and names a pickle."""
    try:
        return any(name.endswith("data.pkl") for name in zipfile.ZipFile(io.BytesIO(content)).namelist())
    except Exception:
        return False


def _check(run: Path, picture: Path, checked: bool) -> str:
    with Image.open(picture) as opened:
        if opened.mode != "RGB" or opened.size != (8 * 66 + 2, 66 + 2):
            return f"the picture is {opened.mode} {opened.size}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = RunFolder(run).checkpoint()
    if checked and not any(same(state, whole) for whole in STATES.values()):
        return "a checkpoint that fails its checksums was read with other numbers"
    return ""


def _crafted(random_: random.Random, mark: Path) -> tuple[str, bytes]:
    state = {key: value for key, value in STATES[CHECKPOINT].items()}
    key, how = (
        random_.choice(list(state)),
        random_.choice(
            (
                "part gone",
                "odd part",
                "odd weight",
                "weight gone",
                "code",
                "code in the weights",
                "not a dictionary",
                "strange",
            )
        ),
    )
    weights = dict(state["model"])
    name = random_.choice(list(weights))
    if how == "part gone":
        del state[key]
    elif how == "odd part":
        state[key] = random_.choice(ODD)
    elif how == "odd weight":
        odd = (
            *ODD,
            torch.zeros(2, 2),
            weights[name].to("meta"),
            weights[name].int(),
            weights[name] * float("nan"),
        )
        odd += (
            torch.zeros(1).expand(10**6, 10**6),
            weights[name].to(torch.complex64),
            weights[name].double(),
        )
        weights[name] = random_.choice(odd)
    elif how == "weight gone":
        del weights[name]
    elif how == "code":
        state["extra"] = Trap(mark, random_.randrange(4))
    elif how == "code in the weights":
        weights[name] = Trap(mark, random_.randrange(4))
    elif how == "strange":
        weights |= {random_.choice((0, "x", "a\nb", None)): torch.zeros(1)}
    if isinstance(state.get("model"), dict):
        state["model"] = weights
    made = io.BytesIO()
    torch.save(random_.choice(ODD) if how == "not a dictionary" else state, made)
    return f"{how}, {name if 'weight' in how else key}", made.getvalue()
