"""Wide docks below the canvas keep to the screen, in a real napari window."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtWidgets import QApplication, QScrollArea
from superqt import QCollapsible

from napari_segxai.gui.viewer.dock_layout import FIELDS, HEIGHT

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


def test_two_wide_docks_keep_to_the_screen(viewer, wait):
    window = viewer.window._qt_window
    screen = window.screen().availableGeometry()
    window.resize(screen.width(), screen.height())
    one, two = (viewer.window.add_plugin_dock_widget("napari-segxai", name)[0] for name in DOCKS[:2])
    wait(
        lambda: window.tabifiedDockWidgets(two) == [one] or window.minimumSizeHint().width() <= screen.width()
    )
    wait(lambda: window.width() <= screen.width() and window.height() <= screen.height())
    wait(lambda: window.rect().contains(two.geometry()))  # Qt puts what lies behind beyond the window


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


@pytest.mark.parametrize(
    "name", ["Information flow", "Compare and evaluate", "Sweep parameters", "Cohort", "Concepts"]
)
def test_a_form_fits_into_its_width_with_all_its_sections_open(viewer, name):
    viewer.window.resize(1280, 800)
    _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", name)
    for section in dock.fields.findChildren(QCollapsible):
        section.expand(animate=False)
    for _ in range(5):
        QApplication.processEvents()
    scroll = dock.fields.findChild(QScrollArea, FIELDS)
    assert scroll.verticalScrollBar().maximum() > 0
    assert scroll.horizontalScrollBar().maximum() == 0  # nothing is cut at its right
