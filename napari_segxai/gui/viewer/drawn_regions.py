"""Brings what a user drew in a Labels or Shapes layer to the grid of the explained image, by its place in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.displayed import world_matrix
from napari_segxai.io.regions import ellipse, labels_mask, outline_mask

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_segxai.core.image import Image


def region_mask(layer: Layer, source: Layer | None, image: Image, viewer: ViewerModel) -> np.ndarray:
    """Return what is drawn in a layer, on the grid of an image.

    Of a layer with more axes than the image, only what is drawn in the frame of the image counts. A layer with fewer
    axes reaches through the axes that it does not have, as napari shows it.

    Parameters
    ----------
    layer
        Labels (all but 0), or Shapes (all that enclose something).
    source
        The layer that `image` was taken from, by `displayed_image` or `image_of_layer`.

    Returns
    -------
    ndarray
        Boolean, of ``image.spatial_shape``.

    Raises
    ------
    UserError
        If nothing is drawn, or nothing of it lies in the image, or in its frame.
    """
    if source is None:
        raise UserError(f"the layer of {image.name} is gone; choose another image.")
    make = _labels if layer._type_string == "labels" else _shapes
    mask = make(layer, source, image, viewer)
    if not mask.any():
        if layer._type_string == "shapes" and not any(
            kind not in ("line", "path") for kind in layer.shape_type
        ):
            raise UserError(f"the region layer {layer.name!r} is empty; draw something in it that is closed.")
        if layer._type_string == "labels" and not _first_level(layer).any():
            raise UserError(f"the region layer {layer.name!r} is empty; draw something in it.")
        frame = " as it is shown (another time point or place?)" if image.layer.get("at") else ""
        raise UserError(
            f"nothing that is drawn in {layer.name!r} lies in {image.name}{frame}; the two are compared by their place "
            "in the world: check the layer's scale, translate and affine, or draw on the image."
        )
    return mask


def point_on(image: Image, index: tuple[int, ...]) -> tuple[int, ...]:
    """Return where an index into the data of a layer lies on the grid of the image that was taken from it."""
    spatial = image.layer.get("spatial", tuple(range(-image.spatial_dims, 0)))
    factors = image.layer.get("factors", (1.0,) * len(spatial))
    point = (int(index[k] / f) for k, f in zip(spatial, factors, strict=True))
    return tuple(min(i, n - 1) for i, n in zip(point, image.spatial_shape, strict=True))


def _grid_to_source(image: Image, source: Layer, channel: int = 0) -> np.ndarray:
    """Return the matrix from the grid of an image to the indices of its layer's finest data."""
    spatial, n = image.layer["spatial"], image.spatial_dims
    way = np.zeros((source.ndim + 1, n + 1))
    way[-1, -1] = 1
    for k, (axis, f) in enumerate(zip(spatial, image.layer.get("factors", (1.0,) * n), strict=True)):
        way[axis, k], way[axis, n] = f, (f - 1) / 2
    for axis, index in image.layer.get("at", {}).items():
        way[axis, n] = index
    for axis in range(source.ndim):
        if axis not in spatial and axis not in image.layer.get("at", {}):
            way[axis, n] = channel
    return way


def _to_layer(layer: Layer, source: Layer, viewer: ViewerModel) -> np.ndarray:
    """Return the matrix from indices of a layer to those of another in the same viewer, both aligned at their last axes."""
    own, theirs = layer.ndim, source.ndim
    world = world_matrix(source, viewer)
    between = np.zeros((own + 1, theirs + 1))
    between[-1, -1] = 1
    for k in range(1, own + 1):
        if k <= theirs:
            between[own - k, theirs - k] = 1
        else:
            between[own - k, theirs] = viewer.dims.point[viewer.dims.ndim - k]
    return np.linalg.inv(world_matrix(layer, viewer)) @ between @ world


def _first_level(layer: Layer) -> Any:
    data = layer.data[0] if layer.multiscale else layer.data
    return data if hasattr(data, "ndim") else np.asarray(data)


def _labels(layer: Layer, source: Layer, image: Image, viewer: ViewerModel) -> np.ndarray:
    values = _first_level(layer)
    between = _to_layer(layer, source, viewer)
    ways = [between @ _grid_to_source(image, source, channel) for channel in range(image.channels)]
    if all(np.allclose(way, ways[0]) for way in ways):
        ways = ways[:1]  # drawn once, for all channels
    mask = np.zeros(image.spatial_shape, bool)
    for way in ways:
        mask |= labels_mask(values, way, image.spatial_shape)
    return mask


def _shapes(layer: Layer, source: Layer, image: Image, viewer: ViewerModel) -> np.ndarray:
    own, theirs, spatial = layer.ndim, source.ndim, image.layer["spatial"]
    world, back = world_matrix(layer, viewer), np.linalg.inv(world_matrix(source, viewer))
    point = np.asarray(viewer.dims.point, float)[viewer.dims.ndim - theirs :]
    missing = [k for k in range(theirs) if k < theirs - own]  # axes that the shapes do not have
    through = [k for k, axis in enumerate(spatial) if axis in missing]
    factors = np.asarray(image.layer.get("factors", (1.0,) * len(spatial)))
    masks = np.zeros(image.spatial_shape, bool)
    for vertices, kind in zip(layer.data, layer.shape_type, strict=True):
        if kind in ("line", "path"):
            continue
        places = np.asarray(vertices, float) @ world[:own, :own].T + world[:own, own]
        there = np.tile(point, (len(places), 1))
        m = min(own, theirs)
        there[:, theirs - m :] = places[:, own - m :]
        index = there @ back[:theirs, :theirs].T + back[:theirs, theirs]
        at = {axis: i for axis, i in image.layer.get("at", {}).items() if axis not in missing}
        letters = image.layer["letters"]
        if any(abs(index[:, k].mean() - i) > 0.5 for k, i in at.items() if letters[k] != "C"):
            continue  # drawn at another time point
        points = (index[:, list(spatial)] - (factors - 1) / 2) / factors
        masks |= outline_mask(ellipse(points) if kind == "ellipse" else points, masks.shape, through)
    return masks
