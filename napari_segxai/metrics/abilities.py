"""Segmentation ability of the channels of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_segxai.engine.question import Question
from napari_segxai.metrics.functional.layer_maps import Features, unit_abilities


def channel_abilities(
    question: Question, object: Tensor, truth: Tensor | None = None, ignored: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return how well every channel of the image alone tells an object from the rest, and how well the truth of it.

    Parameters
    ----------
    question
        About the image; padding does not count.
    object, truth, ignored
        Boolean (*grid); the last is where nobody knows the truth.

    Returns
    -------
    tuple of Tensor
        (channels,) each, in [0, 1]; the second None without a truth.
    """
    inside = question.prepared.placement.inside().to(question.device)
    own = object[inside].float()
    with torch.no_grad():
        features = Features.of(question.input[..., inside])
        found = unit_abilities(features, own)
        if truth is None or ignored is None:
            return found, None if truth is None else unit_abilities(features, own, truth[inside].float())
        known = inside & ~ignored
        features = Features.of(question.input[..., known])
        return found, unit_abilities(features, object[known].float(), truth[known].float())
