"""The Sweep parameters widget, driven in a real napari window."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.figures import seen as figures_seen
from helpers.networks import PatchSwitch, card, patch_of, planted_image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.analyses.sweep.result import best_cells
from napari_segxai.gui import worker
from napari_segxai.gui.compare.table import number
from napari_segxai.gui.sweep.results import BEST

METRICS = ["dice-explained", "context-share"]
FEW = {"chance": 3}


class Slow(PatchSwitch):
    """Sleeps in every forward pass, without the interpreter's lock, as real networks compute."""

    delay = 0.1

    def forward(self, x):
        time.sleep(self.delay)
        return super().forward(x)


@pytest.fixture
def open_sweep(viewer):
    """Open the panel as a user does, through the plugin menu's widget."""

    def open_():
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Sweep parameters")
        return panel

    return open_


def ask(panel, method: str, grid: dict[str, str], **fixed) -> None:
    """Fill in the form."""
    fields = panel.fields
    fields.method_box.setCurrentIndex(fields.method_box.findData(method))
    fields.grid_box.set_grid(grid)
    fields.form.set_values(fixed)
    fields.metrics.tree.tick(METRICS)
    fields.metrics.form.set_values(FEW)


@pytest.fixture
def sweep_panel(viewer, open_sweep, wait):
    """The Triangle sample, and a fast sweep."""
    viewer.window.resize(1280, 800)
    viewer.open_sample("napari-segxai", "triangle")
    panel = open_sweep()
    wait(lambda: panel.run_bar.run.isEnabled())
    ask(panel, "misure", {"lr": "0.001, 0.3", "lam": "0.01, 1"}, iterations=4)
    return panel


@pytest.fixture
def slow_panel(viewer, open_sweep, wait):
    """A planted image and a network whose passes take as long as wanted."""
    viewer.add_image(planted_image().array, name="planted")
    panel = open_sweep()
    panel.network = Slow(patch_of(2))
    panel.network.delay = 0
    panel.model = sx.load_model(panel.network, card=card(name="slow", grid={"size": [32, 32]}))
    sx.register_model(panel.model)
    panel.model_box.refresh_registered()
    panel.model_box.combo.setCurrentIndex(panel.model_box.combo.count() - 1)
    wait(lambda: panel.run_bar.run.isEnabled())
    ask(panel, "rise", {"cells": "4, 6", "masks": "8, 16"})
    return panel


@pytest.fixture
def run_sweep(wait):
    """Press Run and wait until it has ended."""

    def run(panel) -> None:
        panel.run_bar.run.click()
        assert panel.run_bar.is_running
        wait(lambda: not panel.run_bar.is_running)

    return run


def shown_maps(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible and layer.name.startswith("saliency")]


