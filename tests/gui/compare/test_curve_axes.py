"""What the axes of a curve show is told by the metric, of another package as well."""

import numpy as np
from helpers.networks import planted_image, planted_model

import napari_segxai as sx
from napari_segxai.gui.compare.curves import drawings
from napari_segxai.metrics import registry
from napari_segxai.metrics.functional.curve import Curve


def test_a_metric_tells_what_its_curve_runs_over(monkeypatch):
    registry.all_metrics()  # what is registered here is forgotten afterwards, and nothing else
    monkeypatch.setattr(registry._known, "_things", dict(registry._known._things))
    own = {"family": "sufficiency", "better": "higher", "source": "a test", "summary": "a line"}

    def line(evaluation):
        return Curve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))

    registry.metric("own-curve", title="Own", axes=("share of nothing", "height"), **own)(line)
    registry.metric("plain-curve", title="Plain", **own)(line)
    names = ["insertion-dice", "insertion-iou", "deletion-probability", "dice-over-threshold"]
    found = sx.evaluate(
        planted_model(), {"map": np.eye(32)}, planted_image(), "object", device="cpu", steps=3, chance=0,
        metrics=[*names, "own-curve", "plain-curve"],
    )  # fmt: skip
    axes = {name: (drawing.along, drawing.up) for name, drawing in drawings(found).items()}
    assert axes == {
        "insertion-dice": ("share of pixels shown", "Dice"),
        "insertion-iou": ("share of pixels shown", "IoU"),
        "deletion-probability": ("share of pixels hidden", "mean probability"),
        "dice-over-threshold": ("threshold of the map", "Dice"),
        "own-curve": ("share of nothing", "height"),
        "plain-curve": ("share", "score"),
    }
