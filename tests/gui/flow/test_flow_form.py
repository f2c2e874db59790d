"""The form of the Information flow widget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from helpers.docks import click, use_network
from helpers.networks import PatchSwitch, card, patch_of, planted_image
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.datasets.resources import resource

TRIANGLE = resource("sample_data/images/triangle_1.png")


def test_ticked_layers_are_looked_at_with_the_parameters_of_the_method(flow_panel, run_flow):
    picker = flow_panel.fields.layer_picker
    rows = [picker.tree.topLevelItem(k) for k in range(picker.tree.topLevelItemCount())]
    model = flow_panel.model_box.entry.model
    assert [row.text(0) for row in rows] == [layer.name for layer in model.example_layers]
    assert picker.ticked() == [layer.name for layer in model.outline]
    first = model.example_layers[0]
    shown = [rows[0].text(column) for column in range(1, 4)]
    assert shown == [first.type, first.stage, " x ".join(map(str, first.shape))]
    picker.filter.setText("decoder1.convs")
    assert {row.text(0) for row in rows if not row.isHidden()} == {
        layer.name for layer in model.example_layers if "decoder1.convs" in layer.name
    }
    picker.tick([])
    assert not flow_panel.run_bar.run.isEnabled()
    assert "Tick at least one network layer" in flow_panel.run_bar.estimate.text()
    picker.tick(["decoder1.convs.act1", "bottleneck"])
    run_flow(flow_panel)
    assert [layer.name for layer in flow_panel.flow.layers] == ["bottleneck", "decoder1.convs.act1"]
    image = sx.read_image(TRIANGLE)
    ex = sx.explain(sx.load_model("triangle"), image, "triangle", "seg-grad-cam", layer="decoder1.convs.act1")
    own = flow_panel.results.grid.views["triangle", "decoder1.convs.act1"].values()
    np.testing.assert_allclose(own, ex.map, rtol=1e-4, atol=1e-5 * abs(ex.map).max())
    fields = flow_panel.fields
    fields.method_box.setCurrentIndex(fields.method_box.findData("grad-pam"))
    assert set(fields.form.values()) == {"pixels", "aggregate"}
    fields.form.set_values({"pixels": 3})
    assert flow_panel.run_bar.estimate.text().startswith("1 forward, 3 backward")
    run_flow(flow_panel)
    assert flow_panel.flow.options.pixels == 3
    assert flow_panel.flow.passes.backward == 3


def test_region_and_truth_are_layers(viewer, flow_panel, run_flow, tmp_path):
    region = np.zeros((112, 112), np.uint8)
    region[20:90, 20:90] = 1
    truth = (sx.load_model("triangle").predict(sx.read_image(TRIANGLE)) > 0).astype(np.uint8)
    viewer.add_labels(region, name="where")
    viewer.add_labels(truth, name="true")
    fields = flow_panel.fields
    fields.region_box.combo.setCurrentText("where")
    fields.truth_box.setCurrentText("true")
    run_flow(flow_panel)
    flow = flow_panel.flow
    assert all(tile.dice_truth == pytest.approx(tile.dice, abs=1e-6) for tile in flow.tiles.values())
    assert flow_panel.results.curves.quantity_box.findData("dice_truth") >= 0
    code = flow_panel.copy_as_python(tmp_path)
    assert QApplication.clipboard().text() == code
    space: dict = {}
    exec(code.replace('flow.save("flow")', ""), space)
    assert [row["dice_truth"] for row in space["flow"].rows] == [row["dice_truth"] for row in flow.rows]
    assert [row["maximum"] for row in space["flow"].rows] == [row["maximum"] for row in flow.rows]
    viewer.layers.remove("true")
    assert fields.truth_box.currentText() == "none"
    viewer.layers["where"].data = np.zeros_like(region)
    fields.label_list.changed.emit()
    assert "empty" in flow_panel.run_bar.estimate.text()


def test_a_disabled_run_says_why(viewer, open_flow, wait):
    panel = open_flow()
    assert not panel.run_bar.run.isEnabled()
    assert "Open an image" in panel.run_bar.estimate.text()
    assert not panel.fields.causal.isEnabled()
    viewer.open_sample("napari-segxai", "triangle")
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.fields.label_list.tick([])
    assert not panel.run_bar.run.isEnabled()
    assert panel.run_bar.estimate.text() == "Tick at least one label."
    panel.fields.label_list.tick(["background", "triangle"])
    assert panel.run_bar.run.isEnabled()
    names = [entry.card.name for entry in panel.model_box.entries]
    panel.model_box.combo.setCurrentIndex(names.index("Brain extraction"))
    wait(lambda: "3D volumes" in panel.run_bar.estimate.text())
    assert not panel.run_bar.run.isEnabled()


def test_torchscript_is_refused_in_words(viewer, open_flow, wait, tmp_path):
    module = torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1)))
    module.save(str(tmp_path / "net.pt"))
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(card(name="scripted")))
    viewer.add_image(planted_image().array, name="planted")
    panel = open_flow()
    panel.model_box.open(tmp_path / "net.pt")
    wait(lambda: "TorchScript" in panel.run_bar.estimate.text())
    assert not panel.run_bar.run.isEnabled()


def test_a_2d_model_takes_the_slice_that_is_shown(viewer, open_flow, wait, run_flow):
    volume = np.zeros((5, 32, 32), np.float32)
    volume[3] = planted_image().array
    viewer.add_image(volume, name="stack")
    viewer.dims.set_current_step(0, 3)
    panel = open_flow()
    model = use_network(panel, PatchSwitch(patch_of(2)), wait, grid={"size": [32, 32]})
    assert panel.fields.image_box.details.note.isVisibleTo(panel)
    run_flow(panel)
    view = panel.results.grid.views["object", "mix"]
    flow = sx.information_flow(model, planted_image())
    np.testing.assert_allclose(view.values(), flow.tiles["object", "mix"].map, atol=1e-6)
    viewer.dims.set_current_step(0, 1)
    np.testing.assert_allclose(view.values(), flow.tiles["object", "mix"].map, atol=1e-6)
    click(view)
    wait(lambda: panel._all_shown() and len(viewer.layers) == 3)
    layer = next(layer for layer in viewer.layers if layer.name.startswith("saliency"))
    assert layer.data[3].any()
    assert not layer.data[[0, 1, 2, 4]].any()
