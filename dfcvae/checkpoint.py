"""A run folder: its settings, its checkpoint and its measurements, and reading them again."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dfcvae
from dfcvae import ranks
from dfcvae.datasets import Images
from dfcvae.dfc import DFCVAE
from dfcvae.files import checksum, write_whole
from dfcvae.hardware import describe
from dfcvae.settings import Settings
from dfcvae.vae import VAE

CONFIG, CHECKPOINT, METRICS = "config.json", "checkpoint.pt", "metrics.jsonl"
# What two calls on one folder may differ in.
MAY_CHANGE = {"steps", "epochs", "minutes", "precision", "compile", "preview_every", "log_every"}
DEFAULTS = {"training": asdict(Settings())}  # settings that a folder does not name are younger than it


def save_checkpoint(
    out: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write what a run needs to go on: tensors and numbers only, written beside and renamed."""
    state = {
        "step": step,
        "seconds": seconds,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler else {},
    }
    write_whole(out / CHECKPOINT, lambda part: torch.save(state, part))


def refuse_broken_weights(model: nn.Module, step: int) -> None:
    """A loss is that of the weights before its step, so a number does not vouch for what the step made."""
    broken = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise FloatingPointError(
            f"{broken[0]} holds NaN or infinity after step {step}: lower the learning rate; a checkpoint in "
            "the run folder, if there is one, is from before."
        )


def read_checkpoint(out: Path) -> dict[str, Any]:
    """The checkpoint of a run folder, on the CPU; nothing in it is executed.

    Raises FileNotFoundError or ValueError, and OSError for what the disk does.
    """
    path = Path(out) / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(f"{str(out)!r} holds no {CHECKPOINT}: give the --out folder of a training.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        needed = {key: state[key] for key in ("step", "seconds", "model", "optimizer")}
        return needed | {"scaler": state.get("scaler", {})}  # which older checkpoints have not
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
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} holds no settings of a training ({error}): train again.") from None


def describe_run(
    model: DFCVAE, images: Images, training: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """Everything that another program needs to know of a run, as it stands in config.json."""
    layer_weights = None if model.perceptual is None else model.perceptual.layer_weights
    described = {"preset": model.preset, "image_size": model.image_size, "latent_dim": model.latent_dim}
    described |= {"channels": list(model.channels), "alpha": model.alpha, "beta": model.beta}
    described |= {"features": model.features_name, "layer_weights": layer_weights}
    data = {"name": images.name, "split": images.split, "images": len(images), "size": model.image_size}
    data["checksum"] = checksum(images.pixels[torch.linspace(0, len(images) - 1, 64).long()])
    machine = {"device": describe(device), "ranks": ranks.count(), "torch": torch.__version__}
    machine["dfcvae"] = dfcvae.__version__
    return {"model": described, "data": data, "training": training, "machine": machine}


def refuse_other_settings(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Going on with other settings would be neither the old run nor a new one."""
    for section in ("model", "data", "training"):
        known = DEFAULTS.get(section, {}) | old[section]
        for key in new[section]:
            before, after = known.get(key), new[section][key]
            if key not in MAY_CHANGE and not same_setting(before, after):
                raise ValueError(
                    f"{str(out)!r} holds a run with {key} = {before}, asked for was {after}: "
                    "give the same settings to go on with it, or another folder to start anew."
                )


def refuse_other_ranks(first: dict[str, Any], own: dict[str, Any]) -> None:
    """Ranks that train different things give the mean of their gradients, and nothing meaningful."""
    for section in ("model", "data", "training"):
        for key in own[section]:
            if not same_setting(first[section][key], own[section][key]):
                raise ValueError(
                    f"rank {ranks.rank()} has {key} = {own[section][key]}, the first has "
                    f"{first[section][key]}: start all ranks with the same command, data and loss network."
                )


def same_setting(before: Any, after: Any) -> bool:
    """Equal; weights of layers to a part in a thousand: calibrated ones round differently by machine."""
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(
            math.isclose(before[key], after[key], rel_tol=1e-3) for key in after
        )
    return before == after


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
        except ValueError:
            continue
        if isinstance(line, dict) and line.get("step", float("inf")) <= up_to_step:
            lines.append(line)
    return lines


def write_metrics(out: Path, lines: list[dict[str, float]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_whole(out / METRICS, lambda part: part.write_text(text))


class MetricsWriter:
    """Writes the lines of metrics.jsonl: means of the loss's terms since the line before."""

    def __init__(self, out: Path, per_epoch: int, batch_size: int, step: int, seconds: float) -> None:
        self.path, self.per_epoch, self.batch_size = out / METRICS, per_epoch, batch_size
        self.step, self.seconds = step, seconds

    def line(self, step: int, start: float, terms: list[dict[str, Tensor]], rate: float) -> dict[str, float]:
        """terms: of each step since the last line. start: when the run would have started without a pause.

        The means are those of all ranks, so that what is no number on one of them is none on all.
        Raises FloatingPointError, naming the term, where a mean is no number.
        """
        series = {
            name: ranks.averaged(torch.stack([term[name].float() for term in terms])) for name in terms[0]
        }
        means = {name: values.mean().item() for name, values in series.items()}
        if not all(map(math.isfinite, means.values())):
            raise FloatingPointError(
                f"{_first_broken(series)} is no number between steps {self.step} and {step}: lower the "
                "learning rate; a checkpoint in the run folder, if there is one, is from before."
            )
        seconds = time.perf_counter() - start
        speed = (step - self.step) * self.batch_size / max(seconds - self.seconds, 1e-9)
        line = {"step": step, "epoch": step / self.per_epoch, "images": step * self.batch_size}
        line |= {"seconds": round(seconds, 3), "images_per_second": round(speed, 1), "learning_rate": rate}
        self.step, self.seconds = step, seconds
        return line | means

    def append(self, line: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _first_broken(series: dict[str, Tensor]) -> str:
    """The first term that is no number, a part of the loss before the loss itself."""
    steps = range(len(series["loss"]))
    return next(name for step in steps for name in reversed(series) if not series[name][step].isfinite())
