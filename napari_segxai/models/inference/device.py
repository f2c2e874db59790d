"""Choosing where to compute."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from napari_segxai.core.errors import UserError
from napari_segxai.core.text_table import counted


def devices() -> dict[str, str]:
    """Return the devices of this machine: name for torch -> words for people, the best first."""
    found = {}
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        found[f"cuda:{index}"] = f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found["cpu"] = f"CPU, {counted(cores, 'core')}"
    return found


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """Return the torch device called `name`; "auto" takes the first GPU, else the CPU.

    A `torch.device` is taken as it is: it was chosen before.

    Raises
    ------
    UserError
        If this machine has no such device.
    """
    if isinstance(name, torch.device):
        return name
    known = devices()
    if name == "auto":
        return torch.device(next(iter(known)))
    full = "cuda:0" if name == "cuda" else name
    if full not in known:
        raise UserError(f"device {name!r} is not on this machine; choose auto, {', '.join(known)}.")
    return torch.device(full)


@contextmanager
def exact() -> Generator[None]:
    """While open, a GPU computes float32 in float32, and adds in the same order every time.

    By default, convolutions of a GPU read float32 as TensorFloat-32, with as few digits as float16 has: what nearly cancels, such
    as the gradients on a long path, is lost in its rounding.
    """
    with _set([*_digits(exactly=True), (torch.backends.cudnn, "deterministic", True)]):
        yield


@contextmanager
def tensor_float32() -> Generator[None]:
    """While open, a GPU may compute float32 in TensorFloat-32, which its tensor cores do several times faster."""
    with _set(_digits(exactly=False)):
        yield


def reads_tensor_float32() -> bool:
    """Tell whether convolutions of a GPU now read float32 as TensorFloat-32."""
    owner, name, value = _digits(exactly=False)[0]
    return getattr(owner, name) == value


def _digits(exactly: bool) -> list[tuple[Any, str, Any]]:
    """Return which attribute of what has to be set to what."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):  # torch 2.9 and later, which refuses a mixture with the older names
        return [
            (one, "fp32_precision", "ieee" if exactly else "tf32") for one in (cudnn.conv, cudnn.rnn, matmul)
        ]
    return [(one, "allow_tf32", not exactly) for one in (cudnn, matmul)]


@contextmanager
def _set(wanted: list[tuple[Any, str, Any]]) -> Generator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    for owner, name, value in wanted:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
