"""Follows the viewer: says the value of every map under the cursor, and hides labels that would cover a map in 3D."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

MARK = "segxai"
"""In a status that names our maps already: several docks may listen to one viewer."""

BEHIND = "  »  "

IN_3D = "segxai_hidden_in_3d"
"""In the metadata of label layers that came back from 3D display: there they are bodies that hide the map."""


def links(viewer: ViewerModel) -> list[tuple[Any, Callable[[Any], None]]]:
    """Return events of a viewer, each with the function that has to be called at it."""
    return [
        (viewer.events.status, lambda _: tell_values(viewer)),
        (viewer.dims.events.ndisplay, lambda _: arrange(viewer)),
    ]


def tell_values(viewer: ViewerModel) -> None:
    """Add the values of the visible maps to what the status bar says of the selected layer."""
    status = viewer.status
    if not isinstance(status, dict) or MARK in status or viewer.dims.ndisplay != 2:
        return
    words = [
        f"{layer.name}: {value:.4g}"
        for layer in reversed(viewer.layers)
        if _is_map(layer) and layer.visible and layer != viewer.layers.selection.active
        if (value := value_at(layer, viewer.cursor.position)) is not None
    ]
    if words:
        told = BEHIND.join([status.get("coordinates", ""), *words])
        viewer.status = {**status, "coordinates": told, MARK: "told"}


def value_at(layer: Layer, position: Any) -> float | None:
    """Return the value of a map at a point of the world; None outside the map."""
    index = np.rint(layer.world_to_data(position)).astype(int)
    if any(not 0 <= i < n for i, n in zip(index, layer.data.shape, strict=True)):
        return None
    return float(layer.data[tuple(index)])


def arrange(viewer: ViewerModel) -> None:
    """Hide the label layers of results while volumes are shown in 3D; they come back in 2D."""
    flat = viewer.dims.ndisplay == 2
    for layer in viewer.layers:
        if layer._type_string != "labels" or "segxai" not in layer.metadata:
            continue
        if flat and layer.metadata.pop(IN_3D, False):
            layer.visible = True
        elif not flat and layer.visible:
            layer.metadata[IN_3D] = True
            layer.visible = False


def _is_map(layer: Layer) -> bool:
    return layer._type_string == "image" and "segxai" in layer.metadata
