"""A question about the planted network, its true cause, and values of a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from helpers.networks import OBJECT, PATCH, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.core.progress import Passes
from napari_segxai.engine.question import Question


@contextmanager
def asked(model=None, image=None, target="object", **prepare) -> Iterator[Question]:
    model = planted_model() if model is None else model
    image = planted_image() if image is None else image
    target = target if isinstance(target, sx.Target) else sx.Target(target)
    with model.in_use("cpu") as device:
        prepared = model.prepare(image, **prepare)
        yield Question(model, image, prepared, target, device=device, seed=0, planned=Passes())


def cause(ndim: int = 2) -> np.ndarray:
    """The true reasons of the planted network: the patch, and the object itself."""
    out = np.zeros((32, 32), np.float32)
    out[PATCH], out[OBJECT] = 1, 0.8
    return out if ndim == 2 else np.repeat(out[None], 6, 0)


def truth(ndim: int = 2) -> np.ndarray:
    out = np.zeros((32, 32), bool)
    out[OBJECT] = True
    return out if ndim == 2 else np.repeat(out[None], 6, 0)


def values_of(rows, name: str) -> dict[str, float | None]:
    return {row["metric"]: row["value"] for row in rows if row["map"] == name}


class Bright(nn.Module):
    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5], 1) * 8
