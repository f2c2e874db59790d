"""From a napari layer to an `Image`: its axes, its place, its frame; plain arrays and dictionaries, no napari import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image, Lazy
from napari_segxai.core.paths import absolute
from napari_segxai.io.axes import Axes, choose, parse, readings
from napari_segxai.io.layer_data import (
    STRAIGHT,
    WORLD,
    index_to_world,
    inner_matrix,
    last_axes,
    last_values,
    rotation_matrix,
    shear_matrix,
)
from napari_segxai.io.placing import kept_axes

TIME_UNITS = {
    "second": "s",
    "millisecond": "ms",
    "microsecond": "us",
    "hertz": "Hz",
    "radian / second": "rad/s",
}


def image_from_layer(
    data: Any,
    meta: Mapping[str, Any],
    *,
    channels: int | None = None,
    dims: int | None = None,
    axes: str | None = None,
    at: Mapping[int, int] | None = None,
    level: int | None = None,
) -> Image:
    """Return the `Image` of a napari layer, with its axes in the order of the layer.

    A layer that our reader made, or that carries its ``metadata["nifti"]`` and lies at the same place (or
    nowhere: a transform that nobody set), has the affine of the file, for the layer's axes. If the layer
    was moved since, the affine says where it is now. Any other layer has no affine, but keeps its spacing,
    units and transform. Nothing is read that is not in memory: what is lazy stays lazy.

    Parameters
    ----------
    data
        The layer's data; of a multiscale layer, its levels.
    meta
        The layer's attributes: scale, translate, rotate, shear, affine, units, axis_labels, metadata, name,
        rgb.
    channels, dims
        How many channels and spatial axes the model takes.
    axes
        What the axes are, e.g. "TCYX"; by labels, units and what the model takes when it is not given.
    at
        The index of every axis of which one is taken (time, position, a channel that is shown). A time axis stays
        where it is not given.
    level
        Of a pyramid; 0, the finest, by default.

    Raises
    ------
    UserError
        If the axes make no image, or can be read in several ways.
    """
    name = str(meta.get("name") or "layer")
    data, finest = _level(data, meta, level or 0, name)
    rgb, shape = bool(meta.get("rgb")), tuple(data.shape)
    ndim = len(shape) - rgb
    metadata = dict(meta.get("metadata") or {})
    nifti = file_geometry(metadata, finest[:ndim])
    found = axes_of(finest, meta, channels=channels, dims=dims, axes=axes)
    transform = _place_of(meta, found, shape, finest, level or 0)
    affine, header = None, {}
    if nifti is not None:
        header = {**nifti, "format": "nifti"}
        affine = _affine_of(nifti, transform, [shape[k] for k in found.spatial], level or 0)
    if (time := found.letters.find("T")) >= 0:
        header["time"] = _times(meta, ndim, time)
    opaque = rgb and shape[-1] == 4 and channels == 3
    stored, channel, time = _picked(data, found, dict(at or {}), rgb, name, transform, opaque=opaque)
    same = set(transform["units"])
    path = (nifti or {}).get("path") or metadata.get("path")
    return Image(
        stored,
        affine=affine,
        channel_axis=channel,
        time_axis=time,
        spacing=() if affine is not None else tuple(float(s) for s in transform["scale"]),
        units=None if affine is not None else (same.pop() if len(same) == 1 else "pixel"),
        name=name,
        path=None if path is None else absolute(path),
        layer=transform,
        header=header,
    )


def _level(data: Any, meta: Mapping[str, Any], level: int, name: str) -> tuple[Any, tuple[int, ...]]:
    """Return the data of a level, an array at least in kind, and the shape of the finest."""
    pyramid = bool(meta.get("multiscale")) or isinstance(data, (list, tuple))
    levels = list(data) if pyramid else [data]
    if not 0 <= level < len(levels):
        raise UserError(f"{name} has levels 0 to {len(levels) - 1}, not {level}.")
    data = levels[level]
    if not (hasattr(data, "shape") and hasattr(data, "dtype")):
        data = np.asarray(data)
    return data, tuple(levels[0].shape if pyramid else data.shape)


def _place_of(
    meta: Mapping[str, Any], found: Axes, shape: Sequence[int], finest: Sequence[int], level: int
) -> dict[str, Any]:
    """Return what `Image.layer` says: the transform of the axes of space at this level, and what lies around them."""
    spatial, n = found.spatial, len(found.spatial)
    ndim = len(shape) - bool(meta.get("rgb"))
    units, labels = _units(meta, ndim), tuple(meta.get("axis_labels") or ())
    factors = {k: finest[k] / shape[k] for k in range(ndim)}

    def placed(own: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
        out = _transform_of(meta, ndim, own)
        if level:
            _coarsen(out, [factors[k] for k in own])
        out["units"] = tuple(_short(units[k]) for k in own)
        out["axis_labels"] = tuple(labels[k] for k in own) if len(labels) == ndim else tuple(names)
        return out

    transform = placed(spatial, ("z", "y", "x")[-n:])
    if level:
        transform["factors"] = tuple(factors[k] for k in spatial)
    transform["letters"], transform["spatial"], transform["level"] = found.letters, spatial, level
    if (kept := kept_axes(found.letters[:ndim], spatial)) != spatial:
        whole = placed(kept, [found.letters[k].lower() for k in kept])
        transform["around"] = {
            "axes": kept,
            "counts": [shape[k] for k in kept],
            "transform": whole,
            "inner": inner_matrix(whole, len(kept)),
        }
    return transform


def _times(meta: Mapping[str, Any], ndim: int, axis: int) -> tuple[float, str, float]:
    """Return the step of the time axis, its unit, and where it begins."""
    scale = np.ravel(np.ones(ndim) if meta.get("scale") is None else meta["scale"])
    start = np.ravel(np.zeros(ndim) if meta.get("translate") is None else meta["translate"])
    unit = _units(meta, ndim)[axis]
    return float(scale[axis]), TIME_UNITS.get(unit, unit), float(start[axis])


def axes_of(
    shape: Sequence[int],
    meta: Mapping[str, Any],
    *,
    channels: int | None = None,
    dims: int | None = None,
    axes: str | None = None,
) -> Axes:
    """Return what the axes of a layer are; see `image_from_layer`."""
    name, rgb = str(meta.get("name") or "layer"), bool(meta.get("rgb"))
    if axes is not None:
        return parse(axes, shape, name, rgb=rgb, channels=channels)
    return choose(readings_of(shape, meta, channels=channels, dims=dims), name)


def readings_of(
    shape: Sequence[int], meta: Mapping[str, Any], *, channels: int | None = None, dims: int | None = None
) -> list[Axes]:
    """Return the ways in which the axes of a layer can be read, the likeliest first; see `axes.readings`."""
    rgb = bool(meta.get("rgb"))
    ndim = len(shape) - rgb
    volume = file_geometry(meta.get("metadata") or {}, shape[:ndim]) is not None
    labels = list(meta.get("axis_labels") or ())
    return readings(shape, labels, _units(meta, ndim), rgb=rgb, volume=volume, channels=channels, dims=dims)


def file_geometry(metadata: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any] | None:
    """Return what a layer's metadata say of its NIfTI file; None if there is no file, or the layer has another grid."""
    nifti = metadata.get("nifti")
    if not (isinstance(nifti, Mapping) and "affine" in nifti and "shape" in nifti):
        return None
    turn = orientation.reorientation(
        orientation.axis_codes(np.asarray(nifti["affine"], float)), orientation.DISPLAY
    )
    file_shape = (*nifti["shape"], 1, 1)[:3]
    return dict(nifti) if tuple(file_shape[axis] for axis in turn[0]) == tuple(shape[-3:]) else None


