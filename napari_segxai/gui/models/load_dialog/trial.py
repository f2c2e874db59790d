"""A prediction that is shown before its model is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.gui.viewer.legend import label_legend
from napari_segxai.io.layer_data import layer_metadata, layer_transform
from napari_segxai.io.placing import on_axes_of_layer

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_segxai.core.image import Image
    from napari_segxai.models.segmentation import SegmentationModel

SHOWN = 8
"""Labels of which the sizes are told."""


class Trial:
    """The layer of a trial; there is one at most, and none once it is removed.

    Attributes
    ----------
    legend
        Which colour is which label, as rich text.

    Parameters
    ----------
    viewer
        Where it is shown.
    """

    def __init__(self, viewer: Viewer):
        self.viewer = viewer
        self._layer: ref[Labels] | None = None
        self.legend = ""

    def show(self, prediction: np.ndarray, image: Image, model: SegmentationModel) -> str:
        """Show a prediction on the image, in the place of the one before; returns what was drawn, in a sentence."""
        self.remove()
        drawn = _as_labels(prediction, overlapping=model.overlapping)
        values, placed = on_axes_of_layer(
            np.ascontiguousarray(orientation.apply(drawn, image.to_display)), image.layer
        )
        layer = self.viewer.add_labels(
            np.array(values),
            name=f"trial: {model.name}",
            metadata={**layer_metadata(image), "segxai_role": "trial"},
            opacity=0.5,
            features={"label": list(model.labels), "index": range(len(model.labels))},
            **{**layer_transform(image), **placed},
        )
        self._layer = ref(layer)
        self.legend = label_legend(layer, model.labels[1 : SHOWN + 1])
        return _in_words(drawn, image, model.labels)

    def remove(self) -> None:
        """Take the layer out, unless the user has done so."""
        layer = self._layer() if self._layer is not None else None
        if layer is not None and layer in self.viewer.layers:
            self.viewer.layers.remove(layer)
        self._layer = None


def _in_words(drawn: np.ndarray, image: Image, labels: tuple[str, ...]) -> str:
    counts = np.bincount(drawn.ravel(), minlength=len(labels))[1:]
    parts = [f"{name}: {n}" for name, n in zip(labels[1:], counts, strict=False)]
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    nothing = "" if counts.any() else " ⚠ Nothing but background: are intensities, channels and labels right?"
    return f"Trial on {image.name}, pixels drawn: {', '.join(parts[:SHOWN])}{more}.{nothing}"


def _as_labels(prediction: np.ndarray, *, overlapping: bool) -> np.ndarray:
    """Return one label image; where labels overlap, the last one that is drawn."""
    if not overlapping:
        return prediction
    out = np.zeros(prediction.shape[1:], np.uint16)
    for k, mask in enumerate(prediction):
        out[mask] = k + 1
    return out
