"""The Explain widget, driven in a real napari window: its form, its layers, its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.docks import use_model
from helpers.networks import PatchSwitch, card, patch_of, planted_image
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.datasets.resources import resource

TRIANGLE = resource("sample_data/images/triangle_1.png")


def test_two_clicks_to_the_first_explanation(viewer, open_panel, wait, run_panel):
    viewer.open_sample("napari-segxai", "t1_head")
    panel = open_panel()
    assert panel.layer.name == "t1_head"
    assert panel.model_box.entry.card.name == "Brain extraction"
    assert panel.fields.label_box.currentText() == "brain"
    assert panel.method.name == "misure"
    wait(lambda: panel.run_bar.run.isEnabled())
    assert "forward" in panel.run_bar.estimate.text()
    run_panel(panel, "seg-hires-grad-cam")
    names = [layer.name for layer in viewer.layers]
    assert "saliency #1 · seg-hires-grad-cam" in names
    head = viewer.layers["t1_head"]
    for layer in viewer.layers:
        if "segxai" not in layer.metadata:
            continue
        assert layer.data.shape == head.data.shape
        np.testing.assert_allclose(layer.extent.world, head.extent.world)
        assert layer.units == head.units
        assert layer.axis_labels == head.axis_labels
        assert layer.metadata["segxai"]["method"] == "seg-hires-grad-cam"
    assert viewer.dims.units is not None  # one layer without mm would switch units off for all


def test_results_lie_above_their_source_in_order_are_saved_and_not_overwritten(
    viewer, triangle_panel, run_panel, wait, tmp_path
):
    viewer.add_points([[3, 3]], name="mine")
    run_panel(triangle_panel, "misure", iterations=4)
    title = "#1 · misure"
    expected = [
        "triangle_1",
        "prediction · Triangle",
        f"stages {title}",
        f"saliency {title}",
        f"sufficient region {title}",  # outlines lie on top: under a map nobody sees them
        f"minimal region {title}",
        "mine",
    ]
    found = [layer.name for layer in viewer.layers]
    assert found[0] == expected[0]
    assert found[1].startswith("prediction · ")
    assert found[2:] == expected[2:]
    triangle_panel.save(tmp_path / "out")
    wait(lambda: "Wrote" in triangle_panel.run_bar.status.text())
    assert (tmp_path / "out" / "record.json").exists()
    assert (tmp_path / "out" / "minimally_sufficient_region.nii.gz").exists()
    before = [(layer, layer.data.copy()) for layer in viewer.layers if hasattr(layer.data, "copy")]
    run_panel(triangle_panel, "misure", iterations=6)
    found = [layer.name for layer in viewer.layers]
    assert "saliency #2 · misure · iterations 6" in found
    assert sum(name.startswith("prediction") for name in found) == 1  # it was there already
    for layer, data in before:  # an older run may have another name now
        assert layer in viewer.layers
        np.testing.assert_array_equal(layer.data, data)


def test_stages_are_one_labels_layer_with_a_table(viewer, triangle_panel, run_panel):
    run_panel(triangle_panel, "misure", iterations=0)
    stages = viewer.layers["stages #1 · misure"]
    n = len(triangle_panel.explanation.stage_table)
    assert set(np.unique(stages.data)) <= set(range(n + 1))
    table = stages.features
    assert {"index", "stage", "dilations", "radius", "dice", "area_pixel2"} <= set(table.columns)
    assert len(table) == n + 1
    mask = viewer.layers["sufficient region #1 · misure"]
    assert mask.contour == 1
    saliency = viewer.layers["saliency #1 · misure"]
    assert tuple(saliency.contrast_limits) == (0, pytest.approx(1))


def test_the_same_numbers_as_in_python_and_in_the_copied_script(viewer, triangle_panel, run_panel):
    model, image = sx.load_model("triangle"), sx.read_image(TRIANGLE)
    triangle_panel.fields.target_fields.seed_box.setValue(3)
    asked = {
        "rise": {"masks": 40, "keep": 0.4},
        "misure": {"iterations": 8},
        "seg-grad-cam": {"layer": "bottleneck"},
        "seg-hires-grad-cam": {"layer": "last"},
    }
    for number, (method, params) in enumerate(asked.items(), start=1):
        run_panel(triangle_panel, method, **params)
        ex = sx.explain(model, image, "triangle", method, seed=3, **params)
        np.testing.assert_array_equal(viewer.layers[f"saliency #{number} · {method}"].data, ex.map)
        if method == "rise":
            code = triangle_panel.copy_as_python()
            assert QApplication.clipboard().text() == code
            space: dict = {}
            exec(code.replace('explanation.save("explanation")', ""), space)
            np.testing.assert_array_equal(space["explanation"].map, triangle_panel.explanation.map)
    signed = viewer.layers["saliency #4 · seg-hires-grad-cam"]
    low, high = signed.contrast_limits
    assert low == -high
    assert signed.data.min() < 0
    assert signed.colormap.name == "against-for"


def test_the_same_numbers_in_3d_whatever_the_storage_order(viewer, open_panel, wait, run_panel, tmp_path):
    import nibabel as nib

    head = nib.load(resource("sample_data/images/t1_head.nii.gz"))
    nib.save(nib.as_closest_canonical(head), tmp_path / "head.nii.gz")
    viewer.open(str(tmp_path / "head.nii.gz"), plugin="napari-segxai")
    panel = open_panel()
    wait(lambda: panel.run_bar.run.isEnabled())
    run_panel(panel, "seg-hires-grad-cam", layer="decoder2")
    panel.save(tmp_path / "widget")
    wait(lambda: "Wrote" in panel.run_bar.status.text())
    image = sx.read_image(resource("sample_data/images/t1_head.nii.gz"))
    ex = sx.explain(sx.load_model("brain-extraction"), image, "brain", "seg-hires-grad-cam", layer="decoder2")
    ex.save(tmp_path / "python")
    one, two = (
        nib.as_closest_canonical(nib.load(tmp_path / k / "saliency.nii.gz")) for k in ("widget", "python")
    )
    np.testing.assert_allclose(one.affine, two.affine, atol=1e-5)
    np.testing.assert_array_equal(one.get_fdata(), two.get_fdata())


def test_drawn_labels_and_shapes_are_regions_and_the_script_reads_them_from_a_file(
    viewer, triangle_panel, run_panel, tmp_path
):
    mask = np.zeros((112, 112), np.uint8)
    mask[20:90, 20:90] = 1
    viewer.add_labels(mask, name="where")
    triangle_panel.fields.region_box.combo.setCurrentText("where")
    run_panel(triangle_panel, "seg-hires-grad-cam")
    assert triangle_panel.explanation.record.target["region"]["pixels"] == 4900
    code = triangle_panel.copy_as_python(tmp_path)
    assert "It reads region.tif, saved in" in triangle_panel.run_bar.status.text()
    space: dict = {}
    exec(code.replace('explanation.save("explanation")', ""), space)
    np.testing.assert_array_equal(space["explanation"].map, triangle_panel.explanation.map)
    viewer.add_shapes(
        [np.array([[10, 10], [10, 40], [30, 40], [30, 10]])], shape_type="rectangle", name="box"
    )
    triangle_panel.fields.region_box.combo.setCurrentText("box")
    run_panel(triangle_panel, "seg-hires-grad-cam")
    pixels = triangle_panel.explanation.record.target["region"]["pixels"]
    assert 550 <= pixels <= 651


def test_run_again_takes_the_settings_of_the_selected_result(viewer, triangle_panel, run_panel, wait):
    run_panel(triangle_panel, "rise", masks=25)
    first = triangle_panel.explanation.map.copy()
    run_panel(triangle_panel, "seg-grad-cam")
    viewer.layers.selection.active = viewer.layers["saliency #1 · rise"]
    triangle_panel.run_bar.again.click()
    wait(lambda: not triangle_panel.run_bar.is_running and triangle_panel._all_shown())
    assert triangle_panel.fields.form.values()["masks"] == 25
    np.testing.assert_array_equal(viewer.layers["saliency #3 · rise"].data, first)


def test_a_2d_model_on_a_volume_takes_the_slice_that_is_shown(viewer, open_panel, wait, run_panel):
    volume = np.zeros((5, 32, 32), np.float32)
    volume[3] = planted_image().array
    viewer.add_image(volume, name="stack")
    panel = open_panel()
    network = PatchSwitch(patch_of(2))
    use_model(panel, sx.load_model(network, card=card(name=f"flat {id(network)}", grid={"size": [32, 32]})))
    viewer.dims.set_current_step(0, 3)
    wait(lambda: panel.run_bar.run.isEnabled())
    assert panel.fields.inputs.isRowVisible(panel.fields.slice_box)
    run_panel(panel, "misure", iterations=0)
    prediction = next(layer for layer in viewer.layers if layer.name.startswith("prediction"))
    assert prediction.data[3].any()
    assert not prediction.data[[0, 1, 2, 4]].any()
    assert panel.explanation.record.slice == 3
    panel.fields.slice_box.setCurrentText("every slice")
    run_panel(panel, "misure", iterations=0)
    assert panel.explanation.record.slice is None
    assert "4 of 5 slices" in panel.explanation.record.warnings[0]
