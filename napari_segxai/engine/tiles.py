"""Values of network layers of a network that sees an image through windows.

Each window gives a grid of cells; these tiles lie one after the other along the first axis, so that a method takes them for one
layer: what it pools, it pools over all windows. What it finds is put back to the places of the windows: contributions to the
score add up there (the weight of a window is in the gradient already), activations are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.engine.question import Question
from napari_segxai.models.logits import as_logits, as_returned
from napari_segxai.models.preprocessing.resample import resize
from napari_segxai.models.windows.stitch import shares
from napari_segxai.models.windows.tiling import Corner, Tiling, mirrorings

MOST_BYTES = 8 * 10**9
"""What the activations and gradients of all windows may take: a rule, so that a result does not hang on what else runs."""


class View(NamedTuple):
    """One look at a window: where it lies, and along which axes of (1, channels, *size) it is mirrored."""

    corner: Corner
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Tiles:
    """Where the cells of a layer lie; without windows, on the grid as ever.

    Attributes
    ----------
    tiling
        The windows; None without.
    views
        The looks at them in the order of their tiles.
    """

    tiling: Tiling | None = None
    views: tuple[View, ...] = ()

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Put the values of all views, (1, channels, *cells) each, one after the other: (1, channels, *cells)."""
        return torch.cat(list(values), 2)

    def split(self, values: Tensor) -> Tensor:
        """Return the values of every view by itself: (1, channels, *cells) -> (views, channels, *cells)."""
        return values if self.tiling is None else torch.cat(values.chunk(len(self.views), 2))

    def rejoin(self, values: Tensor) -> Tensor:
        """Undo `split`."""
        return values if self.tiling is None else self.join(values.split(1))

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the whole layer, also where no window was looked at: (1, channels, *cells) -> (1, channels)."""
        if self.tiling is None:
            return values.flatten(2).mean(2)
        seen = math.prod(values.shape[2:]) / len(self.views) / self.tiling.rule.cells
        return values.flatten(2).sum(2) / (seen * math.prod(self.tiling.padded))

    def take(self, values: Tensor, cells: tuple[int, ...]) -> Tensor:
        """Bring values on the grid to where a layer's cells lie: (*grid) -> (*cells)."""
        if self.tiling is None:
            return resize(values[None, None], cells, linear=True)[0, 0]
        padded = self.tiling.pad_zeros(values[None, None])
        size = (cells[0] // len(self.views), *cells[1:])
        looks = (padded[(..., *self.tiling.place(view.corner))].flip(view.axes) for view in self.views)
        return torch.cat([resize(look, size, linear=True)[0, 0] for look in looks])

    def place(self, map: Tensor, *, adds: bool) -> Tensor:
        """Bring a map to the places of the windows.

        Parameters
        ----------
        map
            (*cells), as `join` lays them.
        adds
            Whether values are contributions, which add up where windows overlap; else they are averaged, with the weights of the windows.

        Returns
        -------
        Tensor
            (*grid), 0 where no window was looked at; the map itself without windows.
        """
        if self.tiling is None:
            return map
        tiling = self.tiling
        if len(self.views) == 1 and tiling.rule.size == tiling.grid:  # one window that sees everything
            return map
        out = torch.zeros(tiling.padded, device=map.device, dtype=map.dtype)
        weights = torch.zeros_like(out)
        importance = tiling.importance.to(out)
        for view, tile in zip(self.views, map.chunk(len(self.views)), strict=True):
            one = enlarged(tile, tiling, view)
            place = tiling.place(view.corner)
            if adds:
                out[place] += one
            else:
                out[place] += one * importance
                weights[place] += importance
        if not adds:
            out /= weights.where(weights > 0, 1)
        return out[tiling.inner]


def overlap(
    low: Corner, shape: Sequence[int], corner: Corner, size: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Return where a box and a window meet, as slices of the box and of the window; None where they do not."""
    there, here = [], []
    for start, length, begin, cells in zip(low, shape, corner, size, strict=True):
        first, last = max(start, begin), min(start + length, begin + cells)
        if first >= last:
            return None
        there.append(slice(first - start, last - start))
        here.append(slice(first - begin, last - begin))
    return tuple(there), tuple(here)


class Stitched:
    """What the network returns of windows, averaged as its card says while one window after another is looked at.

    Parameters
    ----------
    question
        About the whole image.
    many
        For how many changed copies of the image.
    where
        Boolean (*grid): only a box that holds it is kept, all by default; logits are 0 elsewhere.
    """

    def __init__(self, question: Question, many: int = 1, where: Tensor | None = None):
        self.model, self.tiling = question.model, question.model.tiling(question.grid)
        self.low, shape = box_of(self.tiling, where)
        self._sums = torch.zeros((many, self.model.outputs, *shape), device=question.device)
        self._importance = self.tiling.importance.to(question.device)

    @staticmethod
    def bytes_of_one(question: Question, where: Tensor | None) -> int:
        """Return what one copy takes."""
        _, shape = box_of(question.model.tiling(question.grid), where)
        return 4 * question.model.outputs * math.prod(shape)

    def add(self, view: View, returned: Tensor, first: int = 0) -> None:
        """Add what the network returned at one look: (n, outputs, *size), of copies from `first` on."""
        shape, size = self._sums.shape[2:], self.tiling.rule.size
        met = overlap(self.low, shape, view.corner, size)
        if met is not None:
            there, here = met
            weighted = returned.flip(view.axes)[(..., *here)] * self._importance[here]
            self._sums[(slice(first, first + len(returned)), slice(None), *there)] += weighted

    def logits(self, number: int = 0) -> Tensor:
        """Return the logits of one copy, when all windows were added: (1, labels, *grid)."""
        tiling, shape = self.tiling, self._sums.shape[2:]
        place = tuple(slice(low, low + n) for low, n in zip(self.low, shape, strict=True))
        total = tiling.total[place].to(self._sums) * tiling.rule.views
        found = self._sums[number : number + 1] / total
        if tuple(shape) != tiling.padded:
            whole = found.new_zeros((*found.shape[:2], *tiling.padded))
            whole[(..., *place)] = found
            found = whole
        return as_logits(self.model.card, found[(..., *tiling.inner)])


def box_of(tiling: Tiling, where: Tensor | None) -> tuple[Corner, tuple[int, ...]]:
    """Return the lowest corner and the shape, on the padded grid, of a box that holds all of `where`; of all by default."""
    if where is None:
        return (0,) * len(tiling.grid), tiling.padded
    low, shape = [], []
    for axis, before in enumerate(tiling.before):
        others = tuple(k for k in range(where.ndim) if k != axis)
        along = where.any(others).nonzero()[:, 0].tolist() or [0]
        low.append(along[0] + before)
        shape.append(along[-1] + 1 - along[0])
    return tuple(low), tuple(shape)


def enlarged(tile: Tensor, tiling: Tiling, view: View) -> Tensor:
    """Bring a map of one look, (*cells), upright and to the size of the window."""
    return resize(tile[None, None].flip(view.axes), tiling.rule.size, linear=True)[0, 0]


def views_of(tiling: Tiling, where: Tensor) -> tuple[View, ...]:
    """Return the looks at all windows that hold a place of `where`, boolean (*grid)."""
    return tuple(View(corner, axes) for corner in tiling.touching(where) for axes in mirrorings(tiling.rule))


def in_window(question: Question, tiling: Tiling, view: View) -> Question:
    """Return the question about what the network sees at one look; its passes are counted apart."""
    padded = tiling.pad(question.input)
    seen = padded[(..., *tiling.place(view.corner))].flip(view.axes)
    return question.on_part(seen)


@dataclass(frozen=True)
class Slopes:
    """The gradient of a score for the mean over windows, where it is not 0.

    Attributes
    ----------
    tiling
        All windows.
    values
        (1, outputs, *box): a part of the padded grid that holds all of it.
    low
        The lowest corner of that part.
    """

    tiling: Tiling
    values: Tensor
    low: Corner

    def at(self, view: View) -> Tensor:
        """Return the gradient for what is averaged of one look: (1, outputs, *size)."""
        out = self.values.new_zeros((*self.values.shape[:2], *self.tiling.rule.size))
        met = overlap(self.low, self.values.shape[2:], view.corner, self.tiling.rule.size)
        if met is None:
            return out
        there, here = met
        out[(..., *here)] = self.values[(..., *there)]
        return (out * shares(self.tiling, view.corner, out)).flip(view.axes) / self.tiling.rule.views


def slopes_of(question: Question, score: Callable[[Tensor], Tensor]) -> tuple[Slopes, Tiles]:
    """Find on which windows a score depends.

    Parameters
    ----------
    score
        Logits (1, labels, *grid) -> what is differentiated; a sum is taken.

    Returns
    -------
    Slopes
        Its gradient.
    Tiles
        The looks at those windows on which it depends.
    """
    model, tiling = question.model, question.model.tiling(question.grid)
    output = question.logits
    with torch.inference_mode(False), torch.enable_grad():
        start = as_returned(model.card, output[:, -model.outputs :])
        leaf = (start.clone() if start.is_inference() else start.detach()).requires_grad_(True)
        (slope,) = torch.autograd.grad(score(as_logits(model.card, leaf)).sum(), [leaf])
    counts = slope.any(1)[0]
    low, shape = box_of(tiling, counts)
    starts = [start - before for start, before in zip(low, tiling.before, strict=True)]
    box = [slice(start, start + n) for start, n in zip(starts, shape, strict=True)]
    values = slope[(..., *box)].clone()  # an organ is a small part of a volume
    return Slopes(tiling, values, low), Tiles(tiling, views_of(tiling, counts))


def check_memory(numbers: int, of: str, instead: str = "a smaller region") -> None:
    """Refuse to keep more values of network layers than fit into memory.

    Parameters
    ----------
    numbers
        How many values.
    of, instead
        Of what, and what would be right beside a deeper network layer, in words.

    Raises
    ------
    UserError
        Saying how much memory it would take.
    """
    wanted = 4 * numbers
    if wanted > MOST_BYTES:
        raise UserError(
            f"the values of these network layers {of} take {wanted / 1e9:.1f} GB, more than "
            f"{MOST_BYTES / 1e9:.0f} GB; choose a deeper network layer, or {instead}."
        )
