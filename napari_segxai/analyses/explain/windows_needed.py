"""Through how many windows a question goes, read from a prediction that is kept."""

from __future__ import annotations

import math

import numpy as np
import torch

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.target import Target
from napari_segxai.engine.question import Question
from napari_segxai.engine.region import pixels_of
from napari_segxai.models.preprocessing.framed import place
from napari_segxai.models.segmentation import SegmentationModel

AT_ONCE = 2**23
"""Logits that are looked at while somebody waits for a word: a tenth of a second."""


def needed_windows(
    model: SegmentationModel, image: Image, slice: int | None, target: Target, *, waiting: bool = True
) -> int | None:
    """Return how many windows hold a place of M, where the prediction in which it is found is kept; None where it is not.

    What was found once is known from then on, as long as that prediction is kept.

    Parameters
    ----------
    slice
        For a 2D model on a volume.
    waiting
        Whether somebody waits: then a large prediction is not looked at.
    """
    placement = place(model.card, image, slice, model.multiples)
    kept, logits = model.kept, model.kept.of(model.module, image, placement.slice)
    if logits is None:
        return None
    key = _key(target)
    if key not in kept.windows:
        if waiting and math.prod(logits.shape) > AT_ONCE:
            return None
        with torch.no_grad():
            predicted = model.labeling.drawn(logits, model.label_index(target.label))[0]
            try:
                pixels = pixels_of(target, image, placement, predicted)
            except UserError:  # said when it is run
                return None
        kept.windows[key] = len(model.tiling(tuple(pixels.shape)).touching(pixels))
    return kept.windows[key]


def remember_windows(question: Question) -> None:
    """Note how many windows hold a place of M, when a run has found that."""
    model = question.model
    if model.windows is None or not question.has_logits or not question.count:
        return
    placement = question.prepared.placement
    if model.kept.is_of(question.image, placement.slice):
        model.kept.windows[_key(question.target)] = len(model.tiling(question.grid).touching(question.pixels))


def _key(target: Target) -> tuple[object, ...]:
    region = target.region
    told = (region.shape, region.tobytes()) if isinstance(region, np.ndarray) else repr(region)
    return target.label, told, target.boundary
