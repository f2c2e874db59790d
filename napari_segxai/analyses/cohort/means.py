"""Means over a cohort with intervals over its subjects, for every group of rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.statistics import Interval, drawn, ends
from napari_segxai.analyses.cohort.study import is_measured
from napari_segxai.core.chart import Series

Row = Mapping[str, Any]


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

    def of(self, rows: Iterable[Row], name: str) -> dict[str, Any] | None:
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


def grouped(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> dict[Any, list[Row]]:
    """Return the rows that worked, by a key, in the order in which the keys come first."""
    out: dict[Any, list[Row]] = {}
    for row in rows:
        if not row["error"]:
            out.setdefault(key(row), []).append(row)
    return out


def series_of(name: str, places: Sequence[str], means: Sequence[Row | None]) -> Series:
    """Return means with their intervals as a series of a chart."""
    known = [one or {} for one in means]
    return Series(
        name,
        tuple(places),
        tuple(one.get("mean") for one in known),
        tuple(one.get("low") for one in known),
        tuple(one.get("high") for one in known),
        tuple(f"{one['n']} objects of {one['subjects']} subjects" if one else "" for one in known),
    )


def said(mean: Row, form: str = ".2f") -> str:
    """Return a mean with its interval, in words."""
    if mean["low"] is None:
        return f"{mean['mean']:{form}}"
    return f"{mean['mean']:{form}} (95 % interval {mean['low']:{form}} to {mean['high']:{form}})"
