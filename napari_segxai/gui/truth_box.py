"""Choosing a Labels layer that holds the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtWidgets import QComboBox, QWidget

from napari_segxai.errors import UserError
from napari_segxai.gui.shown import code_of, shown

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_segxai import image as image_room

NONE = "none"


class TruthBox(QComboBox):
    """The Labels layers that are no results, and none."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None):
        super().__init__(parent)
        self.viewer = viewer
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setToolTip(
            "A Labels layer with the true labels, numbered as the model does: the maps are compared with it as well. "
            "On another grid than the image it is resampled, to the nearest label."
        )
        self._layers: list[ref[Layer]] = []
        self.addItem(NONE)

    def set_source(self, source: Image | None) -> None:
        """Offer the Labels layers, if there is an image; keep the chosen one."""
        chosen = self.layer
        self._layers = [] if source is None else [ref(own) for own in self.viewer.layers if _is_truth(own)]
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

    def chosen(self) -> image_room.Image | None:
        """Return the true labels and where they lie, at the time point that is shown, or None.

        Raises
        ------
        UserError
            If the chosen layer is gone, or has no spatial axes.
        """
        if self.currentIndex() <= 0:
            return None
        layer = self.layer
        if layer is None or layer not in self.viewer.layers:
            raise UserError(f"the truth layer {self.currentText()!r} is gone; choose another one, or none.")
        return shown(layer, self.viewer).image

    def code(self) -> str | None:
        """Return Python code that takes the truth from its layer again, or None."""
        image = self.chosen()
        return None if image is None or self.layer is None else code_of(self.layer.name, image)


def _is_truth(layer: Layer) -> bool:
    return layer._type_string == "labels" and "segxai_role" not in layer.metadata
