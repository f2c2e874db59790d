"""An explanation that is stopped, fails, or outlives its image, its dock or its viewer."""

from __future__ import annotations

import gc
import time

import numpy as np
import torch
from helpers.docks import Slow, choose, use_model
from helpers.networks import card, patch_of, planted_image
from qtpy.QtCore import Qt, QTimer

import napari_segxai as sx
from napari_segxai.gui import worker


def test_run_becomes_cancel_and_the_partial_result_stays(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=2000)
    slow_panel.run_bar.run.click()
    assert slow_panel.run_bar.run.text() == "Cancel"
    wait(lambda: slow_panel.run_bar.progress.value() > 0)
    assert "left" in slow_panel.run_bar.status.text() or "mask" in slow_panel.run_bar.status.text()
    original, begun = slow_panel.network.forward, []
    slow_panel.network.forward = lambda x: begun.append(len(x)) or original(x)
    slow_panel.run_bar.run.click()
    assert "Cancelling" in slow_panel.run_bar.run.text()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert len(begun) <= 1  # the pass that had begun is the last one, or the one after it
    assert "Cancelled" in slow_panel.run_bar.status.text()
    wait(slow_panel._all_shown)
    [layer] = [layer for layer in viewer.layers if layer.name.startswith("saliency")]
    assert layer.name.endswith("(partial)")
    assert layer.metadata["segxai"]["partial"]
    assert layer.data.any()
    assert slow_panel.run_bar.run.text() == "Run"


def test_the_window_stays_alive_while_a_job_runs(slow_panel, wait):
    late: list[float] = []
    last = [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        late.append(now - last[0] - 0.01)
        last[0] = now

    choose(slow_panel, "rise", masks=16)
    slow_panel.network.delay = 0.3
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    slow_panel.run_bar.run.click()
    last[0] = time.perf_counter()
    timer.start(10)
    wait(lambda: not slow_panel.run_bar.is_running)
    timer.stop()
    # The job takes 2 batches of 0.3 s and a prediction; a job in the GUI thread would leave a handful of ticks.
    assert len(late) > 20


def test_a_second_job_waits_for_the_first(slow_panel, wait):
    done = []
    choose(slow_panel, "rise", masks=40)
    slow_panel.run_bar.run.click()

    def quick():
        yield from ()
        return "second"

    job = worker.start(worker.WorkerTask(quick, lambda _: None, done.append))
    assert worker.is_waiting(job)
    assert slow_panel.run_bar.is_running
    wait(lambda: bool(done))
    assert done[0].result == "second"
    assert not slow_panel.run_bar.is_running


def test_an_error_and_too_little_memory_are_said_and_the_next_run_works(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=120)
    original, calls = slow_panel.network.forward, []

    def failing(x):
        calls.append(len(x))
        if len(calls) == 9:
            raise RuntimeError("the network broke")
        return original(x)

    slow_panel.network.forward = failing
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "the network broke" in slow_panel.run_bar.status.text()
    wait(slow_panel._all_shown)
    assert any(layer.name.endswith("(partial)") for layer in viewer.layers)
    slow_panel.network.forward = original
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "Done" in slow_panel.run_bar.status.text()

    def full(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    choose(slow_panel, "rise", masks=10)
    slow_panel.network.forward = full
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "ran out of memory" in slow_panel.run_bar.status.text()
    assert "downsample" in slow_panel.run_bar.status.text()
    slow_panel.network.forward = original
    slow_panel.run_bar.run.click()
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "Done" in slow_panel.run_bar.status.text()


def test_renaming_and_deleting_the_source_meanwhile(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=40)
    slow_panel.run_bar.run.click()
    viewer.layers["planted"].name = "renamed"
    assert slow_panel.image_box.currentText() == "renamed"
    wait(lambda: not slow_panel.run_bar.is_running and slow_panel._all_shown())
    assert viewer.layers[0].name == "renamed"
    assert viewer.layers[1].name.startswith("prediction")
    slow_panel.run_bar.run.click()
    viewer.layers.remove("renamed")
    wait(lambda: not slow_panel.run_bar.is_running and slow_panel._all_shown())
    assert sum(layer.name.startswith("saliency") for layer in viewer.layers) == 2
    assert not slow_panel.run_bar.run.isEnabled()


def test_closing_the_dock_stops_the_job(slow_panel, viewer, wait):
    choose(slow_panel, "rise", masks=3000)
    slow_panel.run_bar.run.click()
    wait(lambda: slow_panel.run_bar.progress.value() > 0)
    job = worker._running
    viewer.window.remove_dock_widget(slow_panel)
    slow_panel.deleteLater()
    gc.collect()
    wait(lambda: job.stop.is_set() and worker._running is None)
    assert any(layer.name.endswith("(partial)") for layer in viewer.layers)  # nothing is lost
    viewer.add_image(np.zeros((4, 4)))  # nothing is connected to what is gone


def test_closing_the_viewer_while_a_job_runs(make_napari_viewer, wait):
    viewer = make_napari_viewer()
    viewer.add_image(planted_image().array, name="planted")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    network = Slow(patch_of(2))
    use_model(
        panel, sx.load_model(network, card=card(name=f"closing {id(network)}", grid={"size": [32, 32]}))
    )
    wait(lambda: panel.run_bar.run.isEnabled())
    choose(panel, "rise", masks=3000)
    panel.run_bar.run.click()
    wait(lambda: worker._running is not None)
    viewer.close()
    wait(lambda: worker._running is None)


def test_two_viewers_do_not_mix(viewer, own_viewer, wait, run_panel):
    panels = []
    for one in (viewer, own_viewer):
        one.open_sample("napari-segxai", "triangle")
        _, panel = one.window.add_plugin_dock_widget("napari-segxai", "Explain")
        panels.append(panel)
    for panel in panels:
        wait(lambda panel=panel: panel.run_bar.run.isEnabled())
    run_panel(panels[1], "seg-grad-cam")
    assert len(panels[0].viewer.layers) == 1
    assert len(panels[1].viewer.layers) == 3
