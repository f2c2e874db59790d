"""A question about the planted network, its true cause, curves of insertion and deletion, and values of a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from helpers.networks import OBJECT, PATCH, planted_image, planted_model
from torch import nn

import napari_segxai as sx
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.question import Question
from napari_segxai.metrics.evaluation import Evaluation, Options
from napari_segxai.metrics.functional.curve import Curve
from napari_segxai.metrics.perturbed_copies import Reader, look
from napari_segxai.metrics.registry import find_metric
from napari_segxai.metrics.table import _controls, _evaluations


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


def ways(question: Question, maps, controls: int = 0, **options) -> Steps[dict[str, Evaluation]]:
    """Show the network the copies of insertion and deletion, as a table of metrics does, and give what it is made of."""
    given = {name: np.asarray(map) for name, map in maps.items()}
    found = _evaluations(given, question, Reader(question), None, None, Options(**options))
    found += _controls(found, controls)
    series = ("insertion", "insertion canvas", "deletion", "deletion canvas")
    seen = yield from look(found[0].reader, [one.copies(name) for one in found for name in series])
    for one in found:
        one.seen.update(seen)
    return {one.name: one for one in found}


def curve(found: Evaluation, which: str, score: str = "dice") -> Curve:
    return find_metric(f"{which}-{score}").measure(found)


class Bright(nn.Module):
    def forward(self, x):
        return torch.cat([0.5 - x, x - 0.5], 1) * 8
