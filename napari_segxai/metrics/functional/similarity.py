"""How alike two maps are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_segxai.metrics.functional.arrays import ROUNDING, is_even
from napari_segxai.metrics.functional.chance import DRAWS, HIGH, random_field

ENOUGH = 2**14
"""Pixels on which the chance level of a rank correlation is measured."""

NOTHING = 0.01
"""Share of the variance of ranks below which nothing is left of a map: what then differs is noise."""


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's rank correlation of two maps on one grid, in [-1, 1].

    Equal values share their mean rank. None if a map is the same everywhere, up to rounding.
    """
    if is_even(one) or is_even(other):
        return None
    a, b = _ranks(one), _ranks(other)
    return float((a @ b) / np.sqrt((a @ a) * (b @ b)))


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


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice coefficient of boolean regions, in [0, 1]; 0 for two empty ones."""
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else 0.0


def _ranks(map: np.ndarray) -> np.ndarray:
    """Return the rank of every value, counted from the mean rank."""
    _, place, counts = np.unique(_rounded(map), return_inverse=True, return_counts=True)
    ranks = counts.cumsum() - (counts - 1) / 2
    return ranks[place.ravel()] - (place.size + 1) / 2


def _rounded(map: np.ndarray) -> np.ndarray:
    values = np.asarray(map, np.float64).ravel()
    return np.rint(values / ((np.abs(values).max() or 1.0) * ROUNDING))
