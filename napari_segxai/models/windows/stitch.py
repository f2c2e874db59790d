"""One output from those of all windows, with exact gradients in the memory of one window.

    L(v) = sum_w g_w(v) f(x_w)(v) / G(v),    G = sum_w g_w
    dS/dx = sum_w place_w[ J_f(x_w)^T (g_w / G dS/dL)|_w ]

The backward pass runs every window once more and goes back through it alone, so that no more than the graph of one batch of
windows is ever there. Windows on which nothing depends are not run again. Where dS/dL is known before, since S is linear in L,
one forward and one backward pass of every window that counts are all (`linear_score`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from napari_segxai.core.progress import part_done
from napari_segxai.models.inference.memory import free, is_out_of_memory
from napari_segxai.models.windows.rule import Windows
from napari_segxai.models.windows.tiling import Box, Corner, Reading, Tiling, mirrorings, overlap

Run = Callable[[Tensor], Tensor]
"""What the network makes of windows: (n, channels, *size) -> (n, outputs, *size)."""


@dataclass(frozen=True)
class Part:
    """One window of one sample of a batch."""

    sample: int
    corner: Corner


def stitch(
    run: Run,
    tensor: Tensor,
    tiling: Tiling,
    reading: Reading | None = None,
    *,
    batch: Callable[[bool], int] = lambda gradients: 1,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Run the network on windows and average what it returns.

    Parameters
    ----------
    run
        The network on windows.
    tensor
        (N, channels, *grid); may take a gradient, but no gradient of a gradient.
    tiling
        Where the windows lie.
    reading
        The part of the output that is wanted; all of it by default.
    batch
        Whether gradients follow -> how many windows are run at once.
    dtype
        In which outputs are added up; that of the input by default.

    Returns
    -------
    Tensor
        (N, outputs, *grid), or of the shape of that part.
    """
    box = tiling.inner if reading is None else tiling.on_padded(reading.box)
    asked = tiling.corners if reading is None else reading.corners
    padded = tiling.pad(tensor)
    if torch.is_grad_enabled() and tensor.requires_grad:
        return _Stitch.apply(padded, run, tiling, box, asked, batch)
    return _forward(run, padded, tiling, box, asked, batch(False), dtype)


def parts_of(tensor: Tensor, corners: Sequence[Corner], batch: int) -> Iterator[list[Part]]:
    """Divide the windows of all samples into batches."""
    parts = [Part(k, corner) for k in range(len(tensor)) for corner in corners]
    for start in range(0, len(parts), batch):
        yield parts[start : start + batch]


def cut(padded: Tensor, tiling: Tiling, parts: Sequence[Part]) -> Tensor:
    """Return windows of a padded input: (n, channels, *size)."""
    return torch.stack([padded[(part.sample, slice(None), *tiling.place(part.corner))] for part in parts])


def shares(tiling: Tiling, corner: Corner, like: Tensor, part: Box | None = None) -> Tensor:
    """Return the weight of each place of a window in the stitched output: (*size), g / G; or of a part of the window."""
    inner = part or tuple(slice(0, n) for n in tiling.rule.size)
    place = tuple(slice(low + one.start, low + one.stop) for low, one in zip(corner, inner, strict=True))
    return tiling.importance[inner].to(like) / tiling.total(place).to(like)


def _forward(
    run: Run,
    padded: Tensor,
    tiling: Tiling,
    box: Box,
    corners: Sequence[Corner],
    batch: int,
    dtype: torch.dtype | None = None,
) -> Tensor:
    out: Tensor | None = None
    weight, total = (tiling.importance, None) if dtype is None else tiling.rounded(dtype)
    done = 0
    for parts in parts_of(padded, corners, batch):
        found = run_views(run, cut(padded, tiling, parts), tiling.rule)
        if out is None:
            shape = tuple(part.stop - part.start for part in box)
            out = found.new_zeros((len(padded), found.shape[1], *shape), dtype=dtype)
            weight = weight.to(found.device)
        for part, one in zip(parts, found, strict=True):
            add(out[part.sample], box, one, tiling, part.corner, weight)
        done += len(parts)
        part_done(done, len(padded) * len(corners))
    assert out is not None, "no window was asked for"
    return divided(out, box, tiling) if total is None else out.div_(total[box].to(out.device))


