"""Makes the image that is explained of a layer: the frame and the slice that the viewer shows, and their geometry.

The one place that asks the viewer where it is. What axes mean is decided in `io/axes.py`, without napari.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import MILLIMETRES, Image
from napari_segxai.core.paths import absolute
from napari_segxai.io.axes import WORDS, Axes, fitting_level
from napari_segxai.io.joining import join_channels
from napari_segxai.io.layer_image import axes_of, image_from_layer
from napari_segxai.io.sizes import of_layer
from napari_segxai.models.preprocessing.spatial import plane_of_card

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_segxai.models.card import ModelCard

ATTRIBUTES = ("scale", "translate", "rotate", "shear", "units", "axis_labels", "metadata", "name")

PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class DisplayedImage:
    """The part of a layer that is explained.

    Attributes
    ----------
    image
        One frame of the layer; its `plane` is the axis across which a 2D model's slices lie.
    slice
        The slice of a volume that a 2D model sees; None for other models.
    notes
        What the user has to know about it, in sentences.
    other_plane
        Whether the viewer shows another plane than the slices of the model.
    """

    image: Image
    slice: int | None = None
    notes: tuple[str, ...] = ()
    other_plane: bool = False


def displayed_image(
    layer: Layer,
    viewer: ViewerModel,
    card: ModelCard | int | None = None,
    *,
    axes: str | None = None,
) -> DisplayedImage:
    """Return the part of a layer that is explained: the frame and slice that the viewer shows.

    Parameters
    ----------
    card
        Of the model that is to explain it: tells how many channels and axes it takes, at which size. Or only how many
        channels it takes.
    axes
        What the axes of the layer are, e.g. "TCYX", where that cannot be told.

    Raises
    ------
    UserError
        If the layer is not an image, what the viewer shows lies outside it, or its axes can be read in several ways.
    """
    image, notes = _frame(layer, viewer, card, axes, _channels(card))
    image.layer["chosen"] = axes is not None  # type: ignore[index]
    return _with_slice(layer, viewer, card, image, notes)


def joined(
    layers: Sequence[Layer], viewer: ViewerModel, card: ModelCard, axes: Sequence[str | None] = ()
) -> DisplayedImage:
    """Return the part of several layers that is explained; each holds one channel, in the order of the model's channels.

    Raises
    ------
    UserError
        As `displayed_image`, or if the layers do not lie on one grid at one place.
    """
    told = [*axes, *[None] * (len(layers) - len(axes))]
    parts = [_frame(layer, viewer, card, text, 1) for layer, text in zip(layers, told, strict=True)]
    notes = list(dict.fromkeys(note for _, own in parts for note in own))
    return _with_slice(layers[0], viewer, card, join_channels([image for image, _ in parts]), notes)


def _frame(
    layer: Layer, viewer: ViewerModel, card: ModelCard | int | None, axes: str | None, channels: int | None
) -> tuple[Image, list[str]]:
    """Return the frame of a layer that is shown, and notes about it."""
    dims = None if card is None or isinstance(card, int) else card.spatial_dims
    meta, place, shape = meta_of(layer, viewer), indices_shown(layer, viewer), layer.data.shape
    found = axes_of(shape, meta, channels=channels, dims=dims, axes=axes)
    words = {"T": "time point", "C": "channel"}
    at = {k: _inside(layer, k, place[k], words.get(found.letters[k], "place")) for k in found.picked}
    notes = []
    level = level_for(layer, found, card)
    if layer.multiscale:
        own = layer.data[level].shape
        at = {k: min(int(index * own[k] / shape[k]), own[k] - 1) for k, index in at.items()}
        size = " x ".join(str(own[k]) for k in found.spatial)
        notes.append(f"Level {level} of the pyramid is explained: {size} pixels.")
    if found.one_channel:
        k = found.letters.index("C")
        notes.append(f"The model takes one channel: channel {at[k]}, which is shown.")
    if (k := found.letters.find("T")) in at:
        notes.append(f"Frame t = {at[k]}, which is shown.")
    if meta["rgb"] and (shape[-1], channels) == (4, 3):
        notes.append("The alpha channel is left out.")
    image = image_from_layer(layer.data, meta, axes=found.letters, channels=channels, at=at, level=level)
    if (known := _size_in_file(layer, image)) is not None:
        image = replace(image, array=image.stored, spacing=known[0], units=known[1])
    if layer.source is not None and layer.source.path:
        image.layer["source"] = absolute(layer.source.path)  # type: ignore[index]
    return image, notes


def _size_in_file(layer: Layer, image: Image) -> tuple[tuple[float, ...], str] | None:
    """Return the pixel sizes in the file of a layer whose reader has ignored them; see `sizes.of_layer`."""
    bare = image.affine is None and not layer.multiscale and (np.asarray(layer.scale) == 1).all()
    if not bare or image.units != "pixel" or layer.source is None:
        return None
    return of_layer(layer.source.path, layer.data.shape, image.layer["spatial"])


def axes_shown(
    layer: Layer, viewer: ViewerModel | None, card: ModelCard | int | None = None, *, axes: str | None = None
) -> Axes:
    """Return what the axes of a layer are, by its labels, those of the viewer, and what the model takes.

    Raises
    ------
    UserError
        As `displayed_image`.
    """
    dims = None if card is None or isinstance(card, int) else card.spatial_dims
    meta = meta_of(layer, viewer)
    return axes_of(layer.data.shape, meta, channels=_channels(card), dims=dims, axes=axes)


def meta_of(layer: Layer, viewer: ViewerModel | None = None) -> dict[str, Any]:
    """Return the attributes of a layer by which its image is made; axes without a name have that of the viewer."""
    meta = {name: getattr(layer, name) for name in ATTRIBUTES}
    meta["affine"] = np.asarray(layer.affine.affine_matrix)
    meta["rgb"] = getattr(layer, "rgb", False)
    meta["multiscale"] = layer.multiscale
    if viewer is not None and all(_is_default(label) for label in layer.axis_labels):
        labels = viewer.dims.axis_labels[viewer.dims.ndim - layer.ndim :]
        space = sum(WORDS.get(str(label).lower(), "") not in ("T", "C", "P") for label in labels)
        # those of another layer, which is there or was there, may be "x" and "c" at the axes of a plain picture
        if len(labels) == layer.ndim and not any(map(_is_default, labels)) and space >= 2:
            meta["axis_labels"] = tuple(labels)
    return meta


def world_matrix(layer: Layer, viewer: ViewerModel | None) -> np.ndarray:
    """Return the matrix (n + 1 square) from the indices of a layer to the last n axes of the viewer's world."""
    n = layer.ndim
    ends = np.array([layer.data_to_world(tuple(point)) for point in (np.zeros(n), *np.eye(n))])
    matrix = np.eye(n + 1)
    matrix[:n, :n], matrix[:n, n] = (ends[1:] - ends[0]).T, ends[0]
    # napari 0.9 turns lengths to the smallest unit of its layers, but leaves translations as they are.
    inverse = np.linalg.inv(matrix)
    inverse[:n, :n] = inverse[:n, :n] * _unit_factors(layer, viewer)
    return np.linalg.inv(inverse)


