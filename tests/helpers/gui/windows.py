"""One napari window for many tests: made once in a process, tidied after each test, and held against what it was."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from helpers.gui.quick import Eye
from napari import Viewer
from napari._app_model._app import NapariApplication, _napari_names
from napari._qt._qapp_model.qactions import init_qactions
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari._qt.qt_main_window import _QtMainWindow
from napari._qt.qt_viewer import QtViewer
from napari.plugins import _initialize_plugins
from napari.settings import get_settings
from napari.utils.events import EmitterGroup
from napari.utils.events.evented_model import EventedModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QThreadPool, QTimer
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget

from napari_segxai.gui import worker
from napari_segxai.gui.run_dock import RunDock
from napari_segxai.gui.viewer import caption, dock_layout, kept, opened

ONCE = {caption._tell, opened._dress}
"""What the package connects to a viewer once, for as long as that lives."""

CALLBACKS = (
    "mouse_move_callbacks",
    "mouse_wheel_callbacks",
    "mouse_drag_callbacks",
    "mouse_double_click_callbacks",
)


def process(rounds: int = 3) -> None:
    """Let Qt do what it has put off, deleting above all."""
    for _ in range(rounds):
        QApplication.processEvents()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def end_tasks(seconds: float = 30) -> None:
    """Stop what runs and waits in the worker thread, and wait until it has ended."""
    end = time.monotonic() + seconds
    for task in (*worker._waiting, *worker._beside):
        task.cancel()
    while (worker._running is not None or worker._waiting or worker._beside) and time.monotonic() < end:
        if worker._running is not None:
            worker._running.cancel()
        QApplication.processEvents()
        time.sleep(0.01)


class SharedWindow:
    """A window, and what it was before any test used it."""

    def __init__(self, eye: Eye) -> None:
        self.eye = eye
        get_settings().reset()
        self.settings = get_settings().model_dump()
        self.viewer = Viewer(show=True, show_welcome_screen=False)
        self.window = self.viewer.window._qt_window
        QtViewer._instances.discard(
            self.window._qt_viewer
        )  # napari's own fixture counts those of other tests
        process()
        self.canvas = self.window._qt_viewer.canvas.native
        self.size = self.window.size()
        self.laid_out = self.window.saveState()
        self.state = dict(self._state())
        self.keymap = dict(self.viewer.keymap)
        self.called = {name: list(getattr(self.viewer, name)) for name in CALLBACKS}
        self.links = self._links()
        self.docks = set(self.window.findChildren(QDockWidget))
        self.others = self._others()
        self.timers = self._timers()

    # -- what it is ------------------------------------------------------------------------------------------

    def _models(self) -> Iterator[tuple[str, EventedModel]]:
        """Yield everything in which the viewer keeps its state, except its layers."""

        def walk(path: str, model: EventedModel) -> Iterator[tuple[str, EventedModel]]:
            yield path, model
            for name in type(model).model_fields:
                child = getattr(model, name)
                if isinstance(child, EventedModel):
                    yield from walk(f"{path}.{name}", child)
                elif type(child).__name__ == "EventedDictNamespace":
                    for key in child:
                        yield from walk(f"{path}.{name}.{key}", child[key])

        yield from walk("viewer", self.viewer)

    def _state(self) -> Iterator[tuple[tuple[str, str], Any]]:
        for path, model in self._models():
            for name in type(model).model_fields:
                if (path, name) == ("viewer.canvas", "size"):
                    continue  # follows the window, whose size is set back
                value = getattr(model, name)
                simple = isinstance(value, str | int | float | bool | tuple | None)
                if simple or type(value).__module__ in ("enum", "numpy") or hasattr(value, "value"):
                    yield (path, name), value

    def _links(self) -> Counter[tuple[str, str]]:
        """Count what others than napari have connected to the events of the viewer, by the event and by what is called."""
        layers = self.viewer.layers
        groups: list[tuple[str, Any]] = [
            ("layers", layers.events),
            ("layers.selection", layers.selection.events),
            *((path, model.events) for path, model in self._models()),
        ]
        found: Counter[tuple[str, str]] = Counter()
        for path, group in groups:
            if isinstance(group, EmitterGroup):
                callbacks = {name: one.callbacks for name, one in {"": group, **group.emitters}.items()}
            else:  # of newer models of napari's
                signals = group.signals.items()
                callbacks = {name: [slot.dereference() for slot in signal._slots] for name, signal in signals}
            for name, functions in callbacks.items():
                found.update((f"{path}.{name}", called) for one in functions if (called := _called(one)))
        return found

    def _others(self) -> set[QWidget]:
        """Return other windows, and docks that were closed; what was never shown is garbage, and is collected as such."""
        tops = [widget for widget in QApplication.topLevelWidgets() if widget.parent() is None]
        return {widget for widget in tops if widget.isVisible() or isinstance(widget, RunDock)}

    def _timers(self) -> int:
        return sum(
            timer.isActive() and not timer.isSingleShot() for timer in self.window.findChildren(QTimer)
        )

    # -- what tests leave ------------------------------------------------------------------------------------

    def begin(self, draw: bool) -> None:
        """Be the current window, as a new one is; it is painted, and what napari does for the eye done, if `draw`."""
        self.reset_settings()
        windows = _QtMainWindow._instances
        windows.append(windows.pop(windows.index(self.window)))
        self.window.setUpdatesEnabled(draw)
        self.canvas.setUpdatesEnabled(draw)
        if draw:
            self.canvas.resizeGL(self.canvas.width(), self.canvas.height())
        self.eye.looks = draw

    def reset_settings(self) -> None:
        """Set napari's settings back, which takes longer than to see that nobody has changed them."""
        if get_settings().model_dump() != self.settings:
            get_settings().reset()

    def tidy(self) -> None:
        """Close docks as a user does, remove layers, and set everything back."""
        self.window.setUpdatesEnabled(False)
        self.reset_settings()
        end_tasks()
        viewer, window = self.viewer, self.viewer.window
        self.canvas.setUpdatesEnabled(False)
        for dock in list(window._wrapped_dock_widgets.values()):
            dock.destroyOnClose()
        process()
        end_tasks()
        viewer.layers.selection.clear()
        viewer.layers.clear()
        viewer.dims.reset()
        for notification in list(NapariQtNotification._instances):
            notification.close()
        notification_manager.records.clear()
        models = dict(self._models())
        for _ in range(2):  # some follow others
            for (path, name), value in self.state.items():
                if getattr(models[path], name) != value:
                    setattr(models[path], name, value)
        if viewer in caption._said:
            caption._said[viewer] = ""
        kept._kept.pop(viewer, None)
        if self.window.size() != self.size:
            self.window.resize(self.size)
        if self.window.saveState() != self.laid_out:
            self.window.restoreState(self.laid_out)
        process()
        self.eye.looks = True  # in windows of other tests
        gc.collect()  # widgets that plotting tools leave; in another thread Qt would not like it

    def left(self) -> list[str]:
        """Return what a test left behind, in words."""
        found = []
        state = dict(self._state())
        found += [
            f"{'.'.join(key)} is {state.get(key)!r}"
            for key, was in self.state.items()
            if state.get(key) != was
        ]
        links = self._links()
        found += [f"{event} calls {name} x{n}" for (event, name), n in (links - self.links).items()]
        found += [f"{event} lost {name} x{n}" for (event, name), n in (self.links - links).items()]
        found += [
            f"the dock {dock.objectName()!r}"
            for dock in self.window.findChildren(QDockWidget)
            if dock not in self.docks
        ]
        found += [f"the window {widget!r}" for widget in self._others() - self.others]
        if (timers := self._timers()) > self.timers:
            found.append(f"{timers - self.timers} timers")
        if len(self.viewer.layers):
            found.append(f"layers {self.viewer.layers}")
        if dict(self.viewer.keymap) != self.keymap:
            found.append(f"keys {set(self.viewer.keymap) ^ set(self.keymap)}")
        found += [name for name in CALLBACKS if list(getattr(self.viewer, name)) != self.called[name]]
        if self.window in dock_layout._lent:
            found.append("the corner of the window")
        if (
            worker._running
            or worker._waiting
            or worker._beside
            or QThreadPool.globalInstance().activeThreadCount()
        ):
            found.append("a task")
        return found


