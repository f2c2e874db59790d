"""One output from those of all windows, with exact gradients in the memory of one window.

    L(v) = sum_w g_w(v) f(x_w)(v) / G(v),    G = sum_w g_w
    dS/dx = sum_w place_w[ J_f(x_w)^T (g_w / G dS/dL)|_w ]

The backward pass runs every window once more and goes back through it alone, so that no more than the graph of one batch of
windows is ever there. Windows on which nothing depends are not run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from napari_segxai.core.progress import part_done
from napari_segxai.models.windows.rule import Windows
from napari_segxai.models.windows.tiling import Corner, Tiling, mirrorings

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
    corners: Sequence[Corner] | None = None,
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
    corners
        The windows to run; all by default. With fewer, only places that no other window holds have their true values.
    batch
        Whether gradients follow -> how many windows are run at once.
    dtype
        In which outputs are added up; that of the input by default.

    Returns
    -------
    Tensor
        (N, outputs, *grid).
    """
    corners = tiling.corners if corners is None else tuple(corners)
    padded = tiling.pad(tensor)
    if torch.is_grad_enabled() and tensor.requires_grad:
        out = _Stitch.apply(padded, run, tiling, corners, batch)
    else:
        out = _forward(run, padded, tiling, corners, batch(False), dtype)
    return out[(..., *tiling.inner)]


def parts_of(tensor: Tensor, corners: Sequence[Corner], batch: int) -> Iterator[list[Part]]:
    """Divide the windows of all samples into batches."""
    parts = [Part(k, corner) for k in range(len(tensor)) for corner in corners]
    for start in range(0, len(parts), batch):
        yield parts[start : start + batch]


def cut(padded: Tensor, tiling: Tiling, parts: Sequence[Part]) -> Tensor:
    """Return windows of a padded input: (n, channels, *size)."""
    return torch.stack([padded[(part.sample, slice(None), *tiling.place(part.corner))] for part in parts])


def shares(tiling: Tiling, corner: Corner, like: Tensor) -> Tensor:
    """Return the weight of each place of a window in the stitched output: (*size), g / G."""
    return tiling.importance.to(like) / tiling.total[tiling.place(corner)].to(like)


def _forward(
    run: Run,
    padded: Tensor,
    tiling: Tiling,
    corners: Sequence[Corner],
    batch: int,
    dtype: torch.dtype | None = None,
) -> Tensor:
    out: Tensor | None = None
    weight, total = tiling.importance, tiling.total
    if dtype is not None:
        weight, total = tiling.rounded(dtype)
    done = 0
    for parts in parts_of(padded, corners, batch):
        found = run_views(run, cut(padded, tiling, parts), tiling.rule)
        if out is None:
            out = found.new_zeros((len(padded), found.shape[1], *tiling.padded), dtype=dtype)
            weight = weight.to(found.device)
        for part, one in zip(parts, found, strict=True):
            out[(part.sample, slice(None), *tiling.place(part.corner))] += one * weight
        done += len(parts)
        part_done(done, len(padded) * len(corners))
    assert out is not None, "no window was asked for"
    return out.div_(total.to(out.device))


def run_views(run: Run, windows: Tensor, rule: Windows) -> Tensor:
    """Return the mean of what the network makes of windows and of their mirror images: (n, outputs, *size)."""
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
        corners: Sequence[Corner],
        batch: Callable[[bool], int],
    ) -> Tensor:
        ctx.save_for_backward(padded)
        ctx.rest = run, tiling, corners, batch
        return _forward(run, padded, tiling, corners, batch(False))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None, None]:
        (padded,) = ctx.saved_tensors
        run, tiling, corners, batch = ctx.rest
        out = torch.zeros_like(padded)
        views = mirrorings(tiling.rule)
        asked = [
            part
            for [part] in parts_of(padded, corners, 1)
            if bool(slope[(part.sample, slice(None), *tiling.place(part.corner))].any())
        ]
        size = batch(True)
        for start in range(0, len(asked), size):
            parts = asked[start : start + size]
            slopes = torch.stack(
                [
                    slope[(part.sample, slice(None), *tiling.place(part.corner))]
                    * shares(tiling, part.corner, slope)
                    for part in parts
                ]
            )
            for axes in views:
                with torch.enable_grad():
                    leaf = cut(padded, tiling, parts).requires_grad_(True)
                    found = _view(run, leaf, axes)
                    (gradients,) = torch.autograd.grad(found, [leaf], slopes / len(views), allow_unused=True)
                for part, one in zip(parts, gradients if gradients is not None else (), strict=False):
                    out[(part.sample, slice(None), *tiling.place(part.corner))] += one
            part_done(start + len(parts), len(asked))
        return out, None, None, None, None