def _affine_of(
    nifti: Mapping[str, Any], transform: Mapping[str, Any], shape: Sequence[int], level: int
) -> np.ndarray:
    """Return the affine of a layer with a file: that of the file, or where the layer was moved since."""
    file_affine, file_shape = np.asarray(nifti["affine"], float), (*nifti["shape"], 1, 1)[:3]
    turn = orientation.reorientation(orientation.axis_codes(file_affine), orientation.DISPLAY)
    here = index_to_world(transform, 3)
    shown = orientation.apply_to_affine(file_affine, file_shape, turn)
    expected = np.eye(4)
    expected[:3] = WORLD @ shown[:3]
    far = np.array([*(s - 1 for s in shape), 1.0])
    moved = np.abs(here - expected)[:3] @ np.maximum(far, 1)
    size = np.linalg.norm(shown[:3, :3], axis=0).min()
    if not level and (moved.max() < max(2 * STRAIGHT, 1e-3 * size) or np.array_equal(here, np.eye(4))):
        return shown
    affine = np.eye(4)
    affine[:3] = WORLD @ here[:3]
    return affine


def _picked(
    data: Any,
    found: Axes,
    at: dict[int, int],
    rgb: bool,
    name: str,
    transform: dict[str, Any],
    *,
    opaque: bool,
) -> tuple[Any, int | None, int | None]:
    """Return the data at the indices that are taken, `opaque` without alpha, and which axes are channels and time."""
    time = found.letters.find("T")
    missing = [k for k in found.picked if k not in at and k != time]
    if missing:
        raise UserError(
            f"{name}: a layer with {len(found.letters)} axes is not an image; it needs 2 or 3 spatial axes, and time or "
            f"channels beside them: say which index of its axes {found.letters} is meant."
        )
    for k in found.picked:
        if k in at and not -data.shape[k] <= at[k] < data.shape[k]:
            word = "time point" if k == time else "index"
            raise UserError(f"{name}: {word} {at[k]} is outside 0 to {data.shape[k] - 1}.")
    index: list[Any] = [slice(None)] * len(data.shape)
    for k in found.picked:
        if k in at:
            index[k] = at[k] % data.shape[k]
    transform["at"] = {k: index[k] for k in found.picked if k in at}
    kept = [k for k in range(len(data.shape)) if isinstance(index[k], slice)]
    sizes = [data.shape[k] for k in kept]
    if opaque:
        index[-1], sizes[-1] = slice(3), 3
    stored = data
    if isinstance(data, np.ndarray):
        stored = np.asarray(data[tuple(index)])
    elif not isinstance(data, Lazy) or transform["at"] or opaque:
        stored = Lazy(lambda: np.asarray(data[tuple(index)]), sizes, data.dtype)
    channel = len(data.shape) - 1 if rgb else found.channel
    place = lambda k: kept.index(k) if k is not None and k in kept else None  # noqa: E731
    return stored, place(channel), place(time if time >= 0 else None)


