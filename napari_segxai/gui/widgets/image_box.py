"""The list of image layers; it follows layers that are added, removed, renamed or selected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image as ImageLayer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.displayed import DisplayedImage
from napari_segxai.gui.viewer.lifetime import connect_until_gone
from napari_segxai.gui.viewer.opened import MAP
from napari_segxai.gui.widgets.image_details import ImageDetails
from napari_segxai.io import saving

if TYPE_CHECKING:
    import napari.viewer

    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard


class ImageBox(QComboBox):
    """The image layers of a viewer, without those of results.

    Attributes
    ----------
    changed
        Emitted when another layer is chosen, when image layers came, went, were renamed or have other data, and when the
        axes or channels are chosen.
    others_changed
        Emitted when layers came, went or were renamed that are not offered here.
    moved
        Emitted when the viewer shows another frame or slice of what is explained.
    details
        What is asked and said about the image; to be put below this list.
    """

    changed = Signal()
    others_changed = Signal()
    moved = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None):
        super().__init__(parent)
        self.viewer = viewer
        self.setToolTip("The image that was segmented.")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.details = ImageDetails(viewer)
        self._layers: list[ref[ImageLayer]] = []
        self._offered: list[tuple[Any, ...]] | None = None
        self._follows = False
        self.currentIndexChanged.connect(lambda _: self.changed.emit())
        rename: Callable[..., None] = lambda _: self.refresh()  # noqa: E731

        def inserted(event: Any) -> None:
            event.value.events.name.connect(rename)
            self.refresh()

        self.details.changed.connect(lambda: self.changed.emit())
        events, dims = viewer.layers.events, viewer.dims.events
        connect_until_gone(
            self,
            [
                (events.inserted, inserted),
                (events.removed, rename),
                (viewer.layers.selection.events.active, lambda _: self._follow_active()),
                *(
                    (event, lambda _: self._on_dims())
                    for event in (dims.current_step, dims.order, dims.ndisplay)
                ),
            ],
            viewer,
            rename,
        )

    @property
    def layer(self) -> ImageLayer | None:
        """The chosen image layer."""
        index = self.currentIndex()
        layer = self._layers[index]() if 0 <= index < len(self._layers) else None
        return layer if layer is not None and layer in self.viewer.layers else None

    def image(self, wanted: ModelCard | int | None = None) -> Image:
        """Return the chosen layer as an image, at the time point that is shown; see `displayed`."""
        return self.displayed(wanted).image

    def displayed(self, wanted: ModelCard | int | None = None) -> DisplayedImage:
        """Return the part of the chosen layer that is explained: the frame and slice that the viewer shows.

        Parameters
        ----------
        wanted
            The card of the model that explains it, or how many channels that takes.

        Raises
        ------
        UserError
            If there is none, or it is not an image.
        """
        layer = self.layer
        if layer is None:
            raise UserError("Open an image first: drop a file on the window, or File > Open Sample.")
        if wanted is None or isinstance(wanted, int):
            return self.details.could_be(layer, self.sources, wanted)
        self._follows = True  # until it is known that it is the same at every place of the sliders
        found = self.details.displayed(layer, self.sources, wanted)
        self._follows = bool(found.image.layer.get("at")) or found.slice is not None
        return found

    @property
    def sources(self) -> list[ImageLayer]:
        """All image layers that are offered."""
        return [layer for weak in self._layers if (layer := weak()) is not None]

    def _on_dims(self) -> None:
        if self._follows and self.layer is not None:
            self.moved.emit()

    def refresh(self) -> None:
        """Offer the image layers that are there; keep the chosen one."""
        chosen, before = self.layer, (self._offered, self.currentIndex())
        known = [layer for layer in self.viewer.layers if _is_source(layer)]
        self._layers = [ref(layer) for layer in known]
        self._offered = [_told_of(layer) for layer in known]
        self.blockSignals(True)
        self.clear()
        for layer in known:
            self.addItem(layer.name)
            spacing = " x ".join(f"{s:g}" for s in layer.scale)
            tip = f"{' x '.join(map(str, layer.data.shape))}, spacing {spacing}"
            self.setItemData(self.count() - 1, tip, 3)
        if chosen not in known:
            chosen = next(
                (layer for layer in reversed(known) if not _was_saved(layer)), (known or [None])[-1]
            )
        self.setCurrentIndex(known.index(chosen) if chosen is not None else -1)
        self.blockSignals(False)
        same = (self._offered, self.currentIndex()) == before
        (self.others_changed if same else self.changed).emit()

    def _follow_active(self) -> None:
        active = self.viewer.layers.selection.active
        known = [weak() for weak in self._layers]
        if (
            active in known
            and active is not self.layer
            and not (self.layer is not None and _was_saved(active))
        ):
            self.setCurrentIndex(known.index(active))


def _told_of(layer: ImageLayer) -> tuple[Any, ...]:
    """Return what is said of a layer, and what tells whether it has other data, or lies elsewhere."""
    places = (layer.scale, layer.translate, layer.rotate, layer.shear, layer.affine.affine_matrix)
    lies = tuple(np.asarray(place).tobytes() for place in places)
    return id(layer), layer.name, id(layer.data), layer.data.shape, lies, layer.axis_labels, layer.units


def _is_source(layer: Any) -> bool:
    return isinstance(layer, ImageLayer) and "segxai_role" not in layer.metadata


_saved: WeakKeyDictionary[ImageLayer, bool] = WeakKeyDictionary()
"""Which layers were opened from results: a file is looked for once."""


def _was_saved(layer: ImageLayer) -> bool:
    """Tell whether a layer was opened from a file that a record beside it lists among its results."""
    if MAP in layer.metadata:
        return True
    if layer not in _saved:
        path = Path(str(getattr(layer.source, "path", None) or ""))
        try:
            _saved[layer] = path.name in saving.look(path.parent).files
        except UserError:  # a record of another program
            _saved[layer] = False
    return _saved[layer]
