"""Finds out, in the background, which labels a model draws in an image: of forty labels most are not there.

Through windows a prediction takes as long as hundreds of passes, which nobody asked for: then it is told when a run has predicted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Step, Steps
from napari_segxai.gui import worker
from napari_segxai.gui.viewer.lifetime import when_gone
from napari_segxai.models.present import present_labels

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_segxai.gui.viewer.displayed import DisplayedImage
    from napari_segxai.models.segmentation import SegmentationModel

FEW = 2
"""Labels, the background among them, with which there is nothing to look for."""

_known: WeakKeyDictionary[SegmentationModel, list[tuple[ref[Layer], tuple[int, ...], tuple[str, ...]]]]
_known = WeakKeyDictionary()
"""What was found, for all docks: the layer, its data and time point, and the labels."""


class PresentLabels:
    """Tells a dock which labels are drawn, as soon as that is known.

    Parameters
    ----------
    dock
        The dock that asks; the task ends when it is closed.
    told
        Called with the labels that are drawn.
    """

    def __init__(self, dock: Any, told: Callable[[tuple[str, ...]], None]):
        self._dock, self._told = ref(dock), told
        self._asked: tuple[Any, ...] = ()

    def ask(self, *, again: bool = False) -> None:
        """Find out once what the chosen model draws in the chosen image; a 2D model is run on the slice that is shown.

        Parameters
        ----------
        again
            Whether a run may have predicted what was not known before.
        """
        dock = self._dock()
        entry, layer = dock.model_box.entry, dock.layer
        model = entry.model if entry is not None else None
        if model is None or layer is None or len(model.labels) <= FEW:
            return
        try:
            shown = dock.displayed()
        except UserError:
            return  # said by the dock
        if model.windows is not None and model.kept.is_empty:
            return
        what = (id(layer.data), *shown.image.layer.get("at", {}).values())
        if (id(model), what) == self._asked and not (again and model.windows is not None):
            return
        self._asked = asked = (id(model), what)
        for known, of, names in _known.get(model, []):
            if known() is layer and of == what:
                self._told(names)
                return

        def make() -> Steps[tuple[str, ...] | None]:
            yield Step(0, 1, "looking which labels are drawn")
            if model.windows is not None and not _is_known(model, shown):
                return None
            prediction = model.predict(shown.image, slice=shown.slice)
            return present_labels(prediction, model.labels, overlapping=model.overlapping)

        def done(outcome: worker.Outcome) -> None:
            if outcome.result is None:  # an error is shown when the user presses Run
                return
            _known.setdefault(model, []).append((ref(layer), what, outcome.result))
            if asked == self._asked:
                self._told(outcome.result)

        task = worker.WorkerTask(make, lambda _: None, done)
        when_gone(dock, task.abandon)
        worker.start(task)


def _is_known(model: SegmentationModel, shown: DisplayedImage) -> bool:
    """Tell whether the prediction of an image is kept."""
    with model.in_use():
        return model.has_kept(shown.image, shown.slice)
