"""A flow that is stopped, fails, or outlives its image, its dock or its viewer."""

from __future__ import annotations

import gc

import numpy as np
import torch
from helpers.docks import Slow, click, use_network
from helpers.networks import patch_of, planted_image

from napari_segxai.engine.primitives.activations import LayerRecorder
from napari_segxai.gui import worker


def test_cancelling_keeps_what_was_there_and_after_too_little_memory_the_next_run_works(
    slow_panel, wait, run_flow, monkeypatch
):
    run_bar = slow_panel.run_bar
    run_bar.run.click()
    assert run_bar.run.text() == "Cancel"
    assert not slow_panel.fields.causal.isEnabled()
    run_bar.run.click()
    wait(lambda: not run_bar.is_running)
    assert "Cancelled; there is nothing to show" in run_bar.status.text()
    assert slow_panel.flow is None
    assert not slow_panel.fields.causal.isEnabled()
    run_flow(slow_panel)
    flow = slow_panel.flow
    slow_panel.fields.causal.click()
    wait(lambda: "without" in run_bar.status.text())
    original, begun = slow_panel.network.forward, []
    slow_panel.network.forward = lambda x: begun.append(len(x)) or original(x)
    run_bar.run.click()
    wait(lambda: not run_bar.is_running)
    assert len(begun) <= 1  # the pass that had begun is the last one, or the one after it
    slow_panel.network.forward = original
    assert "Cancelled" in run_bar.status.text()
    assert all(tile.lost is None for tile in flow.tiles.values())
    assert slow_panel.fields.causal.isEnabled()
    assert slow_panel.results.flow is flow

    # too little memory is said
    slow_panel.network.delay = 0

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(slow_panel.network, "forward", full)
        run_flow(slow_panel)
        assert "ran out of memory" in slow_panel.run_bar.status.text()
    with monkeypatch.context() as patch:
        patch.setattr(LayerRecorder, "each_gradient", full)
        run_flow(slow_panel)
        assert "ran out of memory" in slow_panel.run_bar.status.text()
    run_flow(slow_panel)
    assert "Done" in slow_panel.run_bar.status.text()


def test_renaming_and_deleting_the_source_meanwhile(slow_panel, viewer, wait):
    slow_panel.run_bar.run.click()
    viewer.layers["planted"].name = "renamed"
    assert slow_panel.image_box.currentText() == "renamed"
    viewer.layers.remove("renamed")
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "Done" in slow_panel.run_bar.status.text()
    assert "Open an image" in slow_panel.run_bar.estimate.text()
    click(slow_panel.results.grid.views["object", "mix"])
    wait(lambda: slow_panel._all_shown() and len(viewer.layers) == 2)
    assert any(layer.name.startswith("saliency") for layer in viewer.layers)


def test_closing_the_dock_stops_the_job(slow_panel, viewer, wait, run_flow):
    run_flow(slow_panel)
    slow_panel.fields.causal.click()
    wait(lambda: worker._running is not None)
    job = worker._running
    viewer.window.remove_dock_widget(slow_panel)
    slow_panel.deleteLater()
    gc.collect()
    wait(lambda: job.stop.is_set() and worker._running is None)
    viewer.add_image(np.zeros((4, 4)))  # nothing is connected to what is gone
    viewer.theme = "light"
    viewer.dims.ndisplay = 3


def test_closing_the_viewer_while_a_job_runs(make_napari_viewer, wait):
    viewer = make_napari_viewer()
    viewer.add_image(planted_image().array, name="planted")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
    use_network(panel, Slow(patch_of(2)), wait, grid={"size": [32, 32]})
    panel.run_bar.run.click()
    wait(lambda: worker._running is not None)
    viewer.close()
    wait(lambda: worker._running is None)


def test_two_viewers_do_not_mix(viewer, own_viewer, wait, run_flow):
    panels = []
    for one in (viewer, own_viewer):
        one.open_sample("napari-segxai", "triangle")
        _, panel = one.window.add_plugin_dock_widget("napari-segxai", "Information flow")
        panels.append(panel)
    for panel in panels:
        wait(lambda panel=panel: panel.run_bar.run.isEnabled())
    run_flow(panels[1])
    panels[1].results.wanted.emit("triangle", "head")
    wait(lambda: panels[1]._all_shown() and len(panels[1].viewer.layers) == 3)
    assert panels[0].flow is None
    assert len(panels[0].viewer.layers) == 1
