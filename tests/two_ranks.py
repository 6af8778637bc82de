"""Two processes that train together over gloo, as torchrun would start them, and what they find."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dfcvae import DFCVAE, Images, ranks, train
from dfcvae.figures import png as pictures
from dfcvae.training import Settings, Trainer

WEIGHTS = {"relu1_1": 2.0, "relu2_1": 1.0, "relu3_1": 0.5}
PRESETS = ("pixel", "vae-123")
EXACT = {"batch_size": 8, "precision": "fp32", "flip": True}  # rounding in bf16 would hide what is compared
TRAINING = EXACT | {"progress": False, "device": "cpu", "schedule": "constant", "log_every": 2}


def build(preset: str, vgg_file: Path, **options) -> DFCVAE:
    torch.manual_seed(1)
    sizes = {"image_size": 32, "latent_dim": 5, "channels": (4, 6)}
    return DFCVAE(preset, features=vgg_file, layer_weights=WEIGHTS, **(sizes | options))


def gradients(preset: str, vgg_file: Path, images: Images) -> dict[str, torch.Tensor]:
    """Of the first step, by parameter; and what the batch norms have then seen, by buffer."""
    model = build(preset, vgg_file)
    trainer = Trainer(model.train(), images, Settings(steps=10, **EXACT), torch.device("cpu"))
    trainer.terms(trainer.batch(0), trainer.noise(0), trainer.shift(0))["loss"].backward()
    seen = {name: buffer for name, buffer in model.named_buffers() if "running" in name}
    return {name: parameter.grad for name, parameter in model.named_parameters()} | seen


def start(work, *arguments) -> None:
    """Run ``work(rank, *arguments)`` on two ranks, which meet in a store of this process."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    mp.spawn(_begin, (store.port, work, arguments), nprocs=2)


def _begin(rank: int, port: int, work, arguments) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    ranks.join()
    work(rank, *arguments)
    ranks.leave()


def train_together(rank: int, folder: Path, vgg_file: Path, images: Images, others: Images) -> None:
    """Everything that the tests compare, into ``folder``; rank 1 is given folders that are not there."""
    runs = folder if rank == 0 else folder / "of rank 1"
    for preset in PRESETS:
        torch.save(gradients(preset, vgg_file, images), folder / f"{preset}-gradients-{rank}.pt")
        model = build(preset, vgg_file)
        run = train(model, images, runs / preset, steps=10, validation=others, **TRAINING)
        torch.save(run.model.state_dict(), folder / f"{preset}-model-{rank}.pt")
    train(build("pixel", vgg_file), images, runs / "begun on two", steps=3, **TRAINING)
    train(build("pixel", vgg_file), images, runs / "begun on one", steps=6, **TRAINING)
    minutes = train(build("pixel", vgg_file), images, runs / "minutes", minutes=0.001, **TRAINING)
    torch.save(minutes.config["training"]["steps"], folder / f"steps-{rank}.pt")
    told = {name: _told(*call) for name, call in _failures(rank, runs, vgg_file, images).items()}
    torch.save(told, folder / f"told-{rank}.pt")
    torch.save(runs.exists(), folder / f"wrote-{rank}.pt")


def _failures(rank: int, runs: Path, vgg_file: Path, images: Images) -> dict:
    """Calls of ``train`` that must fail on both ranks, and what must break before them."""
    fewer = images if rank == 0 else images[:32]
    return {
        "batch size": (None, runs / "a", vgg_file, images, {"batch_size": 7}),
        "too small a batch": (None, runs / "b", vgg_file, images, {"batch_size": 2}),
        "a device": (None, runs / "c", vgg_file, images, {"device": "cpu" if rank == 0 else "abacus"}),
        "other settings": (None, runs / "pixel", vgg_file, images, {"learning_rate": 1.0}),
        "other images": (None, runs / "d", vgg_file, fewer, {}),
        "no number": (_nan_on_rank_1, runs / "e", vgg_file, images, {}),
        "disk": (_disk_full_on_rank_0, runs / "f", vgg_file, images, {}),
    }


def _told(broken, out: Path, vgg_file: Path, images: Images, settings: dict) -> tuple[str, str]:
    model = build("pixel", vgg_file)
    mend = broken() if broken else lambda: None
    try:
        train(model, images, out, steps=10, **(TRAINING | settings))
    except Exception as error:
        return type(error).__name__, str(error)
    finally:
        mend()
    return "nothing", ""


def _nan_on_rank_1():
    whole = Trainer.terms

    def terms(self, *arguments):
        found = whole(self, *arguments)
        return found | {"kl": found["kl"] * float("nan")} if ranks.rank() == 1 else found

    Trainer.terms = terms
    return lambda: setattr(Trainer, "terms", whole)


def _disk_full_on_rank_0():
    whole = pictures.save_previews

    def save_previews(*_):
        raise OSError("the disk is full")

    pictures.save_previews = save_previews
    return lambda: setattr(pictures, "save_previews", whole)
