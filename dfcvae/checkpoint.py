"""A run folder: its settings, its last two checkpoints and its measurements, and reading them again.

A checkpoint is one file, a zip archive with the CRC-32 of each of its records, so that nothing beside it can
be torn apart from it. torch.load does not look at them: of 2,000 checkpoints with one flipped bit it took
1,937, and 1,872 of these with other numbers; the checksums found them all. So each is read through once
before it gets its name, and once before it is used.

The new one is written beside, flushed, read again; then the one that was there is linked to the second name,
``checkpoint.previous.pt``, and the new one renamed onto the first. Whatever a power cut leaves of the first,
the second is whole. Where there are no links, for a moment there is the second name only, and it is used.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfcvae.files import is_state_dict, torn, write_whole
from dfcvae.vae import VAE

CONFIG, CHECKPOINT, METRICS = "config.json", "checkpoint.pt", "metrics.jsonl"
PREVIOUS = "checkpoint.previous.pt"
ADDED = {"scaler": {}, "seed": None, "seen": {}}  # to checkpoints in later releases, and what older ones mean


def save_checkpoint(
    out: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    scaler: torch.amp.GradScaler | None = None,
    seed: int | None = None,
    seen: dict[str, Tensor] | None = None,
) -> None:
    """Write what a run needs to go on: tensors and numbers only. The checkpoint before is kept.

    Everything random follows from seed and step. seen: the terms of the steps that no line tells yet.
    """
    state = {
        "step": step,
        "seconds": seconds,
        "seed": seed,
        "seen": seen or {},
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler else {},
    }

    def write(part: Path) -> None:
        torch.save(state, part)
        broken = torn(part)
        if broken:
            raise OSError(f"what was written does not come back: {broken}")

    write_whole(out / CHECKPOINT, write, previous=out / PREVIOUS)


def has_checkpoint(out: Path) -> bool:
    return any((Path(out) / name).is_file() for name in (CHECKPOINT, PREVIOUS))


def refuse_broken_weights(model: nn.Module, step: int) -> None:
    """A loss is that of the weights before its step, so a number does not vouch for what the step made."""
    broken = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise FloatingPointError(
            f"{broken[0]} holds NaN or infinity after step {step}: lower the learning rate; a checkpoint in "
            "the run folder, if there is one, is from before."
        )


def read_checkpoint(out: Path, mend: bool = False) -> dict[str, Any]:
    """The newest whole checkpoint of a run folder, on the CPU; nothing in it is executed.

    Where it is not the last one written, a warning says so. mend: put it then in the place of the torn one,
    which would be kept else as the one before the next. Raises FileNotFoundError or ValueError, and OSError
    for what the disk does.
    """
    last, previous = Path(out) / CHECKPOINT, Path(out) / PREVIOUS
    try:
        return _read(last)
    except (FileNotFoundError, ValueError) as error:
        if not previous.is_file():
            raise
        unusable = error
    try:
        state = _read(previous)
    except ValueError:
        raise unusable from None
    what = "is not there" if isinstance(unusable, FileNotFoundError) else "is torn"
    warnings.warn(f"{str(last)!r} {what}: the one before it, of step {state['step']}, is used.", stacklevel=2)
    if mend:
        previous.replace(last)
    return state


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(path.parent)!r} holds no {CHECKPOINT}: give the --out folder of a training."
        )
    try:
        broken = torn(path)
        if broken:
            raise ValueError(broken)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not is_state_dict(state["model"]):
            raise ValueError("its model is not names with tensors of real numbers")
        needed = {key: state[key] for key in ("step", "seconds", "model", "optimizer")}
        return needed | {key: state.get(key, older) for key, older in ADDED.items()}
    except pickle.UnpicklingError:
        raise ValueError(
            f"{str(path)!r} is no checkpoint of a training (it is damaged, or holds more than tensors and "
            "numbers, and nothing in it was run): train again."
        ) from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch.load raises what the damage happens to hit
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise ValueError(f"{str(path)!r} is no checkpoint of a training ({reason}): train again.") from None


def write_config(out: Path, config: dict[str, Any]) -> None:
    write_whole(out / CONFIG, lambda part: part.write_text(json.dumps(config, indent=2) + "\n"))


def read_config(out: Path) -> dict[str, Any]:
    """The settings of a run folder. Raises FileNotFoundError or ValueError."""
    path = Path(out) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{str(out)!r} holds no {CONFIG}: give the --out folder of a training.")
    try:
        config = json.loads(path.read_text())
        return config | {section: dict(config[section]) for section in ("model", "data", "training")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} holds no settings of a training ({error}): train again.") from None


@contextmanager
def telling_what_does_not_fit(out: Path) -> Iterator[None]:
    """Raise ValueError, naming the folder, where a checkpoint does not fit what its settings describe."""
    try:
        yield
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{CONFIG} and {CHECKPOINT} of {str(out)!r} disagree ({reason}): train again."
        ) from None


def load_run(out: str | Path, device: torch.device | str = "cpu") -> VAE:
    """The trained VAE of a run folder, in eval mode, without its loss network."""
    model = read_config(Path(out))["model"]
    try:
        vae = VAE(model["image_size"], model["latent_dim"], model["channels"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(Path(out) / CONFIG)!r} describes no model ({error!r}): train again."
        ) from None
    with telling_what_does_not_fit(Path(out)):
        vae.load_state_dict(read_checkpoint(Path(out))["model"])
    return vae.to(device).eval()


def read_metrics(out: str | Path, up_to_step: float = float("inf")) -> list[dict[str, float]]:
    """The lines of metrics.jsonl up to a step; a line torn by a power cut is left out."""
    path, lines = Path(out) / METRICS, []
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and line.get("step", float("inf")) <= up_to_step:
            lines.append(line)
    return lines


def write_metrics(out: Path, lines: list[dict[str, float]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_whole(out / METRICS, lambda part: part.write_text(text))
