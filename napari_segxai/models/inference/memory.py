"""Memory: using again what was freed; running out of it, told apart from other errors."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

import torch

LARGE = 2**22
"""Cells of a grid beyond which one image at a time is enough."""


class OutOfMemory(MemoryError):
    """The device had too little memory even for one image at a time.

    Not a RuntimeError, as torch's own error is: napari's generator workers swallow those.
    """

    def __init__(self, device: torch.device):
        lower = "choose the CPU as device, " if device.type != "cpu" else ""
        super().__init__(
            f"{device} ran out of memory; {lower}crop or downsample the image, or use a model with a smaller grid."
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


@cache
def keep_freed_memory() -> None:
    """Let the C library use the memory of freed feature maps again, instead of giving it back after every batch.

    glibc does so up to twice the size of the largest block below 32 MiB that was freed: here one that is never written
    to, and so takes no memory. Without it, the pages of every batch are asked for again, which takes a fifth of the
    time of many small passes. Elsewhere it changes nothing.
    """
    block = torch.empty(2**25 - 8192, dtype=torch.uint8)
    del block


def free(device: torch.device) -> None:
    """Give cached memory back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def guarded(device: torch.device) -> Generator[None]:
    """Turn the device's out-of-memory error into `OutOfMemory`, once its memory is freed."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or isinstance(error, OutOfMemory):
            raise
    else:
        return
    free(device)  # outside the except clause, whose traceback holds the tensors
    raise OutOfMemory(device)