def indices_shown(layer: Layer, viewer: ViewerModel) -> np.ndarray:
    """Return the viewer's current point as indices of a layer, which need not be whole or inside.

    Along the axes with a slider this is the slice that napari shows; along those of the canvas, the slider's last place.
    """
    way = np.linalg.inv(world_matrix(layer, viewer))
    n = layer.ndim
    point = np.asarray(viewer.dims.point, float)[viewer.dims.ndim - n :]
    out = way[:n, :n] @ point + way[:n, n]
    hidden = [k for k in range(n) if k not in displayed_axes(layer, viewer)]
    if hidden:  # napari ignores a rotation that leaves the slice
        out[hidden] = way[np.ix_(hidden, hidden)] @ point[hidden] + way[hidden, n]
    return out


def displayed_axes(layer: Layer, viewer: ViewerModel) -> list[int]:
    """Return the axes of a layer that lie along the canvas."""
    first = viewer.dims.ndim - layer.ndim
    return [axis - first for axis in viewer.dims.displayed if axis >= first]


def frame_of(
    layer: Layer, viewer: ViewerModel, card: ModelCard | int | None = None, *, axes: str | None = None
) -> int | tuple[int, ...]:
    """Return the time point of `layer` that the viewer shows, 0 without time; a tuple where more indices are taken.

    As `image_of_layer` takes it.

    Raises
    ------
    UserError
        As `displayed_image`.
    """
    found, place = axes_shown(layer, viewer, card, axes=axes), indices_shown(layer, viewer)
    at = tuple(_inside(layer, k, place[k], "time point") for k in found.picked)
    return 0 if not at else at[0] if len(at) == 1 else at


