"""Choosing where to compute."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from napari_segxai.core.errors import UserError


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
    found["cpu"] = f"CPU, {cores} core{'s' if cores != 1 else ''}"
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

    By default, convolutions of a GPU read float32 as TensorFloat-32, with the digits of float16: measured, that turns the
    Grad-CAM of a trained network into noise where its gradients nearly cancel.
    """
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _EXACT]
    for owner, name, value in _EXACT:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _exact() -> list[tuple[Any, str, Any]]:
    """Return which attribute of what has to be set to what."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):  # torch 2.9 and later, which refuses a mixture with the older names
        exact = [(owner, "fp32_precision", "ieee") for owner in (cudnn.conv, cudnn.rnn, matmul)]
    else:
        exact = [(owner, "allow_tf32", False) for owner in (cudnn, matmul)]
    return [*exact, (cudnn, "deterministic", True)]


_EXACT = _exact()
