"""What a dock leaves behind when it is closed: links to the viewer, and tasks in the worker thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.concepts.result import Survey
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.progress import Step, Steps
from napari_segxai.gui import worker
from napari_segxai.gui.viewer import layers, runs
from napari_segxai.gui.viewer.kept import kept_results

if TYPE_CHECKING:
    import napari.viewer

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
        A function that is called when any layer of this viewer is renamed, if given.
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


class DeletedWhenClosed(QObject):
    """Deletes a dock's widget when its dock is closed: napari takes it out, and would leave it, listening, for good.

    Parameters
    ----------
    widget
        To be given this filter of its events.
    """

    def __init__(self, widget: QWidget):
        super().__init__(widget)
        self._docked = False

    def eventFilter(self, widget: QWidget, event: QEvent) -> bool:
        """Look where the widget is put."""
        if event.type() == QEvent.Type.ParentChange:
            if self._docked and widget.parent() is None:
                QTimer.singleShot(0, partial(_delete_if_alone, ref(widget)))
            self._docked = isinstance(widget.parent(), QDockWidget)
        return False


def _delete_if_alone(widget: ref[QWidget]) -> None:
    with suppress(RuntimeError):  # it is gone already
        if (alive := widget()) is not None and alive.parent() is None:
            alive.deleteLater()


class Tasks:
    """The tasks of a dock: the one that it shows the progress of, and those in the background. All end with the dock.

    Parameters
    ----------
    viewer
        The viewer to which the result is added that was found until the dock was closed.

    Attributes
    ----------
    running
        The task whose progress is shown; None when there is none.
    """

    def __init__(self, viewer: napari.viewer.Viewer):
        self._viewer = ref(viewer)
        self._background: set[worker.WorkerTask] = set()
        self.running: worker.WorkerTask | None = None
        self._closed = False

    def run(
        self,
        make: Callable[[], Steps[Any]],
        on_step: Callable[[Step], None],
        done: Callable[[worker.Outcome], None],
        on_partial: Callable[[Any], None] | None = None,
    ) -> bool:
        """Run a task; return whether it has to wait for another one to end. See `worker.WorkerTask`."""

        def ended(outcome: worker.Outcome) -> None:
            self.running = None
            done(outcome)

        self.running = worker.WorkerTask(make, on_step, ended, on_partial, self._viewer)
        worker.start(self.running)
        return worker.is_waiting(self.running)

    def in_background(self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None]) -> bool:
        """Run a task whose progress nobody sees; return whether it has to wait for another one to end."""
        return worker.is_waiting(worker.start(self._unseen(make, done)))

    def beside(
        self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None]
    ) -> worker.WorkerTask:
        """Run a task that asks no network, whose progress nobody sees, beside the one that runs."""
        return worker.start_beside(self._unseen(make, done))

    def _unseen(
        self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None]
    ) -> worker.WorkerTask:
        def ended(outcome: worker.Outcome) -> None:
            self._background.discard(task)
            done(outcome)

        task = worker.WorkerTask(make, lambda _: None, ended, viewer=self._viewer)
        self._background.add(task)
        return task

    def is_closed(self) -> bool:
        """Return whether the dock is gone."""
        return self._closed

    def cancel(self) -> None:
        """Stop the running task before its next pass; what it found so far is kept."""
        if self.running is not None:
            self.running.cancel()

    def end(self, *_: object) -> None:
        """Stop everything, since the dock is gone; what the running task found until then is shown."""
        self._closed = True
        for task in tuple(self._background):
            task.abandon()
        if self.running is not None:
            self.running.abandon()
            self.running.on_done = partial(_keep, self._viewer)


def _keep(viewer: ref[Any], outcome: worker.Outcome) -> None:
    """Add, or keep, what a task found until its dock was closed, if the viewer is still there."""
    alive, found = viewer(), outcome.result
    if alive is None or not layers.is_open(alive):
        return
    if isinstance(found, Survey):  # which is no layer: the next dock shows it
        kept_results(alive).leave("survey", found)
    explanations = [found] if isinstance(found, Explanation) else []
    if isinstance(found, Comparison):
        explanations = list(found.explanations.values())
    for explanation in explanations:
        layers.add_layers(alive, runs.new_run(alive, explanation))
