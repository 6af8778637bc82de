"""A run folder: its settings, its last two checkpoints, its measurements, and reading a trained model back.

    config.json                what was trained, on what, how, and on which machines
    checkpoint.pt              the newest state, and checkpoint.previous.pt the one before it
    metrics.jsonl              a line of measurements every so many steps; beside it two previews as PNG

A checkpoint is written beside its place, read again and renamed: whatever a power cut leaves, one is whole.
"""

from __future__ import annotations

import inspect
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dfcvae import device as devices
from dfcvae.datasets import Images
from dfcvae.dfc import DFCVAE
from dfcvae.files import checksum, could_not_write, flush, is_state_dict, load_checked, torn, write_whole
from dfcvae.vae import VAE
from dfcvae.version import __version__

# What two calls on one folder may differ in.
MAY_CHANGE = {"steps", "epochs", "minutes", "precision", "preview_every", "log_every"}


class RunFolder:
    """What lies where in a run folder. A new one is made when it is locked."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.last, self.before = self.path / "checkpoint.pt", self.path / "checkpoint.previous.pt"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One training at a time; BlockingIOError where another one is under way.

        The lock is the operating system's and goes with the process, however that ends. Where the file system
        has no locks, a warning says so.
        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"{str(self.path)!r} cannot be a run folder ({error.strerror}): give another."
            ) from None
        # A newer filelock may stand a file in for a lock, which a killed process would leave behind.
        known = inspect.signature(FileLock.__init__).parameters
        options = {"fallback_to_soft": False} if "fallback_to_soft" in known else {}
        lock = FileLock(self.path / ".lock", timeout=0, **options)  # type: ignore[arg-type]
        try:
            lock.acquire()
        except Timeout:
            raise BlockingIOError(
                f"another training is under way in {str(self.path)!r}: wait for it, stop it (in another "
                "notebook: restart its kernel), or give another folder."
            ) from None
        except (OSError, NotImplementedError) as error:
            warnings.warn(
                f"{str(self.path)!r} cannot be locked ({error}): see to it that no other training uses it.",
                stacklevel=3,
            )
        try:
            yield
        finally:
            lock.release()

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint."""
        return self.last.is_file() or self.before.is_file()

    def config(self) -> dict[str, Any]:
        """The content of config.json. Raises FileNotFoundError or ValueError."""
        path = self.path / "config.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{str(self.path)!r} holds no config.json: give the --out folder of a training."
            )
        try:
            config = json.loads(path.read_text())
            return config | {section: dict(config[section]) for section in ("model", "data", "training")}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{str(path)!r} holds no settings of a training ({error}): train again."
            ) from None

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.json. Whoever is in its "machines" already stays, so that a moved run tells of all."""
        stored = self.config() if self.begun else {}
        machines = [*stored.get("machines", []), *config["machines"]]
        config["machines"] = [machine for i, machine in enumerate(machines) if machine not in machines[:i]]
        text = json.dumps(config, indent=2) + "\n"
        write_whole(self.path / "config.json", lambda part: part.write_text(text))

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint: tensors, numbers and texts. OSError where it does not come back whole."""

        def write(part: Path) -> None:
            torch.save(state, part)
            if broken := torn(part):
                raise OSError(f"what was written does not come back: {broken}")

        write_whole(self.last, write, previous=self.before)

    def checkpoint(self, mend: bool = False) -> dict[str, Any]:
        """The newest whole checkpoint, on the CPU; nothing in it is executed.

        Where it is not the last one written, a warning says so. mend: put it in the place of the damaged
        one, which the next ``save`` would keep else. Raises FileNotFoundError, ValueError or OSError.
        """
        try:
            return _read_state(self.last)
        except (FileNotFoundError, ValueError) as error:
            if not self.before.is_file():
                raise
            unusable = error
        try:
            state = _read_state(self.before)
        except ValueError:
            raise unusable from None
        what = "is not there" if isinstance(unusable, FileNotFoundError) else "is damaged"
        warnings.warn(
            f"{str(self.last)!r} {what}: the one before it, of step {state['step']}, is used.", stacklevel=2
        )
        if mend:
            self.before.replace(self.last)
        return state

    def metrics(self, up_to_step: float = math.inf) -> list[dict[str, float]]:
        """The lines of metrics.jsonl up to a step; a line torn by a power cut is left out."""
        path, lines = self.path / "metrics.jsonl", []
        for text in path.read_text().splitlines() if path.is_file() else []:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and line.get("step", math.inf) <= up_to_step:
                lines.append(line)
        return lines

    def drop_metrics_after(self, step: int) -> None:
        """Leave out the lines of steps that a resumed run takes again."""
        text = "".join(json.dumps(line) + "\n" for line in self.metrics(step))
        write_whole(self.path / "metrics.jsonl", lambda part: part.write_text(text))

    def add_metrics(self, line: Mapping[str, float]) -> None:
        """Append a line, on the disk before a checkpoint of the same step is."""
        path = self.path / "metrics.jsonl"
        try:
            with path.open("ab") as file:
                file.write((json.dumps(line) + "\n").encode())
                flush(file)
        except OSError as error:
            raise could_not_write(path, error) from None


