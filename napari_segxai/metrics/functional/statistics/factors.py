"""Non-negative factors of vectors: A = U W + rest with U, W >= 0, by scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from napari_segxai.core.extras import need

ITERATIONS = 400
"""Rounds of a factorisation, at most."""


@dataclass(frozen=True, eq=False)
class Factors:
    """A factorisation, the factor with the greatest share first.

    Attributes
    ----------
    directions
        W: (factors, channels), each of length 1.
    amounts
        U: (n, factors).
    settled
        Whether it came to an end before the last round.
    """

    directions: np.ndarray
    amounts: np.ndarray
    settled: bool

    def explained(self, values: np.ndarray) -> float:
        """Return the share of the squares of (n, channels) that U W holds."""
        rest = values - self.amounts @ self.directions
        return 1 - float((rest.astype(float) ** 2).sum() / (values.astype(float) ** 2).sum())


def factorise(values: np.ndarray, count: int, seed: int, what: str) -> Factors:
    """Find the factors of vectors of 0 or more.

    Parameters
    ----------
    values
        (n, channels).
    count
        How many factors; fewer where there are fewer vectors or channels, or some would stay empty.
    seed
        Of the start.
    what
        Who needs it, for the sentence where the package is not installed.
    """
    decomposition = need("sklearn.decomposition", "concepts", what)
    count = min(count, *values.shape)
    if not count or not values.any():
        return Factors(
            np.zeros((0, values.shape[1]), np.float32), np.zeros((len(values), 0), np.float32), True
        )
    model = decomposition.NMF(count, init="nndsvda", random_state=seed, max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not settled is told by `settled`
        amounts = model.fit_transform(values)
    lengths = np.linalg.norm(model.components_, axis=1)
    mass = (amounts * lengths).sum(0)
    order = [k for k in np.argsort(-mass, kind="stable") if mass[k] > 0]
    directions = model.components_[order] / lengths[order, None]
    return Factors(directions, (amounts * lengths)[:, order], model.n_iter_ < ITERATIONS)


def amounts_of(values: np.ndarray, directions: np.ndarray, what: str) -> np.ndarray:
    """Return how much of known directions vectors hold: (n, channels) -> (n, factors), 0 or more."""
    decomposition = need("sklearn.decomposition", "concepts", what)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        amounts, _, _ = decomposition.non_negative_factorization(
            values, H=directions.astype(values.dtype), n_components=len(directions), init="custom", update_H=False,
        )  # fmt: skip
    return amounts
