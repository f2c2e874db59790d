"""Escape and the commands of the palette, in a real napari window."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.docks import use_model
from helpers.networks import card
from napari._app_model import get_app_model
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.gui.manifest.commands import TILT


@pytest.fixture
def command(viewer):
    """Run a command of the plugin, as the palette does."""

    def run(name: str) -> None:
        get_app_model().commands.execute_command(f"napari-segxai.{name}").result()

    return run


@pytest.fixture
def rise_panel(slow_panel):
    slow_panel.fields.method_box.choose("rise")
    return slow_panel


@pytest.mark.parametrize("where", ["the dock", "the canvas"])
def test_escape_cancels_a_run(rise_panel, viewer, wait, qtbot, where):
    panel = rise_panel
    panel.fields.form.set_values({"masks": 3000})
    window = viewer.window._qt_window
    window.activateWindow()
    wait(window.isActiveWindow)
    panel.run_bar.run.click()
    wait(lambda: panel.run_bar.progress.value() > 0)
    target = (
        panel.fields.target_fields.seed_box if where == "the dock" else viewer.window._qt_viewer.canvas.native
    )
    if where == "the dock":
        panel.fields.target.expand(animate=False)
    target.setFocus()
    QApplication.processEvents()
    qtbot.keyClick(target, Qt.Key.Key_Escape)
    wait(lambda: not panel.run_bar.is_running)
    assert "Cancelled" in panel.run_bar.status.text()
    wait(panel._all_shown)
    assert any(layer.name.endswith("(partial)") for layer in viewer.layers)
    assert not panel.run_bar._escape.isEnabled()  # the key is napari's again


def test_the_commands_do_what_the_buttons_do(rise_panel, viewer, wait, command):
    panel = rise_panel
    panel.fields.form.set_values({"masks": 3000})
    command("run")
    assert panel.run_bar.is_running
    wait(lambda: panel.run_bar.progress.value() > 0)
    command("cancel")
    wait(lambda: not panel.run_bar.is_running)
    wait(panel._all_shown)
    [saliency] = [layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "saliency"]
    command("toggle_map")
    assert not saliency.visible
    command("toggle_map")
    assert saliency.visible
    viewer.layers.selection.active = saliency  # the selected map is meant
    command("toggle_map")
    assert not saliency.visible
    command("pick")
    assert panel.fields.region_box.pick.isChecked()
    command("pick")
    assert not panel.fields.region_box.pick.isChecked()
    command("show_in_3d")  # a flat map: said, and nothing happens
    assert viewer.dims.ndisplay == 2


def test_run_opens_the_dock_where_there_is_none(viewer, command):
    command("pick")  # says what to do
    command("toggle_map")
    assert not viewer.window.dock_widgets
    command("run")
    assert len(viewer.window.dock_widgets) == 1


def test_a_volume_is_shown_in_3d_from_aside(viewer, open_panel, wait, run_panel, command):
    viewer.add_image(np.random.default_rng(0).normal(size=(8, 12, 12)).astype(np.float32), name="volume")
    panel = open_panel()
    from helpers.networks import LinearHead

    network = LinearHead(3)
    use_model(panel, sx.load_model(network, card=card(3, name=f"solid {id(network)}")))
    wait(lambda: panel.run_bar.run.isEnabled())
    run_panel(panel, "seg-hires-grad-cam", layer="features.2")
    command("show_in_3d")
    assert viewer.dims.ndisplay == 3
    np.testing.assert_allclose(viewer.scene.camera.angles, TILT, atol=1e-3)
