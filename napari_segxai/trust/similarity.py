"""How alike two maps are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STEP = 2.0**-18
"""Values that differ by less than this share of the largest are taken as equal: they are rounding errors."""


def is_even(map: np.ndarray) -> bool:
    """Tell whether a map is the same everywhere, up to rounding, so that it ranks nothing."""
    return bool(np.ptp(_rounded(map)) == 0)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's rank correlation of two maps on one grid, in [-1, 1].

    Equal values share their mean rank. None if a map is the same everywhere, up to rounding.
    """
    if is_even(one) or is_even(other):
        return None
    a, b = _ranks(one), _ranks(other)
    return float((a @ b) / np.sqrt((a @ a) * (b @ b)))


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
    return np.rint(values / ((np.abs(values).max() or 1.0) * STEP))
