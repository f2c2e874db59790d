"""Shows several layers side by side in napari's grid, and restores the viewer afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from napari_segxai.figures.colormaps import SIGNED, UNSIGNED
from napari_segxai.io.layer_data import layer_from_image, layer_transform
from napari_segxai.io.placing import on_axes_of_layer

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_segxai.core.image import Image

GRID = ("enabled", "stride", "shape", "spacing")
CAMERA = ("center", "zoom", "angles")


@dataclass(frozen=True)
class _Before:
    """The state of the viewer before the grid."""

    grid: Mapping[str, Any]
    camera: Mapping[str, Any]
    visible: Sequence[tuple[ref[Layer], bool]]
    active: ref[Layer] | None


class GridView:
    """Shows its own layers in the grid, hides all others, and undoes that when it ends.

    Parameters
    ----------
    viewer
        Whose grid is used.
    ended
        Called when the grid has ended, by `stop` or because the user left napari's grid.
    """

    def __init__(self, viewer: Viewer, ended: Callable[[], Any] = lambda: None):
        self.viewer, self.ended = viewer, ended
        self.layers: list[Layer] = []
        self._before: _Before | None = None

    @property
    def is_on(self) -> bool:
        """Whether the grid shows our layers."""
        return self._before is not None

    def start(
        self, layers: Sequence[Layer], *, stride: int = 1, index: int = 0, keep: Sequence[Layer] = ()
    ) -> None:
        """Show layers in the grid, `stride` of them on top of each other in each place.

        Parameters
        ----------
        index
            Where in the layer list they are put; with a stride it has to be a multiple of that.
        keep
            Layers of the viewer that stay visible.
        """
        self.stop()
        viewer, grid, camera = self.viewer, self.viewer.canvas.grid, self.viewer.scene.camera
        # napari hands plugins a proxy of the selected layer, which nothing keeps alive
        active = next((own for own in viewer.layers if own == viewer.layers.selection.active), None)
        self._before = _Before(
            {name: getattr(grid, name) for name in GRID},
            {name: getattr(camera, name) for name in CAMERA},
            [(ref(layer), layer.visible) for layer in viewer.layers],
            ref(active) if active is not None else None,
        )
        with viewer.layers.batched_update():  # the canvas is laid out once, not for every change
            for layer in list(viewer.layers):
                layer.visible = layer in keep
            for offset, layer in enumerate(layers):
                viewer.layers.insert(index + offset, layer)
                self.layers.append(layer)
            grid.stride, grid.shape, grid.spacing = stride, (-1, -1), 4
            grid.enabled = True
        if active is not None and active in viewer.layers:
            viewer.layers.selection.active = active
        viewer.reset_view()
        grid.events.enabled.connect(self._on_enabled)

    def stop(self) -> None:
        """Remove the layers of the grid and restore the viewer; layers that were added meanwhile stay as they are."""
        before, self._before = self._before, None
        if before is None:
            return
        viewer, grid = self.viewer, self.viewer.canvas.grid
        grid.events.enabled.disconnect(self._on_enabled)
        own, self.layers = self.layers, []
        with suppress(RuntimeError):  # the window may be going
            active = before.active() if before.active is not None else None
            if active is not None and active in viewer.layers:
                viewer.layers.selection.active = active  # first: with a selected layer the list would move on
            with viewer.layers.batched_update():
                for layer in own:
                    if layer in viewer.layers:
                        viewer.layers.remove(layer)
                for weak, visible in before.visible:
                    layer = weak()
                    if layer is not None and layer in viewer.layers:
                        layer.visible = visible
                for name, value in before.grid.items():
                    setattr(grid, name, value)
            viewer.scene.camera.update(dict(before.camera))
        self.ended()

    def _on_enabled(self, event: Any) -> None:
        if not self.viewer.canvas.grid.enabled:
            self.stop()


def map_layer(image: Image, values: np.ndarray, name: str, *, signed: bool, end: float) -> Layer:
    """Return a layer of a map, coloured from -end or 0 to end."""
    return layer_of(
        image,
        values,
        name,
        colormap=SIGNED if signed else UNSIGNED,
        contrast_limits=(-end, end) if signed else (0.0, end),
        blending="translucent_no_depth",
        opacity=0.75,
    )


def layer_of(image: Image, values: np.ndarray, name: str, kind: str = "image", **kwargs: Any) -> Layer:
    """Return a layer of an array on the grid of an image that came from a layer; `kind` is "image" or "labels"."""
    from napari.layers import Layer

    values, placed = on_axes_of_layer(values, image.layer)
    own = {"name": name, "metadata": {"segxai_role": "grid"}, **layer_transform(image), **placed, **kwargs}
    return Layer.create(values, own, kind)


def redraw(layer: Layer, image: Image, values: np.ndarray) -> None:
    """Change the values of a layer that `layer_of` made; they lie on the grid of the image."""
    layer.data = on_axes_of_layer(values, image.layer)[0]


def copy_of(source: Layer | None, image: Image, name: str) -> Layer:
    """Return a layer that shares the data of the source; if the source is gone, one that shows the image."""
    from napari.layers import Layer

    if source is None:
        array, kwargs = layer_from_image(image)
        if "channel_axis" in kwargs:
            array = array.mean(kwargs.pop("channel_axis"))
        kind = "image"
    else:
        array, kwargs, kind = source.as_layer_data_tuple()
    own = {**kwargs, "name": name, "metadata": {"segxai_role": "grid"}, "visible": True, "opacity": 1.0}
    return Layer.create(array, own, kind)