def test_a_sweep_from_the_form_to_files(sweep_panel, run_sweep, viewer, qtbot, wait, tmp_path):
    panel, table, image = sweep_panel, sweep_panel.results.table, sx.image_of_layer(sweep_panel.layer)
    assert panel.run_bar.estimate.text().startswith("4 combinations: ")
    assert not panel.run_bar.save.isEnabled()
    run_sweep(panel)
    assert "4 combinations" in panel.run_bar.status.text()
    grid = {"lr": [0.001, 0.3], "lam": [0.01, 1]}
    model = panel.model_box.entry.model
    own = sx.sweep(model, image, "triangle", "misure:iterations=4", grid, metrics=METRICS, **FEW)
    assert panel.sweep.numbers == own.numbers
    assert len(set(own.result("ratio_mask").ravel())) > 1
    for one in own.numbers:
        panel.results.show_number(one.name)
        values = own.array(one)
        best = best_cells(values, one.better)
        for place in np.ndindex(2, 2):
            assert table.item(*place).text() == number(values[place])
            assert table.item(*place).data(BEST) == best[place]
    headers = [table.horizontalHeaderItem(k).text() for k in (0, 1)]
    assert headers == ["lam 0.01", "lam 1"]
    assert table.verticalHeaderItem(1).text() == "lr 0.3"

    # a clicked cell is a layer, and no other
    maps = list(own.comparison.maps.values())
    for row, column in ((1, 0), (0, 1), (1, 0)):
        place = table.visualItemRect(table.item(row, column)).center()
        qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        [name] = shown_maps(viewer)
        assert f"lr {grid['lr'][row]}, lam {grid['lam'][column]}" in name
        np.testing.assert_array_equal(viewer.layers[name].data, maps[2 * row + column])
    assert (
        sum(layer.name.startswith("saliency") for layer in viewer.layers) == 2
    )  # shown again, not added again
    assert "nothing could be pruned" not in panel.results.note.text()
    panel.results.select(0)
    assert "nothing could be pruned" in panel.results.note.text()
    assert viewer.canvas.overlays.text.text.endswith("share of the pixel that is kept")
    assert panel.run_bar.legend.isHidden()  # the outlines of MiSuRe are not among the layers
    assert panel.sides.is_folded
    panel.run_bar.fold.click()
    assert panel.fields.method_box.isVisible()
    assert panel.run_bar.run.isVisible()

    # the files are those of Sweep.save
    written = own.save(tmp_path / "script")
    with figures_seen():
        panel.save(tmp_path / "gui")
        wait(lambda: f"{len(written)} files" in panel.run_bar.status.text())
    assert (tmp_path / "gui" / "table.csv").read_text() == (tmp_path / "script" / "table.csv").read_text()
    assert (tmp_path / "gui" / "heat.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "gui" / "table.csv").open()))
    assert [float(row["ratio_mask"]) for row in rows] == list(own.result("ratio_mask").ravel())

    # and so is what the script makes
    text = panel.copy_as_python()
    assert QApplication.clipboard().text() == text
    names = {"viewer": viewer}
    exec(text[: text.index("sweep.save")], names)
    np.testing.assert_array_equal(names["sweep"].result("ratio_mask"), own.result("ratio_mask"))


WARM = """
import threading
import torch
from napari_segxai.gui.viewer.layers import warm_up
found = []
thread = threading.Thread(target=lambda: found.extend([warm_up(), torch.get_num_threads()]))
thread.start()
thread.join()
print(found[1])
"""


def test_a_job_computes_with_as_many_threads_as_a_script():
    """Else its numbers would differ from a script's. In a process of its own: what could go wrong goes wrong once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", WARM], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1"]


def test_what_is_swept_is_not_asked_twice(sweep_panel):
    fields = sweep_panel.fields
    assert fields.form.values()["iterations"] == 4
    assert not {"lr", "lam"} & set(fields.form.values())
    fields.grid_box.set_grid({"iterations": "2, 3"})
    assert {"lr", "lam"} <= set(fields.form.values())
    fields.form.set_values({"lr": 0.5})
    fields.grid_box.set_grid({"lam": "0.1"})
    assert fields.form.values()["lr"] == 0.5
    assert sweep_panel.plan().fixed == {"lr": 0.5}
    assert sweep_panel.plan().grid == {"lam": [0.1]}
    fields.method_box.setCurrentIndex(fields.method_box.findData("rise"))
    assert sweep_panel.plan().fixed == {}


WRONG = [
    ({"lr": "0.1, fast"}, "misure: lr is 'fast'; it has to be a number."),
    ({"lr": "0.1, -1"}, "misure: lr is -1; it has to be more than 0 and 1000000000 or less."),
    ({"lr": ""}, "misure: lr needs values, such as 0.01, 0.1, 1."),
    ({"iterations": "5, 2.5"}, "misure: iterations is '2.5'; it has to be a whole number."),
    ({"lr": "0.1, 0.10"}, "misure: lr has 0.10 twice; every value counts once."),
]


def test_wrong_values_are_said_in_words(sweep_panel, viewer, wait):
    box, run_bar = sweep_panel.fields.grid_box, sweep_panel.run_bar
    box.rows.setCurrentIndex(box.rows.findData("lam"))
    assert "two different parameters" in run_bar.estimate.text()
    box.rows.setCurrentIndex(0)
    assert sweep_panel.plan().grid == {"lam": [0.01, 1]}
    assert not box.row_values.isEnabled()
    for grid, words in WRONG:
        box.set_grid(grid)
        assert run_bar.estimate.text() == words
        assert not run_bar.run.isEnabled()
        box.set_grid({"lr": "0.1, 0.2"})
        assert run_bar.run.isEnabled()
        assert run_bar.estimate.text().startswith("2 combinations: ")

    # and all of it fits into a small window
    window = viewer.window._qt_window
    wait(lambda: sweep_panel.height() > 300)
    assert window.width() <= 1280
    assert window.height() <= 800
    for button in (run_bar.run, run_bar.copy, run_bar.save):
        assert button.width() >= button.minimumSizeHint().width()


def test_a_disabled_run_says_why(open_sweep):
    panel = open_sweep()
    assert not panel.run_bar.run.isEnabled()
    assert "Open an image" in panel.run_bar.estimate.text()


def test_one_parameter_makes_one_row_and_a_method_may_tell_nothing(slow_panel, run_sweep):
    panel, table = slow_panel, slow_panel.results.table
    ask(panel, "smooth-grad", {"samples": "2, 3, 4"})
    run_sweep(panel)
    assert (table.rowCount(), table.columnCount()) == (1, 3)
    own = sx.sweep(
        panel.model, planted_image(), "object", "smooth-grad", {"samples": [2, 3, 4]}, metrics=METRICS, **FEW
    )
    panel.results.show_number("dice-explained")
    assert [table.item(0, k).text() for k in range(3)] == [
        number(value) for value in own.values("dice-explained")[0]
    ]


def test_cancel_keeps_what_is_there(slow_panel, run_sweep, wait, viewer):
    panel = slow_panel
    run_sweep(panel)
    before = panel.sweep
    panel.results.select(1)
    assert len(shown_maps(viewer)) == 1
    layers = [layer.name for layer in viewer.layers]
    QApplication.processEvents()  # the map is drawn before the next run begins
    panel.network.delay = 0.2

    # in the first maps: nothing new is there, the old sweep stays
    panel.run_bar.run.click()
    wait(lambda: panel.run_bar.progress.value() > 0)
    panel.run_bar.run.click()
    wait(lambda: not panel.run_bar.is_running)
    assert panel.sweep is before
    assert panel.run_bar.status.text() == "Cancelled. No map was ready, all is as before."
    assert [layer.name for layer in viewer.layers] == layers
    assert panel.run_bar.run.isEnabled()
    assert panel.run_bar.save.isEnabled()

    # while the metrics run: the maps are there, and no number of a metric
    panel.fields.metrics.tree.tick(["insertion-dice"])
    started = []
    report = panel.run_bar.report

    def cancel_when_measured(step) -> None:
        report(step)
        if "copy" in step.note and not started:
            started.append(step)
            panel.run_bar.run.click()

    panel.run_bar.report = cancel_when_measured
    panel.run_bar.run.click()
    wait(lambda: not panel.run_bar.is_running)
    assert started
    assert panel.sweep is not before
    assert "The 4 maps found until then can be shown; no metric was measured" in panel.run_bar.status.text()
    assert not any(not one.own for one in panel.sweep.numbers)
    panel.results.select(2)
    [name] = shown_maps(viewer)
    np.testing.assert_array_equal(viewer.layers[name].data, list(before.comparison.maps.values())[2])


def test_closing_while_running_is_safe(slow_panel, wait, viewer):
    panel = slow_panel
    panel.network.delay, training = 0.05, panel.network.training
    panel.run_bar.run.click()
    wait(lambda: panel.run_bar.progress.value() > 0)
    job, layers = panel.tasks.running, list(viewer.layers)
    viewer.window.remove_dock_widget(panel)
    panel.deleteLater()
    wait(lambda: worker._running is None)
    assert job.stop.is_set()
    assert list(viewer.layers) == layers
    assert panel.network.training == training
    viewer.dims.events.current_step()  # no link to the closed panel is left
    viewer.add_image(planted_image().array, name="another")
