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
    return _shared(_codes(one), _codes(other))


def shuffled_information(
    one: Sequence[Any] | np.ndarray,
    other: Sequence[Any] | np.ndarray,
    random: np.random.Generator,
    draws: int,
) -> np.ndarray:
    """Return the mutual information when one list is shuffled, (draws,): with few entries it is above 0 by chance."""
    first, second = _codes(one), _codes(other)
    return np.array([_shared(random.permutation(first), second) for _ in range(draws)])


def _codes(names: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Return a number from 0 on for every name."""
    return np.unique(np.asarray(names), return_inverse=True)[1].ravel()


def _shared(first: np.ndarray, second: np.ndarray) -> float:
    both = np.bincount(first * (second.max() + 1) + second)
    return max(0.0, entropy(np.bincount(first)) + entropy(np.bincount(second)) - entropy(both))