def _called(callback: Any) -> str:
    """Say what is called; "" if it is gone already, is napari's, or is called as long as the viewer lives."""
    if isinstance(callback, tuple):  # napari holds methods weakly
        owner, name = callback[0](), callback[1]
        callback = getattr(type(owner), name, None)
    function = callback.func if isinstance(callback, partial) else callback
    module = getattr(function, "__module__", None) or ""
    if function is None or function in ONCE or module.split(".")[0] in ("napari", "vispy", "psygnal"):
        return ""
    return f"{module}.{getattr(function, '__qualname__', repr(function))}"


@contextmanager
def shared_window() -> Iterator[SharedWindow]:
    """Make a window as napari's own fixture does: without its console, and without the thread that tells the status."""
    app = NapariApplication("shared_window")
    app.injection_store.namespace = _napari_names
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NapariApplication, "get_app_model", lambda *_: app)
        patch.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda *_: None)
        patch.setattr("napari._qt.qt_viewer.QtViewer._get_console", _no_console)
        patch.setattr("napari._qt.qt_main_window.SHOW_QT_WARNING", False)
        _initialize_plugins.cache_clear()
        init_qactions.cache_clear()
        eye = Eye()
        eye.leave_out(patch)
        shared = SharedWindow(eye)
        gc.collect()
        gc.freeze()  # it lives as long as the process, in which other tests collect garbage and fork
        yield shared
        with patch.context() as closing:
            closing.setattr(shared.window, "_save_current_window_settings", lambda: None)
            shared.viewer.close()
        process()
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()


def _no_console(*_: Any) -> QWidget:
    console = QWidget()
    console._update_theme = lambda *_: None
    return console
