"""Adding a result to the viewer without holding up the window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_segxai.gui import layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_segxai.explanation import Explanation


def show(
    viewer: ViewerModel,
    explanation: Explanation,
    source: Layer | None,
    closed: Mapping[str, bool],
    *,
    suffix: str = "",
    roles: frozenset[str] | None = None,
    done: Callable[[], Any] = lambda: None,
) -> list[Any]:
    """Add the layers of an explanation above their source, one per turn of the event loop.

    Parameters
    ----------
    source
        The layer that was explained; None when it is gone.
    closed
        Its "closed" says whether the dock is gone.
    suffix
        Appended to the title in the names, before the number.
    roles
        Which layers are added; all by default. A prediction that is shown already never is.
    done
        Called after the last one.

    Returns
    -------
    list
        What is still waiting to be added; empty in the end.
    """
    with_prediction = not layers.has_prediction(viewer, explanation)
    title = explanation.title + suffix
    number = layers.next_number(viewer, title)
    waiting = [
        named(data, explanation.title, title)
        for data in explanation.to_layers(number, prediction=with_prediction)
        if roles is None or data[1]["metadata"]["segxai_role"] in roles
    ]
    active = viewer.layers.selection.active
    above = source

    def add_one() -> None:
        nonlocal above
        if not waiting or closed["closed"]:
            waiting.clear()
            if active is not None and active in viewer.layers:
                viewer.layers.selection.active = active
            done()
            return
        [above] = layers.add_layers(viewer, explanation, above, waiting[:1])
        waiting.pop(0)
        QTimer.singleShot(0, add_one)

    add_one()
    return waiting


def show_map(viewer: ViewerModel, explanation: Explanation, source: Layer | None, title: str) -> Layer:
    """Add the map under this title, and the prediction if it is not shown yet; returns the layer of the map."""
    bare = replace(explanation, masks={}, maps={}, stages=None)
    shown = layers.has_prediction(viewer, explanation)
    number = layers.next_number(viewer, title)
    tuples = [named(data, explanation.title, title) for data in bare.to_layers(number, prediction=not shown)]
    active = viewer.layers.selection.active
    added = layers.add_layers(viewer, explanation, source, tuples)
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active
    return added[-1]


class Live:
    """The map of a running job, as one layer that fills in.

    Parameters
    ----------
    viewer
        Gets the layer.
    """

    def __init__(self, viewer: ViewerModel):
        self.viewer = viewer
        self.layer: Layer | None = None
        self._was_shown = False

    def show(self, explanation: Explanation, source: Layer | None) -> None:
        """Show the map so far; a layer that the user has deleted stays away."""
        [(map, kwargs, kind)] = [
            data
            for data in replace(explanation, masks={}, maps={}, stages=None).to_layers(0, prediction=False)
            if data[1]["metadata"]["segxai_role"] == "saliency"
        ]
        if self._was_shown:
            if self.layer is not None and self.layer in self.viewer.layers:
                self.layer.data = map
                self.layer.contrast_limits = kwargs["contrast_limits"]
            return
        self._was_shown = True
        meta = {**kwargs["metadata"], "segxai_role": "so far"}
        name = f"so far · {explanation.title}"
        active = self.viewer.layers.selection.active
        data = (map, {**kwargs, "name": name, "metadata": meta}, kind)
        [self.layer] = layers.add_layers(self.viewer, explanation, source, [data])
        if active is not None:
            self.viewer.layers.selection.active = active

    def clear(self) -> None:
        """Take the layer away: the result has layers of its own."""
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer, self._was_shown = None, False


def named(data: tuple[Any, dict, str], old: str, new: str) -> tuple[Any, dict, str]:
    """Return layer data whose name says `new` instead of `old`."""
    array, kwargs, kind = data
    return array, {**kwargs, "name": kwargs["name"].replace(f" · {old}", f" · {new}")}, kind
