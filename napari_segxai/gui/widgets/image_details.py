"""Questions and notes about the chosen image: its axes, a layer for each channel, the slice that a 2D model sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QPushButton, QVBoxLayout, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.displayed import DisplayedImage, displayed_image, joined, meta_of, world_matrix
from napari_segxai.gui.viewer.lifetime import when_gone
from napari_segxai.gui.viewer.picking import Picker
from napari_segxai.gui.widgets.fields import combo, plain_label
from napari_segxai.io.axes import alternatives
from napari_segxai.io.joining import join_channels, match_channels
from napari_segxai.io.layer_image import file_geometry, readings_of

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image as ImageLayer

    from napari_segxai.models.card import ModelCard

ASK = "choose…"
"""What an entry says that chooses nothing; its data is None."""

_in_all: WeakSet[Any] = WeakSet()
"""Gray images that a user gives to a model of several channels in each of them, as it was trained; known to all docks."""

_told: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""What users said the axes of layers are; known to all docks."""


_channels: WeakKeyDictionary[Any, list[ref[Any]]] = WeakKeyDictionary()
"""Layers that a user called the channels of one image, in their order, by each of them."""


def tell_channels(layers: Sequence[ImageLayer]) -> None:
    """Note that layers are the channels of one image, in this order: docks offer them so."""
    for layer in layers:
        _channels[layer] = [ref(own) for own in layers]


