"""The Information flow widget in a real napari window."""

from __future__ import annotations

import pytest
from helpers.docks import Slow, use_network
from helpers.networks import patch_of, planted_image


@pytest.fixture
def open_flow(viewer):
    """Open the Information flow panel as a user does, through the plugin menu's widget."""

    def open_():
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
        return panel

    return open_


@pytest.fixture
def flow_panel(viewer, open_flow, wait):
    """The Triangle sample and a panel that is ready to run."""
    viewer.window.resize(1280, 800)
    viewer.open_sample("napari-segxai", "triangle")
    panel = open_flow()
    wait(lambda: panel.run_bar.run.isEnabled())
    return panel


@pytest.fixture
def run_flow(wait):
    """Press Run and wait for the end."""

    def run(panel) -> None:
        panel.run_bar.run.click()
        assert panel.run_bar.is_running
        wait(lambda: not panel.run_bar.is_running)

    return run


@pytest.fixture
def slow_panel(viewer, open_flow, wait):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_flow()
    panel.network = Slow(patch_of(2))
    panel.network.delay = 0.2
    use_network(panel, panel.network, wait, grid={"size": [32, 32]})
    return panel
