"""Histograms of many units that grow with what comes: quantiles, areas and overlaps of any number of cases in one pass.

A unit's values are counted in bins of equal width. Where a value lies beyond them, the bins are merged by twos until it does
not: no value is moved by more than a bin, and nothing has to be known before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 256
"""Bins of a unit; at least half of them lie between its lowest and its highest value."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of a group, and how much each counts.

    Attributes
    ----------
    index
        (n,): which cells.
    weight
        (n,): above 0.
    """

    index: Tensor
    weight: Tensor

    @classmethod
    def of(cls, weights: Tensor) -> Cells:
        """Return the cells of (cells,) that count."""
        flat = weights.detach().flatten().cpu()
        index = flat.nonzero()[:, 0]
        return cls(index, flat[index])


class Histograms:
    """Weighted histograms of the values of many units, for several groups of cells.

    Parameters
    ----------
    units
        How many units; each has bins of its own.
    groups
        How many groups of cells: all, those of a concept, and so on.
    bins
        Bins of a unit, an even number.

    Attributes
    ----------
    counts
        (units, groups, bins): weight in each bin.
    low, width
        (units,): where the first bin begins, and how wide each is.
    """

    def __init__(self, units: int, groups: int, bins: int = BINS):
        self.bins = bins
        self.counts = torch.zeros(units, groups, bins)
        self.low = torch.zeros(units, dtype=torch.float64)
        self.width = torch.zeros(units, dtype=torch.float64)  # 0: nothing has come

    def add(self, values: Tensor, groups: Sequence[Cells | int | None], first: int = 0) -> None:
        """Count values.

        Parameters
        ----------
        values
            (units, cells), finite.
        groups
            For every group the cells that belong to it; the number of an earlier group whose cells are the same; or None for no cell.
        first
            Which unit the first of the values is of.
        """
        if (more := len(groups) - self.counts.shape[1]) > 0:  # a group that nothing before belonged to
            self.counts = torch.cat([self.counts, torch.zeros(len(self.counts), more, self.bins)], 1)
        some = slice(first, first + len(values))
        part = Histograms(len(values), 0, self.bins)
        part.counts, part.low, part.width = self.counts[some], self.low[some], self.width[some]
        part._count(values.detach().cpu().double(), groups)
        self.counts[some], self.low[some], self.width[some] = part.counts, part.low, part.width

    def _count(self, values: Tensor, groups: Sequence[Cells | int | None]) -> None:
        lowest, highest = values.amin(1), values.amax(1)
        self._begin(lowest, highest)
        self._widen(lowest, highest)
        place = ((values - self.low[:, None]) / self.width[:, None]).long().clamp_(0, self.bins - 1)
        place += torch.arange(len(values))[:, None] * self.bins
        counted: dict[int, Tensor] = {}
        for group, own in enumerate(groups):
            if own is None or (isinstance(own, int) and own not in counted):
                continue
            if isinstance(own, int):
                counted[group] = counted[own]
            else:
                few = place if len(own.index) == place.shape[1] else place[:, own.index]
                told = own.weight.double().expand_as(few)
                found = torch.bincount(few.flatten(), told.flatten(), minlength=len(values) * self.bins)
                counted[group] = found.view(-1, self.bins).float()
            self.counts[:, group] += counted[group]

    def _begin(self, lowest: Tensor, highest: Tensor) -> None:
        new = self.width == 0
        least = torch.clamp(torch.maximum(lowest.abs(), highest.abs()), min=1e-12) * 1e-9
        spread = torch.maximum(highest - lowest, least)
        # Exact doublings follow, so that merged bins are those that a wider histogram had from the beginning.
        width = 2.0 ** torch.ceil(torch.log2(spread * (1 + 1e-9) / self.bins))
        self.width = torch.where(new, width, self.width)
        self.low = torch.where(new, torch.floor(lowest / width) * width, self.low)

    def _widen(self, lowest: Tensor, highest: Tensor) -> None:
        while True:
            below, beyond = lowest < self.low, highest >= self.low + self.width * self.bins
            grow = below | beyond
            if not bool(grow.any()):
                return
            half = self.bins // 2
            merged = self.counts[grow].unflatten(2, (half, 2)).sum(3)
            down = below[grow]
            wide = torch.zeros_like(self.counts[grow])
            wide[~down, :, :half] = merged[~down]
            wide[down, :, half:] = merged[down]
            self.counts[grow] = wide
            span = self.width[grow] * self.bins
            self.low[grow] = torch.where(down, self.low[grow] - span, self.low[grow])
            self.width[grow] = self.width[grow] * 2

    def threshold(self, share: float | Tensor, group: int = 0) -> Tensor:
        """Return above which value a share of a group lies, of every unit: (units,).

        Within a bin values count as spread evenly.
        """
        counts = self.counts[:, group].double()
        above = _above(counts)
        wanted = above[:, :1] * torch.as_tensor(share, dtype=torch.float64).reshape(-1, 1)
        place = _bin_of(above, wanted)
        held = counts.gather(1, place)
        rest = torch.where(held > 0, (wanted - above.gather(1, place + 1)) / held.clamp(min=1e-300), 0.0)
        return self.low + self.width * (place + 1 - rest.clamp(0, 1))[:, 0]

    def above(self, threshold: Tensor, group: int) -> Tensor:
        """Return the weight of a group that lies above a threshold, of every unit: (units,)."""
        counts = self.counts[:, group].double()
        where = ((threshold.double() - self.low) / self.width.clamp(min=1e-300)).clamp(0, self.bins)
        place = where.long().clamp(max=self.bins - 1)[:, None]
        part = (1 - (where - place[:, 0])).clamp(0, 1)
        return _above(counts).gather(1, place + 1)[:, 0] + part * counts.gather(1, place)[:, 0]

    def total(self, group: int) -> Tensor:
        """Return the weight of a group: (units,)."""
        return self.counts[:, group].double().sum(1)

    def auc(self, group: int, of: int = 0) -> Tensor:
        """Return how often a cell of a group has a higher value than one of the rest, equal ones half: (units,).

        Parameters
        ----------
        group, of
            The group, and the larger one that holds it. NaN where the group, or the rest, is empty.
        """
        within = self.counts[:, group].double()
        beyond = (self.counts[:, of].double() - within).clamp(min=0)
        lower = beyond.cumsum(1) - beyond / 2
        pairs = within.sum(1) * beyond.sum(1)
        return (within * lower).sum(1) / torch.where(pairs > 0, pairs, torch.nan)

    def iou(self, group: int, threshold: Tensor, of: int = 0) -> Tensor:
        """Return the IoU of what lies above a threshold with a group of cells: (units,); NaN of an empty group.

        Parameters
        ----------
        group, of
            The group, and the larger one that holds it.
        threshold
            (units,).
        """
        both, drawn, size = self.above(threshold, group), self.above(threshold, of), self.total(group)
        return both / torch.where(size > 0, drawn + size - both, torch.nan)


def _above(counts: Tensor) -> Tensor:
    """Return the weight from every bin on, and 0 at the end: (units, bins + 1)."""
    summed = counts.flip(1).cumsum(1).flip(1)
    return torch.cat([summed, torch.zeros_like(summed[:, :1])], 1)


def _bin_of(above: Tensor, wanted: Tensor) -> Tensor:
    """Return the last bin from which on at least so much lies: (units, 1)."""
    enough = (above[:, :-1] >= wanted).sum(1, keepdim=True) - 1
    return enough.clamp(min=0)
