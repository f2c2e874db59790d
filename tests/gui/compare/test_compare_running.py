"""A comparison that is stopped, fails, or outlives its image, its dock or its viewer."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from helpers.docks import Slow, use_network
from helpers.gui.compare_dock import cell
from helpers.networks import patch_of, planted_image
from qtpy.QtCore import Qt

from napari_segxai.gui import worker
from napari_segxai.gui.widgets.table import UNDEFINED


def test_cancelling_keeps_what_was_found(compare_panel, run_compare, wait):
    panel, run_bar = compare_panel, compare_panel.run_bar
    panel.network.delay = 0.1
    panel.fields.methods.tick(["vanilla-gradient", "occlusion"])
    run_bar.run.click()
    wait(lambda: run_bar.status.text().startswith("occlusion"))
    assert run_bar.run.text() == "Cancel"
    run_bar.run.click()
    wait(lambda: not run_bar.is_running)
    assert list(panel.comparison.maps) == ["vanilla-gradient"]
    assert "The 1 map found until then can be shown; nothing was measured yet." in run_bar.status.text()
    assert cell(panel, "vanilla-gradient", "dice-explained") == UNDEFINED
    tip = cell(panel, "vanilla-gradient", "dice-explained", Qt.ItemDataRole.ToolTipRole)
    assert "the run was stopped" in tip
    assert "saliency #1 · vanilla-gradient" in panel.viewer.layers
    wait(lambda: not panel.results.inspector.is_busy)
    kept = panel.comparison
    run_bar.run.click()
    run_bar.run.click()
    wait(lambda: not run_bar.is_running)
    assert "nothing to show yet" in run_bar.status.text()
    assert panel.comparison is kept


def test_running_out_of_memory_is_said_and_the_next_run_works(compare_panel, monkeypatch, run_compare):
    import torch

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    panel = compare_panel
    with monkeypatch.context() as patch:
        patch.setattr(panel.network, "forward", full)
        run_compare(panel)
        assert "ran out of memory" in panel.run_bar.status.text()
    run_compare(panel)
    assert "Done" in panel.run_bar.status.text()


def test_deleting_the_source_meanwhile(compare_panel, viewer, wait, run_compare):
    panel = compare_panel
    panel.network.delay = 0.05
    panel.run_bar.run.click()
    viewer.layers.remove("planted")
    wait(lambda: not panel.run_bar.is_running and not panel.results.inspector.is_busy)
    assert "Done" in panel.run_bar.status.text()
    panel.results.grid_button.click()
    assert viewer.layers["vanilla-gradient · image"].data.shape == (32, 32)
    panel.results.inspector.steps.click()
    assert "masked image" in viewer.layers
    panel.results.inspector.steps.click()
    assert all("segxai" in layer.metadata for layer in viewer.layers)


def test_closing_the_dock_stops_the_job_and_keeps_the_maps(compare_panel, viewer, wait):
    panel = compare_panel
    panel.network.delay = 0.1
    panel.fields.methods.tick(["vanilla-gradient", "occlusion"])
    panel.run_bar.run.click()
    wait(lambda: panel.run_bar.status.text().startswith("occlusion"))
    job = worker._running
    viewer.window.remove_dock_widget(panel)
    panel.deleteLater()
    gc.collect()
    wait(lambda: job.stop.is_set() and worker._running is None)
    assert any(layer.name.startswith("saliency #1 · vanilla-gradient") for layer in viewer.layers)
    viewer.add_image(np.zeros((4, 4)))  # nothing is connected to what is gone
    viewer.theme = "light"


def test_closing_the_dock_leaves_the_grid(compare_panel, viewer, wait, run_compare):
    panel = compare_panel
    run_compare(panel)
    before = [(layer.name, layer.visible) for layer in viewer.layers]
    panel.results.grid_button.click()
    panel.results.inspector.set_threshold(0.3)
    viewer.window.remove_dock_widget(panel)
    panel.deleteLater()
    wait(lambda: not viewer.canvas.grid.enabled)
    assert [(layer.name, layer.visible) for layer in viewer.layers] == before
    wait(lambda: worker._running is None)


@pytest.mark.parametrize("shown", ["grid", "steps", "running"])
def test_closing_the_viewer(make_napari_viewer, wait, run_compare, shown):
    viewer = make_napari_viewer()
    viewer.add_image(planted_image().array, name="planted")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Compare and evaluate")
    network = Slow(patch_of(2))
    network.delay = 0
    use_network(panel, network, wait, grid={"size": [32, 32]})
    panel.fields.methods.tick(["vanilla-gradient"])
    panel.fields.metrics.tree.tick(["dice-explained"])
    run_compare(panel)
    network.delay = 0.05
    if shown == "running":
        panel.run_bar.run.click()
        wait(lambda: worker._running is not None)
    else:
        button = panel.results.grid_button if shown == "grid" else panel.results.inspector.steps
        button.click()
        panel.results.inspector.set_threshold(0.3)
    viewer.close()
    wait(lambda: worker._running is None)
