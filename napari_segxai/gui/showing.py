"""Adding a result to the viewer without holding up the window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def named(data: tuple[Any, dict, str], old: str, new: str) -> tuple[Any, dict, str]:
    """Return layer data whose name says `new` instead of `old`."""
    array, kwargs, kind = data
    return array, {**kwargs, "name": kwargs["name"].replace(f" · {old}", f" · {new}")}, kind
