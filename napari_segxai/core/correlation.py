"""The one rank correlation of this package."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.core.arrays import ROUNDING, as_array, is_even


def rank_correlation(one: Any, other: Any, *, rounding: float = ROUNDING) -> float | None:
    """Return Spearman's rank correlation; equal values share their mean rank.

    Parameters
    ----------
    one, other : array or Tensor
        Of the same number of values.
    rounding : float
        Share of the largest value by which two values may differ and still be equal: that of maps that were resampled, or 0 for
        numbers that are to be taken as they are.

    Returns
    -------
    float or None
        In [-1, 1]; None where one of them has the same value everywhere.

    Raises
    ------
    UserError
        If a map, whose values are rounded, holds values that are not finite.
    """
    if rounding and (is_even(one) or is_even(other)):
        return None
    a, b = _ranks(one, rounding), _ranks(other, rounding)
    spread = np.sqrt((a @ a) * (b @ b))
    return float((a @ b) / spread) if spread > 0 else None


def rank_correlations(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation for every row of weights, as `rank_correlation` of repeated objects; NaN where undefined."""

    def centred(values: np.ndarray) -> np.ndarray:
        _, place, many = np.unique(values, return_inverse=True, return_counts=True)
        order, first = np.argsort(place, kind="stable"), many.cumsum() - many
        held = np.add.reduceat(weights[:, order], first, axis=1)  # by each draw, of every value
        ranks = (held.cumsum(1) - held / 2)[:, place]
        return ranks - (ranks * weights).sum(1, keepdims=True) / weights.sum(1, keepdims=True)

    one, other = centred(x), centred(y)
    both, own, others = ((weights * a * b).sum(1) for a, b in ((one, other), (one, one), (other, other)))
    spread = np.sqrt(own * others)
    return np.divide(both, spread, out=np.full(len(weights), np.nan), where=spread > 1e-9)


def _ranks(values: Any, rounding: float) -> np.ndarray:
    """Return the rank of every value, counted from the mean rank."""
    flat = np.asarray(as_array(values), np.float64).ravel()
    if rounding:
        flat = np.rint(flat / ((np.abs(flat).max() or 1.0) * rounding))
    _, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
    ranks = counts.cumsum() - (counts - 1) / 2
    return ranks[place.ravel()] - (place.size + 1) / 2
