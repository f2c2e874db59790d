"""The list of Labels layers that may hold the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtWidgets import QComboBox, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.displayed import displayed_image

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_segxai.core import image as image_room
    from napari_segxai.models.card import ModelCard

NONE = "none"

EACH = "a layer for each label"
"""Offered if labels may overlap and there is a Labels layer with the name of every label."""


class TruthBox(QComboBox):
    """The Labels layers without those of results, and the entry "none"."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None):
        super().__init__(parent)
        self.viewer = viewer
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setToolTip(
            "A Labels layer with the true labels, numbered as the model does: the maps are compared with it as well. "
            "It is resampled to the nearest label where its grid is not that of the image. If labels may overlap: a layer "
            "with a mask for each label along its first axis, or a layer with the name of every label."
        )
        self._source: ref[Image] | None = None
        self._labels: tuple[str, ...] = ()  # that may overlap
        self._offers: list[Mapping[str, ref[Layer]]] = []  # by label; one of no name holds them all
        self.addItem(NONE)

    def set_source(self, source: Image | None) -> None:
        """Offer the Labels layers, if there is an image; keep what is chosen."""
        self._source = None if source is None else ref(source)
        self._fill()

    def set_model(self, card: ModelCard | None) -> None:
        """Offer what suits the labels of a model."""
        self._labels = card.labels[1:] if card is not None and card.overlapping else ()
        self._fill()

    def _fill(self) -> None:
        chosen, there = self.offer, self._source is not None and self._source() is not None
        known = [layer for layer in self.viewer.layers if _is_truth(layer)] if there else []
        named = {layer.name.casefold(): layer for layer in known}
        each = [named.get(label.casefold()) for label in self._labels]
        full = bool(each) and None not in each
        self._offers = [dict(zip(self._labels, map(ref, each), strict=True))] if full else []
        self._offers += [{"": ref(layer)} for layer in known]
        self.blockSignals(True)
        self.clear()
        self.addItems([NONE, *([EACH] if full else []), *[layer.name for layer in known]])
        self.setCurrentIndex(self._offers.index(chosen) + 1 if chosen in self._offers else 0)
        self.blockSignals(False)

    @property
    def offer(self) -> Mapping[str, ref[Layer]] | None:
        """The layers of the chosen truth, by label; one of no name holds all labels. None for no truth."""
        index = self.currentIndex() - 1
        return self._offers[index] if 0 <= index < len(self._offers) else None

    @property
    def is_chosen(self) -> bool:
        """Whether there is a truth."""
        return self.offer is not None

    def chosen(self, image: image_room.Image) -> image_room.Image | dict[str, image_room.Image] | None:
        """Return the true labels and where they lie, at the time point that is shown, or None.

        Parameters
        ----------
        image
            That is explained.

        Returns
        -------
        Image or dict or None
            A mask by the name of each label where that was chosen.

        Raises
        ------
        UserError
            If a chosen layer is gone, or has no spatial axes.
        """
        found = {label: self._image(weak(), image) for label, weak in (self.offer or {}).items()}
        return found.get("", found or None)

    def _image(self, layer: Layer | None, image: image_room.Image) -> image_room.Image:
        if layer is None or layer not in self.viewer.layers:
            raise UserError(f"the truth layer {self.currentText()!r} is gone; choose another one, or none.")
        count, shape = len(self._labels), layer.data.shape
        axis = next((k for k in (0, layer.ndim - 1) if shape[k] == count), None)
        if not count or axis is None or layer.ndim != image.spatial_dims + 1:
            return displayed_image(layer, self.viewer).image
        space = "ZYX"[-image.spatial_dims :]  # a mask for every label lies along this axis
        return displayed_image(layer, self.viewer, count, axes=f"{space[:axis]}C{space[axis:]}").image


def _is_truth(layer: Layer) -> bool:
    return layer._type_string == "labels" and "segxai_role" not in layer.metadata
