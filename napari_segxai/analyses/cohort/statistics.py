"""Statistics of studies on plain arrays: pairs, risk and coverage, calibration, intervals over subjects.

An interval draws subjects, not objects, since those of one subject are not independent. All draws are made at once, as
weights: how often each object is in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """How often a good object scores above a bad one: the area under the ROC curve, with any weights of the objects.

    Attributes
    ----------
    good, bad : ndarray of int
        Which objects are of which kind.
    wins, count : ndarray of shape (good, bad)
        Over all comparisons of a pair: how many the good one has won, ties as halves; and how many there were.
    """

    good: np.ndarray
    bad: np.ndarray
    wins: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, is_good: np.ndarray, folds: np.ndarray | None = None) -> Pairs:
        """Compare scores, and only those of one fold with each other: those of others come from another classifier.

        Parameters
        ----------
        scores : ndarray of shape (repeats, objects)
            Higher for good ones.
        is_good : ndarray of bool of shape (objects,)
            The truth.
        folds : ndarray of int of shape (repeats, objects), optional
            In which fold an object was held out; one fold by default.
        """
        good, bad = np.flatnonzero(is_good), np.flatnonzero(~is_good)
        wins = np.zeros((len(good), len(bad)))
        count = np.zeros_like(wins)
        for one, fold in zip(scores, np.zeros_like(scores) if folds is None else folds, strict=True):
            fair = fold[good][:, None] == fold[bad][None]
            above = one[good][:, None] - one[bad][None]
            wins += fair * ((above > 0) + 0.5 * (above == 0))
            count += fair
        return cls(good, bad, wins, count)

    def area(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the area under the ROC curve for every row of weights; NaN where a kind is missing."""
        rows = np.ones((1, len(self.good) + len(self.bad))) if weights is None else weights
        good, bad = rows[:, self.good], rows[:, self.bad]
        wins, count = ((good @ one * bad).sum(1) for one in (self.wins, self.count))
        return np.divide(wins, count, out=np.full(len(rows), np.nan), where=count > 0)


def risk_coverage(scores: np.ndarray, risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coverage and the mean risk of the objects that are kept, the surest first (Geifman and El-Yaniv 2017).

    Parameters
    ----------
    scores, risk : ndarray of shape (objects,)
        Objects of equal score have no order: they share their mean risk.

    Returns
    -------
    tuple of ndarray
        Of shape (objects,) each. The mean of the second is the area under the curve.
    """
    _, place, many = np.unique(-scores, return_inverse=True, return_counts=True)
    shared = (np.bincount(place, risk) / many)[np.sort(place)]
    count = np.arange(1, len(scores) + 1)
    return count / len(scores), shared.cumsum() / count


def risk_area(scores: np.ndarray, risk: np.ndarray, folds: np.ndarray) -> float:
    """Return the mean area under risk and coverage, where objects are ordered among those of one fold alone.

    Parameters
    ----------
    scores, folds : ndarray of shape (repeats, objects)
        As of `Pairs.of`.
    """
    areas, many = [], []
    for one, fold in zip(scores, folds, strict=True):
        for number in np.unique(fold):
            own = fold == number
            areas.append(risk_coverage(one[own], risk[own])[1].mean())
            many.append(own.sum())
    return float(np.average(areas, weights=many))


def roc(scores: np.ndarray, is_good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates from the strictest threshold to the mildest; ties are one step."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    good = is_good[order].cumsum()[last]
    bad = (~is_good)[order].cumsum()[last]
    return np.append(0, bad / max((~is_good).sum(), 1)), np.append(0, good / max(is_good.sum(), 1))


def calibration(probability: np.ndarray, is_good: np.ndarray, bins: int = 5) -> list[dict[str, Any]]:
    """Compare probabilities with what came true, in bins of about as many objects each.

    Returns
    -------
    list of dict
        probability (mean), share (that was good), low and high (Wilson's 95 % interval of the share), n.
    """
    order = np.argsort(probability, kind="stable")
    out = []
    for some in np.array_split(order, min(bins, len(order))):
        low, high = wilson(int(is_good[some].sum()), len(some))
        mean = float(probability[some].mean())
        out.append({"probability": mean, "share": float(is_good[some].mean()), "low": low, "high": high, "n": len(some)})  # fmt: skip
    return out


def wilson(hits: int, many: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    z = 1.959964
    share, scale = hits / many, 1 + z * z / many
    half = z * np.sqrt(share * (1 - share) / many + z * z / (4 * many * many)) / scale
    middle = (share + z * z / (2 * many)) / scale
    return float(middle - half), float(middle + half)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for how many there are (Holm 1979), in their order."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, float)[order] * (len(p) - np.arange(len(p)))
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return out.tolist()
