"""What the network's uncertainty about an object comes from: how much of it is told by the size of the object, and by its place.

Uncertainty that follows from size or place alone says little of a single prediction (Molchanova et al. 2025, who regress the
uncertainty about lesions on their size, shape and place; the tables of a cohort know no shape).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_segxai.metrics.functional.bootstrap import drawn, ends, is_measured

LEAST = 30
"""Objects below which nothing is fitted."""

TOLD_BY = {"size": ("size_px",), "place": ("touches_border",), "size + place": ("size_px", "touches_border")}


def explained_uncertainty(
    label: str, rows: Sequence[dict[str, Any]], folds: int, random: np.random.Generator
) -> list[dict[str, Any]]:
    """Tell how much of the mean entropy of objects their size (its logarithm) and their place (at the border or not) explain.

    Parameters
    ----------
    rows
        Of the objects of one label, with or without a truth.
    folds
        Parts of the subjects; what is left out is foretold by a linear regression on the others.

    Returns
    -------
    list of dict
        A row for everything that may tell: `r2`, the share of the variance that is foretold, of subjects that were not seen, with its
        interval; below 0 where it foretells worse than the mean. `slope` is what one standard deviation of a single number adds, in
        standard deviations of the entropy. None where there are too few objects or subjects, or nothing differs.
    """
    own = [row for row in rows if is_measured(row.get("entropy_bits")) and is_measured(row.get("size_px"))]
    subjects = list(dict.fromkeys(row["subject"] for row in own))
    if len(own) < LEAST or len(subjects) < folds:
        return []
    uncertain = np.array([row["entropy_bits"] for row in own], float)
    part = dict(zip(subjects, random.permutation(len(subjects)) % folds, strict=True))
    fold = np.array([part[row["subject"]] for row in own])
    weights = drawn([row["subject"] for row in own], random)
    out = []
    for name, columns in TOLD_BY.items():
        found = [_column(own, column) for column in columns]
        if uncertain.std() == 0 or any(one is None or one.std() == 0 for one in found):
            continue
        values = np.column_stack([(one - one.mean()) / one.std() for one in found if one is not None])
        foretold = np.empty(len(own))
        for k in range(folds):
            seen = fold != k
            foretold[~seen] = _with_one(values[~seen]) @ _fit(values[seen], uncertain[seen])
        low, high = ends(_share(uncertain, foretold, weights))
        out.append(
            {
                "label": label,
                "told_by": name,
                "r2": float(_share(uncertain, foretold, np.ones((1, len(own))))[0]),
                "low": low,
                "high": high,
                "slope": float(_fit(values, uncertain)[1] / uncertain.std()) if len(columns) == 1 else None,
                "n": len(own),
                "subjects": len(subjects),
            }
        )
    return out


def _column(rows: Sequence[dict[str, Any]], name: str) -> np.ndarray | None:
    values = [row.get(name) for row in rows]
    if any(value is None for value in values):
        return None
    return np.log1p(np.array(values, float)) if name == "size_px" else np.array(values, float)


def _with_one(values: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(values)), values])


def _fit(values: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Return intercept and coefficients of least squares."""
    return np.linalg.lstsq(_with_one(values), to, rcond=None)[0]


def _share(true: np.ndarray, foretold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of the variance that is foretold, for every row of weights."""
    total = weights.sum(1)
    mean = weights @ true / total
    variance = weights @ true**2 / total - mean**2
    error = weights @ (true - foretold) ** 2 / total
    return 1 - np.divide(error, variance, out=np.full(len(total), np.nan), where=variance > 1e-15)
