"""What tests of the Compare and evaluate widget share."""

from __future__ import annotations

from qtpy.QtCore import Qt

import napari_segxai as sx

METRICS = ["dice-explained", "saliency-ratio", "insertion-dice", "dice-over-threshold"]
FAST = {"steps": 4}


def cell(panel, name: str, key: str, role=Qt.ItemDataRole.DisplayRole):
    """Return what the table shows."""
    model = panel.results.table.table
    keys = [column.key for column in model.columns]
    return model.data(model.index(model.names.index(name), keys.index(key)), role)


def names_of(panel) -> dict:
    image = sx.image_of_layer(panel.layer)
    return {"sx": sx, "model": panel.model, "image": image, "target": "object", "viewer": panel.viewer}


def add_map(viewer, explanation):
    """Add the map of an explanation as a user of the console does; returns its layer."""
    [data] = [d for d in explanation.to_layers() if d[1]["metadata"]["segxai_role"] == "saliency"]
    return viewer.add_image(data[0], **data[1])
