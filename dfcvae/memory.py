"""When a training does not fit into the memory of its device: which batch would."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from dfcvae import ranks
from dfcvae.device import autocast
from dfcvae.trainer import Trainer

SMALL, LARGER = 4, 8  # images of the two steps that are tried
USABLE = 0.9  # of the memory: the rest goes to fragments and to what the libraries take for themselves


@contextmanager
def telling_what_fits(trainer: Trainer) -> Iterator[None]:
    """Let an OutOfMemoryError name the batch size that would fit.

    Not measured on a GPU yet: the arithmetic is tested with made-up memories.
    """
    full = False
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # they hold the activations of the step that failed
        full = True
    if full:
        size = trainer.settings.batch_size
        raise torch.cuda.OutOfMemoryError(
            f"out of memory at batch_size {size}: {_advice(size, _fitting(trainer))} A run that has been "
            "begun keeps its batch size: give another folder then."
        )


def _advice(size: int, fitting: int) -> str:
    if fitting >= 2:
        return f"give {fitting}, which fits by what {SMALL} and {LARGER} images took."
    if size > LARGER:
        return f"by what {SMALL} and {LARGER} images took, no batch fits: is another program on the device?"
    return "that is small already: give smaller images, or device='cpu'."


def _fitting(trainer: Trainer) -> int:
    size = trainer.settings.batch_size
    if size <= LARGER:
        return 0
    if trainer.device.type != "cuda" or ranks.count() > 1:  # ranks would have to try together
        return 2 ** ((size - 1).bit_length() - 1)
    trainer.optimizer.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(trainer.device)
    usable = USABLE * (free + torch.cuda.memory_reserved(trainer.device))
    try:
        return batch_that_fits(size, lambda images: _peak(trainer, images), usable)
    except torch.cuda.OutOfMemoryError:
        return 0


def batch_that_fits(size: int, peak: Callable[[int], float], usable: float) -> int:
    """The largest power of two below ``size`` whose step takes no more than ``usable`` bytes; 0 for none.

    peak: bytes at the worst moment of a step of so many images, of which two are tried; the rest is a line.
    """
    least = peak(SMALL)
    each = max((peak(LARGER) - least) / (LARGER - SMALL), 1.0)
    fits = int(min(SMALL + (usable - least) / each, size - 1))
    return 2 ** (fits.bit_length() - 1) if fits >= 2 else 0


def _peak(trainer: Trainer, images: int) -> float:
    """Bytes of a step of so many black images; nothing is learnt from them."""
    model, device = trainer.model.train(), trainer.device
    torch.cuda.reset_peak_memory_stats(device)
    x = torch.zeros((images, 3, model.image_size, model.image_size), device=device)
    x = x.to(memory_format=trainer.layout)
    with autocast(device, trainer.settings.precision):
        model.loss_function(model(x), x)["loss"].backward()
    trainer.optimizer.zero_grad(set_to_none=True)
    return torch.cuda.max_memory_allocated(device)
