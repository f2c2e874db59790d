"""Values of network layers of a network that sees an image through windows.

Each window gives a grid of cells; these tiles lie one after the other along the first axis, so that a method takes them for one
layer: what it pools, it pools over all windows. What it finds is put back to the places of the windows: contributions to the
score add up there (the weight of a window is in the gradient already), activations are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.models.logits import as_logits, as_returned
from napari_segxai.models.preprocessing.resample import resize
from napari_segxai.models.windows.stitch import Weights, add, divided
from napari_segxai.models.windows.tiling import Box, Corner, Tiling, box_of, mirrorings

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
    of
        Of which looks these are some; of themselves by default.
    """

    tiling: Tiling | None = None
    views: tuple[View, ...] = ()
    of: Tiles | None = None

    def alone(self, view: View) -> Tiles:
        """Return one look of these by itself, whose places still share what they count with the others."""
        return Tiles(self.tiling, (view,), self)

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
        """Return the mean of what adds up over the whole layer, also where no window was looked at: (1, channels, *cells) -> (1, channels).

        Contributions, such as gradients, add up where windows overlap; of activations see `shares`.
        """
        whole = values.flatten(2).sum(2, dtype=finest(values))
        cells = math.prod(values.shape[2:])
        if self.tiling is not None:
            cells *= math.prod(self.tiling.padded) / len(self.views) / self.tiling.rule.cells
        return (whole / cells).to(values.dtype)

    def shares(self, values: Tensor) -> Tensor:
        """Return for how much each cell counts in a sum of activations in which no place counts twice, however many windows hold it.

        Parameters
        ----------
        values
            (1, channels, *cells).

        Returns
        -------
        Tensor
            (*cells), 1 without windows; the shares of all looks add up to 1 at every place.
        """
        cells = values.shape[2:]
        if self.tiling is None:
            return values.new_ones(cells)
        size = (cells[0] // len(self.views), *cells[1:])
        importance, total = self.tiling.importance, (self.of or self)._total
        out = []
        for view in self.views:
            share = (importance / total[self.tiling.place(view.corner)])[None, None].flip(view.axes)
            out.append(F.interpolate(share, size, mode="area")[0, 0])
        return torch.cat(out).to(values)

    @cached_property
    def _total(self) -> Tensor:
        """The weights of all looks, added up: (*padded)."""
        assert self.tiling is not None
        out = torch.zeros(self.tiling.padded)
        for view in self.views:
            out[self.tiling.place(view.corner)] += self.tiling.importance
        return out

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
        self.box = _box(self.tiling, where)
        shape = tuple(part.stop - part.start for part in self.box)
        self._sums = torch.zeros((many, self.model.outputs, *shape), device=question.device)
        self._importance = self.tiling.importance.to(question.device)

    @staticmethod
    def bytes_of_one(question: Question, where: Tensor | None) -> int:
        """Return what one copy takes."""
        box = _box(question.model.tiling(question.grid), where)
        return 4 * question.model.outputs * math.prod(part.stop - part.start for part in box)

    def add(self, view: View, returned: Tensor, first: int = 0) -> None:
        """Add what the network returned at one look: (n, outputs, *size), of copies from `first` on."""
        for out, one in zip(self._sums[first:], returned.flip(view.axes), strict=False):
            add(out, self.box, one, self.tiling, view.corner, self._importance)

    def logits(self, number: int = 0) -> Tensor:
        """Return the logits of one copy, when all windows were added: (1, labels, *grid)."""
        tiling = self.tiling
        found = divided(self._sums[number : number + 1] / tiling.rule.views, self.box, tiling)
        if self.box != tiling.everywhere:
            whole = found.new_zeros((*found.shape[:2], *tiling.padded))
            whole[(..., *self.box)] = found
            found = whole
        return as_logits(self.model.card, found[(..., *tiling.inner)])


def _box(tiling: Tiling, where: Tensor | None) -> Box:
    """Return a box of the padded grid that holds all of `where`; all by default."""
    return tiling.everywhere if where is None else tiling.on_padded(box_of(where))


def enlarged(tile: Tensor, tiling: Tiling, view: View) -> Tensor:
    """Bring a map of one look, (*cells), upright and to the size of the window."""
    return resize(tile[None, None].flip(view.axes), tiling.rule.size, linear=True)[0, 0]


def so_far(tiles: Tiles, number: int, finding: Finding) -> Finding:
    """Return what was found in the first windows alone, with a mask of the places that are known, and say so.

    Parameters
    ----------
    tiles
        All looks.
    number
        How many of them were taken.
    finding
        Made of these.

    Returns
    -------
    Finding
        Its mask ``windows_run`` holds the places that lie in windows that were run, and in no other.
    """
    tiling = tiles.tiling
    if tiling is None or number == len(tiles.views):
        return finding
    known = torch.zeros(tiling.padded, dtype=torch.bool, device=finding.map.device)
    for k, view in enumerate(tiles.views):
        known[tiling.place(view.corner)] = k < number  # those that were not run come last
    said = (
        f"only {number} of {len(tiles.views)} windows were run: the map is 0 where none of them lies, and final only in the mask windows_run; what "
        "is pooled over windows is pooled over these alone."
    )
    return replace(
        finding,
        masks={**finding.masks, "windows_run": known[tiling.inner]},
        warnings=[*finding.warnings, said],
    )


def views_of(tiling: Tiling, where: Tensor) -> tuple[View, ...]:
    """Return the looks at all windows that hold a place of `where`, boolean (*grid)."""
    return tuple(View(corner, axes) for corner in tiling.touching(where) for axes in mirrorings(tiling.rule))


def in_window(question: Question, tiling: Tiling, view: View) -> Question:
    """Return the question about what the network sees at one look; its passes are counted apart."""
    return question.on_part(view.corner, view.axes)


@dataclass(frozen=True)
class Slopes:
    """The gradient of a score for the mean over windows, where it is not 0.

    Attributes
    ----------
    tiling
        All windows.
    weights
        The gradient: of the outputs, on a part of the grid.
    """

    tiling: Tiling
    weights: Weights

    def at(self, view: View) -> Tensor:
        """Return the gradient for what is averaged of one look: (1, outputs, *size)."""
        return self.weights.at(self.tiling, view.corner)[None].flip(view.axes) / self.tiling.rule.views


def slopes_of(question: Question, score: Callable[[Tensor], Tensor] | None = None) -> tuple[Slopes, Tiles]:
    """Find on which windows a score depends.

    Parameters
    ----------
    score
        Logits (1, labels, *grid) -> what is differentiated; a sum is taken. The target's score by default, of which only M is looked at.

    Returns
    -------
    Slopes
        Its gradient.
    Tiles
        The looks at those windows on which it depends.
    """
    tiling = question.model.tiling(question.grid)
    weights = question.slope if score is None else None
    if weights is None:
        weights = _slope(question, score)
    touched = [corner for corner in tiling.corners if weights.touches(tiling, corner)]
    views = tuple(View(corner, axes) for corner in touched for axes in mirrorings(tiling.rule))
    return Slopes(tiling, weights), Tiles(tiling, views)


def _slope(question: Question, score: Callable[[Tensor], Tensor] | None) -> Weights:
    """Differentiate a score by the mean over windows."""
    model, first = question.model, (0,) * len(question.grid)
    if score is None:
        where = question.read_at
        if where is not None:
            first = tuple(part.start for part in box_of(where))
            question = question.section(where)
        score = question.score
    output = question.logits
    with torch.inference_mode(False), torch.enable_grad():
        start = as_returned(model.card, output[:, -model.outputs :])
        leaf = (start.clone() if start.is_inference() else start.detach()).requires_grad_(True)
        (slope,) = torch.autograd.grad(score(as_logits(model.card, leaf)).sum(), [leaf])
    box = box_of(slope.any(1)[0])
    low = tuple(start + part.start for start, part in zip(first, box, strict=True))
    return Weights(slope[(0, slice(None), *box)].clone(), low)  # an organ is a small part of a volume


def finest(values: Tensor) -> torch.dtype:
    """Return the type in which a sum of these values keeps most digits: an Apple GPU has no float64."""
    return torch.float32 if values.device.type == "mps" else torch.float64


class TooMuch(UserError):
    """More values of network layers than may be held."""


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
    TooMuch
        Saying how much memory it would take.
    """
    wanted = 4 * numbers
    if wanted > MOST_BYTES:
        raise TooMuch(
            f"the values of these network layers {of} take {wanted / 1e9:.1f} GB, more than "
            f"{MOST_BYTES / 1e9:.0f} GB; choose a deeper network layer, or {instead}."
        )
