"""Total Sobol indices: in how much of a score's variance each of several numbers has a part, alone and with others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST = 21201
"""Dimensions of torch's Sobol sequence."""

ROUNDING = 1e-6
"""Standard deviation, as a share of the largest value, below which values that come out of float32 differ by rounding alone."""


class SobolDesign:
    """Points A and B of a scrambled Sobol sequence, and A with one number at a time taken from B.

    Parameters
    ----------
    numbers
        How many there are, each in [0, 1].
    designs
        Points of the sequence; powers of two fill the cube evenly.
    seed
        Of the scrambling.
    device
        Where the points are to lie.
    """

    def __init__(self, numbers: int, designs: int, seed: int, device: torch.device | str = "cpu"):
        drawn = torch.quasirandom.SobolEngine(2 * numbers, scramble=True, seed=seed).draw(designs)
        self._first, self._second = drawn.to(device).split(numbers, 1)
        self.each = numbers + 2
        self.count = designs * self.each

    def rows(self, start: int, n: int) -> Tensor:
        """Return points (n, numbers), in the order A, B, C_1, ..., C_d of one design after the other."""
        number = torch.arange(start, start + n, device=self._first.device)
        design, part = number // self.each, number % self.each
        out = torch.where((part == 1)[:, None], self._second[design], self._first[design])
        (changed,) = torch.nonzero(part > 1, as_tuple=True)
        column = part[changed] - 2
        out[changed, column] = self._second[design[changed], column]
        return out


def total_indices(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return Jansen's total indices and their standard errors, (numbers,) each; 0 where nothing but rounding varies.

    Parameters
    ----------
    values
        (designs, numbers + 2): f(A), f(B), f(C_1), ...
    """
    both = values[:, :2]
    variance = both.var(unbiased=False)
    if len(values) < 2 or variance <= (ROUNDING * both.abs().max()) ** 2:
        return torch.zeros(values.shape[1] - 2), torch.zeros(values.shape[1] - 2)
    squares = (values[:, :1] - values[:, 2:]).square() / (2 * variance)
    return squares.mean(0), squares.std(0) / math.sqrt(len(values))
