"""How alike two maps are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_segxai.core.arrays import is_even
from napari_segxai.core.correlation import rank_correlation
from napari_segxai.engine.scores import dice
from napari_segxai.metrics.functional.chance import DRAWS, HIGH, random_field

ENOUGH = 2**14
"""Pixels on which the chance level of a rank correlation is measured."""

NOTHING = 0.01
"""Share of the variance of ranks below which nothing is left of a map: what then differs is noise."""


def partial_correlation(one: np.ndarray, other: np.ndarray, control: np.ndarray | None) -> float | None:
    """Spearman's rank correlation of two maps without what each has in common with a third, in [-1, 1].

    None if a map is the same everywhere; 0 if nothing of one of them is left without the third. Without a third, or
    with one that is the same everywhere, it is the plain rank correlation.
    """
    plain = rank_correlation(one, other)
    if plain is None or control is None or is_even(control):
        return plain
    a, b = rank_correlation(one, control), rank_correlation(other, control)
    left = 1 - a * a, 1 - b * b
    return float(np.clip((plain - a * b) / np.sqrt(left[0] * left[1]), -1, 1)) if min(left) > NOTHING else 0.0


def chance_correlation(map: np.ndarray, seed: int) -> float:
    """Return the 95th percentile of the rank correlations of a map with coarse random maps: what chance reaches.

    Measured on some thousand of its pixels, evenly spread.
    """
    step = max(1, round((map.size / ENOUGH) ** (1 / map.ndim)))
    few = map[(slice(None, None, step),) * map.ndim]
    found = [rank_correlation(few, random_field(few.shape, seed, k).numpy()) for k in range(DRAWS)]
    return float(np.percentile([value or 0.0 for value in found], HIGH))


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is defined; None where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def dice_of_arrays(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice coefficient of two boolean arrays with all its digits, in [0, 1]; 0 for two empty ones."""
    regions = (torch.from_numpy(np.ascontiguousarray(region)) for region in (one, other))
    predicted, reference = regions
    return float(dice(predicted[None], reference, dtype=torch.float64))
