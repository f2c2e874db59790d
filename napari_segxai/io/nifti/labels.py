"""The rule by which a volume is opened as labels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

LABEL_INTENT = 1002
"""NIfTI intent code of a label volume."""

LABEL_WORDS = re.compile(
    r"d?segs?|segmentations?|labels?|labelmaps?|masks?|a?parc|parcs?|parcellations?|aseg|tissues?"
)
"""Words that make a name that of a label volume. Not `brainmask`: FreeSurfer's holds intensities."""

MOST_LABELS = 64
"""An integer volume with more distinct values than this is an image, unless it says otherwise."""


def is_label_volume(array: np.ndarray, *, name: str = "", intent: int = 0) -> bool:
    """Tell whether a volume holds labels and not intensities.

    The rule: its type is an integer (as read: a file that scales its integers holds intensities), and one of

    1. the file says so, with the intent code 1002 (NIFTI_INTENT_LABEL);
    2. the name of the file says so, by a word of its own (seg, label, mask, parc, aseg, tissue, ...), and
       no value is negative;
    3. the values, counted on the data, are at most 64 different ones, none negative, and there is
       background (0).

    So a CT volume (int16, hundreds of values, negative ones) is an image, and a scan of bytes with only 0
    and 1, or only 0 and 255, is a label volume, whatever it was meant to be.
    """
    if array.dtype.kind not in "iub" or not array.size:
        return False
    if intent == LABEL_INTENT:
        return True
    if array.dtype.kind == "b":
        return True
    if array.dtype.kind == "i" and array.min() < 0:
        return False
    words = re.findall(r"[a-z]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", Path(name).name).lower())
    if any(LABEL_WORDS.fullmatch(word) for word in words):
        return True
    return _few_values(array)


def _few_values(array: np.ndarray) -> bool:
    """Tell whether 0 and at most `MOST_LABELS` - 1 other values occur; gives up at the first one too many."""
    flat = array.ravel(order="K")
    seen: np.ndarray = np.unique(flat[:: max(1, flat.size // 100_000)])
    step = 1 << 22
    for start in range(0, flat.size, step):
        if len(seen) > MOST_LABELS:
            return False
        seen = np.union1d(seen, _distinct(flat[start : start + step]))
    return 0 in seen and len(seen) <= MOST_LABELS


def _distinct(values: np.ndarray) -> np.ndarray:
    top = int(values.max())
    if top < 1 << 16:
        present = np.zeros(top + 1, bool)
        present[values] = True
        return np.flatnonzero(present).astype(values.dtype)
    return np.unique(values)
