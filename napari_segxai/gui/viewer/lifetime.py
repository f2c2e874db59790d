"""What a dock leaves behind when it is closed: links to the viewer, and tasks in the worker thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_segxai.core.errors import plain
from napari_segxai.core.progress import Step, Steps
from napari_segxai.gui import worker
from napari_segxai.gui.viewer import layers

if TYPE_CHECKING:
    import napari.viewer

Link = tuple[Any, Callable[..., None]]


_called_when_gone: set[Callable[..., None]] = set()
"""PyQt lets go of what is connected to `destroyed` while Python takes a window apart, and calls it all the same: unless somebody else
holds it, the process crashes."""


def when_gone(widget: QObject, function: Callable[[], Any]) -> None:
    """Call a function when a widget is gone, be it with its window."""

    def gone(*_: object) -> None:
        _called_when_gone.discard(gone)
        function()

    _called_when_gone.add(gone)
    widget.destroyed.connect(gone)


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
    when_gone(widget, partial(_disconnect, list(links), weak, rename))


def _disconnect(links: Sequence[Link], viewer: Callable[[], Any], rename: Callable[..., None] | None) -> None:
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


Leave = Callable[[Any, worker.Outcome], None]
"""What is done with the outcome of a run whose dock was closed: called with the viewer, which is open, and the outcome."""


class Tasks:
    """The tasks of a dock: the one that it shows the progress of, and those in the background.

    They end with the dock, but for those that write files, which the user has asked for.

    Parameters
    ----------
    viewer
        The viewer of the dock.

    Attributes
    ----------
    running
        The task whose progress is shown; None when there is none.
    """

    def __init__(self, viewer: napari.viewer.Viewer):
        self._viewer = ref(viewer)
        self._background: set[worker.WorkerTask] = set()
        self._writing: set[worker.WorkerTask] = set()
        self.running: worker.WorkerTask | None = None
        self._leave: Leave | None = None
        self._closed = False

    def run(
        self,
        make: Callable[[], Steps[Any]],
        on_step: Callable[[Step], None],
        done: Callable[[worker.Outcome], None],
        on_partial: Callable[[Any], None] | None = None,
        leave: Leave | None = None,
    ) -> bool:
        """Run a task; return whether it has to wait for another one to end. See `worker.WorkerTask`.

        Parameters
        ----------
        leave
            Takes the outcome in place of `done` where the dock was closed meanwhile; it must not refer to the dock.
        """

        def ended(outcome: worker.Outcome) -> None:
            self.running = self._leave = None
            done(outcome)

        self.running = worker.WorkerTask(make, on_step, ended, on_partial, self._viewer)
        self._leave = leave
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

    def write(self, make: Callable[[], Steps[list[Path]]], done: Callable[[worker.Outcome], None]) -> bool:
        """Write files in the background, also to the end when the dock is closed; see `in_background`."""
        return worker.is_waiting(worker.start(self._lasting(make, done)))

    def write_beside(self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None]) -> None:
        """Write files that no running task changes, beside it, also to the end when the dock is closed."""
        worker.start_beside(self._lasting(make, done))

    def _unseen(
        self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None]
    ) -> worker.WorkerTask:
        def ended(outcome: worker.Outcome) -> None:
            self._background.discard(task)
            self._writing.discard(task)
            done(outcome)

        task = worker.WorkerTask(make, lambda _: None, ended, viewer=self._viewer)
        self._background.add(task)
        return task

    def _lasting(
        self, make: Callable[[], Steps[Any]], done: Callable[[worker.Outcome], None]
    ) -> worker.WorkerTask:
        task = self._unseen(make, done)
        self._writing.add(task)
        return task

    def is_closed(self) -> bool:
        """Return whether the dock is gone."""
        return self._closed

    def cancel(self) -> None:
        """Stop the running task before its next pass; what it found so far is kept."""
        if self.running is not None:
            self.running.cancel()

    def end(self, *_: object) -> None:
        """Stop everything but what writes files, since the dock is gone; what the running task has found is left."""
        self._closed = True
        for task in tuple(self._background - self._writing):
            task.abandon()
        for task in tuple(self._writing):
            task.on_done = _tell_written
        if self.running is not None:
            self.running.abandon()
            if self._leave is not None:
                self.running.on_done = partial(_left, self._viewer, self._leave)


def _left(viewer: ref[Any], leave: Leave, outcome: worker.Outcome) -> None:
    """Leave what a task had found when its dock was closed, if the viewer is still there."""
    if (alive := viewer()) is not None and layers.is_open(alive):
        leave(alive, outcome)


def written_words(written: Sequence[Path]) -> str:
    """Say what was written: the file, or how many files and where."""
    if len(written) == 1:
        return f"Wrote {written[0]}."
    return f"Wrote {len(written)} files to {os.path.commonpath(written)}."


def _tell_written(outcome: worker.Outcome) -> None:
    """Say what was written, or why it could not be, where there is no dock any more that could say it."""
    if outcome.error is not None:
        show_error(f"napari-segxai: {plain(outcome.error)}")
    elif outcome.result:
        show_info(written_words(outcome.result))
