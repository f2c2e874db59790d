"""Shift-click in the canvas picks the pixel that is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer


class Picker:
    """Waits for one shift-click on a layer.

    Parameters
    ----------
    layer
        Returns the layer whose pixel is wanted, or None when it is gone.
    picked
        Called with the index into the layer's data.
    left
        Called when picking ends, with or without a pixel.
    what
        What is to be clicked, for the status line.
    """

    def __init__(
        self,
        viewer: Viewer,
        layer: Callable[[], Layer | None],
        picked: Callable[[tuple[int, ...]], None],
        left: Callable[[], None],
        what: str = "the object to explain",
    ):
        self.viewer, self.layer, self.picked, self.left = viewer, layer, picked, left
        self.active, self.what = False, what

    def enter(self) -> None:
        """Wait for a shift-click; Escape leaves."""
        if self.active:
            return
        self.active = True
        self._style = self.viewer.cursor.style
        self.viewer.cursor.style = "cross"
        self.viewer.mouse_drag_callbacks.append(self._on_drag)
        self.viewer.bind_key("Escape", lambda _: self.leave(), overwrite=True)
        self.viewer.status = f"Shift-click {self.what}; Esc leaves."

    def end(self, *_: object) -> None:
        """Leave the viewer as it was, since the one who asked is gone."""
        self.left = lambda: None
        self.leave()

    def leave(self) -> None:
        """Stop waiting, and restore the cursor and the keys."""
        if not self.active:
            return
        self.active = False
        if self._on_drag in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._on_drag)
        self.viewer.bind_key("Escape", None)
        self.viewer.cursor.style = self._style
        self.viewer.status = ""
        self.left()

    def _on_drag(self, viewer: Viewer, event: Any) -> Iterator[None] | None:
        if "Shift" not in event.modifiers:
            return None
        layer = self.layer()
        if layer is not None:
            index = np.rint(layer.world_to_data(event.position)).astype(int)
            shape = layer.data.shape[: len(index)]
            if all(0 <= i < n for i, n in zip(index, shape, strict=True)):
                self.picked(tuple(int(i) for i in index))
                self.leave()
        return None
