"""The image that is explained: an array, what its axes mean, and where it lies in the world."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.arguments import check_fields, check_types, quoted
from napari_segxai.core.errors import UserError

Index = tuple[int, ...]

MILLIMETRES = {
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "micrometer": 1e-3, "micrometre": 1e-3,
    "nm": 1e-6, "nanometer": 1e-6, "cm": 10.0, "centimeter": 10.0, "m": 1e3, "meter": 1e3, "inch": 25.4,
    "angstrom": 1e-7, "pm": 1e-9, "picometer": 1e-9, "dm": 100.0, "decimeter": 100.0,
}  # fmt: skip
"""Units of length; a unit that is not here (pixel) counts as 1 mm when a file needs mm."""


def frame_words(at: Mapping[str, int]) -> str:
    """Return in words which frame an image is, from `Image.at`, e.g. "T3"; "" where there are no frames."""
    return " ".join(f"{letter}{index}" for letter, index in at.items())


class Lazy:
    """An array that is made when it is first needed, and only once.

    Parameters
    ----------
    make
        Returns the array. Called at most once, in the thread that first needs the values.
    shape, dtype
        Of what `make` returns: all that is known before.
    source
        The chunked array on disk that `make` reads, if it is one, so that a viewer may read parts of it.
    """

    def __init__(self, make: Callable[[], np.ndarray], shape: Sequence[int], dtype: Any, source: Any = None):
        self.source = source
        self.shape, self.dtype = tuple(int(n) for n in shape), np.dtype(dtype)
        self._make: Callable[[], np.ndarray] | None = make
        self._made: np.ndarray | None = None
        self._lock = Lock()

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def is_read(self) -> bool:
        """Whether the values are in memory."""
        return self._made is not None

    def read(self) -> np.ndarray:
        """Return the values."""
        with self._lock:
            if self._made is None and self._make is not None:
                self._made = np.asarray(self._make())
                self._make = None
        assert self._made is not None
        return self._made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.read(), dtype=dtype, copy=copy)

    def part(self, index: tuple[Any, ...]) -> Lazy:
        """Return a part, by whole numbers and ``slice(None)``; reading it reads the whole."""
        shape = [n for n, k in zip(self.shape, index, strict=True) if isinstance(k, slice)]
        return Lazy(lambda: self.read()[index], shape, self.dtype)


@dataclass(frozen=True, eq=False)
class Image:
    """An image with its geometry.

    Parameters
    ----------
    array : ndarray of shape (*axes), or Lazy
        The intensities. Two or three spatial axes, in the order in which the file or the napari layer
        stores them, and at most one channel axis and one time axis. A `Lazy` array is read when its values are
        needed; `shape` and `dtype` are known before.
    affine : ndarray of shape (4, 4), optional
        4x4 matrix from the indices of the three spatial axes to RAS+ millimetres, as nibabel gives it.
        None for images that do not know where they lie.
    channel_axis, time_axis : int, optional
        Index of these axes in `array`; None where there is none.
    spacing : tuple of float, one per spatial axis, > 0
        Size of a pixel along each spatial axis, in `units`; taken from `affine` when there is one, 1 where it is left out.
    units : str, optional
        Unit of the spatial axes: ``"mm"`` with an affine, else ``"pixel"`` unless given.
    name : str
        What to call the image in results.
    path : str, optional
        The file it was read from, if any.
    layer : mapping
        The transform of the napari layer that the image was taken from (scale, translate, rotate, shear,
        affine, units, axis_labels of the spatial axes). Results are shown with the same transform.
    header : mapping
        What a writer needs to bring the file format back exactly, e.g. the NIfTI header.
    plane : int, optional
        For 2D models on a volume: the spatial axis across which the slices lie, counted as napari shows the volume;
        None for what the model card says, else the first. See `across`.

    Raises
    ------
    UserError
        If the axes do not make a 2D or 3D image, or the affine does not fit.
    """

    array: np.ndarray
    affine: np.ndarray | None = None
    channel_axis: int | None = None
    time_axis: int | None = None
    spacing: tuple[float, ...] = ()
    units: str | None = None
    name: str = "image"
    path: str | None = None
    layer: Mapping[str, Any] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)
    plane: int | None = None

    def __post_init__(self) -> None:
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731  (frozen dataclass)
        check_fields(self, "array", "affine", "spacing", "path")
        if self.path is not None:
            check_types("Image", {"path": self.path}, {"path": str | Path | None})
            set_("path", os.fspath(self.path))
        if self.plane not in (None, 0, 1, 2):
            raise UserError(
                f"{self.name}: plane {self.plane} is no axis across which slices lie; choose 0, 1 or 2."
            )
        stored = self.array if isinstance(self.array, Lazy) else np.asarray(self.array)
        set_("stored", stored)
        if isinstance(stored, Lazy):
            object.__delattr__(self, "array")  # __getattr__ reads it
        else:
            set_("array", stored)
        if self.dtype.kind == "c":
            raise UserError(
                f"{self.name}: complex intensities cannot be explained; take the magnitude first."
            )
        if self.dtype.kind == "U" and not self.shape:
            raise UserError(f"{str(self.array)!r:.90} is no image, but a text; sx.read_image reads a file.")
        if self.dtype.kind not in "buif":
            raise UserError(f"{self.name}: intensities are numbers, not {self.dtype}.")
        if 0 in self.shape:
            raise UserError(f"{self.name}: shape {self.shape} holds no pixel.")
        for which in ("channel_axis", "time_axis"):
            axis = getattr(self, which)
            if axis is None:
                continue
            if not -self.ndim <= axis < self.ndim:
                raise UserError(f"{self.name}: {which} {axis} is outside the {self.ndim} axes of the array.")
            set_(which, axis % self.ndim)
        if self.channel_axis is not None and self.channel_axis == self.time_axis:
            raise UserError(
                f"{self.name}: channel_axis and time_axis are both {self.channel_axis}; name two axes."
            )
        if len(self.spatial_axes) not in (2, 3):
            raise UserError(
                f"{self.name}: shape {self.shape} leaves {len(self.spatial_axes)} spatial axes; an image has "
                "2 or 3: name its channel_axis or time_axis."
            )
        if self.affine is not None:
            affine = self._numbers("affine")
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
        elif self.spacing is None or not (spacing := self._numbers("spacing").ravel()).size:
            set_("spacing", (1.0,) * len(self.spatial_axes))
        else:
            set_("spacing", tuple(spacing.tolist()))
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

    def _numbers(self, name: str) -> np.ndarray:
        """Return a field as an array of numbers."""
        try:
            return np.asarray(getattr(self, name), float)
        except (TypeError, ValueError):
            raise UserError(
                f"{self.name}: {name} is {quoted(getattr(self, name))}; it has to be numbers."
            ) from None

    def __getattr__(self, name: str) -> Any:
        if name == "array" and "stored" in self.__dict__:
            object.__setattr__(self, "array", self.stored.read())
            return self.__dict__["array"]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `array`; reads nothing."""
        return self.stored.shape

    @property
    def ndim(self) -> int:
        """Number of axes of `array`; reads nothing."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of `array`; reads nothing."""
        return self.stored.dtype

    @property
    def is_read(self) -> bool:
        """Whether the values are in memory."""
        return "array" in self.__dict__ or self.stored.is_read

    def __repr__(self) -> str:
        spacing = " x ".join(f"{value:g}" for value in self.spacing)
        shape = " x ".join(map(str, self.shape))
        return f"Image({self.name!r}, {shape}, {self.dtype}, spacing {spacing} {self.units})"

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The axes of `array` that are space."""
        return tuple(k for k in range(self.ndim) if k not in (self.channel_axis, self.time_axis))

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape of the image grid: the shape of every map, mask and prediction."""
        return tuple(self.shape[k] for k in self.spatial_axes)

    @property
    def spatial_dims(self) -> int:
        """Number of spatial axes: 2 or 3."""
        return len(self.spatial_axes)

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """The spacing in millimetres; None if the units are not length."""
        factor = 1.0 if self.affine is not None else MILLIMETRES.get(str(self.units))
        return None if factor is None else tuple(size * factor for size in self.spacing)

    @classmethod
    def of(cls, image: Image | np.ndarray) -> Image:
        """Return an image, made from an array where one is given.

        Parameters
        ----------
        image : Image or ndarray of shape (*spatial axes)
            An array has no channel axis and no place in the world.
        """
        return image if isinstance(image, Image) else cls(image)

    @property
    def channels(self) -> int:
        """Number of channels, 1 when there is no channel axis."""
        return 1 if self.channel_axis is None else self.shape[self.channel_axis]

    @property
    def frames(self) -> int:
        """Number of time points, 1 when there is no time axis."""
        return 1 if self.time_axis is None else self.shape[self.time_axis]

    def frame(self, index: int) -> Image:
        """Return one time point as an image of its own; the image itself when it has no time axis.

        Parameters
        ----------
        index : int
            Of the time point, from 0; counted from the end where negative.

        Raises
        ------
        UserError
            If there is no such time point.
        """
        if self.time_axis is None:
            return self
        if not -self.frames <= index < self.frames:
            raise UserError(f"{self.name}: time point {index} is outside 0 to {self.frames - 1}.")
        channel = self.channel_axis
        if channel is not None and channel > self.time_axis:
            channel -= 1
        index %= self.frames
        where = tuple(index if k == self.time_axis else slice(None) for k in range(self.ndim))
        stored = self.stored.part(where) if isinstance(self.stored, Lazy) else self.stored[where]
        header, layer = dict(self.header), dict(self.layer)
        if layer:
            layer["at"] = {**layer.get("at", {}), layer["letters"].index("T"): index}
        else:
            header["at"] = {"T": index}
        return self._with(array=stored, time_axis=None, channel_axis=channel, header=header, layer=layer)

    @property
    def at(self) -> dict[str, int]:
        """Index that was taken along each axis that is neither space nor channels, by the axis's letter, e.g. {"T": 3}."""
        if "letters" not in self.layer:
            return dict(self.header.get("at", {}))
        return {self.layer["letters"][k]: int(index) for k, index in self.layer.get("at", {}).items()}

    def across(self, axis: int | None) -> Image:
        """Return the image with its slices across another spatial axis, for 2D models on a volume.

        Parameters
        ----------
        axis : int or None, 0 to 2
            Counted as napari shows the volume: of a volume that knows its orientation 0 is axial, 1 coronal and 2
            sagittal; of another one it is the axis of the array. None leaves it to the model card.

        Raises
        ------
        UserError
            If the image has no such axis.
        """
        if axis is None:
            return self
        if self.spatial_dims != 3:
            raise UserError(f"axis is for volumes; {self.name} is a 2D image, leave it out.")
        if isinstance(axis, bool) or axis not in (0, 1, 2):
            raise UserError(f"axis {axis!r} is not an axis of {self.name}; choose 0, 1 or 2.")
        return self._with(plane=int(axis))

    def with_channels(self, count: int) -> Image:
        """Return the image with its fourth axis as channels if the file calls that axis time and it has `count` entries.

        NIfTI calls the fourth axis time, and several sequences of one patient are kept there all the same.

        Parameters
        ----------
        count : int
            Channels that the model takes.
        """
        fits = self.header.get("format") == "nifti" and self.channel_axis is None and self.frames == count > 1
        return self._with(channel_axis=self.time_axis, time_axis=None) if fits else self

    def keep(self) -> None:
        """Copy the values, because their owner may change them in place while a task runs."""
        if not isinstance(self.stored, Lazy):
            object.__setattr__(self, "array", self.array.copy())
            object.__setattr__(self, "stored", self.array)

    def _with(self, **changes: Any) -> Image:
        """Return a changed copy that reads nothing."""
        return replace(self, **{"array": self.stored, **changes})

    def refuse_time(self) -> None:
        """Refuse an image with a time axis.

        Raises
        ------
        UserError
            If it has one.
        """
        if self.time_axis is not None:
            raise UserError(
                f"{self.name} has {self.frames} time points; choose one with image.frame(index), or save it as a file of its own."
            )

    def channels_first(self) -> np.ndarray:
        """Return the array as (channels, *spatial); a view. Needs an image without a time axis.

        Raises
        ------
        UserError
            If the image has a time axis; choose a time point first.
        """
        self.refuse_time()
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
        """Return the index into this image's spatial axes for an index into the array as it is displayed.

        Parameters
        ----------
        index : sequence of float, one per spatial axis
            In pixels of the displayed array.
        """
        order, flips = self.to_display
        out = [0.0] * len(order)
        for k, (axis, flip) in enumerate(zip(order, flips, strict=True)):
            out[axis] = self.spatial_shape[axis] - 1 - index[k] if flip else index[k]
        return tuple(out)

    @cached_property
    def sha256(self) -> str:
        """Digest of the intensities, their type and shape: tells whether two results are of one image."""
        digest = hashlib.sha256(f"{self.dtype.str}{self.shape}".encode())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()