def add(out: Tensor, box: Box, values: Tensor, tiling: Tiling, corner: Corner, weight: Tensor) -> None:
    """Add what a window returned, times a weight per place, to a part of the padded grid.

    Parameters
    ----------
    out
        (outputs, *box).
    values, weight
        (outputs, *size) and (*size).
    """
    shared = overlap(box, tiling.place(corner))
    if shared is not None:
        here, there = shared
        out[(slice(None), *here)] += values[(slice(None), *there)] * weight[there]


def divided(out: Tensor, box: Box, tiling: Tiling) -> Tensor:
    """Divide weighted sums over all windows by the sum of the weights, in place.

    Parameters
    ----------
    out
        (N, outputs, *box).
    """
    for slab in tiling.slabs(box):
        shared = overlap(box, slab)
        assert shared is not None
        out[(..., *shared[0])] /= tiling.total(slab).to(out.device)
    return out


def run_views(run: Run, windows: Tensor, rule: Windows) -> Tensor:
    """Return the mean of what the network makes of windows and of their mirror images: (n, outputs, *size).

    Fewer at once where memory runs out.
    """
    try:
        return _mean_of_views(run, windows, rule)
    except (RuntimeError, MemoryError) as error:
        if len(windows) == 1 or not is_out_of_memory(error):
            raise
    free(windows.device)  # outside the except clause, whose traceback holds the tensors
    return torch.cat([run_views(run, half, rule) for half in windows.chunk(2)])


def _mean_of_views(run: Run, windows: Tensor, rule: Windows) -> Tensor:
    views = mirrorings(rule)
    first, *others = views
    out = _view(run, windows, first)
    for axes in others:
        out = out + _view(run, windows, axes)
    return out / len(views) if others else out


def _view(run: Run, windows: Tensor, axes: tuple[int, ...]) -> Tensor:
    return run(windows.flip(axes)).flip(axes) if axes else run(windows)


class _Stitch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        padded: Tensor,
        run: Run,
        tiling: Tiling,
        box: Box,
        corners: Sequence[Corner],
        batch: Callable[[bool], int],
    ) -> Tensor:
        ctx.save_for_backward(padded)
        ctx.rest = run, tiling, box, corners, batch
        return _forward(run, padded, tiling, box, corners, batch(False))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (padded,) = ctx.saved_tensors
        run, tiling, box, corners, batch = ctx.rest
        out = torch.zeros_like(padded)
        low = tuple(part.start - first for part, first in zip(box, tiling.before, strict=True))
        weights = [Weights(one, low) for one in slope]
        parts = [part for [part] in parts_of(padded, corners, 1)]
        _backward(run, padded, tiling, parts, lambda part: weights[part.sample], batch(True), out)
        return out, None, None, None, None, None


def _backward(
    run: Run,
    padded: Tensor,
    tiling: Tiling,
    parts: Sequence[Part],
    weights: Callable[[Part], Weights],
    batch: int,
    out: Tensor | None,
) -> Tensor:
    """Run windows, those that have weights, and go back through each of them alone.

    Parameters
    ----------
    weights
        Of the sample that a window is of.
    out
        (N, channels, *padded): what gradients are added to; None without.

    Returns
    -------
    Tensor
        (N,): the sum of what the windows of a sample return, times the weights.
    """
    score = padded.new_zeros(len(padded))
    asked = [part for part in parts if weights(part).touches(tiling, part.corner)]
    start = 0
    while start < len(asked):
        some = asked[start : start + batch]
        try:
            slopes = torch.stack([weights(part).at(tiling, part.corner) for part in some])
            found = _look(run, cut(padded, tiling, some), slopes, tiling.rule, gradients=out is not None)
        except (RuntimeError, MemoryError) as error:
            if len(some) == 1 or not is_out_of_memory(error):
                raise
            batch = len(some) // 2
        else:
            for part, value, gradient in zip(some, *found, strict=True):
                score[part.sample] += value
                if out is not None:
                    out[(part.sample, slice(None), *tiling.place(part.corner))] += gradient
            start += len(some)
            part_done(start, len(asked))
            continue
        free(padded.device)  # outside the except clause, whose traceback holds the tensors
    return score


