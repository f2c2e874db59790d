"""Between an `Image` and a napari layer: plain arrays and dictionaries, no napari import.

A volume with an affine is shown with layer axes (I, P, L), so that axial, coronal and sagittal slices come
upright and 3D is not mirrored, and with the world coordinates of napari = -(S, A, R) in mm: one linear map
for all files, so that volumes with different storage orders and fields of view overlay.

A volume that is not oblique gets ``scale`` and ``translate``. An oblique one gets ``scale`` and ``affine``,
so that its world coordinates are exact too; napari's 2D view shows its slices without the rotation out of
the slice (and says so in a warning), the 3D view shows it as it lies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.image import MILLIMETRES, Image

WORLD = -np.eye(3)[::-1]
"""From RAS+ mm to the world of napari, -(S, A, R); it is its own inverse."""

STRAIGHT = 5e-5
"""A volume is oblique when leaving out its rotation would move a voxel by more than this, in mm."""


UNIT = re.compile(r"[^\W\d]+( ?[/*] ?[^\W\d]+)*")
"""What can be the name of a unit: no powers, which a file could make too large to be computed."""

LONGEST_UNIT = 40
"""Characters of the name of a unit: looking a name up takes time with its length."""

TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def layer_transform(image: Image) -> dict[str, Any]:
    """Return the layer arguments that place the spatial axes of `image`, in layer order.

    They are those of the layer that the image came from, if it came from one.
    """
    if image.layer:
        return of_layer(image.layer)
    n = image.spatial_dims
    if image.affine is None:
        return {
            "scale": image.spacing,
            "translate": (0.0,) * n,
            "units": (unit_of_layer(str(image.units)),) * n,
            "axis_labels": ("z", "y", "x")[-n:],
        }
    return _placement(image.affine, image.spatial_shape, image.to_display)


def of_layer(transform: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layer arguments of a transform, with units that a viewer knows."""
    out = {key: transform[key] for key in TRANSFORM if transform.get(key) is not None}
    if "units" in out:
        out["units"] = tuple(unit_of_layer(str(unit)) for unit in out["units"])
    return out


def unit_of_layer(name: str) -> str:
    """Return the unit of an axis as a viewer takes it: files may call theirs what they like, and then it counts pixels."""
    return name if len(name) <= LONGEST_UNIT and UNIT.fullmatch(name) and _is_unit(name) else "pixel"


@lru_cache(maxsize=256)
def _is_unit(name: str) -> bool:
    import pint

    try:
        pint.get_application_registry().parse_units(name)
    except Exception:  # what it raises for a strange word is its own
        return False
    return True


def _placement(affine: np.ndarray, shape: Sequence[int], turn: orientation.Reorientation) -> dict[str, Any]:
    """Return the layer arguments of a volume with an affine whose axes are turned to (I, P, L)."""
    shown = orientation.apply_to_affine(affine, shape, turn)
    linear, origin = WORLD @ shown[:3, :3], WORLD @ shown[:3, 3]
    far = np.maximum([shape[axis] - 1 for axis in turn[0]], 1)
    off = np.abs(linear - np.diag(np.diag(linear))) @ far
    out: dict[str, Any] = {"units": ("mm",) * 3, "axis_labels": orientation.DISPLAY}
    if off.max() < STRAIGHT and (np.diag(linear) > 0).all():
        return {"scale": tuple(np.diag(linear).tolist()), "translate": tuple(origin.tolist()), **out}
    scale = np.linalg.norm(linear, axis=0)
    oblique = np.eye(4)
    oblique[:3, :3], oblique[:3, 3] = linear / scale, origin
    return {"scale": tuple(scale.tolist()), "affine": oblique, **out}


def layer_from_image(image: Image) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the array in layer order (a view) and the keyword arguments of its layer.

    Time comes first. RGB is last, with ``rgb=True``; other channels come first, with ``channel_axis=0``
    (and then the transform is that of one channel, as `napari.Viewer.add_image` wants it).
    """
    spatial = list(image.spatial_axes)
    lead = [axis for axis in (image.channel_axis, image.time_axis) if axis is not None]
    array = _chunked(image).transpose(*lead, *spatial)
    array = orientation.apply(array, image.to_display)
    kwargs = {"name": image.name, **layer_transform(image)}
    if image.time_axis is not None:
        kwargs = with_leading_axis(kwargs, "t", *image.header.get("time", (1.0, "s", 0.0)))
    if image.channel_axis is not None:
        if _is_rgb(image):
            array = np.moveaxis(array, 0, -1)
            kwargs["rgb"] = True
        else:
            kwargs["channel_axis"] = 0
    kwargs["metadata"] = layer_metadata(image)
    return array, kwargs


def layer_metadata(image: Image) -> dict[str, Any]:
    """Return the metadata that link a layer on the grid of `image` to the image's file.

    A volume has ``"nifti"``: the path, shape and affine (mm) of the file, its nibabel header, its sform and
    qform codes, its intent, scaling and time step. Any other image has its ``"path"``.
    """
    if image.affine is not None:
        header = image.header if image.header.get("format") == "nifti" else {}
        own = {"format": "nifti", "path": image.path, "shape": image.spatial_shape, "affine": image.affine}
        return {"nifti": {**own, **header}}
    return {} if image.path is None else {"path": image.path}


def layers_from_image(image: Image, kind: str = "image") -> list[tuple[np.ndarray, dict[str, Any], str]]:
    """Return `image` as napari layer data tuples: one, or one for each channel that is not a colour."""
    array, kwargs = layer_from_image(image)
    if "channel_axis" not in kwargs:
        return [(array, kwargs, kind)]
    del kwargs["channel_axis"]
    out = []
    for k, channel in enumerate(array):
        own = {**kwargs, "name": f"{image.name} [{k}]", "metadata": {**kwargs["metadata"], "channel": k}}
        if kind == "image" and k:
            own.update(blending="additive", visible=False)
        out.append((channel, own, kind))
    return out


def index_to_world(transform: Mapping[str, Any], n: int) -> np.ndarray:
    """Return the (n + 1) x (n + 1) matrix of a layer transform, from index to napari's world in mm."""
    get = lambda key, default: default if transform.get(key) is None else transform[key]  # noqa: E731
    inner = np.eye(n + 1)
    inner[:n, :n] = inner_matrix(transform, n)
    inner[:n, n] = np.asarray(get("translate", np.zeros(n)), float)[-n:]
    matrix = last_axes(np.asarray(get("affine", np.eye(n + 1)), float), n + 1) @ inner
    factors = [MILLIMETRES.get(str(unit), 1.0) for unit in get("units", ("mm",) * n)][-n:]
    return np.diag([*factors, 1.0]) @ matrix


