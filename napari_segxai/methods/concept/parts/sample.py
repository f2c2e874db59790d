"""A sample of what goes by: as many items as fit, drawn by chance, however many there are."""

from __future__ import annotations

import heapq
import zlib
from typing import Generic, TypeVar

import numpy as np

Item = TypeVar("Item")


class Sample(Generic[Item]):
    """Keeps some of the items that are added, all of them while they fit.

    What is kept depends on the seed and the names, not on the order in which the items come.

    Parameters
    ----------
    seed
        Of the draws.
    most
        Items that are kept at most.

    Attributes
    ----------
    seen
        How many were added.
    """

    def __init__(self, seed: int, most: int):
        self.seed, self.most, self.seen = seed, most, 0
        self._kept: list[tuple[float, int, Item]] = []  # a heap: the one that goes next, first

    def add(self, name: str, item: Item, *, stays: bool = False) -> None:
        """Add an item; one that `stays` is never let go."""
        draw = float(np.random.default_rng((self.seed, zlib.crc32(name.encode()))).random())
        entry = (1.0 + draw if stays else draw, self.seen, item)
        self.seen += 1
        if len(self._kept) < self.most:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def items(self) -> list[Item]:
        """Return what is kept, in the order in which it came."""
        return [item for _, _, item in sorted(self._kept, key=lambda one: one[1])]

    def __len__(self) -> int:
        return len(self._kept)