def _units(meta: Mapping[str, Any], ndim: int) -> list[str]:
    units = [str(unit) for unit in meta.get("units") or ()]
    return units if len(units) == ndim else ["pixel"] * ndim


def _transform_of(meta: Mapping[str, Any], ndim: int, spatial: Sequence[int]) -> dict[str, Any]:
    """Return scale, translate, rotate, shear and affine of some axes among the `ndim` of a layer."""
    get = lambda key, default: default if meta.get(key) is None else meta[key]  # noqa: E731
    n, own = len(spatial), list(spatial)
    cut = lambda matrix: last_axes(matrix, ndim)[np.ix_(own, own)]  # noqa: E731
    shear = cut(shear_matrix(get("shear", np.eye(n))))
    upper = np.triu_indices(n, 1)
    affine = last_axes(np.asarray(get("affine", np.eye(n + 1)), float), ndim + 1)
    return {
        "scale": tuple(float(s) for s in last_values(get("scale", ()), ndim, 1.0)[own]),
        "translate": tuple(float(s) for s in last_values(get("translate", ()), ndim, 0.0)[own]),
        "rotate": cut(rotation_matrix(get("rotate", np.eye(n)))),
        "shear": shear[upper] if np.allclose(shear, np.triu(shear)) else shear,
        "affine": affine[np.ix_([*own, ndim], [*own, ndim])],
    }


def _coarsen(transform: dict[str, Any], factors: Sequence[float]) -> None:
    """Change a transform to that of a level of a pyramid whose pixels are larger by `factors`."""
    n, factor = len(factors), np.asarray(factors, float)
    scale = np.asarray(transform["scale"])
    middle = (
        rotation_matrix(transform["rotate"])
        @ last_axes(shear_matrix(transform["shear"]), n)
        @ (scale * (factor - 1) / 2)
    )
    transform["translate"] = tuple((np.asarray(transform["translate"]) + middle).tolist())
    transform["scale"] = tuple((scale * factor).tolist())


def _short(unit: str) -> str:
    return {"millimeter": "mm", "micrometer": "um", "micron": "um"}.get(unit, unit)
