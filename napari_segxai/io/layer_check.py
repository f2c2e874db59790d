"""Whether what a record says of an image's layer is whole: its axes, its transform, and that results can be placed on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.image import Image
from napari_segxai.io.layer_data import index_to_world, layer_transform
from napari_segxai.io.placing import kept_axes, on_axes_of_layer

TINIEST = 1e-9
"""Determinant of a matrix that has an inverse, with columns of length 1."""


def check_place(image: Image) -> None:
    """Raise an error if results of an image could not be placed, in a viewer or in a file."""
    from napari_segxai.io.nifti.write import storage_of

    layer = image.layer
    if layer:
        _check_axes(layer, image.spatial_dims)
    if layer.get("around") is not None:
        _check_around(layer, image.spatial_shape)
    nothing = np.broadcast_to(np.uint8(0), image.spatial_shape)
    _, placed = on_axes_of_layer(orientation.apply(nothing, image.to_display), layer)
    transform = {**layer_transform(image), **placed}
    if not np.all([np.isfinite(values).all() for values in transform.values() if _is_numeric(values)]):
        raise ValueError("its transform is not finite")
    if (time := image.header.get("time")) is not None:
        _ = float(time[0]), str(time[1]), float(time[2])
    storage_of(image)
    _ = image.at, image.spacing_mm


def _check_axes(layer: Mapping[str, Any], n: int) -> None:
    """Raise an error if a layer has not `n` axes of space, each once, or lacks what is said of its other axes."""
    _check_transform(layer, n)
    letters, spatial = layer.get("letters", "ZYX"[-n:]), tuple(layer.get("spatial", range(n)))
    space = [letters[k] for k in spatial]
    if not set(letters) <= set("TPCZYX") or len(space) != n or len(set(space) & set("ZYX")) != n:
        raise ValueError("the layer has other axes of space")
    if ("around" in layer) != (kept_axes(letters, spatial) != spatial):
        raise ValueError("around does not fit the axes of the layer")


def _check_around(layer: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Raise an error if what is said of the axes around an image of this shape does not fit it, or itself."""
    around = layer["around"]
    _check_transform(around["transform"], len(around["axes"]))
    counts = dict(zip(around["axes"], around["counts"], strict=True))
    lengths = [counts[k] for k in layer["spatial"]]
    if lengths != list(shape) or any(at >= counts.get(k, at + 1) for k, at in layer["at"].items()):
        raise ValueError("the layer has other lengths")
    if not set(layer["spatial"]) <= set(around["axes"]) <= set(range(len(layer["letters"]))):
        raise ValueError("the layer has other axes")
    if around["inner"].shape != (len(around["axes"]),) * 2:
        raise ValueError("its matrix does not fit its axes")


def _check_transform(transform: Mapping[str, Any], n: int) -> None:
    """Raise an error if a transform is not one of `n` axes."""
    sizes = {
        "scale": (n,),
        "translate": (n,),
        "rotate": (n, n),
        "affine": (n + 1, n + 1),
        "units": (n,),
        "axis_labels": (n,),
    }
    for key, size in sizes.items():
        if key in transform and np.shape(transform[key]) != size:
            raise ValueError(f"{key} does not fit {n} axes")
    if "shear" in transform and np.shape(transform["shear"]) not in ((n * (n - 1) // 2,), (n, n)):
        raise ValueError(f"shear does not fit {n} axes")
    matrix = index_to_world(transform, n)
    lengths = np.linalg.norm(matrix[:n, :n], axis=0)
    flat = not lengths.all() or abs(np.linalg.det(matrix[:n, :n] / lengths)) < TINIEST
    if flat or not np.isfinite(matrix).all():
        raise ValueError("the transform is singular")


def _is_numeric(values: Any) -> bool:
    return np.asarray(values).dtype.kind in "buif"
