"""What the machine has: device, precision, threads."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Of a loss in fp16, some thousand nats at first: with PyTorch's 65,536 the first ten steps would overflow.
FIRST_SCALE = 32.0
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # names of mallopt(3)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """ "auto" is CUDA, then Apple's MPS, then the CPU. Raises ValueError for a device that is not there."""
    if str(device) == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {str(device)!r} cannot be used ({reason}): try 'auto' or 'cpu'.") from None
    return torch.device(device)


def pick_precision(device: torch.device, precision: str = "auto") -> str:
    """ "auto" is bf16 where the hardware computes in it, fp16 on older CUDA GPUs (a T4), and fp32 else.

    Losses are summed in fp32 always. Raises ValueError for a precision that is unknown or unfit.
    """
    if precision == "auto":
        return _fastest(device)
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: expected auto, {', '.join(PRECISIONS)}.")
    if precision != "fp32" and device.type == "mps":
        raise ValueError(f"precision {precision!r} on Apple's GPU, which trains in fp32: give auto or fp32.")
    return precision


def _fastest(device: torch.device) -> str:
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        # Tensor cores began with Volta (7.0). The GTX 16 series has none and is known for NaN in fp16.
        tensor_cores = capability >= (7, 0) and "GTX 16" not in torch.cuda.get_device_name(device)
        return "bf16" if capability >= (8, 0) else "fp16" if tensor_cores else "fp32"
    # Instructions for products of bf16: oneDNN takes more processors, and is slow or fails on them.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    computes = device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in checks)
    return "bf16" if computes and _trains_in_bf16() else "fp32"


def _trains_in_bf16() -> bool:
    """Whether a convolution runs forwards and backwards; some processors have the one and not the other."""
    x, kernel = torch.ones(1, 1, 4, 4, requires_grad=True), torch.ones(1, 1, 3, 3, requires_grad=True)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.conv2d(x, kernel).sum().backward()
    except RuntimeError:
        return False
    return True


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Convolutions and products in ``precision``; on fp32 it does nothing."""
    return torch.autocast(device.type, PRECISIONS[precision]) if precision != "fp32" else nullcontext()


def loss_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Keeps fp16's gradients within its narrow range, and skips a step where they overflow; else nothing."""
    return torch.amp.GradScaler(device.type, FIRST_SCALE, enabled=precision == "fp16")


def layout(device: torch.device) -> torch.memory_format:
    """How pictures lie in memory: channels last is faster, but MPS has got its batch norm wrong."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """Small numbers made on the CPU; a CUDA device fetches them without being waited for."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)


@contextmanager
def repeating_steps(device: torch.device) -> Iterator[None]:
    """Every step has the shapes of the one before, and two libraries can make use of that.

    cuDNN tries its kernels out once and takes the fastest. glibc keeps the memory of freed tensors for the
    next step: else it gives large ones back to the system, which hands out empty pages anew at each touch.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    _glibc("mallopt", M_MMAP_MAX, 0)
    _glibc("mallopt", M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
        _glibc("mallopt", M_MMAP_MAX, 65_536)  # glibc's own
        _glibc("mallopt", M_TRIM_THRESHOLD, 2**27)  # its own is 128 KiB until it has adapted itself
        _glibc("malloc_trim", 0)


def _glibc(function: str, *numbers: int) -> None:
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        getattr(ctypes.CDLL(None), function)(*numbers)


def available_threads() -> int:
    """Processors that this process may use: its affinity and its container's limit count."""
    from joblib import cpu_count

    return cpu_count()


def use_available_threads() -> int:
    """Let torch use no more threads than ``available_threads``, and say how many it uses.

    torch counts the machine's cores, not the container's share; threads without a core only wait.
    """
    torch.set_num_threads(min(torch.get_num_threads(), available_threads()))
    return torch.get_num_threads()


def describe(device: torch.device) -> str:
    """The device in words: "CUDA: NVIDIA T4" or "CPU, 2 threads"."""
    if device.type == "cuda":
        return f"CUDA: {torch.cuda.get_device_name(device)}"
    return "Apple GPU (MPS)" if device.type == "mps" else f"CPU, {torch.get_num_threads()} threads"
