"""The Compare and evaluate widget, driven in a real napari window."""

from __future__ import annotations

import time

import numpy as np
import pytest
from networks import PatchSwitch, card, patch_of, planted_image
from qtpy.QtCore import Qt

import napari_segxai as sx
from napari_segxai.gui.compare_table import UNDEFINED, number


class Slow(PatchSwitch):
    """Sleeps in every forward pass, without the interpreter's lock, as real networks compute."""

    delay = 0.1

    def forward(self, x):
        time.sleep(self.delay)
        return super().forward(x)


METRICS = ["dice-explained", "saliency-ratio", "insertion-dice", "dice-over-threshold"]
FAST = {"steps": 4}


@pytest.fixture
def open_compare(viewer):
    """Open the panel as a user does, through the plugin menu's widget."""

    def open_():
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Compare and evaluate")
        return panel

    return open_


def use_model(panel, network, wait, **changes) -> sx.SegmentationModel:
    """Choose a model that was registered in the console."""
    model = sx.load_model(network, card=card(name=f"mine {id(network)}", **changes))
    sx.register_model(model)
    panel.model_box.refresh_registered()
    entries = panel.model_box.entries
    panel.model_box.combo.setCurrentIndex([entry.model is model for entry in entries].index(True))
    wait(lambda: panel.run_bar.run.isEnabled())
    return model


@pytest.fixture
def compare_panel(viewer, open_compare, wait):
    """A planted image, a planted network, and few quick things to compare."""
    viewer.window.resize(1280, 800)
    viewer.add_image(planted_image().array, name="planted")
    panel = open_compare()
    panel.network = Slow(patch_of(2))
    panel.network.delay = 0
    panel.model = use_model(panel, panel.network, wait, grid={"size": [32, 32]})
    panel.fields.metrics.tree.tick(METRICS)
    panel.fields.metrics.form.set_values(FAST)
    panel.fields.methods.tick(["seg-grad-cam", "vanilla-gradient"])
    return panel


@pytest.fixture
def run_compare(wait):
    """Press Run and wait until the first map is inspected."""

    def run(panel) -> None:
        panel.run_bar.run.click()
        assert panel.run_bar.is_running
        wait(lambda: not panel.run_bar.is_running and not panel.results.inspector.is_busy)

    return run


def cell(panel, name: str, key: str, role=Qt.ItemDataRole.DisplayRole):
    """Return what the table shows."""
    model = panel.results.table.table
    keys = [column.key for column in model.columns]
    return model.data(model.index(model.names.index(name), keys.index(key)), role)


def test_run_fills_the_table_with_what_a_script_gets(compare_panel, run_compare, viewer):
    panel = compare_panel
    assert "forward" in panel.run_bar.estimate.text()
    run_compare(panel)
    found = sx.compare(
        panel.model, planted_image(), "object", ["vanilla-gradient", "seg-grad-cam"], metrics=METRICS, **FAST
    )
    assert panel.results.table.table.names == found.names
    for row in found.rows:
        shown = cell(panel, row["map"], row["metric"])
        assert shown == (UNDEFINED if row["value"] is None else number(row["value"]))
    assert "Done in" in panel.run_bar.status.text()
    assert "2 maps by 4 metrics" in panel.run_bar.status.text()
    # the first row is chosen, and shown
    assert viewer.layers[0].name == "planted"
    np.testing.assert_array_equal(
        viewer.layers["saliency · vanilla-gradient · object #1"].data, found.maps["vanilla-gradient"]
    )