def _read_state(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(path.parent)!r} holds no {path.name}: give the --out folder of a training."
        )
    try:
        state = load_checked(path)
        if not is_state_dict(state["model"]):
            raise ValueError("its model is not names with tensors of real numbers")
        return {"scaler": {}} | state | {"step": int(state["step"]), "seconds": float(state["seconds"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is no checkpoint of a training ({error}): train again.") from None


def describe_run(
    model: DFCVAE, images: Images, training: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """Everything that another program needs to know of a run, as it stands in config.json."""
    names = ("preset", "image_size", "latent_dim", "alpha", "beta")
    described: dict[str, Any] = {name: getattr(model, name) for name in names}
    described |= {"channels": list(model.channels), "features": model.features_name}
    described["layer_weights"] = None if model.perceptual is None else model.perceptual.layer_weights
    some = images.pixels[torch.linspace(0, len(images) - 1, 64).long()]  # enough to tell two sets apart
    data = {"name": images.name, "split": images.split, "images": len(images), "size": model.image_size}
    data["checksum"] = checksum(some)
    machine = {"device": devices.describe(device), "torch": torch.__version__, "dfcvae": __version__}
    return {"model": described, "data": data, "training": training, "machines": [machine]}


def refuse_other_settings(
    folder: RunFolder, config: dict[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The folder's config; ValueError where it was begun with other settings than those of ``config``.

    defaults: of settings that the folder does not name, since they are younger than it.
    """
    stored = folder.config()
    for section in ("model", "data", "training"):
        for key, now in config[section].items():
            before = stored[section].get(key, defaults.get(key))
            if key not in MAY_CHANGE and not _same(before, now):
                raise ValueError(
                    f"{str(folder.path)!r} holds a run with {key} = {before}, asked for was {now}: "
                    "give the same settings to go on with it, or another folder to start anew."
                )
    return stored


def _same(before: Any, now: Any) -> bool:
    """Equal; weights of layers to a part in a thousand: calibrated ones round differently by machine."""
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(
            math.isclose(before[key], now[key], rel_tol=1e-3) for key in now
        )
    return before == now


def read_config(out: str | Path) -> dict[str, Any]:
    """The settings of a run folder. Raises FileNotFoundError or ValueError."""
    return RunFolder(out).config()


def read_metrics(out: str | Path) -> list[dict[str, float]]:
    """The lines of a run folder's metrics.jsonl."""
    return RunFolder(out).metrics()


def load_run(out: str | Path, device: torch.device | str = "cpu") -> VAE:
    """The trained VAE of a run folder, in eval mode, without its loss network.

    Raises FileNotFoundError where there is none, ValueError where it is damaged.
    """
    folder = RunFolder(out)
    model = folder.config()["model"]
    try:
        vae = VAE(model["image_size"], model["latent_dim"], model["channels"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"config.json of {str(out)!r} describes no model ({error!r}): train again."
        ) from None
    with telling_what_does_not_fit(folder):
        vae.load_state_dict(folder.checkpoint()["model"])
    return vae.to(device).eval()


@contextmanager
def telling_what_does_not_fit(folder: RunFolder) -> Iterator[None]:
    """Raise ValueError, naming the folder, where a checkpoint does not fit what its settings describe."""
    try:
        yield
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"config.json and checkpoint.pt of {str(folder.path)!r} disagree ({reason}): train again."
        ) from None
