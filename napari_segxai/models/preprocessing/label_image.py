"""Resampling of label images as nnU-Net does it: a cell gets the label that has most of it, and never one between two labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from napari_segxai.models.preprocessing.resample import SAME, apart_resized, coarse_axis


@dataclass(frozen=True)
class LabelResampling:
    """How label images are resampled.

    Attributes
    ----------
    way
        With splines in double precision ("splines"), or linearly by torch in half precision ("torch").
    order
        Of the splines: 0 is the nearest pixel.
    along
        Order along an axis that is resampled by itself; torch takes the nearest slice.
    apart
        Whether an axis is resampled by itself: the longest one where it is coarse (None), or always, or never.
    half
        Of torch: a cell gets a label that has more than half of it, else 0; by default the label that has most of it.
    """

    way: Literal["splines", "torch"] = "splines"
    order: int = 1
    along: int = 0
    apart: bool | None = None
    half: bool = False

    def resample(
        self, labels: np.ndarray, shape: tuple[int, ...], before: Sequence[float], after: Sequence[float]
    ) -> np.ndarray:
        """Resample a label image.

        Parameters
        ----------
        labels
            Whole numbers, (*spatial).
        shape
            Of the result.
        before, after
            Lengths of a pixel along every axis, now and then.
        """
        if labels.shape == tuple(shape):
            return labels
        axis = self._axis(before, after)
        if self.way == "torch":
            return _by_torch(labels, shape, axis, self.half)
        if axis is None:
            return _most(labels, shape, self.order)
        if self.along == 0:
            return apart_resized(labels, shape, axis, self._plane, 0)
        planes = apart_resized(labels, _but(shape, axis, labels.shape[axis]), axis, self._plane, 0)
        out = np.zeros(shape, labels.dtype)
        for label in np.unique(planes):
            share = apart_resized(
                (planes == label).astype(float), shape, axis, lambda one, size: one, self.along
            )
            out[np.round(share) > 0.5] = label
        return out

    def _plane(self, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return _most(labels, shape, self.order)

    def _axis(self, before: Sequence[float], after: Sequence[float]) -> int | None:
        """Return the axis that is resampled by itself; None where there is none, or two are as long."""
        if self.apart is None:
            return coarse_axis(before, after)
        longest = [k for k, length in enumerate(before) if max(before) / length < 1 + SAME]
        return longest[0] if self.apart and len(longest) == 1 else None


def _but(shape: Sequence[int], axis: int, size: int) -> tuple[int, ...]:
    return tuple(size if k == axis else n for k, n in enumerate(shape))


def _most(labels: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """Resample every label by itself; where several have as much of a cell, it gets that of the nearest pixel, else the smallest."""
    from skimage.transform import resize as spline

    settings = {"mode": "edge", "clip": True, "anti_aliasing": False}
    nearest = spline(labels.astype(np.float64), shape, order=0, **settings)
    if order == 0:
        return nearest.astype(labels.dtype)
    most, of_nearest = np.full(shape, -1.0), np.zeros(shape)
    out = np.zeros(shape, labels.dtype)
    for label in np.unique(labels):
        share = spline((labels == label).astype(np.float64), shape, order=order, **settings)
        more = share > most
        most[more], out[more] = share[more], label
        here = nearest == label
        of_nearest[here] = share[here]
    tied = of_nearest == most
    out[tied] = nearest[tied]
    return out


def _by_torch(labels: np.ndarray, shape: tuple[int, ...], axis: int | None, half: bool) -> np.ndarray:
    values = torch.from_numpy(labels.astype(np.float32))[None]
    if axis is None:
        return _linear(values[None], shape, half)[0, 0].numpy().astype(labels.dtype)
    slices = values.movedim(1 + axis, 1)  # a channel each
    plane = _linear(slices, tuple(n for k, n in enumerate(shape) if k != axis), half)
    whole = plane.movedim(1, 1 + axis)[:, None]
    found = F.interpolate(whole, tuple(shape), mode="nearest-exact")
    return found[0, 0].numpy().astype(labels.dtype)


SCALE = 1000
"""By which nnU-Net multiplies shares before it rounds them to half precision."""


def _linear(values: torch.Tensor, shape: tuple[int, ...], half: bool) -> torch.Tensor:
    """Resample every label of (1, any, *spatial) by itself; where several have as much of a cell, it gets the smallest."""
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    out = torch.zeros((*values.shape[:2], *shape))
    most = torch.full_like(out, -1).half()
    for label in values.unique():
        share = F.interpolate((values == label).float() * SCALE, tuple(shape), mode=mode)
        if half:
            out[share > SCALE / 2] = label
            continue
        rounded = share.half()
        more = rounded > most
        most[more], out[more] = rounded[more], label
    return out
