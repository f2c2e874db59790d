"""The text on the canvas beside the colour bar: the names of the visible maps, and the units of their values.

It is napari's own text of the viewer: one for all maps. A title for every layer would be made again for every run, which
takes a weak machine longer than many an explanation.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari_segxai.gui.viewer.runs import shortened

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

MOST = 4
"""Maps that are named."""

LONGEST = 48
"""Characters of a name: the colour bar stands at the other side of the canvas."""

_said: WeakKeyDictionary[ViewerModel, str] = WeakKeyDictionary()
"""What stands on the canvas of a viewer; another text there is the user's, and stays."""


def tell_of(viewer: ViewerModel, layer: Layer) -> None:
    """Say on the canvas what a map is while it is visible."""
    viewer = getattr(
        viewer, "__wrapped__", viewer
    )  # docks may get a proxy, which lives no longer than they do
    tell = partial(_tell, ref(viewer))
    layer.events.visible.connect(tell)
    layer.events.name.connect(tell)
    if viewer not in _said:
        _said[viewer] = ""
        viewer.layers.events.removed.connect(tell)
        viewer.layers.events.inserted.connect(tell)


def caption(viewer: ViewerModel) -> str:
    """Return a line for the name and one for the unit of every visible map, the uppermost first."""
    maps = [layer for layer in reversed(viewer.layers) if layer.visible and _is_map(layer)]
    units = {layer: layer.metadata["segxai"]["display"].get("unit", "") for layer in maps}
    names = {layer: shortened(layer.name, LONGEST) for layer in maps}
    lines = [f"{names[layer]}\n    {unit}" if unit else names[layer] for layer, unit in units.items()]
    return "\n".join([*lines[:MOST], *(["…"] if len(lines) > MOST else [])])


def _tell(viewer: ref[Any], _: object = None) -> None:
    alive = viewer()
    if alive is None:
        return
    text, words = alive.canvas.overlays.text, caption(alive)
    if words == text.text or text.text != _said.get(alive, ""):
        return
    if words:
        text.position = "top_left"
    text.text = _said[alive] = words
    text.visible = bool(words)


def _is_map(layer: Layer) -> bool:
    return layer.metadata.get("segxai_role") == "saliency" and "segxai" in layer.metadata
