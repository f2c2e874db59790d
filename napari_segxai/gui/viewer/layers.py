"""Between napari's layers and this package: the image of a layer, and layers of a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer

from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.gui.viewer import caption, events
from napari_segxai.gui.viewer.displayed import displayed_axes, indices_shown, meta_of
from napari_segxai.gui.viewer.displayed import frame_of as frame_of
from napari_segxai.io.layer_image import axes_of, image_from_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel


@checked()
def image_of_layer(
    layer: Layer,
    *,
    channels: int | None = None,
    dims: int | None = None,
    frame: int | Sequence[int] = 0,
    axes: str | None = None,
    level: int | None = None,
) -> Image:
    """Return the `Image` of a napari Image or Labels layer, in the layer's own axis order.

    Parameters
    ----------
    layer : napari.layers.Image or napari.layers.Labels
        Any number of axes, also lazy or a pyramid.
    channels, dims : int, optional
        How many channels and spatial axes the model needs: an axis of that length is taken as channels where nothing
        says what it is.
    frame : int or sequence of int
        Time point of a layer with a time axis. For several axes of which one index is taken (time, position, a channel for
        a model that takes one), one number for each of them, in order; after a single number the others are 0.
    axes : str, optional
        What the axes of the layer are, a letter for each: T time, C channels, Z Y X space, P any other. By its axis
        labels, units and lengths when it is not given.
    level : int, optional
        Of a pyramid; 0, the finest, by default.

    Returns
    -------
    Image
        With the layer's transform and units, so that results lie where the layer lies.

    Raises
    ------
    UserError
        If the axes make no image, or can be read in several ways.
    """
    meta = meta_of(layer)
    found = axes_of(layer.data.shape, meta, channels=channels, dims=dims, axes=axes)
    picked = found.picked
    if isinstance(frame, int):
        time = found.letters.find("T")
        first = time if time >= 0 else picked[0] if picked else -1
        at = {k: frame if k == first else 0 for k in picked}
    else:
        frame = tuple(frame)
        if len(frame) != len(picked):
            raise UserError(
                f"{layer.name}: frame {frame} has to hold {len(picked)} numbers, one for each axis "
                f"{' '.join(found.letters[k] for k in picked) or '(none)'} of {found.letters}."
            )
        at = dict(zip(picked, frame, strict=True))
    return image_from_layer(
        layer.data, meta, channels=channels, dims=dims, axes=found.letters, at=at, level=level
    )


def index_in(layer: Layer, viewer: ViewerModel, axis: int) -> int:
    """Return the index along a layer axis at the viewer's current point."""
    index = indices_shown(layer, viewer)[axis]
    return int(np.clip(np.rint(index), 0, layer.data.shape[axis] - 1))


def shown_plane(layer: Layer, viewer: ViewerModel, axes: Sequence[int]) -> tuple[int, float, bool]:
    """Return which plane of three axes of a layer the viewer shows.

    Returns
    -------
    axis
        The one across the plane, counted among the three; the first in 3D display.
    position
        Where along it, from 0 to 1.
    transposed
        Whether the two others are shown the other way round.
    """
    canvas = [axis for axis in displayed_axes(layer, viewer) if axis in axes]
    across = next((axis for axis in axes if axis not in canvas), axes[0])
    rest = [axis for axis in canvas if axis != across]
    position = (index_in(layer, viewer, across) + 0.5) / layer.data.shape[across]
    return list(axes).index(across), position, len(rest) == 2 and rest[0] > rest[1]


@cache
def warm_up() -> None:
    """Let napari compile its label colours, which takes seconds at first use, before results wait for it; once suffices.

    The compiler gives the thread that calls it as many OpenMP threads as there are logical processors, whatever was
    asked of torch: tasks in that thread would be slower, and differ from a script's results in the last digits.
    """
    import torch
    from napari.layers import Labels

    threads = torch.get_num_threads()
    colors = {None: "transparent", 0: "transparent", 1: "white"}
    for dtype in (np.uint8, np.uint16):
        Labels(np.zeros((2, 2, 2), dtype), colormap=colors)
    torch.set_num_threads(threads)


def add_layers(viewer: ViewerModel, tuples: Iterable[tuple[Any, dict, str]]) -> list[Layer]:
    """Add layers of an explanation above every Image and Labels layer, and below points and shapes that lie on top."""
    from napari.layers import Layer

    added = []
    for data in tuples:
        layer = Layer.create(*data)
        layer.editable = data[0].flags.writeable  # a brush on a view would write at every channel
        dress(viewer, layer)
        solid = [k for k, other in enumerate(viewer.layers) if other._type_string in ("image", "labels")]
        viewer.layers.insert(solid[-1] + 1 if solid else len(viewer.layers), layer)
        if viewer.dims.ndisplay == 3:
            events.arrange(viewer)
        added.append(layer)
    return added


def dress(viewer: ViewerModel, layer: Layer) -> None:
    """Give a layer of an explanation what cannot be given when it is made: an outline, or a colour bar and a caption."""
    role = layer.metadata["segxai_role"]
    if layer._type_string == "labels" and role not in ("prediction", "dilation_stages"):
        layer.contour = 1  # no argument of Labels; outlines leave the map below visible
    if role == "saliency":
        layer.colorbar.visible = True
        caption.tell_of(viewer, layer)


def is_open(viewer: Any) -> bool:
    """Tell whether the window of a viewer is open; a closed viewer may exist for a while, but takes no layers."""
    try:
        viewer.window.geometry()
    except (AttributeError, RuntimeError):
        return not hasattr(viewer, "window")  # a viewer without a window is not closed
    return True
