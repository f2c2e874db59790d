"""Where windows lie on a grid, and how much each place of each of them counts.

The two rules are those of nnU-Net and of MONAI, so that what is explained is what was deployed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.models.windows.rule import Windows

Corner = tuple[int, ...]

Box = tuple[slice, ...]
"""A box of a grid: a slice with start and stop per axis."""

SIGMA = 1 / 8
"""Standard deviation of the Gaussian weights, as a share of the window's size, of both rules."""

UNHEARD = 1e-6
"""How much a place in the margin of a window counts, as a share: nothing, unless no other window has it."""

MOST_WINDOWS = 10**6
"""Of one grid: more are a slip of the card, and their list alone would fill the memory."""


def tiling_of(rule: Windows, grid: tuple[int, ...], name: str) -> Tiling:
    """Return the windows of a grid.

    Parameters
    ----------
    name
        Of the network, for what is said.

    Raises
    ------
    UserError
        If there are too many windows, or the grid is too small to be mirrored around itself.
    """
    found = Tiling(rule, grid)
    shape = " x ".join(map(str, grid))
    count = math.prod(
        count_of(rule, whole, size) for whole, size in zip(found.padded, rule.size, strict=True)
    )
    if count > MOST_WINDOWS:
        raise UserError(
            f"{name} would see a grid of {shape} through {count} windows, more than {MOST_WINDOWS}; write a smaller `overlap` (it is "
            f"{rule.overlap}) or a larger `size` under `windows` in the card."
        )
    after = (whole - n - low for whole, n, low in zip(found.padded, grid, found.before, strict=True))
    if rule.padding == "reflect" and any(most >= n for most, n in zip(after, grid, strict=True)):
        raise UserError(
            f"{name} mirrors what is smaller than a window around itself, and a grid of {shape} is too small for that in a window of "
            f"{' x '.join(map(str, rule.size))}; write `padding: replicate` or `constant` under `windows` in the card."
        )
    return found