def level_for(layer: Layer, found: Axes, card: ModelCard | int | None) -> int:
    """Return which level of a pyramid suits a model; 0 for a layer that is none."""
    if not layer.multiscale:
        return 0
    size = spacing = finest = None
    if card is not None and not isinstance(card, int):
        size, spacing = card.grid.size, card.grid.spacing
        units = [MILLIMETRES.get(str(layer.units[k])) for k in found.spatial]
        if None not in units:
            steps = [abs(float(layer.scale[k])) for k in found.spatial]
            finest = [a * b for a, b in zip(steps, units, strict=True)]
    shapes = [level.shape for level in layer.data]
    return fitting_level(shapes, found.spatial, size=size, spacing=spacing, finest=finest)


def _with_slice(
    layer: Layer, viewer: ViewerModel, card: ModelCard | int | None, image: Image, notes: list[str]
) -> DisplayedImage:
    """Choose the plane and the slice of a volume for a 2D model."""
    if (
        card is None
        or isinstance(card, int)
        or card.spatial_dims == image.spatial_dims
        or image.spatial_dims != 3
    ):
        return DisplayedImage(image, None, tuple(notes))
    place = indices_shown(layer, viewer)
    spatial = image.layer["spatial"]
    canvas = displayed_axes(layer, viewer)
    hidden = [k for k, axis in enumerate(spatial) if axis not in canvas]
    seen = hidden[0] if len(hidden) == 1 else None
    fixed = plane_of_card(card, image)
    plane = fixed if fixed is not None else seen if seen is not None else 0
    axis = spatial[plane]
    index = _inside(layer, axis, place[axis], "slice")
    if layer.multiscale:
        own = layer.data[image.layer["level"]].shape
        index = min(int(index * own[axis] / layer.data.shape[axis]), own[axis] - 1)
    labels = meta_of(layer, viewer)["axis_labels"]

    def words(k: int, at: int) -> str:
        named = image.layer.get("chosen", False) or str(labels[spatial[k]]).lower() in WORDS
        return _plane_words(image, k, at, named=named)

    word = words(plane, index)
    other = seen != plane
    if not other:
        notes.append(f"2D model: {word}, which is shown.")
    elif seen is None:
        notes.append(f"2D model: {word}; the canvas shows no slice across that axis.")
    else:
        notes.append(
            f"⚠ {word} is explained, as {card.name} sees such slices; the canvas shows "
            f"{words(seen, _rounded(place[spatial[seen]]))}."
        )
    return DisplayedImage(image.across(plane), index, tuple(notes), other)


def _plane_words(image: Image, plane: int, index: int, *, named: bool) -> str:
    """Return what to call a slice: "axial slice 4", or by its axis, which may be time where nobody has named it."""
    if image.affine is not None:
        return f"{PLANES[plane]} slice {index}"
    axis = image.layer["spatial"][plane]
    letter = image.layer["letters"][axis].lower()
    return f"slice {letter} = {index}" if named else f"plane {index} of axis {axis}"


def _inside(layer: Layer, axis: int, place: float, what: str) -> int:
    """Return the index along an axis, if it lies in the layer."""
    index = _rounded(place)
    if not 0 <= index < layer.data.shape[axis]:
        raise UserError(
            f"the {what} that is shown lies outside {layer.name}; move the slider until you see it."
        )
    return index


def _rounded(place: float) -> int:
    return int(np.round(place))


def _channels(card: ModelCard | int | None) -> int | None:
    return card if card is None or isinstance(card, int) else len(card.channels)


def _is_default(label: str) -> bool:
    return not str(label).strip() or str(label).lstrip("-").isdigit()


def _unit_factors(layer: Layer, viewer: ViewerModel | None) -> np.ndarray:
    """Return how many of the layer's units make one of the viewer's, per axis."""
    world = None if viewer is None else getattr(viewer.layers, "units", None)
    if world is None or len(world) < layer.ndim:
        return np.ones(layer.ndim)
    out = []
    for theirs, own in zip(world[-layer.ndim :], layer.units, strict=True):
        same = theirs == own or theirs.dimensionality != own.dimensionality
        out.append(1.0 if same else float((1 * theirs).to(own).magnitude))
    return np.array(out)
