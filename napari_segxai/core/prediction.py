"""Reading a prediction, or a truth of the same form.

Labels that exclude each other (softmax, one sigmoid output) are a label image: the position of the label at every pixel.
Labels that may overlap (several sigmoid outputs) are a boolean stack, a mask for every label but the background, which
is where no label is. Which of both it is, `SegmentationModel.overlapping` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def label_dtype(labels: int) -> np.dtype:
    """Return the smallest unsigned type for so many labels."""
    return np.dtype(np.uint8 if labels <= 256 else np.uint16)


def where(prediction: np.ndarray, label: int, *, overlapping: bool) -> np.ndarray:
    """Return where a label is in a prediction (or in a truth of the same form): boolean, on the image grid."""
    if not overlapping:
        return prediction == label
    return np.asarray(prediction[label - 1] if label else ~prediction.any(0))


def label_image(prediction: np.ndarray, label: int, *, overlapping: bool) -> np.ndarray:
    """Return a prediction as one label image; where labels overlap, the mask of the given label."""
    if not overlapping:
        return prediction
    return where(prediction, label, overlapping=True).astype(label_dtype(len(prediction) + 1)) * max(label, 1)


def painted(prediction: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Paint overlapping labels into one label image, one after the other: later ones cover earlier ones.

    Parameters
    ----------
    prediction
        Boolean (labels but the background, *image grid).
    order
        Positions of the labels, as painted. nnU-Net calls it ``regions_class_order``.
    """
    out = np.zeros(prediction.shape[1:], label_dtype(len(prediction) + 1))
    for label in order:
        out[prediction[label - 1]] = label
    return out