class ImageDetails(QWidget):
    """The rows below the image; those that have nothing to ask or to say are hidden.

    Attributes
    ----------
    changed
        Emitted when something else is chosen here.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None):
        super().__init__(parent)
        self.viewer = viewer
        self.axes_box = combo(
            "What the axes of the layer are: T time, C channels, Z Y X space, P another axis, of which one index is used. "
            "This is asked because neither the axis labels nor the units of the layer tell it."
        )
        self.rows = QFormLayout()
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.rows.setVerticalSpacing(2)
        self.rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.rows.addRow("Axes", self.axes_box)
        self.in_all_box = combo(
            "This image has one channel and the model takes several. Right only if the model was trained on gray images that were "
            "given to it in every channel; else open the other channels as layers."
        )
        self.rows.addRow("Channels", self.in_all_box)
        self.note = plain_label()
        self.note.setWordWrap(True)
        self.note.setMinimumWidth(190)  # Qt takes its height at this width for its least height
        self.at_click = QPushButton()
        self.at_click.setText("Slice at a click")
        self.at_click.setCheckable(True)
        self.at_click.setToolTip(
            "Shift-click in the canvas: the model then sees its slice through that point."
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(self.rows)
        column.addWidget(self.note)
        column.addWidget(self.at_click)
        self.channel_boxes: list[QComboBox] = []
        self._layer: ref[ImageLayer] | None = None
        self._sources: list[ref[ImageLayer]] = []
        self._names: tuple[str, ...] = ()
        self._offered: list[str] = []
        self._order: list[int] = []
        self._is_repeated = False  # the layer is given in each channel of the model
        self._plane = 0
        self.picker = Picker(
            viewer,
            self._source,
            self._picked,
            lambda: self.at_click.setChecked(False),
            "where the slice lies",
        )
        when_gone(self, self.picker.end)
        self.at_click.toggled.connect(lambda on: self.picker.enter() if on else self.picker.leave())
        self.axes_box.activated.connect(lambda _: self._on_axes())
        self.in_all_box.activated.connect(lambda index: self._on_in_all(index == 1))
        self._tell("", False)
        self.rows.setRowVisible(self.axes_box, False)
        self.rows.setRowVisible(self.in_all_box, False)
        self._fit()

    def could_be(
        self, layer: ImageLayer, sources: Sequence[ImageLayer], channels: int | None
    ) -> DisplayedImage:
        """Return what a layer could be for a model with so many channels; of layers with one, any are joined.

        Raises
        ------
        UserError
            If the layer is not an image, or its axes can be read in several ways.
        """
        found = displayed_image(layer, self.viewer, channels, axes=_told.get(layer))
        others = [own for own in sources if own is not layer and may_join(own, layer)]
        if channels is None or found.image.channels == channels or len(others) < channels - 1:
            return found
        if found.image.channels > 1 or "C" in found.image.layer["letters"]:
            return found
        one = [found.image, *[displayed_image(own, self.viewer, 1).image for own in others[: channels - 1]]]
        return DisplayedImage(join_channels(one), None, found.notes)

    def displayed(
        self, layer: ImageLayer, sources: Sequence[ImageLayer], wanted: ModelCard
    ) -> DisplayedImage:
        """Return the part of a layer that is explained; questions and notes about it are shown here.

        Parameters
        ----------
        sources
            All image layers, of which channels may be joined.

        Raises
        ------
        UserError
            If the layer is not an image for the model, or a choice has to be made here first.
        """
        self._layer = ref(layer)
        try:
            self._offer_axes(layer, wanted)
            if self._offer_channels(layer, sources, wanted):
                chosen = self._chosen_channels(wanted)
                found = joined(chosen, self.viewer, wanted, [_told.get(one) for one in chosen])
            elif self._is_repeated:
                found = self._given_in_all(layer, wanted)
            else:
                found = displayed_image(layer, self.viewer, wanted, axes=_told.get(layer))
        except UserError:
            self._tell("", False)
            raise
        if found.slice is not None:
            self._plane = found.image.layer["spatial"][found.image.plane]
        self._tell("\n".join(found.notes), found.other_plane)
        return found

    # -- axes ---------------------------------------------------------------------------------------------

    def _offer_axes(self, layer: ImageLayer, card: ModelCard) -> None:
        """Offer what the axes may be, if the layer does not say it."""
        shape, meta = layer.data.shape, meta_of(layer, self.viewer)
        found = readings_of(shape, meta, channels=len(card.channels), dims=card.spatial_dims)
        fitting = [axes for axes in found if axes.fits]
        ask = len(fitting) > 1 or not found[0].stated or layer in _told
        if ask:
            rgb = bool(meta["rgb"])
            volume = file_geometry(meta["metadata"], shape[: layer.ndim]) is not None
            texts = [axes.letters for axes in fitting or found[:1]]
            texts += alternatives(layer.ndim, volume=volume, rgb=rgb)
            offered = [*([None] if len(fitting) > 1 else []), *dict.fromkeys(texts)]
            if [self.axes_box.itemData(k) for k in range(self.axes_box.count())] != offered:
                self.axes_box.clear()
                for letters in offered:
                    self.axes_box.addItem(letters or ASK, letters)
            told = _told.get(layer)
            self.axes_box.setCurrentIndex(offered.index(told) if told in offered else 0)
        self.rows.setRowVisible(self.axes_box, ask)
        self._fit()

    def _on_axes(self) -> None:
        layer = self._source()
        if layer is None:
            return
        letters = self.axes_box.currentData()
        if letters is None:
            _told.pop(layer, None)
        else:
            _told[layer] = letters
        self.changed.emit()

    # -- channels -----------------------------------------------------------------------------------------

    def _offer_channels(self, layer: ImageLayer, sources: Sequence[ImageLayer], card: ModelCard) -> bool:
        """Offer a layer for every channel, where the model takes several and the layer has one."""
        count, meta = len(card.channels), meta_of(layer, self.viewer)
        found = readings_of(layer.data.shape, meta, channels=count, dims=card.spatial_dims)
        alone = not meta["rgb"] and not any(axes.channel is not None for axes in found)
        if (text := _told.get(layer)) is not None:
            alone = alone and "C" not in text
        others = [own for own in sources if may_join(own, layer)]
        self._is_repeated = count > 1 and alone and (card.repeats_channel or len(others) == 1)
        wanted = count > 1 and alone and not self._is_repeated
        self._offer_in_all(layer, count if self._is_repeated and not card.repeats_channel else 0)
        names = card.channels if wanted else ()
        offered = [own.name for own in others] if wanted else []
        same = (names, offered) == (self._names, self._offered) and [
            weak() for weak in self._sources
        ] == others
        told = [weak() for weak in _channels.get(layer, ())]
        fits = len(told) == len(names) and all(own in others for own in told)
        order = [others.index(own) for own in told] if fits else []  # type: ignore[arg-type]
        if same and order == self._order:
            return wanted
        kept = {box.property("channel"): self._at(box) for box in self.channel_boxes}
        if order != self._order:  # what was said last counts
            kept, self._order = {}, order
        for box in self.channel_boxes:
            self.rows.removeRow(box)
        self.channel_boxes, self._sources = [], [ref(own) for own in others]
        self._names, self._offered = names, offered
        guess = match_channels(names, [own.name for own in others], layer.name)
        guess |= dict(zip(names, order, strict=False))
        for name in names:
            box = combo(f"The layer that holds the channel {name}.")
            box.setProperty("channel", name)
            box.addItems([ASK, *[own.name for own in others]])
            before = kept.get(name)
            index = others.index(before) if before in others else guess.get(name)
            box.setCurrentIndex(0 if index is None else index + 1)
            box.currentIndexChanged.connect(lambda _: self.changed.emit())
            self.rows.addRow(name, box)
            self.channel_boxes.append(box)
        self._fit()
        return wanted

    def _at(self, box: QComboBox) -> ImageLayer | None:
        index = box.currentIndex() - 1
        return self._sources[index]() if 0 <= index < len(self._sources) else None

    def _chosen_channels(self, card: ModelCard) -> list[ImageLayer]:
        chosen = [self._at(box) for box in self.channel_boxes]
        for name, layer in zip(card.channels, chosen, strict=True):
            if layer is None:
                raise UserError(
                    f"{card.name} takes {len(card.channels)} channels: choose the layer of {name!r}."
                )
        for layer in chosen:
            if 1 < chosen.count(layer) < len(chosen):
                raise UserError(
                    f"the layer {layer.name!r} is chosen for two channels; choose one layer for each, or one for all."
                )
        return chosen

    def _offer_in_all(self, layer: ImageLayer, channels: int) -> None:
        """Offer that the one channel of a layer is given to the model in each of so many; 0 for no offer."""
        if channels and self.in_all_box.count() != 2:
            self.in_all_box.addItems([ASK, ""])
        if channels:
            self.in_all_box.setItemText(1, f"this image in all {channels}")
            self.in_all_box.setCurrentIndex(int(layer in _in_all))
        self.rows.setRowVisible(self.in_all_box, bool(channels))
        self._fit()

    def _given_in_all(self, layer: ImageLayer, card: ModelCard) -> DisplayedImage:
        """Return a gray layer in every channel of a model.

        Raises
        ------
        UserError
            If nobody has said yet that this is meant.
        """
        if layer not in _in_all and not card.repeats_channel:
            grays = ", ".join(["gray"] * len(card.channels))
            raise UserError(
                f"{card.name} takes {len(card.channels)} channels ({', '.join(card.channels)}), and {layer.name} is one: open the others; or, "
                f"if it was trained on gray images, say so under Channels of the image, or call its channels {grays}."
            )
        count = len(card.channels)
        found = joined([layer] * count, self.viewer, card, [_told.get(layer)] * count)
        image = replace(found.image, array=found.image.stored, name=layer.name)  # reads nothing
        return replace(found, image=image)

    def _on_in_all(self, said: bool) -> None:
        if (layer := self._source()) is not None:
            (_in_all.add if said else _in_all.discard)(layer)
            self.changed.emit()

    # -- slices -------------------------------------------------------------------------------------------

    def _source(self) -> ImageLayer | None:
        layer = self._layer() if self._layer is not None else None
        return layer if layer is not None and layer in self.viewer.layers else None

    def _picked(self, index: tuple[int, ...]) -> None:
        """Move the slider of the model's slices to a point of the layer."""
        layer = self._source()
        if layer is None:
            return
        n, matrix = layer.ndim, world_matrix(layer, self.viewer)
        place = matrix[:n, :n] @ np.asarray(index, float) + matrix[:n, n]
        self.viewer.dims.set_point(self.viewer.dims.ndim - n + self._plane, float(place[self._plane]))
        self.changed.emit()

    def _tell(self, words: str, other_plane: bool) -> None:
        self.note.setText(words)
        self.note.setVisible(bool(words))
        self.at_click.setVisible(other_plane)
        if not other_plane and self.picker.active:
            self.picker.leave()
        self._fit()

    def _fit(self) -> None:
        """Take no room where there is nothing to ask or to say."""
        parts = (self.note, self.at_click)
        shown = map(self.rows.isRowVisible, (self.axes_box, self.in_all_box))
        asked = any(shown) or bool(self.channel_boxes)
        if self.parent() is not None:
            self.setVisible(asked or any(not part.isHidden() for part in parts))


def may_join(one: ImageLayer, other: ImageLayer) -> bool:
    """Tell whether two layers can hold channels of one image: one grid, one place."""
    same = one.data.shape == other.data.shape and not one.rgb and not other.rgb
    if not same or one.ndim != other.ndim:
        return False
    there, here = world_matrix(one, None), world_matrix(other, None)
    far = np.array([*other.data.shape[: other.ndim], 1.0])
    return bool((np.abs(there - here) @ far < 0.05 * np.abs(here[:-1, :-1]).max(0).min()).all())
