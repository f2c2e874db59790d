"""A wide dock below the canvas: where napari first puts it, and how much room it gets."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from weakref import ref

from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

HEIGHT = 400
"""That a wide dock asks for at first, in pixels."""


def prefer_below(name: str) -> None:
    """Let the dock of this name start below; napari asks where a dock was last before it adds it."""
    get_settings().application.plugin_widget_positions.setdefault(name, "bottom")


def take_room(panel: QWidget) -> None:
    """Ask for a good part of the window, once; napari would leave a strip."""
    dock, window = panel.parentWidget(), panel.window()
    if isinstance(dock, QDockWidget) and isinstance(window, QMainWindow):
        before = window.corner(Qt.Corner.BottomLeftCorner)
        # Layer list and controls need 500 pixels; what is below them would get too little of 800.
        window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        panel.destroyed.connect(partial(_give_back_corner, ref(window), before))
        window.resizeDocks([dock], [HEIGHT], Qt.Orientation.Vertical)


def _give_back_corner(window: ref[QMainWindow], area: Qt.DockWidgetArea, *_: object) -> None:
    """Let the corner of the window belong to the area it belonged to."""
    with suppress(RuntimeError):  # the window may be gone
        if (alive := window()) is not None:
            alive.setCorner(Qt.Corner.BottomLeftCorner, area)
