"""When are two outputs of the network the same? One rule, for every comparison of two.

The same image run in another batch gives numbers that differ by rounding: in the last of about six digits on a CPU, in the
fourth where a GPU rounds the products of a convolution. What differs by less than that is a tie: no drop, no increase, no
win.
"""

from __future__ import annotations

from typing import Any

import numpy as np

TIE = 1e-4
"""Share of the larger of two numbers by which they may differ and still be equal."""


def tied(one: Any, other: Any) -> Any:
    """Tell whether two numbers, or those of two arrays, read from the network's outputs are the same but for rounding."""
    largest = np.maximum(np.abs(one), np.abs(other))
    return np.abs(np.subtract(one, other)) <= TIE * largest


def above(one: Any, other: Any) -> Any:
    """Tell whether one number is truly larger than another."""
    return np.greater(one, other) & ~tied(one, other)
