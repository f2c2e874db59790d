"""A sum of random samples in two halves, whose difference tells the error that the sum has left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE_HELP = "stop once the error is below this share of the map's range"


class SplitHalfMean:
    """A running sum over samples.

    Parameters
    ----------
    shape, device
        Of what is added.
    several
        Whether to keep two halves; a large volume has room for one sum only, and then there is no error.
    fewest
        Samples in a half below which the error is not worth telling.

    Attributes
    ----------
    sums
        (halves, *shape).
    counts
        Samples in each.
    """

    def __init__(self, shape: Sequence[int], device: torch.device, *, several: bool = True, fewest: int = 32):
        self.sums = torch.zeros(1 + several, *shape, device=device)
        self.counts = [0] * len(self.sums)
        self.fewest = fewest

    def add(self, part: Tensor, samples: int) -> None:
        """Add the sum over some samples to the half that has fewer."""
        half = self.counts.index(min(self.counts))
        self.sums[half] += part
        self.counts[half] += samples

    @property
    def done(self) -> int:
        """Samples so far."""
        return sum(self.counts)

    @property
    def total(self) -> Tensor:
        """The sum: (*shape)."""
        return self.sums.sum(0)

    def error(self) -> float | None:
        """Return the standard error of the mean as a share of its range; None where it cannot be told."""
        if len(self.sums) < 2 or min(self.counts) < self.fewest:
            return None
        apart = self.sums[0] / self.counts[0] - self.sums[1] / self.counts[1]
        low, high = (self.total / self.done).aminmax()
        return float(apart.square().mean().sqrt() / 2 / (high - low).clamp(min=1e-12))

    def below(self, tolerance: float | None) -> bool:
        """Tell whether the error is known, and below a tolerance that is asked for."""
        if tolerance is None:
            return False
        left = self.error()
        return left is not None and left < tolerance
