"""A model that sees a volume through windows, in the docks: nothing runs that nobody asked for, and what runs can be followed and stopped."""

from __future__ import annotations

import time

import nibabel
import numpy as np
import pytest
import torch
from helpers.docks import choose, use_model
from torch import nn

import napari_segxai as sx
from napari_segxai.gui import worker


class Spots(nn.Module):
    """Draws bright spots as "spot", nothing as "rest"; counts the windows that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv3d(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.smooth.weight, 1 / 27)
        self.seen, self.delay = 0, 0.02  # seconds for every window

    def forward(self, x):
        self.seen += len(x)
        time.sleep(self.delay * len(x))
        drawn = 40 * (self.smooth(x) - 0.6)
        return torch.cat([-drawn, drawn, -30 - 0 * drawn], 1)


@pytest.fixture
def spots(tmp_path):
    """A file of 40 x 36 x 32 voxels with its axes turned, and where its spot is."""
    array = np.random.default_rng(0).uniform(0, 0.2, (40, 36, 32)).astype(np.float32)
    array[24:30, 6:12, 20:26] = 1
    affine = np.array([[0, 0, -1.5, 40], [2.0, 0, 0, -10], [0, -1, 0, 30], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "spots.nii.gz")
    return tmp_path / "spots.nii.gz", array > 0.5


@pytest.fixture
def network():
    return Spots()


@pytest.fixture
def panel(viewer, open_panel, wait, spots, network):
    viewer.open(str(spots[0]), plugin="napari-segxai")
    panel = open_panel()
    labels = ["background", "spot", "rest"]
    card = {
        "name": f"spots {id(network)}",
        "labels": labels,
        "spatial_dims": 3,
        "windows": {"size": [12] * 3},
    }
    use_model(panel, sx.SegmentationModel(network, card))
    wait(lambda: panel.run_bar.run.isEnabled())
    return panel


def test_a_volume_is_explained_window_by_window(panel, viewer, wait, spots, network, qtbot):
    network.seen = 0  # by the dry run
    qtbot.wait(500)
    assert network.seen == 0  # which labels are there is not worth a prediction that nobody asked for

    choose(panel, "vanilla-gradient")
    panel.run_bar.run.click()
    said = lambda: panel.run_bar.status.text()
    wait(lambda: "window" in said())
    wait(lambda: "left" in said())  # within the first pass already
    panel.run_bar.run.click()
    before = network.seen
    wait(lambda: not panel.run_bar.is_running)
    assert network.seen - before <= 16  # the batch that had begun, and perhaps the next
    assert "Cancelled" in said()
    assert panel.run_bar.run.text() == "Run"

    network.delay = 0
    panel.run_bar.run.click()
    wait(lambda: not panel.run_bar.is_running)
    wait(panel._all_shown)
    model = panel.model_box.entry.model
    map = next(layer for layer in viewer.layers if layer.name.startswith("saliency"))
    image = viewer.layers[0]
    peak = map.data_to_world(np.unravel_index(np.argmax(map.data), map.data.shape))
    at = np.round(image.world_to_data(peak)).astype(int)
    assert image.data[tuple(at)] > 0.5  # in the spot, whatever the axes of the file are
    wait(lambda: "rest" in panel.fields.label_box.itemText(2) and panel.present_labels._asked != ())
    assert model.kept.get(model.module, model.prepare(panel.image()).tensor) is not None

    _, flow = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
    wait(lambda: flow.run_bar.run.isEnabled())
    kept = model.kept._logits
    flow.run_bar.run.click()
    wait(lambda: not flow.run_bar.is_running)
    assert model.kept._logits is kept  # the other dock's prediction


def test_a_viewer_that_is_closed_stops_the_windows(own_viewer, wait, spots, network):
    own_viewer.open(str(spots[0]), plugin="napari-segxai")
    _, panel = own_viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    labels = ["background", "spot", "rest"]
    card = {
        "name": f"spots {id(network)}",
        "labels": labels,
        "spatial_dims": 3,
        "windows": {"size": [12] * 3},
    }
    use_model(panel, sx.SegmentationModel(network, card))
    wait(lambda: panel.run_bar.run.isEnabled())
    choose(panel, "vanilla-gradient")
    panel.run_bar.run.click()
    network.seen = 0
    wait(lambda: network.seen > 0)
    own_viewer.close()
    before = network.seen
    wait(lambda: worker._running is None)
    assert network.seen - before <= 24
