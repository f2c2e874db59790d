"""Commands for the palette: what the buttons of the docks do, for the dock that is in use."""

from __future__ import annotations

from typing import Any, TypeVar

import napari
import napari.viewer
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QApplication

from napari_segxai.gui.dock import Dock
from napari_segxai.gui.run_dock import RunDock

D = TypeVar("D", bound=RunDock)

TILT = (10.0, -30.0, 70.0)
"""Angles of the camera from which a volume is seen to be one."""


def run(viewer: napari.viewer.Viewer) -> None:
    """Press Run in the dock that is in use; without one, open Explain."""
    dock = dock_in_use(viewer)
    if dock is None:
        viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    elif dock.run_bar.is_running:
        show_info("It is running already.")
    elif dock.run_bar.run.isEnabled():
        dock.run_bar.run.click()
    else:
        show_info(dock.run_bar.estimate.text())


def cancel(viewer: napari.viewer.Viewer) -> None:
    """Stop what runs, in every dock."""
    for dock in docks(viewer):
        dock.run_bar.cancel()


def pick(viewer: napari.viewer.Viewer) -> None:
    """Wait for a shift-click on the object to explain, or stop waiting."""
    dock = dock_in_use(viewer, Dock)
    if dock is None:
        show_info("Open a dock of napari-segxai first: Plugins > SegXAI.")
        return
    dock.fields.region_box.pick.click()


def toggle_map(viewer: napari.viewer.Viewer) -> None:
    """Hide or show the selected map, or the newest one."""
    layer = _map(viewer)
    if layer is not None:
        layer.visible = not layer.visible


def show_in_3d(viewer: napari.viewer.Viewer) -> None:
    """Show the selected map, or the newest one, over its volume in 3D, from aside."""
    layer = _map(viewer)
    if layer is None:
        return
    if layer.ndim < 3:
        show_info(f"{layer.name} is flat: there is nothing to show in 3D.")
        return
    layer.visible = True
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    viewer.scene.camera.angles = TILT


def docks(viewer: napari.viewer.Viewer) -> list[RunDock]:
    """Return the docks of this plugin."""
    return [widget for widget in viewer.window.dock_widgets.values() if isinstance(widget, RunDock)]


def dock_in_use(viewer: napari.viewer.Viewer, kind: type[D] = RunDock) -> D | None:  # type: ignore[assignment]
    """Return the dock of a kind with the keyboard, else one that is seen, else any."""
    found = [dock for dock in docks(viewer) if isinstance(dock, kind)]
    focus = QApplication.focusWidget()
    for dock in found:
        if focus is not None and dock.isAncestorOf(focus):
            return dock
    return next((dock for dock in found if dock.isVisible()), found[0] if found else None)


def _map(viewer: napari.viewer.Viewer) -> Any | None:
    maps = [layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "saliency"]
    active = viewer.layers.selection.active
    if active is not None and active.metadata.get("segxai_role") == "saliency":
        return active
    if not maps:
        show_info("There is no map yet: press Run first.")
        return None
    return max(maps, key=lambda layer: layer.metadata.get("segxai_number") or 0)
