"""The image that is explained: an array, what its axes mean, and where it lies in the world."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from napari_segxai import orientation
from napari_segxai.errors import UserError

Index = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Image:
    """An image with its geometry.

    Parameters
    ----------
    array
        The intensities. Two or three spatial axes, in the order in which the file or the napari layer
        stores them, and at most one channel axis and one time axis.
    affine
        4x4 matrix from the indices of the three spatial axes to RAS+ millimetres, as nibabel gives it.
        None for images that do not know where they lie.
    channel_axis, time_axis
        Index of these axes in `array`; None where there is none.
    spacing
        Size of a pixel along each spatial axis, in `units`; taken from `affine` when there is one.
    units
        Unit of the spatial axes: ``"mm"`` with an affine, else ``"pixel"`` unless given.
    name
        What to call the image in results.
    path
        The file it was read from, if any.
    layer
        The transform of the napari layer that the image was taken from (scale, translate, rotate, shear,
        affine, units, axis_labels of the spatial axes). Results are shown with the same transform.
    header
        What a writer needs to bring the file format back exactly, e.g. the NIfTI header.

    Raises
    ------
    UserError
        If the axes do not make a 2D or 3D image, or the affine does not fit.
    """

    array: np.ndarray
    affine: np.ndarray | None = None
    channel_axis: int | None = None
    time_axis: int | None = None
    spacing: tuple[float, ...] | None = None
    units: str | None = None
    name: str = "image"
    path: str | None = None
    layer: Mapping[str, Any] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731  (frozen dataclass)
        set_("array", np.asarray(self.array))
        if np.iscomplexobj(self.array):
            raise UserError(
                f"{self.name}: complex intensities cannot be explained; take the magnitude first."
            )
        if self.array.dtype.kind not in "buif":
            raise UserError(f"{self.name}: intensities are numbers, not {self.array.dtype}.")
        if self.array.size == 0:
            raise UserError(f"{self.name}: shape {self.array.shape} holds no pixel.")
        for which in ("channel_axis", "time_axis"):
            axis = getattr(self, which)
            if axis is None:
                continue
            if not -self.array.ndim <= axis < self.array.ndim:
                raise UserError(
                    f"{self.name}: {which} {axis} is outside the {self.array.ndim} axes of the array."
                )
            set_(which, axis % self.array.ndim)
        if len(self.spatial_axes) not in (2, 3):
            raise UserError(
                f"{self.name}: shape {self.array.shape} leaves {len(self.spatial_axes)} spatial axes; an image has "
                "2 or 3: name its channel_axis or time_axis."
            )
        if self.affine is not None:
            affine = np.asarray(self.affine, float)
            if affine.shape != (4, 4) or len(self.spatial_axes) != 3:
                raise UserError(
                    f"{self.name}: an affine is a 4x4 matrix for an image with three spatial axes."
                )
            lengths = np.linalg.norm(affine[:3, :3], axis=0)
            flat = not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6
            if flat or not np.isfinite(affine).all():
                raise UserError(
                    f"{self.name}: the affine is singular, so the image has no place in the world."
                )
            set_("affine", affine)
            set_("spacing", tuple(float(v) for v in lengths))
        elif self.spacing is None:
            set_("spacing", (1.0,) * len(self.spatial_axes))
        if len(self.spacing) != len(self.spatial_axes):
            raise UserError(
                f"{self.name}: spacing {self.spacing} does not fit {len(self.spatial_axes)} spatial axes."
            )
        spacing = tuple(abs(float(s)) for s in self.spacing)  # a flipped layer has a negative scale
        if not all(0 < s < float("inf") for s in spacing):
            raise UserError(f"{self.name}: spacing {self.spacing} has to be positive numbers.")
        set_("spacing", spacing)
        if self.units is None:
            set_("units", "mm" if self.affine is not None else "pixel")

    def __repr__(self) -> str:
        spacing = " x ".join(f"{value:g}" for value in self.spacing)
        shape = " x ".join(map(str, self.array.shape))
        return f"Image({self.name!r}, {shape}, {self.array.dtype}, spacing {spacing} {self.units})"

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The axes of `array` that are space."""
        return tuple(k for k in range(self.array.ndim) if k not in (self.channel_axis, self.time_axis))

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape of the image grid: the shape of every map, mask and prediction."""
        return tuple(self.array.shape[k] for k in self.spatial_axes)

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.spatial_axes)

    @property
    def channels(self) -> int:
        """Number of channels, 1 when there is no channel axis."""
        return 1 if self.channel_axis is None else self.array.shape[self.channel_axis]

    @property
    def frames(self) -> int:
        """Number of time points, 1 when there is no time axis."""
        return 1 if self.time_axis is None else self.array.shape[self.time_axis]

    def frame(self, index: int) -> Image:
        """Return one time point as an image of its own; the image itself when it has no time axis."""
        if self.time_axis is None:
            return self
        if not -self.frames <= index < self.frames:
            raise UserError(f"{self.name}: time point {index} is outside 0 to {self.frames - 1}.")
        channel = self.channel_axis
        if channel is not None and channel > self.time_axis:
            channel -= 1
        array = self.array.take(index, axis=self.time_axis)
        return replace(self, array=array, time_axis=None, channel_axis=channel)

    def channels_first(self) -> np.ndarray:
        """Return the array as (channels, *spatial); a view. Needs an image without a time axis."""
        if self.time_axis is not None:
            raise UserError(f"{self.name} has {self.frames} time points; choose one with image.frame(index).")
        if self.channel_axis is None:
            return self.array[None]
        return np.moveaxis(self.array, self.channel_axis, 0)

    @cached_property
    def codes(self) -> tuple[str, ...] | None:
        """Axis codes of the spatial axes, e.g. ('L', 'A', 'S'); None without an affine."""
        return None if self.affine is None else orientation.axis_codes(self.affine)

    @cached_property
    def to_display(self) -> orientation.Reorientation:
        """How the spatial axes are turned for napari: to (I, P, L) with an affine, unchanged without.

        Unchanged too if the image came from a layer: it has the axes that are shown.
        """
        if self.codes is None or self.layer:
            n = self.spatial_dims
            return tuple(range(n)), (False,) * n
        return orientation.reorientation(self.codes, orientation.DISPLAY)

    def index_from_display(self, index: Sequence[float]) -> tuple[float, ...]:
        """Turn an index into the displayed array into an index into this image's spatial axes."""
        order, flips = self.to_display
        out = [0.0] * len(order)
        for k, (axis, flip) in enumerate(zip(order, flips, strict=True)):
            out[axis] = self.spatial_shape[axis] - 1 - index[k] if flip else index[k]
        return tuple(out)

    @cached_property
    def sha256(self) -> str:
        """Digest of the intensities, their type and shape: tells whether two results are of one image."""
        digest = hashlib.sha256(f"{self.array.dtype.str}{self.array.shape}".encode())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()
