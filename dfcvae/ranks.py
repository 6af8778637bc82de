"""One training on several processes, its *ranks*, which ``torchrun`` starts: one for each GPU, or CPUs.

    torchrun --nproc-per-node 2 -m dfcvae train --data faces --preset vae-123 --out runs/two

Every rank takes its own rows of each batch; gradients and batch norms are those of the whole batch, so that
the result is that of one process up to rounding. The first rank alone reads and writes the run folder and
speaks. Without torchrun's environment variables there is one rank, and nothing here does anything.
"""

from __future__ import annotations

import gc
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dfcvae.device import pick_device
from dfcvae.sync_batch_norm import synchronise

T = TypeVar("T")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # that torchrun sets
RAISED_AGAIN = (FloatingPointError, OSError, ValueError)  # on every rank as what it was on one


def count() -> int:
    """How many ranks train together: 1 unless torchrun has started this process."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in VARIABLES) else 1


def rank() -> int:
    return int(os.environ["RANK"]) if count() > 1 else 0


def is_first() -> bool:
    """Whether this is the rank that reads and writes the run folder, and speaks."""
    return rank() == 0


def join() -> None:
    """Meet the other ranks: gloo carries what lies on the CPU, nccl what lies on a GPU."""
    if count() > 1 and not dist.is_initialized():
        on_gpus = torch.cuda.is_available() and dist.is_nccl_available()  # which Windows has not
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")


def leave() -> None:
    """Part from the others at the end of a program; not after a failure, when it could wait for them."""
    if count() > 1 and dist.is_initialized():
        gc.collect()  # what still holds the group would take its threads down with the interpreter, and abort
        dist.destroy_process_group()


def own_device(device: str | torch.device = "auto") -> torch.device:
    """``pick_device`` for this rank: the GPU of its own number on its machine, or the CPU."""
    if count() == 1:
        return pick_device(device)
    place, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if str(device) not in ("auto", "cpu", "cuda", f"cuda:{place}"):
        raise ValueError(
            f"device is {str(device)!r} on {count()} ranks: expected auto, cpu or cuda, of which each rank "
            "takes the GPU of its own number."
        )
    if str(device) == "cpu" or str(device) == "auto" and not torch.cuda.is_available():
        return pick_device("cpu")
    if gpus and place >= gpus:
        raise ValueError(
            f"this machine has {gpus} GPUs and no {place + 1}th for its rank {place}: start it with "
            f"--nproc-per-node {gpus}."
        )
    chosen = pick_device(f"cuda:{place}")
    torch.cuda.set_device(chosen)
    return chosen


def check_batch(batch_size: int, images: int) -> None:
    """Raise ValueError, naming a size that fits, unless every rank gets equally many images, two at least."""
    ranks = count()
    if ranks > 1 and (batch_size % ranks or batch_size < 2 * ranks):
        fitting = min(max(2 * ranks, -(-batch_size // ranks) * ranks), images // ranks * ranks)
        advice = f"give {fitting}" if fitting >= 2 * ranks else "start fewer ranks"
        raise ValueError(
            f"batch_size is {batch_size} on {ranks} ranks: expected a multiple of {ranks}, and 2 images a "
            f"rank at least: {advice}."
        )


def own_rows(batch: Tensor) -> Tensor:
    """This rank's rows of what was drawn for the whole batch (B, ...): B / ranks of them."""
    size = len(batch) // count()
    return batch[rank() * size : (rank() + 1) * size]


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """What to call in place of ``model``: the same, with gradients and batch norms of all ranks' images.

    All ranks start from the first one's weights. Buffers are not sent at each step: the batch norms' move
    alike on all ranks, and those of the loss network never move.
    """
    if count() == 1:
        return model
    synchronise(model)
    model.load_state_dict(from_first(lambda: {k: v.cpu() for k, v in model.state_dict().items()}))
    # PyTorch has renamed the option.
    names = inspect.signature(DistributedDataParallel).parameters
    unsent = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    own_gpu = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=own_gpu, **{unsent: False})


def averaged(values: Tensor) -> Tensor:
    """The mean over the ranks, on the CPU where there are several."""
    if count() == 1:
        return values
    values = values.detach().cpu()
    dist.all_reduce(values)
    return values / count()


def from_first(read: Callable[[], T]) -> T:
    """What ``read`` gives on the first rank, handed to all; where it raises, all raise."""
    with agreed():
        found = read() if is_first() else None
    if count() == 1:
        return found
    box = [found]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def agreed() -> Iterator[None]:
    """What fails inside on one rank is raised on all: nobody waits for one who has gone.

    Nothing may be exchanged inside, since a rank that fails would not be there for it.
    """
    if count() == 1:
        yield
        return
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    failures: list[Any] = [None] * count()
    dist.all_gather_object(failures, _packed(failure))
    if failure is not None:
        raise failure
    for kind, message in filter(None, failures):
        raise kind(message)


def _packed(error: Exception | None) -> tuple[type[Exception], str] | None:
    kinds = (kind for kind in RAISED_AGAIN if isinstance(error, kind))
    return None if error is None else (next(kinds, RuntimeError), str(error))


def first_to_tell() -> bool:
    """Whether no other rank has told of a failure yet: one message is enough."""
    if count() == 1:
        return True
    if not dist.is_initialized():
        return is_first()
    try:
        return dist.distributed_c10d._get_default_store().add("dfcvae has told", 1) == 1
    except RuntimeError:  # the store has gone with the rank that held it, which has told
        return False


@contextmanager
def first_alone_speaks() -> Iterator[None]:
    """Nothing that the other ranks print inside is seen: no line, no warning, no progress bar."""
    with ExitStack() as stack:
        if not is_first():
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield
