"""What happens to links to the viewer and to a running job when a dock is closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.gui import worker
from napari_segxai.gui.viewer import layers, runs

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtWidgets import QWidget

Link = tuple[Any, Callable[..., None]]


def connect_until_gone(
    widget: QWidget,
    links: Sequence[Link],
    viewer: napari.viewer.Viewer | None = None,
    rename: Callable[..., None] | None = None,
) -> None:
    """Connect events of the viewer, which outlives the widget, until the widget is gone.

    Parameters
    ----------
    links
        Event emitters and what they call.
    viewer, rename
        What the renaming of any layer of this viewer calls, if anything.
    """
    for emitter, function in links:
        emitter.connect(function, position="last")  # after napari's own
    if rename is not None:
        for layer in viewer.layers:
            layer.events.name.connect(rename)
    weak = ref(viewer) if viewer is not None else lambda: None
    widget.destroyed.connect(partial(_disconnect, list(links), weak, rename))


def _disconnect(
    links: Sequence[Link], viewer: Callable[[], Any], rename: Callable[..., None] | None, *_: object
) -> None:
    for emitter, function in links:
        emitter.disconnect(function)
    if rename is not None and (alive := viewer()) is not None:
        for layer in alive.layers:
            layer.events.name.disconnect(rename)


def stop_when_gone(
    widget: QWidget,
    closed: dict[str, bool],
    running: Callable[[], worker.WorkerTask | None],
    viewer: napari.viewer.Viewer,
) -> None:
    """Stop the job of a widget that is gone; what it found until then is shown."""
    widget.destroyed.connect(partial(_stop, closed, running, ref(viewer)))


def _stop(
    closed: dict[str, bool], running: Callable[[], worker.WorkerTask | None], viewer: ref[Any], *_: object
) -> None:
    closed["closed"] = True
    if (job := running()) is not None:
        job.abandon()
        job.on_done = partial(keep, viewer)


def keep(viewer: ref[Any], outcome: worker.Outcome) -> None:
    """Add what a job found until its dock was closed, if the viewer is still there."""
    alive = viewer()
    if alive is not None and layers.is_open(alive) and isinstance(outcome.result, Explanation):
        layers.add_layers(alive, outcome.result, runs.new_run(alive, outcome.result))
