"""Adding a result to the viewer without holding up the window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QTimer

from napari_segxai.gui.viewer import layers, runs
from napari_segxai.gui.viewer.runs import role
from napari_segxai.gui.widgets.checks_box import is_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_segxai.analyses.explain.result import Explanation


MAP_ALONE = frozenset({"saliency", "prediction"})
"""Layers of an explanation, where it is one of many and its map alone becomes a layer."""


def show(
    viewer: ViewerModel,
    explanation: Explanation,
    is_closed: Callable[[], bool],
    *,
    about: str | None = None,
    roles: frozenset[str] | None = None,
    done: Callable[[], Any] = lambda: None,
) -> list[Any]:
    """Add the layers of an explanation on top, one per turn of the event loop; older results are hidden.

    Parameters
    ----------
    is_closed
        Says whether the dock is gone.
    about
        What the names say about the run; by default what distinguishes it from the others.
    roles
        Which layers are added; all by default. A prediction that is there already is not added again.
    done
        Called after the last one.

    Returns
    -------
    list
        What is still waiting to be added; empty in the end.
    """
    waiting = [
        data for data in runs.new_run(viewer, explanation, about) if roles is None or role(data) in roles
    ]
    active = viewer.layers.selection.active

    def add_one() -> None:
        if not waiting or is_closed() or not layers.is_open(viewer):
            waiting.clear()
            if not layers.is_open(viewer):
                return
            if active is not None and active in viewer.layers:
                viewer.layers.selection.active = active
            done()
            return
        layers.add_layers(viewer, [waiting.pop(0)])
        QTimer.singleShot(0, add_one)

    add_one()
    return waiting


def is_shown(viewer: ViewerModel, explanation: Explanation) -> bool:
    """Tell whether the viewer has a layer of an explanation, other than the prediction, which results share."""
    records = [
        layer.metadata["segxai"]
        for layer in viewer.layers
        if "segxai" in layer.metadata and layer.metadata.get("segxai_role") != "prediction"
    ]
    return any(is_of(record, explanation.record) for record in records)


def map_layers(viewer: ViewerModel, explanations: Mapping[str, Explanation]) -> dict[str, ref[Layer]]:
    """Return the layers of maps that the viewer has, by the names under which these explanations are told."""
    maps = [layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "saliency"]
    return {
        name: ref(layer)
        for name, explanation in explanations.items()
        for layer in maps
        if "segxai" in layer.metadata and is_of(layer.metadata["segxai"], explanation.record)
    }


def show_map(viewer: ViewerModel, explanation: Explanation, about: str) -> Layer:
    """Add the map on top, and the prediction if it is not there yet; returns the layer of the map."""
    bare = replace(explanation, masks={}, maps={}, series={}, stages=None)
    target, model = explanation.record.target, explanation.record.model
    if len(model["labels"]) > 2:
        about = f"{about} · {runs.shortened(target['label'], runs.LONGEST)}"
    tuples = runs.new_run(viewer, bare, about)
    active = viewer.layers.selection.active
    added = layers.add_layers(viewer, tuples)
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active
    return added[-1]


SO_FAR = "so far"
"""What the layer of a run is that goes on."""


def end_live(viewer: ViewerModel) -> None:
    """Remove the layer of a run whose dock is gone: its result has layers of its own."""
    for layer in [one for one in viewer.layers if one.metadata.get("segxai_role") == SO_FAR]:
        viewer.layers.remove(layer)


class Live:
    """The map of a run that goes on, as one layer that fills in.

    Parameters
    ----------
    viewer
        The viewer to which the layer is added.
    """

    def __init__(self, viewer: ViewerModel):
        self.viewer = viewer
        self.layer: Layer | None = None
        self._was_shown = False

    def show(self, explanation: Explanation) -> None:
        """Show the map so far; a layer that the user has deleted stays away."""
        [(map, kwargs, kind)] = [
            data
            for data in replace(explanation, masks={}, maps={}, series={}, stages=None).to_layers(
                0, prediction=False
            )
            if role(data) == "saliency"
        ]
        if self._was_shown:
            if self.layer is not None and self.layer in self.viewer.layers:
                self.layer.data = map
                self.layer.contrast_limits = kwargs["contrast_limits"]
            return
        self._was_shown = True
        runs.hide_older(self.viewer)
        meta = {**kwargs["metadata"], "segxai_role": SO_FAR}
        name = f"so far · {explanation.title}"
        active = self.viewer.layers.selection.active
        data = (map, {**kwargs, "name": name, "metadata": meta}, kind)
        [self.layer] = layers.add_layers(self.viewer, [data])
        if active is not None:
            self.viewer.layers.selection.active = active

    def clear(self) -> None:
        """Remove the layer: the result has layers of its own."""
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer, self._was_shown = None, False
