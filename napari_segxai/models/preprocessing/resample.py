"""Resampling between grids that cover the same extent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

COARSE = 3
"""An axis is coarse whose pixels are more than so many times as long as the shortest."""

SAME = 1e-5
"""Relative difference of lengths that are the same but for rounding: an affine has them in other digits than a header."""


def resize(tensor: Tensor, shape: tuple[int, ...], *, linear: bool, antialias: bool = False) -> Tensor:
    """Resample (N, C, *spatial) to `shape`; both grids cover the same extent, cell centres between corners."""
    if tuple(tensor.shape[2:]) == tuple(shape):
        return tensor
    if not linear:
        return F.interpolate(tensor, shape, mode="nearest-exact")
    if len(shape) == 2:
        return F.interpolate(tensor, shape, mode="bilinear", align_corners=False, antialias=antialias)
    return F.interpolate(tensor, shape, mode="trilinear", align_corners=False)


def bicubic(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Resample pictures (N, C, rows, columns) as PIL and torchvision do: Catmull-Rom, over more pixels where they shrink."""
    if tuple(tensor.shape[2:]) == tuple(shape):
        return tensor
    return F.interpolate(tensor, shape, mode="bicubic", align_corners=False, antialias=True)


def resize_apart(
    tensor: Tensor, shape: tuple[int, ...], axis: int, *, nearest: bool, linear: bool = True
) -> Tensor:
    """`resize` all axes but one, and that one after them, to the nearest slice if it should be so."""
    if tuple(tensor.shape[2:]) == tuple(shape):
        return tensor
    planes = tuple(tensor.shape[2 + k] if k == axis else n for k, n in enumerate(shape))
    return resize(resize(tensor, planes, linear=linear), shape, linear=linear and not nearest)


def resize_centers(
    tensor: Tensor, shape: tuple[int, ...], steps: Sequence[float], first: Sequence[float], *, linear: bool
) -> Tensor:
    """Resample (N, C, *spatial) to cells of which the first lies at `first`, and the others `steps` pixels apart.

    What lies beyond a pixel at the edge is that pixel's value. So MONAI's Spacing does it.
    """
    for axis, (n, step, start) in enumerate(zip(shape, steps, first, strict=True), start=2):
        last = tensor.shape[axis] - 1
        if (n, step, start) == (last + 1, 1, 0):
            continue
        places = (start + torch.arange(n, dtype=torch.float64, device="cpu") * step).clamp(0, last)
        if not linear:
            tensor = tensor.index_select(axis, places.round().long().to(tensor.device))
            continue
        low = places.floor()
        weight = (places - low).to(tensor).view((-1,) + (1,) * (tensor.ndim - 1 - axis))
        low = low.long().to(tensor.device)
        high = (low + 1).clamp(max=last)
        tensor = torch.lerp(tensor.index_select(axis, low), tensor.index_select(axis, high), weight)
    return tensor


def continued(places: Tensor, n: int, way: Literal["reflect", "replicate"]) -> Tensor:
    """Return which of `n` cells is found at places before and behind them: the edge, or the cells mirrored there, as often as needed."""
    if way == "replicate":
        return places.clamp(0, n - 1)
    period = max(1, 2 * (n - 1))
    places = places % period
    return torch.where(places < n, places, period - places)


def coarse_axis(first: Sequence[float], second: Sequence[float]) -> int | None:
    """Return the axis that is resampled apart, as nnU-Net chooses it: the longest of the first spacing that has a coarse one.

    None where neither has one, or two axes are as coarse.
    """
    for spacing in (first, second):
        longest = max(spacing)
        if longest / min(spacing) > COARSE:
            found = [k for k, length in enumerate(spacing) if longest / length < 1 + SAME]
            return found[0] if len(found) == 1 else None
    return None


def cubic(
    array: np.ndarray, shape: tuple[int, ...], apart: int | None, along: Literal["nearest", "linear"]
) -> np.ndarray:
    """Resample (channels, *spatial) with splines of order 3, without smoothing before.

    Parameters
    ----------
    apart
        The axis of space that is resampled by itself, after every slice across it; None for none.
    along
        How that axis is resampled.

    Returns
    -------
    ndarray of shape (channels, *shape), float32
        Computed in double precision, channel by channel.
    """
    from skimage.transform import resize as spline

    if array.shape[1:] == tuple(shape):
        return np.ascontiguousarray(array)
    settings = {"order": 3, "mode": "edge", "anti_aliasing": False}
    out = np.empty((len(array), *shape), np.float32)
    for channel, into in zip(array, out, strict=True):
        values = channel.astype(np.float64)
        if apart is None:
            into[...] = spline(values, shape, **settings)
            continue
        into[...] = apart_resized(
            values, shape, apart, lambda plane, size: spline(plane, size, **settings), int(along == "linear")
        )
    return out


def apart_resized(
    values: np.ndarray,
    shape: tuple[int, ...],
    apart: int,
    resized: Callable[[np.ndarray, tuple[int, ...]], np.ndarray],
    order: int,
) -> np.ndarray:
    """Resample every slice across an axis, then along that axis with splines of an order."""
    from scipy.ndimage import map_coordinates

    plane = tuple(n for k, n in enumerate(shape) if k != apart)
    stack = np.moveaxis(np.stack([resized(each, plane) for each in np.moveaxis(values, apart, 0)]), 0, apart)
    before, after = stack.shape[apart], shape[apart]
    if before == after:
        return stack
    where = list(np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True))
    where[apart] = before / after * (where[apart] + 0.5) - 0.5
    return map_coordinates(stack, np.broadcast_arrays(*where), order=order, mode="nearest")
