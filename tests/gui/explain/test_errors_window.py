"""Errors of the prediction in the window, contrasts and borders."""

from __future__ import annotations

import numpy as np
import torch
from helpers.docks import use_model
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.gui.script.files import ScriptFiles
from napari_segxai.gui.script.write import python_of


class Levels(nn.Module):
    """A label where the image is bright, another where it is brighter: (N, 1, *grid) -> (N, 3, *grid)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([0.5 - x, 2 * x - 0.9, 3 * x - 2.5], 1)


def python_of_last(panel, folder) -> str:
    """Return the script of what a dock ran last, with its files in a folder."""
    files = ScriptFiles(())
    files.save_in(folder, "four")
    return python_of(panel.explanation, panel.request.plan, files)


def test_a_click_on_an_error_shows_it_and_makes_it_the_region(viewer, open_panel, wait, tmp_path):
    array = np.zeros((40, 48), np.float32)
    array[4:12, 4:12] = array[20:26, 30:36] = array[33:36, 4:8] = 0.7
    truth = np.zeros((40, 48), np.uint8)
    truth[4:12, 4:12] = truth[6:10, 34:40] = 1
    viewer.add_image(array, name="four")
    viewer.add_labels(truth, name="true")
    panel = open_panel()
    model = sx.SegmentationModel(
        Levels(), {"name": "levels", "labels": ["background", "A", "B"], "spatial_dims": 2}
    )
    use_model(panel, model)
    panel.fields.method_box.choose("vanilla-gradient")
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.fields.errors.click()
    errors = panel.errors
    assert errors.isVisible()
    assert errors.table.horizontalHeaderItem(0).text() == "error"
    assert errors.truth_box.currentText() == "true"  # the only one
    errors.truth_box.setCurrentIndex(0)
    errors.list_button.click()
    assert "Choose the truth" in errors.said.text()
    errors.truth_box.setCurrentText("true")
    errors.list_button.click()
    wait(lambda: errors.table.rowCount() == 3)
    assert [errors.table.item(k, 0).text() for k in range(3)] == [
        "false-positive",
        "false-positive",
        "false-negative",
    ]
    assert [errors.table.item(k, 3).text() for k in range(3)] == ["36", "12", "24"]
    errors.table.selectRow(1)
    wait(lambda: panel.fields.region_box.combo.currentText().startswith("false-positive 2"))
    layer = viewer.layers[panel.fields.region_box.combo.currentText()]
    assert layer.data[34, 5] == 1
    assert layer.data.sum() == 12
    panel.fields.target_fields.against_box.setCurrentText("B")
    panel.fields.target_fields.boundary_box.setText("-1, 1")
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.run_bar.run.click()
    wait(lambda: panel.explanation is not None)
    target = panel.explanation.target
    assert (target.against, target.boundary) == ("B", (-1, 1))
    assert target.region.sum() == 12
    assert (target.error, target.component) == ("false-positive", 2)
    text = python_of_last(panel, tmp_path)
    assert "error='false-positive', component=2, truth=" in text
    errors.table.selectRow(2)
    wait(lambda: panel.fields.region_box.combo.currentText().startswith("false-negative 1"))
    panel.fields.target_fields.boundary_box.setText("two")
    wait(lambda: "two distances" in panel.run_bar.estimate.text())
    assert not panel.run_bar.run.isEnabled()
    panel.fields.target_fields.boundary_box.setText("")
    errors.list_button.click()
    assert (
        errors.table.rowCount() == 0
    )  # while another list is made no click takes a component of the one before
    wait(lambda: errors.table.rowCount() == 3)


def test_a_value_that_is_no_label_is_left_out_by_the_entry_that_says_so(viewer, open_panel, wait, tmp_path):
    array = np.zeros((40, 48), np.float32)
    array[4:12, 4:12] = array[20:26, 30:36] = array[33:36, 4:8] = 0.7
    truth = np.zeros((40, 48), np.uint8)
    truth[4:12, 4:12], truth[30:40, :10] = 1, 255
    viewer.add_image(array, name="four")
    viewer.add_labels(truth, name="true")
    panel = open_panel()
    fields = {"name": "levels", "labels": ["background", "A", "B"], "spatial_dims": 2}
    use_model(panel, sx.SegmentationModel(Levels(), fields))
    panel.fields.method_box.choose("vanilla-gradient")
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.fields.errors.click()
    errors = panel.errors
    errors.truth_box.setCurrentText("true")
    errors.list_button.click()
    wait(lambda: "holds label 255" in errors.said.text())
    errors.truth_box.setCurrentText("true (255 is no label)")
    errors.list_button.click()
    wait(lambda: errors.table.rowCount() == 1)
    assert errors.table.item(0, 3).text() == "36"
    assert "it is left out" in errors.said.text()
    errors.table.selectRow(0)
    wait(lambda: panel.fields.region_box.combo.currentText().startswith("false-positive 1"))
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.run_bar.run.click()
    wait(lambda: panel.explanation is not None)
    assert "'ignored_values': (255,)" in python_of_last(panel, tmp_path).replace("[255]", "(255,)")
