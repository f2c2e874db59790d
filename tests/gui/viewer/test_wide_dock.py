"""Wide docks below the canvas keep to the screen, in a real napari window."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_segxai.gui.viewer.dock_layout import HEIGHT

DOCKS = ["Information flow", "Compare and evaluate", "Sweep parameters", "Concepts"]


def test_a_wide_dock_keeps_to_the_screen(viewer, wait):
    window = viewer.window._qt_window
    screen = window.screen().availableGeometry()
    before = window.corner(Qt.Corner.BottomLeftCorner)
    for name in DOCKS:
        window.resize(screen.width(), screen.height())
        dock, panel = viewer.window.add_plugin_dock_widget("napari-segxai", name)
        wait(lambda: window.corner(Qt.Corner.BottomLeftCorner) == Qt.DockWidgetArea.LeftDockWidgetArea)
        wait(lambda panel=panel: panel.height() > HEIGHT / 2)
        assert window.height() <= screen.height()
        bottom = panel.mapTo(window, QPoint(0, panel.height())).y()
        assert bottom <= screen.height()
        assert dock.isVisible()
        viewer.window.remove_dock_widget(dock)
        wait(lambda: window.corner(Qt.Corner.BottomLeftCorner) == before)


def test_the_corner_is_given_back_with_the_last_dock(viewer, wait):
    window = viewer.window._qt_window
    corner = lambda: window.corner(Qt.Corner.BottomLeftCorner)
    before = corner()
    docks = [viewer.window.add_plugin_dock_widget("napari-segxai", name)[0] for name in DOCKS[:2]]
    wait(lambda: corner() != before)
    QApplication.processEvents()  # both have asked for room
    viewer.window.remove_dock_widget(docks[0])
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert corner() != before
    viewer.window.remove_dock_widget(docks[1])
    wait(lambda: corner() == before)
