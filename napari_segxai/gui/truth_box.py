"""Choosing a Labels layer that holds the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

import numpy as np
from qtpy.QtWidgets import QComboBox, QWidget

from napari_segxai.errors import UserError

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_segxai import image as image_room

NONE = "none"


class TruthBox(QComboBox):
    """The Labels layers on the grid of the image, and none."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None):
        super().__init__(parent)
        self.viewer = viewer
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setToolTip(
            "A Labels layer with the true labels, numbered as the model does: the maps are compared with it as well."
        )
        self._layers: list[ref[Layer]] = []
        self.addItem(NONE)

    def set_source(self, source: Image | None) -> None:
        """Offer the Labels layers that lie on `source`; keep the chosen one."""
        chosen = self.layer
        self._layers = [ref(layer) for layer in self.viewer.layers if _fits(layer, source)]
        known = [weak() for weak in self._layers]
        self.blockSignals(True)
        self.clear()
        self.addItems([NONE, *[layer.name for layer in known]])
        self.setCurrentIndex(known.index(chosen) + 1 if chosen in known else 0)
        self.blockSignals(False)

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        index = self.currentIndex() - 1
        return self._layers[index]() if 0 <= index < len(self._layers) else None

    def chosen(self, image: image_room.Image) -> np.ndarray | None:
        """Return the true labels on the grid of `image`, or None.

        Raises
        ------
        UserError
            If the chosen layer is gone.
        """
        if self.currentIndex() <= 0:
            return None
        layer = self.layer
        if layer is None or layer not in self.viewer.layers:
            raise UserError(f"the truth layer {self.currentText()!r} is gone; choose another one, or none.")
        return np.asarray(layer.data).reshape(image.spatial_shape)


def _fits(layer: Layer, source: Image | None) -> bool:
    if source is None or layer._type_string != "labels" or "segxai_role" in layer.metadata:
        return False
    shape = source.data.shape[:-1] if getattr(source, "rgb", False) else source.data.shape
    return tuple(layer.data.shape) == tuple(shape)[-layer.ndim :]
