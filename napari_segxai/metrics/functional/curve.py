"""Curves and the areas under them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def area_under(share: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the area under curves by trapezoids: shares (n,), scores (..., n) -> (...)."""
    return (np.diff(share) * (score[..., 1:] + score[..., :-1]) / 2).sum(-1)


@dataclass(frozen=True, eq=False)
class Curve:
    """A score against the share of pixels that were shown or hidden.

    Attributes
    ----------
    share
        From 0 to 1.
    score
        Of the same length.
    """

    share: np.ndarray
    score: np.ndarray

    @property
    def area(self) -> float:
        """Area under the curve, by trapezoids."""
        return float(area_under(self.share, self.score))
