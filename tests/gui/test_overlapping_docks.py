"""Labels that may overlap in the docks: what is shown, compared and copied is what Python says."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.labels import REGIONS, both, nested, regions, scene

import napari_segxai as sx

NAMES = REGIONS[1:]
CHECKED = ["f1-mask", "dice-explained"]


def run_again(text: str, model: sx.SegmentationModel) -> dict:
    """Run a copied script, to whose reader the network is known."""
    space = {"network_of_mine": model.module}
    text = text.replace("make_network()\n", "network_of_mine\n").replace(".save(", ".__eq__(")
    exec(text, space)
    return space


@pytest.fixture
def model():
    return sx.register_model(regions(paint_order=NAMES))


@pytest.fixture
def open_with(viewer, wait, model):
    """Open a dock on the nested boxes, with the model of overlapping regions."""

    def open_(dock: str):
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", dock)
        panel.model_box.refresh_registered()
        panel.model_box.combo.setCurrentIndex([e.model is model for e in panel.model_box.entries].index(True))
        wait(lambda: panel.model_box.entry.model is model)
        return panel

    viewer.add_image(nested().array, name="nested")
    return open_


def test_the_prediction_is_shown_as_a_layer_for_every_label_once(viewer, open_with, model, run_panel):
    panel = open_with("Explain")
    assert "labels may overlap" in panel.model_box.facts.text()
    for name in ("core", "whole"):
        panel.fields.label_box.setCurrentText(name)
        run_panel(panel, "vanilla-gradient")
        same = sx.explain(model, nested(), name, "vanilla-gradient")
        np.testing.assert_array_equal(panel.explanation.map, same.map)
    drawn = model.predict(nested())
    shown = [layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "prediction"]
    assert [layer.name.split(" · ")[-1] for layer in shown] == ["painted", *NAMES]
    np.testing.assert_array_equal(shown[0].data, nested().array)
    for k, layer in enumerate(shown[1:], start=1):
        np.testing.assert_array_equal(layer.data, k * drawn[k - 1])
        assert layer.visible


def test_a_picked_object_is_that_of_the_chosen_label(viewer, open_with, model, run_panel):
    panel = open_with("Explain")
    panel.fields.region_box._picked((9, 10))  # in all three
    for name in NAMES:
        panel.fields.label_box.setCurrentText(name)
        run_panel(panel, "vanilla-gradient")
        assert (panel.explanation.map != 0).sum() == panel.explanation.drawn(name).sum()


def test_truths_are_layers_masks_along_an_axis_or_one_that_is_painted(
    viewer, open_with, model, wait, tmp_path
):
    masks = model.predict(nested())
    panel = open_with("Compare and evaluate")
    panel.fields.label_box.setCurrentText("core")
    panel.fields.metrics.tree.tick(CHECKED)
    panel.fields.methods.tick(["vanilla-gradient"])
    wait(lambda: panel.run_bar.run.isEnabled())
    offered = lambda: [panel.fields.truth_box.itemText(k) for k in range(panel.fields.truth_box.count())]
    for name, mask in zip(NAMES[:2], masks, strict=False):
        viewer.add_labels(mask.astype(np.uint8), name=name)
    assert offered() == ["none", "whole", "core"]
    viewer.add_labels(masks[2].astype(np.uint8), name="Enhancing")
    viewer.add_labels(masks.astype(np.uint8), name="stack")
    viewer.add_labels(nested().array.astype(np.uint8), name="one image")
    wait(lambda: len(offered()) == 7)
    expected = sx.evaluate(
        model, sx.explain(model, nested(), "core", "vanilla-gradient"), truth=masks, metrics=["f1-mask"]
    ).rows[0]["value"]
    for choice in ("a layer for each label", "stack", "one image"):
        panel.fields.truth_box.setCurrentText(choice)
        assert ("label image" in panel.fields.truth_note.text()) == (choice == "one image")
        panel.run_bar.run.click()
        wait(lambda: not panel.run_bar.is_running and not panel.results.inspector.is_busy)
        np.testing.assert_array_equal(panel.comparison.truth, masks[1])
        assert panel.comparison.value("vanilla-gradient", "f1-mask") == pytest.approx(expected)
        found = run_again(panel.copy_as_python(tmp_path), model)["comparison"]
        np.testing.assert_array_equal(found.truth, masks[1])
    panel.results.inspector.steps.setChecked(True)
    wait(lambda: "new prediction" in viewer.layers)
    np.testing.assert_array_equal(viewer.layers["prediction"].data, 2 * masks[1])
    assert set(np.unique(viewer.layers["new prediction"].data)) <= {0, 2}


def test_a_flow_takes_a_stack_of_true_masks(viewer, wait, tmp_path):
    model = sx.register_model(both())
    masks = np.stack([scene().array > 1.05, scene().array > 1.2])
    viewer.add_image(scene().array, name="scene")
    viewer.add_labels(masks.astype(np.uint8), name="stack")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
    panel.image_box.setCurrentText("scene")
    panel.model_box.refresh_registered()
    panel.model_box.combo.setCurrentIndex([e.model is model for e in panel.model_box.entries].index(True))
    panel.fields.truth_box.setCurrentText("stack")
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.run_bar.run.click()
    wait(lambda: not panel.run_bar.is_running)
    same = sx.information_flow(model, scene(), truth=masks)
    rows = [row["dice_truth"] for row in same.rows]
    assert {row["label"] for row in same.rows} == {"whole", "core"}
    assert [row["dice_truth"] for row in panel.flow.rows] == pytest.approx(rows)
    found = run_again(panel.copy_as_python(tmp_path), model)["flow"]
    assert [row["dice_truth"] for row in found.rows] == pytest.approx(rows)