def _look(
    run: Run, windows: Tensor, slopes: Tensor, rule: Windows, *, gradients: bool
) -> tuple[Tensor, Tensor]:
    """Return the weighted sums of what windows return, (n,), and their gradients by the windows: (n, channels, *size), 0 if not asked for."""
    values, out = windows.new_zeros(len(windows)), torch.zeros_like(windows)
    views = mirrorings(rule)
    for axes in views:
        with torch.set_grad_enabled(gradients):
            leaf = windows.detach().requires_grad_(gradients)
            each = (_view(run, leaf, axes) * slopes).flatten(1).sum(1) / len(views)
            if each.requires_grad:
                [found] = torch.autograd.grad(each.sum(), [leaf], allow_unused=True)
                if found is not None:
                    out += found
        values += each.detach()
    return values, out


@dataclass(frozen=True)
class Weights:
    """The weights of a score that is linear in what is averaged: S = sum_v sum_k values_k(v) L_k(v).

    Attributes
    ----------
    values
        (outputs, *box): a part of the grid beyond which all weights are 0.
    low
        The lowest corner of that part, on the grid.
    """

    values: Tensor
    low: Corner

    def touches(self, tiling: Tiling, corner: Corner) -> bool:
        """Tell whether a place of a window has a weight."""
        shared = self._shared(tiling, corner)
        return shared is not None and bool(self.values[(slice(None), *shared[0])].any())

    def at(self, tiling: Tiling, corner: Corner) -> Tensor:
        """Return the weights of what one window returns, with its own share in the mean: (outputs, *size)."""
        out = self.values.new_zeros((len(self.values), *tiling.rule.size))
        shared = self._shared(tiling, corner)
        if shared is None:
            return out
        here, there = shared
        share = shares(tiling, corner, out, there)
        out[(slice(None), *there)] = self.values[(slice(None), *here)] * share
        return out

    def _shared(self, tiling: Tiling, corner: Corner) -> tuple[Box, Box] | None:
        box = tuple(slice(low, low + n) for low, n in zip(self.low, self.values.shape[1:], strict=True))
        return overlap(tiling.on_padded(box), tiling.place(corner))


def linear_score(
    run: Run, tensor: Tensor, tiling: Tiling, weights: Weights, *, batch: Callable[[bool], int]
) -> Tensor:
    """Return a score that is linear in the stitched output, of which nothing is kept.

    Parameters
    ----------
    run, tensor, tiling, batch
        See `stitch`. If `tensor` takes a gradient, that is computed with the score: one forward and one backward pass of every window
        that has a weight.

    Returns
    -------
    Tensor
        (N,).
    """
    gradients = torch.is_grad_enabled() and tensor.requires_grad
    padded = tiling.pad(tensor)
    return _Linear.apply(padded, run, tiling, weights, batch(gradients), gradients)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, padded: Tensor, run: Run, tiling: Tiling, weights: Weights, batch: int, gradients: bool
    ) -> Tensor:
        out = torch.zeros_like(padded) if gradients else None
        parts = [part for [part] in parts_of(padded, tiling.corners, 1)]
        score = _backward(run, padded, tiling, parts, lambda part: weights, batch, out)
        if out is not None:
            ctx.save_for_backward(out)
        return score

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * slope.view(-1, *(1,) * (gradient.ndim - 1)), None, None, None, None, None
