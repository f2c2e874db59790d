"""The Compare and evaluate widget in a real napari window."""

from __future__ import annotations

import pytest
from helpers.docks import Slow, use_network
from helpers.gui.compare_dock import FAST, METRICS
from helpers.networks import patch_of, planted_image


@pytest.fixture
def open_compare(viewer):
    """Open the panel as a user does, through the plugin menu's widget."""

    def open_():
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Compare and evaluate")
        return panel

    return open_


@pytest.fixture
def compare_panel(viewer, open_compare, wait):
    """A planted image, a planted network, and few quick things to compare."""
    viewer.window.resize(1280, 800)
    viewer.add_image(planted_image().array, name="planted")
    panel = open_compare()
    panel.network = Slow(patch_of(2))
    panel.network.delay = 0
    panel.model = use_network(panel, panel.network, wait, grid={"size": [32, 32]})
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
