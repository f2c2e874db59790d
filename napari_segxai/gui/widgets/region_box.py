"""Choosing the region: predicted pixels, the whole image, a picked object or pixel, or a drawn layer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QToolButton, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.target import Component, Point, Region
from napari_segxai.gui.viewer.drawn import point_on, region_mask
from napari_segxai.gui.viewer.picking import Picker

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image, Layer

    from napari_segxai.core import image as image_room

FIXED = {"predicted pixels": None, "whole image": "image"}


class RegionBox(QWidget):
    """A list of regions and a button that arms picking.

    Attributes
    ----------
    changed
        Emitted when another region is chosen.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, parent: QWidget | None = None):
        super().__init__(parent)
        self.viewer = viewer
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setToolTip(
            "The pixels that are asked about: those predicted as the label, the whole image, an object or pixel that "
            "you pick, or what you drew in a Labels or Shapes layer."
        )
        self.pick = QToolButton()
        self.pick.setText("Pick")
        self.pick.setCheckable(True)
        self.pick.setToolTip(
            "Pick: shift-click an object in the canvas; its connected component becomes the region."
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.combo, 1)
        layout.addWidget(self.pick)
        self._source: ref[Image] | None = None
        self._point: tuple[int, ...] | None = None
        self._layers: list[ref[Layer]] = []
        self.picker = Picker(viewer, self._layer, self._picked, lambda: self.pick.setChecked(False))
        self.pick.toggled.connect(self._on_pick)
        self.combo.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.set_source(None)

    def set_source(self, source: Image | None) -> None:
        """Offer the regions that lie on `source`."""
        same = source is not None and self._layer() is source
        self._source = ref(source) if source is not None else None
        if not same:
            self._point = None
        self.pick.setEnabled(source is not None)
        current = self.combo.currentText()
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItems(list(FIXED))
        if self._point is not None:
            self.combo.addItems(self._point_texts())
        self._layers = [ref(layer) for layer in self.viewer.layers if _offers_region(layer, source)]
        self.combo.addItems([layer().name for layer in self._layers])
        self.combo.setCurrentIndex(max(0, self.combo.findText(current)))
        self.combo.blockSignals(False)
        if self.combo.currentText() != current:
            self.changed.emit()

    def chosen(self, image: image_room.Image) -> Region:
        """Return the region on the grid of `image`.

        Raises
        ------
        UserError
            If the chosen layer is gone or empty, or nothing of it lies in what is shown of the image.
        """
        text, index = self.combo.currentText(), self.combo.currentIndex()
        if text in FIXED and index < len(FIXED):
            return FIXED[text]
        if self._point is not None and index in (len(FIXED), len(FIXED) + 1):
            point = point_on(image, self._point)
            kind = Component if index == len(FIXED) else Point
            return kind(point)
        layer = self._layers[index - self.combo.count()]()
        if layer is None or layer not in self.viewer.layers:
            raise UserError(f"the region layer {text!r} is gone; choose another region.")
        mask = region_mask(layer, self._layer(), image, self.viewer)
        return mask

    def _layer(self) -> Image | None:
        layer = self._source() if self._source is not None else None
        return layer if layer is not None and layer in self.viewer.layers else None

    def _on_pick(self, on: bool) -> None:
        if on:
            self.picker.enter()
        else:
            self.picker.leave()

    def _picked(self, index: tuple[int, ...]) -> None:
        self._point = index
        self.set_source(self._layer())
        self.combo.setCurrentIndex(len(FIXED))
        self.changed.emit()

    def _point_texts(self) -> list[str]:
        where = ", ".join(map(str, self._point or ()))
        return [f"object at {where}", f"pixel {where}"]


def _offers_region(layer: Layer, source: Image | None) -> bool:
    if source is None or layer._type_string not in ("labels", "shapes"):
        return False
    return layer.metadata.get("segxai_role") not in ("prediction", "dilation_stages")
