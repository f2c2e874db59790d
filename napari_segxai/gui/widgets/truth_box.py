"""The list of Labels layers that may hold the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from qtpy.QtWidgets import QComboBox, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.displayed import displayed_image
from napari_segxai.models.ground_truth import ignoring

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_segxai.core import image as image_room
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel

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
        self._known = 0  # labels that exclude each other
        self._offers: list[Mapping[str, ref[Layer]]] = []  # by label; one of no name holds them all
        self._without: list[tuple[int, ...]] = []  # of each, values that are no label
        self.addItem(NONE)

    def set_source(self, source: Image | None) -> None:
        """Offer the Labels layers, if there is an image; keep what is chosen."""
        self._source = None if source is None else ref(source)
        self._fill()

    def set_model(self, card: ModelCard | None) -> None:
        """Offer what suits the labels of a model."""
        self._labels = card.labels[1:] if card is not None and card.overlapping else ()
        self._known = 0 if card is None or card.overlapping else len(card.labels)
        self._fill()

    def _fill(self) -> None:
        chosen, there = self.choice, self._source is not None and self._source() is not None
        known = [layer for layer in self.viewer.layers if _is_truth(layer)] if there else []
        named = {layer.name.casefold(): layer for layer in known}
        each = [named.get(label.casefold()) for label in self._labels]
        full = bool(each) and None not in each
        self._offers = [dict(zip(self._labels, map(ref, each), strict=True))] if full else []
        self._without = [() for _ in self._offers]
        names = [EACH] if full else []
        for layer in known:
            largest = _largest(layer) if self._known else 0
            ways: list[tuple[int, ...]] = [(), (largest,)] if 0 < self._known <= largest else [()]
            names += [layer.name + (f" ({way[0]} is no label)" if way else "") for way in ways]
            self._offers += [{"": ref(layer)}] * len(ways)
            self._without += ways
        self.blockSignals(True)
        self.clear()
        self.addItems([NONE, *names])
        offered = list(zip(self._offers, self._without, strict=True))
        self.setCurrentIndex(offered.index(chosen) + 1 if chosen in offered else 0)
        self.blockSignals(False)

    @property
    def choice(self) -> tuple[Mapping[str, ref[Layer]], tuple[int, ...]] | None:
        """What is chosen: the layers by label, and values in them that are no label; None for no truth."""
        offer = self.offer
        return None if offer is None else (offer, self._without[self.currentIndex() - 1])

    def suited(self, model: SegmentationModel) -> SegmentationModel:
        """Return the model as it reads the chosen truth: one that leaves out what the choice names as no label."""
        return model if self.choice is None else ignoring(model, self.choice[1])

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


_largest_known: WeakKeyDictionary[Layer, tuple[ref[Any], int]] = WeakKeyDictionary()


def _largest(layer: Layer) -> int:
    """Return the largest value of a Labels layer whose values are in memory, looked at once; 0 of any other."""
    data = layer.data
    if not isinstance(data, np.ndarray) or not data.size:
        return 0
    known = _largest_known.get(layer)
    if known is None or known[0]() is not data:
        known = _largest_known[layer] = (ref(data), int(data.max()))
    return known[1]


def _is_truth(layer: Layer) -> bool:
    return layer._type_string == "labels" and "segxai_role" not in layer.metadata
