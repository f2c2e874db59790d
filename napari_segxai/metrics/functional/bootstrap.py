"""Intervals over subjects: whole subjects are drawn, since objects of one subject are not independent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

DRAWS = 2000
"""Bootstrap samples of an interval."""

Interval = tuple[float, float] | tuple[None, None]


def drawn(subjects: Sequence[str], random: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Draw subjects with replacement.

    Returns
    -------
    ndarray of shape (draws, objects)
        How often every object is in every draw.
    """
    _, subject = np.unique(np.asarray(subjects, str), return_inverse=True)
    many = subject.max() + 1
    return random.multinomial(many, np.full(many, 1 / many), draws)[:, subject].astype(float)


def ends(values: np.ndarray) -> Interval:
    """Return the 2.5th and 97.5th percentiles of what is defined; nothing where less than half is."""
    known = values[np.isfinite(values)]
    if known.size < values.size / 2 or not known.size:
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def is_measured(value: Any) -> bool:
    """Tell whether a cell holds a number; True and False count as 1 and 0."""
    return isinstance(value, int | float) and math.isfinite(value)


class Means:
    """Means of numbers, of which each is drawn as the others that are known of the same subjects."""

    def __init__(self, random: np.random.Generator):
        self._random = random
        self._draws: dict[tuple[str, ...], np.ndarray] = {}

    def weights(self, subjects: Sequence[str]) -> np.ndarray:
        """Return how often every row is in every draw of subjects."""
        key = tuple(subjects)
        if key not in self._draws:
            self._draws[key] = drawn(key, self._random)
        return self._draws[key]

    def of(self, rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
        """Return mean, low, high, n and subjects of a number; None where no row has it."""
        known = [row for row in rows if is_measured(row.get(name))]
        if not known:
            return None
        values, subjects = np.array([row[name] for row in known], float), [row["subject"] for row in known]
        low, high = self.between(values, subjects)
        many = len(set(subjects))
        return {"mean": float(values.mean()), "low": low, "high": high, "n": len(known), "subjects": many}

    def between(self, values: np.ndarray, subjects: Sequence[str]) -> Interval:
        """Return the 95 % interval of a mean over subjects; nothing of a single one."""
        if len(set(subjects)) < 2:
            return None, None
        weights = self.weights(subjects)
        return ends(weights @ values / weights.sum(1))
