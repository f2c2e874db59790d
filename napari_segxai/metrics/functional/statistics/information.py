"""Mutual information of two lists of names, in bits, and what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def entropy(counts: np.ndarray) -> float:
    """Return the entropy of counts, in bits."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def mutual_information(one: Sequence[Any] | np.ndarray, other: Sequence[Any] | np.ndarray) -> float:
    """Return how much of one list the other tells: H(one) + H(other) - H(both), in bits.

    Parameters
    ----------
    one, other
        Of the same length, at least 1; equal entries are one name.
    """
    (first, a), (second, b) = (np.unique(np.asarray(x), return_inverse=True) for x in (one, other))
    table = np.zeros((len(first), len(second)))
    np.add.at(table, (a.ravel(), b.ravel()), 1)
    return max(0.0, entropy(table.sum(0)) + entropy(table.sum(1)) - entropy(table.ravel()))


def shuffled_information(
    one: Sequence[Any] | np.ndarray,
    other: Sequence[Any] | np.ndarray,
    random: np.random.Generator,
    draws: int,
) -> np.ndarray:
    """Return the mutual information when one list is shuffled, (draws,): with few entries it is above 0 by chance."""
    return np.array([mutual_information(random.permutation(np.asarray(one)), other) for _ in range(draws)])
