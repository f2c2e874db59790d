"""Which labels a prediction holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def present_labels(prediction: np.ndarray, labels: Sequence[str], *, overlapping: bool) -> tuple[str, ...]:
    """Return the labels that at least one pixel got.

    Parameters
    ----------
    prediction
        As `SegmentationModel.predict` returns it: label positions, or a boolean mask for each of ``labels[1:]``.
    labels
        The labels of the model, the background first.
    overlapping
        Whether the labels may overlap.
    """
    if overlapping:
        return tuple(name for name, mask in zip(labels[1:], prediction, strict=True) if mask.any())
    found = np.unique(prediction)
    return tuple(name for position, name in enumerate(labels) if position in found)
