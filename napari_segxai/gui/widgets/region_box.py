"""The list of regions: predicted pixels, the whole image, a picked object or pixel, or a drawn layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QToolButton, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.target import Component, Point, Region
from napari_segxai.gui.viewer.drawn_regions import point_on, region_mask
from napari_segxai.gui.viewer.lifetime import connect_until_gone, when_gone
from napari_segxai.gui.viewer.picking import Picker

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image, Layer

    from napari_segxai.core import image as image_room

FIXED: tuple[tuple[str, Region], ...] = (("predicted pixels", None), ("whole image", "image"))
"""What can be chosen for every image: in words, and as `Target` takes it."""

PICKED: tuple[tuple[str, type[Component | Point]], ...] = (("object at", Component), ("pixel", Point))
"""What can be chosen once a place was picked; the words are followed by the place."""

Choice = Region | type[Component | Point] | ref["Layer"]
"""What stands behind an entry: a region, what lies at the picked place, or a layer in which it is drawn."""


PAUSE = 200
"""Milliseconds without drawing after which what was drawn is looked at."""


class RegionBox(QWidget):
    """A list of regions, and a button after which a shift-click picks one.

    Attributes
    ----------
    changed
        Emitted when another region is chosen, or something was drawn in the chosen layer.
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
        self._point: tuple[int, ...] = ()
        self._choices: list[Choice] = []
        self.picker = Picker(viewer, self._layer, self._picked, lambda: self.pick.setChecked(False))
        self.pick.toggled.connect(self._on_pick)
        when_gone(self, self.picker.end)
        self._followed: WeakSet[Layer] = WeakSet()
        self._pause = QTimer(self)  # a stroke is drawn in many steps
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE)
        self._pause.timeout.connect(self.changed)
        self.combo.currentIndexChanged.connect(lambda _: self._on_chosen())
        self.set_source(None)

    def set_source(self, source: Image | None) -> None:
        """Offer the regions that lie on `source`."""
        if source is None or self._layer() is not source:
            self._point = ()
        self._source = ref(source) if source is not None else None
        self.pick.setEnabled(source is not None)
        before = self._chosen()
        drawn = [layer for layer in self.viewer.layers if _offers_region(layer, source)]
        place = ", ".join(map(str, self._point))
        offers: list[tuple[str, Choice]] = [
            *FIXED,
            *((f"{words} {place}", kind) for words, kind in (PICKED if self._point else ())),
            *((layer.name, ref(layer)) for layer in drawn),
        ]
        self._choices = [choice for _, choice in offers]
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItems([words for words, _ in offers])
        self.combo.setCurrentIndex(self._choices.index(before) if before in self._choices else 0)
        self.combo.blockSignals(False)
        if self._chosen() != before:
            self._on_chosen()

    def _on_chosen(self) -> None:
        choice = self._chosen()
        layer = choice() if isinstance(choice, ref) else None
        if layer is not None and layer not in self._followed:
            self._followed.add(layer)
            drawn = [getattr(layer.events, name) for name in ("data", "paint") if hasattr(layer.events, name)]
            connect_until_gone(self, [(emitter, self._on_drawn) for emitter in drawn])
        self.changed.emit()

    def _on_drawn(self, event: Any) -> None:
        choice = self._chosen()
        if isinstance(choice, ref) and choice() is event.source:
            self._pause.start()

    def choose(self, layer: Layer) -> None:
        """Choose a Labels or Shapes layer, in which the region is drawn."""
        self.set_source(self._layer())
        places = [k for k, one in enumerate(self._choices) if isinstance(one, ref) and one() is layer]
        if places and self.combo.currentIndex() != places[0]:
            self.combo.setCurrentIndex(places[0])
        else:
            self.changed.emit()

    def chosen(self, image: image_room.Image) -> Region:
        """Return the region on the grid of `image`.

        Raises
        ------
        UserError
            If the chosen layer is gone or empty, or nothing of it lies in what is shown of the image.
        """
        choice = self._chosen()
        if choice is Component or choice is Point:
            return choice(point_on(image, self._point))
        if not isinstance(choice, ref):
            return choice
        layer = choice()
        if layer is None or layer not in self.viewer.layers:
            raise UserError(f"the region layer {self.combo.currentText()!r} is gone; choose another region.")
        return region_mask(layer, self._layer(), image, self.viewer)

    def _chosen(self) -> Choice:
        index = self.combo.currentIndex()
        return self._choices[index] if 0 <= index < len(self._choices) else None

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
        self.combo.setCurrentIndex(self._choices.index(Component))
        self.changed.emit()


def _offers_region(layer: Layer, source: Image | None) -> bool:
    if source is None or layer._type_string not in ("labels", "shapes"):
        return False
    return layer.metadata.get("segxai_role") not in ("prediction", "dilation_stages")