def inner_matrix(transform: Mapping[str, Any], n: int) -> np.ndarray:
    """Return the n x n matrix of scale, shear and rotation of a layer transform."""
    get = lambda key, default: default if transform.get(key) is None else transform[key]  # noqa: E731
    turn, shear = get("rotate", np.eye(n)), get("shear", np.eye(n))
    return (last_axes(rotation_matrix(turn), n) @ last_axes(shear_matrix(shear), n)) * np.asarray(
        get("scale", np.ones(n)), float
    )[-n:]


def last_values(values: Any, n: int, fill: float) -> np.ndarray:
    """Return the values of the last `n` axes; `fill` in front where there are fewer."""
    values = np.ravel(np.asarray(values, float))[-n:]
    return np.concatenate([np.full(n - len(values), fill), values])


def last_axes(matrix: np.ndarray, n: int) -> np.ndarray:
    """Return the last n x n block of a matrix, which is put into an identity when it is smaller."""
    out = np.eye(n)
    m = min(n, len(matrix))
    out[n - m :, n - m :] = matrix[len(matrix) - m :, len(matrix) - m :]
    return out


def rotation_matrix(rotate: Any) -> np.ndarray:
    """Return the matrix of what napari takes as a rotation: degrees (2D), three angles, or a matrix."""
    rotate = np.asarray(rotate, float)
    if rotate.ndim == 2:
        return rotate
    angles = np.deg2rad(np.atleast_1d(rotate))
    c, s = np.cos(angles), np.sin(angles)
    if angles.size == 1:
        return np.array([[c[0], -s[0]], [s[0], c[0]]])
    yaw = np.array([[c[0], -s[0], 0], [s[0], c[0], 0], [0, 0, 1]])
    pitch = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    roll = np.array([[1, 0, 0], [0, c[2], -s[2]], [0, s[2], c[2]]])
    return yaw @ pitch @ roll


def shear_matrix(shear: Any) -> np.ndarray:
    """Return a shear matrix from what napari accepts: the upper triangle as a vector, or a matrix."""
    shear = np.asarray(shear, float)
    if shear.ndim == 2:
        return shear
    n = round((1 + np.sqrt(1 + 8 * shear.size)) / 2)
    out = np.eye(n)
    out[np.triu_indices(n, 1)] = shear
    return out


def with_leading_axis(
    kwargs: Mapping[str, Any], label: str, step: float = 1.0, unit: str = "pixel", start: float = 0.0
) -> dict[str, Any]:
    """Put an axis, such as time, in front of the spatial ones in every layer argument."""
    out = dict(kwargs)
    out["scale"] = (float(step), *kwargs["scale"])
    out["translate"] = (float(start), *kwargs.get("translate", (0.0,) * len(kwargs["scale"])))
    if kwargs.get("units") is not None:
        out["units"] = (unit_of_layer(str(unit)), *kwargs["units"])
    if kwargs.get("axis_labels") is not None:
        out["axis_labels"] = (label, *kwargs["axis_labels"])
    n = len(kwargs["scale"]) + 1
    for key, size in (("rotate", n), ("affine", n + 1)):
        if kwargs.get(key) is not None:
            out[key] = last_axes(np.asarray(kwargs[key], float), size)
    if kwargs.get("shear") is not None:
        shear = last_axes(shear_matrix(kwargs["shear"]), n)
        out["shear"] = shear[np.triu_indices(n, 1)] if np.allclose(shear, np.triu(shear)) else shear
    return out


def _chunked(image: Image) -> Any:
    """Return the intensities; of an array on disk a dask array, of which napari reads what it shows."""
    if image.is_read or image.stored.source is None:
        return image.array
    import dask.array as da

    return da.from_array(image.stored.source, chunks=image.stored.source.chunks)


def _is_rgb(image: Image) -> bool:
    if "rgb" in image.header:
        return bool(image.header["rgb"]) and image.channels in (3, 4)
    return image.channels in (3, 4) and image.dtype == np.uint8
