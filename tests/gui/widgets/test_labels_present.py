"""Labels are looked for in the background, unless that takes a prediction through windows that nobody asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import napari_segxai as sx
from napari_segxai.gui import worker
from napari_segxai.gui.models.labels_present import PresentLabels


class Bright(nn.Module):
    def forward(self, x):
        drawn = 40 * (x - 0.5)
        return torch.cat([-drawn, drawn, -30 - 0 * drawn], 1)


class Dock:
    def __init__(self, model, image):
        self.model_box = SimpleNamespace(entry=SimpleNamespace(model=model))
        self.layer = SimpleNamespace(data=image.array)
        self.destroyed = SimpleNamespace(connect=lambda _: None)
        self.displayed = lambda: SimpleNamespace(image=image, slice=None)


class Weak(SimpleNamespace):
    """A layer that can be remembered."""


@pytest.mark.parametrize("windowed", [True, False])
def test_no_volume_is_predicted_through_windows_only_for_its_labels(windowed, monkeypatch):
    started: list[worker.WorkerTask] = []
    monkeypatch.setattr(worker, "start", started.append)
    card = {"name": "net", "labels": ["background", "spot", "rest"], "spatial_dims": 2, "orientation": None}
    windows = {"windows": {"size": [8, 8]}} if windowed else {}
    model = sx.SegmentationModel(Bright(), {**card, **windows})
    image = sx.Image(np.random.default_rng(0).random((20, 16)).astype(np.float32))
    dock, told = Dock(model, image), []
    dock.layer = Weak(data=image.array)
    labels = PresentLabels(dock, told.append)
    labels.ask()
    assert len(started) == (0 if windowed else 1)
    if windowed:
        model.predict(image)  # a run of the user's
        labels.ask(again=True)
    steps, found = started[0].make(), None
    while found is None:
        try:
            next(steps)
        except StopIteration as done:
            found = done.value
    assert set(found) == {"background", "spot"}
