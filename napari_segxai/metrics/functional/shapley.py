"""Shapley values of a few players, exactly."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from napari_segxai.core.arrays import as_array
from napari_segxai.core.errors import UserError


def shapley(values: Any) -> np.ndarray:
    """Share out what all players reach together.

    Parameters
    ----------
    values : array of shape (2^players,)
        What every coalition reaches: player k is in the coalition at position i if bit k of i is set.

    Returns
    -------
    ndarray of shape (players,)
        The Shapley value of each; together the value of all less that of none.

    Raises
    ------
    UserError
        If there is not a value for every coalition.

    References
    ----------
    Shapley, A value for n-person games, 1953.
    """
    worth = np.asarray(as_array(values), np.float64)
    players = max(worth.size.bit_length() - 1, 0)
    if worth.ndim != 1 or worth.size != 2**players:
        raise UserError(f"Shapley values need a value for each of 2^n coalitions, not {worth.shape}.")
    coalitions = np.arange(worth.size)
    sizes = np.array([int(one).bit_count() for one in coalitions])
    out = np.empty(players)
    for player in range(players):
        without = coalitions[coalitions >> player & 1 == 0]
        weights = np.array(
            [factorial(size) * factorial(players - size - 1) for size in sizes[without]]
        ) / factorial(players)
        out[player] = weights @ (worth[without | 1 << player] - worth[without])
    return out
