"""What a dock has found is not lost when it is closed: the next one of its kind shows it again."""

from __future__ import annotations

import gc
import weakref

import pytest
from helpers.docks import Slow, use_network
from helpers.networks import patch_of, planted_image

import napari_segxai as sx
from napari_segxai.core.progress import Step
from napari_segxai.gui import worker
from napari_segxai.gui.viewer.kept import kept_results

SHOWN_AGAIN = "The last result is shown again"


@pytest.fixture
def opened(viewer, wait):
    """Open a dock as a user does, with a planted image and network, and what is quick to ask."""

    def open_(name: str):
        if "planted" not in viewer.layers:
            viewer.add_image(planted_image().array, name="planted")
        _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", name)
        return dock

    return open_


@pytest.fixture
def closed(viewer, wait):
    """Close a dock as its cross does, and wait until it is gone."""

    def close(dock) -> None:
        gone = []
        dock.destroyed.connect(lambda *_: gone.append(True))
        viewer.window.remove_dock_widget(dock)
        wait(lambda: bool(gone))

    return close


def quick(dock, wait):
    """Choose a planted network, and ask what takes few passes."""
    network = Slow(patch_of(2))
    network.delay = 0
    model = use_network(dock, network, wait, grid={"size": [32, 32]})
    if dock.kind == "explanation":
        dock.fields.method_box.choose("seg-grad-cam")
    elif dock.kind == "comparison":
        dock.fields.methods.tick(["seg-grad-cam", "vanilla-gradient"])
        dock.fields.metrics.tree.tick(["dice-explained"])
    elif dock.kind == "sweep":
        dock.fields.method_box.choose("smooth-grad")
        dock.fields.grid_box.set_grid({"samples": "1, 2, 3"})
        dock.fields.metrics.tree.tick(["dice-explained"])
    wait(lambda: dock.run_bar.run.isEnabled())
    return network, model


def result_of(dock):
    return next(
        getattr(dock, name) for name in ("explanation", "flow", "comparison", "sweep") if hasattr(dock, name)
    )


@pytest.mark.parametrize("name", ["Explain", "Information flow", "Compare and evaluate", "Sweep parameters"])
def test_a_dock_that_is_closed_and_opened_again_shows_what_it_had(
    viewer, opened, closed, wait, name, tmp_path
):
    dock = opened(name)
    _, model = quick(dock, wait)
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running and getattr(dock, "_all_shown", lambda: True)())
    own, asked = result_of(dock), dock.request.plan
    if name == "Sweep parameters":
        dock.show_cell(1)
    layers = [(layer.name, layer.visible) for layer in viewer.layers]
    closed(dock)
    again = opened(name)
    assert result_of(again) is own
    assert again.request.plan is asked
    assert again.model_if_loaded is model  # which none of the list's own order would choose
    assert again.run_bar.status.text().startswith(SHOWN_AGAIN)
    assert [(layer.name, layer.visible) for layer in viewer.layers] == layers  # the viewer is left as it was
    assert again.run_bar.save.isEnabled()
    if name == "Sweep parameters":
        assert again.results.table.columnCount() == 3
        again.show_cell(1)
        assert [
            (layer.name, layer.visible) for layer in viewer.layers
        ] == layers  # that map is a layer already
        again.save(tmp_path / "saved")
        wait(lambda: "Wrote" in again.run_bar.status.text())
        assert sx.load_sweep(tmp_path / "saved").grid == {"samples": [1, 2, 3]}
    if name == "Compare and evaluate":
        assert again.results.table.name is None
        again.results.table.select("seg-grad-cam")
        wait(lambda: not again.results.inspector.is_busy)
        assert sum("saliency" in layer.name and "seg-grad-cam" in layer.name for layer in viewer.layers) == 1
    if name == "Information flow":
        assert set(again.results.grid.views) == set(own.tiles)
        assert again.fields.causal.isEnabled()
    if name == "Explain":
        for layer in [layer for layer in viewer.layers if "segxai" in layer.metadata]:
            viewer.layers.remove(layer)
        assert again.explanation is None
        weak = weakref.ref(own)
        del own, asked, dock, _
        assert kept_results(viewer).get("explanation") is None
        wait(lambda: gc.collect() >= 0 and weak() is None)  # it may be large, and nothing shows it any more


def test_a_sweep_whose_dock_is_closed_during_the_run_is_shown_in_the_next_dock(viewer, opened, closed, wait):
    dock = opened("Sweep parameters")
    network, _ = quick(dock, wait)
    dock.fields.metrics.tree.tick(["insertion-dice"])
    network.delay = 0.1
    dock.run_bar.run.click()
    wait(lambda: "copy" in dock.run_bar.status.text())  # the maps are made, and are being measured
    closed(dock)
    wait(lambda: worker._running is None)
    network.delay = 0
    again = opened("Sweep parameters")
    assert len(again.sweep.comparison.maps) == 3
    assert not again.sweep.comparison.rows
    assert again.run_bar.status.text().startswith("What was found until the dock was closed is shown")
    again.results.select(0)
    assert "saliency" in "".join(layer.name for layer in viewer.layers)


def test_files_are_written_although_the_dock_is_closed_meanwhile(viewer, opened, closed, wait, tmp_path):
    dock = opened("Information flow")
    quick(dock, wait)
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    held = []

    def other():  # the files have to wait for it
        while not held:
            yield Step(0, 1, "")

    worker.start(worker.WorkerTask(other, lambda _: None, lambda _: None))
    dock.export.folder(tmp_path / "flow")
    assert "Waiting" in dock.run_bar.status.text()
    closed(dock)
    held.append(True)
    wait(lambda: worker._running is None and not worker._waiting)
    assert sx.load_flow(tmp_path / "flow").labels == ("object",)