@dataclass(frozen=True)
class Tiling:
    """The windows of one grid.

    Attributes
    ----------
    rule
        What the card says of them.
    grid
        Shape of the model grid.
    """

    rule: Windows
    grid: tuple[int, ...]

    @cached_property
    def padded(self) -> tuple[int, ...]:
        """Shape of the grid with what lies around it: at least one window."""
        return tuple(map(max, self.grid, self.rule.size))

    @cached_property
    def before(self) -> Corner:
        """Where the grid begins in the padded one."""
        return tuple((whole - part) // 2 for whole, part in zip(self.padded, self.grid, strict=True))

    @cached_property
    def corners(self) -> tuple[Corner, ...]:
        """The lowest corner of every window, on the padded grid."""
        axes = zip(self.padded, self.rule.size, strict=True)
        return tuple(itertools.product(*(starts(self.rule, whole, part) for whole, part in axes)))

    @property
    def middle(self) -> Corner:
        """The window in the middle of all."""
        return self.corners[len(self.corners) // 2]

    @cached_property
    def importance(self) -> Tensor:
        """How much each place of a window counts: (*size), float32, above 0."""
        return importance(self.rule)

    @cached_property
    def _rows(self) -> Tensor:
        """`importance`, added up over all windows along the last axis: (*size but the last, last of padded).

        What the sum over all windows is made of, in the memory of a few rows: that itself would be as large as the image.
        """
        *_, whole = self.padded
        *_, size = self.rule.size
        out = torch.zeros(*self.rule.size[:-1], whole)
        for start in starts(self.rule, whole, size):
            out[..., start : start + size] += self.importance
        return out

    def total(self, place: Box) -> Tensor:
        """Return the sum of `importance` over all windows, at a part of the padded grid: float32."""
        *others, along = place
        out = torch.zeros(tuple(part.stop - part.start for part in place))
        axes = zip(others, self.padded, self.rule.size, strict=False)
        meeting = [
            [low for low in starts(self.rule, whole, size) if low < part.stop and low + size > part.start]
            for part, whole, size in axes
        ]
        for corner in itertools.product(*meeting):
            window = [slice(low, low + n) for low, n in zip(corner, self.rule.size, strict=False)]
            shared = overlap(others, window)
            assert shared is not None
            out[shared[0]] += self._rows[(*shared[1], along)]
        return out

    @property
    def everywhere(self) -> Box:
        """The whole padded grid."""
        return tuple(slice(0, n) for n in self.padded)

    def slabs(self, place: Box) -> list[Box]:
        """Divide a part of the padded grid along its first axis into parts of about one window's size."""
        first, *others = place
        thick = max(1, self.rule.cells // math.prod(part.stop - part.start for part in others))
        lows = range(first.start, first.stop, thick)
        return [(slice(low, min(low + thick, first.stop)), *others) for low in lows]

    def rounded(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return `importance` and its sum over all windows, in another type, in which both are added up: nnU-Net takes half precision."""
        weight = self.importance.to(dtype)
        weight[weight == 0] = weight[weight > 0].min()
        out = torch.zeros(self.padded, dtype=weight.dtype)
        for corner in self.corners:
            out[self.place(corner)] += weight
        return weight, out

    def place(self, corner: Corner) -> Box:
        """Return where a window lies on the padded grid."""
        return tuple(slice(low, low + n) for low, n in zip(corner, self.rule.size, strict=True))

    def pad(self, tensor: Tensor) -> Tensor:
        """Put (N, channels, *grid) into the middle of the padded grid; differentiable."""
        if self.padded == self.grid:
            return tensor
        around = []
        for whole, part, low in reversed(list(zip(self.padded, self.grid, self.before, strict=True))):
            around += [low, whole - part - low]
        if self.rule.padding == "constant":
            return F.pad(tensor, around, value=self.rule.padding_value)
        return F.pad(tensor, around, mode=self.rule.padding)

    def unpad(self, values: Tensor) -> Tensor:
        """Bring contributions on the padded grid, (N, channels, *padded), to the grid: those of copies to what they are copies of.

        Those of a constant that was put around are left out.
        """
        if self.padded == self.grid or self.rule.padding == "constant":
            return values[(..., *self.inner)]
        with torch.inference_mode(False), torch.enable_grad():
            leaf = values.new_zeros((*values.shape[:2], *self.grid)).requires_grad_(True)
            (found,) = torch.autograd.grad(self.pad(leaf), [leaf], values.clone())
        return found

    def pad_zeros(self, tensor: Tensor) -> Tensor:
        """Put (N, any, *grid) into the middle of a padded grid of zeros."""
        if self.padded == self.grid:
            return tensor
        out = tensor.new_zeros((*tensor.shape[:2], *self.padded))
        out[(..., *self.inner)] = tensor
        return out

    @property
    def inner(self) -> Box:
        """Where the grid lies on the padded one."""
        return self.on_padded(tuple(slice(0, n) for n in self.grid))

    def on_padded(self, place: Box) -> Box:
        """Return where a part of the grid lies on the padded one."""
        return tuple(
            slice(low + part.start, low + part.stop) for low, part in zip(self.before, place, strict=True)
        )

    def reading(self, where: Tensor) -> Reading:
        """Return what of the output is read, and through which windows, where it is wanted: boolean (*grid)."""
        return Reading(box_of(where), tuple(self.touching(where)))

    def meeting(self, box: Box) -> list[Corner]:
        """Return the windows that reach into a part of the grid."""
        padded = self.on_padded(box)
        return [corner for corner in self.corners if overlap(padded, self.place(corner)) is not None]

    def touching(self, where: Tensor) -> list[Corner]:
        """Return the windows that hold a place of `where`, boolean (*grid)."""
        if not bool(where.any()):
            return []
        padded = where
        if self.padded != self.grid:
            padded = torch.zeros(self.padded, dtype=torch.bool, device=where.device)
            padded[self.inner] = where
        corners = self.meeting(box_of(where))
        return [corner for corner in corners if bool(padded[self.place(corner)].any())]


@dataclass(frozen=True)
class Reading:
    """A part of the output that alone is wanted.

    Attributes
    ----------
    box
        Of the grid; all that is wanted lies in it.
    corners
        The windows that hold a wanted place. Those places have their true values, others in the box any finite ones.
    """

    box: Box
    corners: tuple[Corner, ...]


def box_of(where: Tensor) -> Box:
    """Return the smallest box that holds a boolean mask (*grid); one cell where it is empty."""
    out: list[slice] = []
    for axis, n in enumerate(where.shape):
        others = tuple(k for k in range(where.ndim) if k != axis)
        along = (where.any(others) if others else where).nonzero()[:, 0].tolist() or [0]
        out.append(slice(along[0], min(along[-1] + 1, n)))
    return tuple(out)


def overlap(first: Sequence[slice], second: Sequence[slice]) -> tuple[Box, Box] | None:
    """Return what two boxes of one grid share, as a place in the first and as one in the second; None where that is nothing."""
    here, there = [], []
    for one, other in zip(first, second, strict=True):
        low, high = max(one.start, other.start), min(one.stop, other.stop)
        if low >= high:
            return None
        here.append(slice(low - one.start, high - one.start))
        there.append(slice(low - other.start, high - other.start))
    return tuple(here), tuple(there)


def starts(rule: Windows, whole: int, size: int) -> list[int]:
    """Return where the windows begin along one axis of `whole` cells, for windows of `size`."""
    count = count_of(rule, whole, size)
    if rule.rule == "nnunet":
        step = (whole - size) / (count - 1) if count > 1 else 0.0
        return [int(np.round(step * k)) for k in range(count)]
    return [min(k * _step(rule, size), whole - size) for k in range(count)]


def count_of(rule: Windows, whole: int, size: int) -> int:
    """Return how many windows of `size` lie along one axis of `whole` cells."""
    if rule.rule == "nnunet":
        # As nnU-Net writes it, rounding of floats included.
        return math.ceil((whole - size) / (size * (1 - rule.overlap))) + 1
    return math.ceil((whole - size) / _step(rule, size)) + 1


def _step(rule: Windows, size: int) -> int:
    return max(1, int(size * (1 - rule.overlap)))


def importance(rule: Windows) -> Tensor:
    """Return how much each place of a window counts: (*size), float32, above 0."""
    out = _weighting(rule)
    if any(rule.margin):
        middle = tuple(slice(m, n - m) for m, n in zip(rule.margin, rule.size, strict=True))
        out, whole = out * UNHEARD, out
        out[middle] = whole[middle]
    return out


def _weighting(rule: Windows) -> Tensor:
    if rule.weighting == "constant":
        return torch.ones(rule.size)
    if rule.rule == "monai":
        out = torch.ones(())
        for n in rule.size:
            along = torch.arange(-(n - 1) / 2, (n - 1) / 2 + 1)
            out = out[..., None] * torch.exp(-(along**2) / (2 * (SIGMA * n) ** 2))
        return out.clamp(min=max(float(out.min()), 1e-3))
    from scipy.ndimage import gaussian_filter

    point = np.zeros(rule.size)
    point[tuple(n // 2 for n in rule.size)] = 1
    spread = gaussian_filter(point, [SIGMA * n for n in rule.size], mode="constant")
    out = torch.from_numpy(spread / (spread.max() / 10)).float()
    out[out == 0] = out[out > 0].min()
    return out


def mirrorings(rule: Windows) -> list[tuple[int, ...]]:
    """Return the axes of a window (N, channels, *size) that are flipped, for every view of it; the first flips none."""
    axes: Sequence[int] = sorted(rule.mirror)
    some = (itertools.combinations(axes, k) for k in range(len(axes) + 1))
    return [tuple(2 + axis for axis in chosen) for group in some for chosen in group]
