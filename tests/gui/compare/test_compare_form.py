"""The form of the Compare and evaluate widget: methods, metrics, and images of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.docks import use_network
from helpers.gui.compare_dock import names_of
from helpers.networks import LinearHead, PatchSwitch, card, patch_of, planted_image
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.methods.registry import find_method


def test_methods_have_presets_and_parameters_of_their_own_and_can_be_had_twice(
    compare_panel, run_compare, tmp_path
):
    panel, methods, rise = compare_panel, compare_panel.fields.methods, find_method("rise")
    methods.tick(["rise"])
    methods.tree.set_current("vanilla-gradient")
    methods.tree.set_current("rise")
    assert methods.presets.isVisibleTo(methods)
    for name in rise.presets:
        methods.preset_box.setCurrentText(name)
        [(_, values)] = methods.methods()
        assert rise.make_options(values) == rise.make_options({"preset": name})  # every digit
        assert methods.form.values()["masks"] == rise.presets[name]["masks"]
    methods.tree.set_current("seg-grad-cam")
    assert not methods.presets.isVisibleTo(methods)
    methods.tree.set_current("rise")
    assert methods.preset_box.currentText() == name
    methods.preset_box.setCurrentText("defaults")
    assert methods.methods() == [("rise", {})]
    methods.set_values("rise", {"masks": 20})
    again = methods.add_again()
    methods.form.set_values({"masks": 30})
    assert methods.methods() == [("rise", {"masks": 20}), ("rise", {"masks": 30})]
    methods.tree.set_current("rise")
    assert methods.form.values()["masks"] == 20
    methods.tree.set_current(again)
    assert methods.form.values()["masks"] == 30
    run_compare(panel)
    assert list(panel.comparison.maps) == ["rise masks=20", "rise masks=30"]
    alone = sx.explain(panel.model, planted_image(), "object", "rise", masks=30)
    np.testing.assert_array_equal(panel.comparison.maps["rise masks=30"], alone.map)
    text = panel.copy_as_python(tmp_path)
    call = next(line for line in text.splitlines() if line.startswith("comparison = "))
    again = eval(call.removeprefix("comparison = "), names_of(panel))
    assert [row["value"] for row in again.rows] == [row["value"] for row in panel.comparison.rows]
    assert QApplication.clipboard().text() == text


def test_a_noise_model_is_a_file(compare_panel, run_compare, tmp_path):
    panel, metrics = compare_panel, compare_panel.fields.metrics
    image, file = sx.image_of_layer(panel.layer), tmp_path / "noise.safetensors"
    small = {"steps": 1, "batch": 1, "depth": 1, "channels": 2, "weights": str(file)}
    sx.explain(panel.model, image, "object", "u-noise", **small)
    metrics.tree.tick(["ana"])
    assert "u-noise" in metrics.tree.reason("ana")
    assert panel.run_bar.estimate.text() == "Tick at least one metric."
    metrics.noise.setText(str(tmp_path / "nowhere.safetensors"))
    assert "there is no file" in panel.run_bar.estimate.text()
    metrics.noise.setText(str(file))
    assert metrics.tree.reason("ana") == ""
    run_compare(panel)
    wanted = sx.compare(panel.model, image, "object", ["seg-grad-cam"], metrics=["ana"], noise_model=file)
    assert panel.comparison.value("seg-grad-cam", "ana") == wanted.value("seg-grad-cam", "ana") > 0
    assert f"noise_model={str(file)!r}" in panel.copy_as_python(tmp_path)
    panel.fields.label_box.setCurrentText("background")
    assert "trained for label 'object', not 'background'" in panel.run_bar.estimate.text()


def test_a_disabled_run_says_why(viewer, open_compare, wait):
    panel = open_compare()
    estimate = panel.run_bar.estimate
    assert not panel.run_bar.run.isEnabled()
    assert "Open an image" in estimate.text()
    viewer.add_image(planted_image().array, name="planted")
    model = use_network(panel, PatchSwitch(patch_of(2)), wait, grid={"size": [32, 32]})
    panel.fields.methods.tick([])
    assert not panel.run_bar.run.isEnabled()
    assert estimate.text() == "Tick at least one method or map."
    panel.fields.methods.tick(["rise"])
    panel.fields.metrics.tree.tick([])
    assert estimate.text() == "Tick at least one metric."
    panel.fields.metrics.tree.tick(["ips"])
    assert panel.run_bar.run.isEnabled()
    assert model.has_layers


def test_methods_that_do_not_fit_are_grey_and_say_why(viewer, open_compare, wait, tmp_path):
    import torch
    import yaml

    module = torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1)))
    module.save(str(tmp_path / "net.pt"))
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(card(name="scripted")))
    viewer.add_image(planted_image().array, name="planted")
    panel = open_compare()
    panel.model_box.open(tmp_path / "net.pt")
    tree = panel.fields.methods.tree
    wait(lambda: tree.reason("seg-grad-cam") != "")
    assert "TorchScript" in tree.reason("seg-grad-cam")
    assert tree.reason("rise") == ""
    panel.fields.methods.tick(["seg-grad-cam", "rise"])
    assert panel.fields.methods.methods() == [("rise", {})]


def test_a_2d_model_takes_the_slice_that_is_shown(viewer, open_compare, wait, run_compare):
    volume = np.zeros((5, 32, 32), np.float32)
    volume[3] = planted_image().array
    viewer.add_image(volume, name="stack")
    viewer.dims.set_current_step(0, 3)
    panel = open_compare()
    model = use_network(panel, PatchSwitch(patch_of(2)), wait, grid={"size": [32, 32]})
    assert panel.fields.image_box.details.note.isVisibleTo(panel)
    panel.fields.methods.tick(["seg-grad-cam"])
    panel.fields.metrics.tree.tick(["dice-explained", "saliency-ratio"])
    run_compare(panel)
    flat = sx.compare(model, planted_image(), "object", ["seg-grad-cam"], metrics=["dice-explained"])
    wanted = flat.value("seg-grad-cam", "dice-explained")
    assert panel.comparison.value("seg-grad-cam", "dice-explained") == pytest.approx(wanted)
    assert panel.results.inspector.found.dice_explained == pytest.approx(wanted)
    panel.results.inspector.steps.click()
    assert viewer.layers["masked image"].data.shape == (5, 32, 32)
    assert not viewer.layers["binarized"].data[[0, 1, 2, 4]].any()
    panel.results.inspector.steps.click()
    mine = next(layer for layer in viewer.layers if layer.name.startswith("saliency"))
    panel.fields.methods.tick([], [mine])
    assert panel.run_bar.run.isEnabled()
    viewer.dims.set_current_step(0, 1)
    assert "explains slice 3" in panel.run_bar.estimate.text()


def test_volumes(viewer, open_compare, wait, run_compare):
    viewer.add_image(planted_image(3).array, name="volume", scale=(2, 1, 1))
    panel = open_compare()
    shape = planted_image(3).array.shape
    use_network(panel, PatchSwitch(patch_of(3), 3), wait, spatial_dims=3, grid={"size": list(shape)})
    panel.fields.methods.tick(["seg-grad-cam", "vanilla-gradient"])
    panel.fields.metrics.tree.tick(["dice-explained", "saliency-ratio"])
    run_compare(panel)
    panel.results.grid_button.click()
    shown = [layer for layer in viewer.layers if layer.visible]
    assert [layer.data.shape for layer in shown] == [shape] * 4
    assert all(tuple(layer.scale) == (2, 1, 1) for layer in shown)
    viewer.dims.ndisplay = 3
    panel.results.inspector.steps.click()
    assert not panel.results.grid_button.isChecked()
    assert sum(layer.visible for layer in viewer.layers) == 6
    panel.results.inspector.steps.click()
    assert not viewer.canvas.grid.enabled


def test_colours_are_masked_in_colour(viewer, open_compare, wait, run_compare):
    rng = np.random.default_rng(0)
    viewer.add_image(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8), name="photo")
    panel = open_compare()
    use_network(panel, LinearHead(2, inputs=3), wait, channels=["r", "g", "b"], grid={"size": [16, 16]})
    panel.fields.methods.tick(["vanilla-gradient"])
    panel.fields.metrics.tree.tick(["dice-explained"])
    run_compare(panel)
    panel.results.inspector.steps.click()
    assert viewer.layers["masked image"].rgb
    panel.results.inspector.set_threshold(0.4)
    wait(lambda: not panel.results.inspector.is_busy)
    data = viewer.layers["masked image"].data
    assert data.shape == (
        16,
        16,
        3,
        3,
    )  # colours of napari's, at every channel of a layer that has them as an axis
    assert 0 <= data.min() < data.max() <= 1
