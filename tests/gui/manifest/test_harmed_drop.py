"""A folder that does not hold is dropped on napari: its sentence is shown, and the window lives on."""

from __future__ import annotations

import json
import shutil

import pytest
from helpers.networks import planted_image, planted_model

import napari_segxai as sx
from napari_segxai.gui.explain.dock import ExplainDock


def test_a_harmed_folder_is_said_and_the_next_one_opens(viewer, tmp_path):
    """The seed is the highest that there is, and the label was asked for by its position."""
    model = sx.register_model(planted_model())
    found = sx.explain(model, planted_image(), 1, "vanilla-gradient", seed=2**32 - 1)
    found.save(tmp_path / "whole")
    for name, harm in {
        "text": lambda told: told["display"].update(contrast_limits=["low", "high"]),
        "path": lambda told: told["maps"].update(more="../../elsewhere"),
        "huge": lambda told: told["image"].update(shape=[2**30, 2**30]),
        "kind": lambda told: told.update(kind=["explanation"]),
    }.items():
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        record = tmp_path / name / "record.json"
        told = json.loads(record.read_text())
        harm(told)
        record.write_text(json.dumps(told))
    for name in ("text", "path", "huge", "kind"):
        with pytest.raises(
            sx.UserError, match=r"again|choose another"
        ):  # napari shows it when it was dropped
            viewer.open(tmp_path / name, plugin="napari-segxai")
        assert not viewer.layers
    viewer.open(tmp_path / "whole", plugin="napari-segxai")
    assert viewer.layers[-1].metadata["segxai"]["seed"] == 2**32 - 1
    dock = ExplainDock(viewer)
    viewer.window.add_dock_widget(dock)
    dock._set_form(viewer.layers[-1].metadata["segxai"])
    assert dock.fields.target_fields.seed_box.value() == 2**32 - 1
