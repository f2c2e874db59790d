"""The Information flow widget, driven in a real napari window."""

from __future__ import annotations

import csv
import gc
import time

import numpy as np
import pytest
import torch
import yaml
from helpers.networks import LinearHead, PatchSwitch, card, patch_of, planted_image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QDockWidget

import napari_segxai as sx
from napari_segxai.analyses.flow import tiles, wording
from napari_segxai.analyses.flow.tiles import Remark
from napari_segxai.datasets.resources import resource
from napari_segxai.engine.primitives.activations import LayerRecorder
from napari_segxai.gui import worker
from napari_segxai.gui.flow.layer_picker import ALL

TRIANGLE = resource("sample_data/images/triangle_1.png")


class Slow(PatchSwitch):
    """Sleeps in every forward pass, without the interpreter's lock, as real networks compute."""

    delay = 0.2

    def forward(self, x):
        time.sleep(self.delay)
        return super().forward(x)


@pytest.fixture
def open_flow(viewer):
    """Open the Information flow panel as a user does, through the plugin menu's widget."""

    def open_():
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
        return panel

    return open_


@pytest.fixture
def flow_panel(viewer, open_flow, wait):
    """The Triangle sample and a panel that is ready to run."""
    viewer.window.resize(1280, 800)
    viewer.open_sample("napari-segxai", "triangle")
    panel = open_flow()
    wait(lambda: panel.run_bar.run.isEnabled())
    return panel


@pytest.fixture
def run_flow(wait):
    """Press Run and wait for the end."""

    def run(panel) -> None:
        panel.run_bar.run.click()
        assert panel.run_bar.is_running
        wait(lambda: not panel.run_bar.is_running)

    return run


def use_model(panel, network, wait, **changes) -> sx.SegmentationModel:
    """Choose a model that was registered in the console."""
    model = sx.load_model(network, card=card(name=f"mine {id(network)}", **changes))
    sx.register_model(model)
    panel.model_box.refresh_registered()
    entries = panel.model_box.entries
    panel.model_box.combo.setCurrentIndex([entry.model is model for entry in entries].index(True))
    wait(lambda: panel.run_bar.run.isEnabled())
    return model


@pytest.fixture
def slow_panel(viewer, open_flow, wait):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_flow()
    panel.network = Slow(patch_of(2))
    use_model(panel, panel.network, wait, grid={"size": [32, 32]})
    return panel


def labels_network(labels: int = 4, ndim: int = 2) -> LinearHead:
    return LinearHead(ndim, labels=labels)


def click(view, *, ctrl: bool = False) -> None:
    """Press and release the left button on a tile."""
    from qtpy.QtTest import QTest

    held = Qt.KeyboardModifier.ControlModifier if ctrl else Qt.KeyboardModifier.NoModifier
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, held, QPoint(10, 10))


def drawn(view) -> np.ndarray:
    """Return the pixels that a tile has drawn, (rows, columns, 3)."""
    view.grab()
    picture = view._picture.convertToFormat(QImage.Format.Format_RGB888)
    bits = np.frombuffer(picture.constBits().asstring(picture.sizeInBytes()), np.uint8)
    rows = bits.reshape(picture.height(), picture.bytesPerLine())[:, : 3 * picture.width()]
    return rows.reshape(picture.height(), picture.width(), 3)


def test_run_shows_a_tile_for_every_label_and_layer(flow_panel, run_flow, monkeypatch):
    monkeypatch.setattr(
        "napari_segxai.analyses.flow.result.EMERGED", 0.4
    )  # at 0.5 it does not stay drawn in the head
    panel = flow_panel
    assert panel.fields.label_list.ticked() == ["triangle"]
    assert panel.run_bar.estimate.text().startswith("1 forward, 1 backward, ")
    run_flow(panel)
    flow = sx.information_flow(sx.load_model("triangle"), sx.read_image(TRIANGLE))
    assert "10 network layers" in panel.run_bar.status.text()
    assert list(panel.results.grid.views) == list(flow.tiles)
    for key, view in panel.results.grid.views.items():
        np.testing.assert_array_equal(view.values(), flow.tiles[key].map)
        assert all(line in view.toolTip() for line in wording.describe(flow.tiles[key]))
    view = panel.results.grid.views["triangle", "encoder3"]
    tile = flow.tiles["triangle", "encoder3"]
    assert "32 channels of 28 x 28" in view.toolTip()
    assert f"raw range {tile.minimum:.3g} to {tile.maximum:.3g}" in view.toolTip()
    places = [view.mapTo(panel, QPoint(0, 0)) for view in panel.results.grid.views.values()]
    assert [p.x() for p in places] == sorted(p.x() for p in places)  # in order of execution
    assert len({p.y() for p in places}) == 1
    emerged = [key[1] for key, view in panel.results.grid.views.items() if view.is_emergence]
    assert emerged == [flow.emergence("triangle").name]


def test_the_scale_switch_changes_colours_but_no_number(flow_panel, run_flow):
    run_flow(flow_panel)
    results = flow_panel.results
    faint = results.grid.views["triangle", "encoder1"]
    common, tip = drawn(faint).copy(), faint.toolTip()
    ends = {view.end for view in results.grid.views.values()}
    strongest = max(max(abs(t.maximum), abs(t.minimum)) for t in flow_panel.flow.tiles.values())
    assert ends == {strongest}
    assert wording.number(strongest) in results.range.text()
    results.scale_box.setCurrentIndex(1)
    own = drawn(faint)
    assert len({view.end for view in results.grid.views.values()}) == len(results.grid.views)
    assert np.ptp(own.astype(int)) > 5 * np.ptp(common.astype(int))
    assert faint.toolTip() == tip
    end = max(abs(faint.tile.maximum), abs(faint.tile.minimum))
    np.testing.assert_array_equal(own, tiles.colors(faint.tile.map, end))


def test_facing_puts_equal_resolutions_side_by_side(flow_panel, run_flow, wait):
    run_flow(flow_panel)
    results = flow_panel.results
    results.order_box.setCurrentIndex(1)
    views = results.grid.views
    wait(lambda: views["triangle", "decoder1"].isVisible())
    QApplication.processEvents()
    place = {key[1]: view.mapTo(results.grid.widget(), QPoint(0, 0)) for key, view in views.items()}
    for level in "1234":
        assert place[f"encoder{level}"].y() == place[f"decoder{level}"].y()
        assert place[f"encoder{level}"].x() < place[f"decoder{level}"].x()
    rows = [place[name].y() for name in ("encoder1", "encoder2", "encoder3", "encoder4", "bottleneck")]
    assert rows == sorted(set(rows))


def test_a_clicked_tile_becomes_a_layer_at_the_right_place(viewer, flow_panel, run_flow, wait):
    run_flow(flow_panel)
    grid = flow_panel.results.grid
    click(grid.views["triangle", "decoder3"])
    wait(lambda: flow_panel._all_shown() and len(viewer.layers) > 1)
    names = [layer.name for layer in viewer.layers]
    name = "saliency #1 · triangle at decoder3"
    assert names == ["triangle_1", "prediction · Triangle", name]
    assert "against" in flow_panel.run_bar.legend.text()
    assert "outline: prediction" in flow_panel.results.range.text()
    image = sx.read_image(TRIANGLE)
    ex = sx.explain(sx.load_model("triangle"), image, "triangle", "seg-grad-cam", layer="decoder3")
    np.testing.assert_allclose(viewer.layers[name].data, ex.map, rtol=1e-4, atol=1e-5 * ex.map.max())
    np.testing.assert_allclose(viewer.layers[name].extent.world, viewer.layers[0].extent.world)
    low, high = viewer.layers[name].contrast_limits
    assert low == -high
    assert grid.selected == [("triangle", "decoder3")]
    assert grid.views["triangle", "decoder3"].is_selected
    before = viewer.layers[name].data.copy()
    click(grid.views["triangle", "decoder3"])
    wait(lambda: flow_panel._all_shown() and len(viewer.layers) == 4)
    assert [layer.name for layer in viewer.layers][-1].endswith("#2") or any(
        "#2" in layer.name for layer in viewer.layers
    )
    np.testing.assert_array_equal(viewer.layers[name].data, before)  # nothing is overwritten


def test_a_clicked_point_becomes_a_layer_too(viewer, flow_panel, run_flow, wait, monkeypatch):
    monkeypatch.setattr("napari_segxai.analyses.flow.result.EMERGED", 0.4)
    run_flow(flow_panel)
    curves = flow_panel.results.curves
    curves.set_quantity("maximum")
    points = curves.points["triangle"]
    np.testing.assert_allclose(points.getData()[1], flow_panel.flow.curve("triangle", "maximum"))
    names = [name for _, name in curves.axis._tickLevels[0]]
    assert names == [layer.name for layer in flow_panel.flow.layers]
    emerged = flow_panel.flow.emergence("triangle").name
    assert curves.marks["triangle"].value() == names.index(emerged)
    assert curves.marks["triangle"].label.format == "triangle emerges"
    points.sigClicked.emit(points, [points.points()[names.index("encoder2")]], None)
    wait(lambda: flow_panel._all_shown() and len(viewer.layers) == 3)
    assert "saliency #1 · triangle at encoder2" in viewer.layers


def test_tiles_of_a_volume_follow_the_slice(viewer, open_flow, wait, run_flow):
    rng = np.random.default_rng(0)
    volume = rng.uniform(size=(8, 10, 12)).astype(np.float32)
    viewer.add_image(volume, name="volume", scale=(2, 1, 1), translate=(5, 0, 0))
    panel = open_flow()
    use_model(panel, labels_network(3, 3), wait, spatial_dims=3, labels=["background", "a", "b"])
    panel.fields.layer_picker.tick(["features"])
    panel.fields.method_box.setCurrentIndex(1)
    panel.fields.region_box.combo.setCurrentText("whole image")
    run_flow(panel)
    view = panel.results.grid.views["b", "features"]
    for step in (1, 6):
        viewer.dims.set_current_step(0, step)
        np.testing.assert_array_equal(view.values(), view.tile.map[step])
        np.testing.assert_array_equal(drawn(view), tiles.colors(view.tile.map[step], view.end))
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 3)
    np.testing.assert_array_equal(view.values(), view.tile.map[:, 3])
    viewer.dims.order = (2, 1, 0)
    viewer.dims.set_current_step(2, 7)
    np.testing.assert_array_equal(view.values(), view.tile.map[:, :, 7].T)
    viewer.layers.remove("volume")
    viewer.dims.set_current_step(0, 0)  # nothing to follow, and nothing breaks
    click(view)
    wait(panel._all_shown)
    layer = viewer.layers["saliency #1 · b at features"]
    np.testing.assert_allclose(layer.data, view.tile.map, atol=1e-6)
    np.testing.assert_allclose(layer.scale, (2, 1, 1))


def test_the_sample_volume_is_cut_where_the_viewer_is(viewer, open_flow, wait, run_flow):
    """A file whose axes are stored, shown and fed to the network in three different orders."""
    viewer.open_sample("napari-segxai", "t1_head")
    panel = open_flow()
    wait(lambda: panel.run_bar.run.isEnabled())
    run_flow(panel)
    head = viewer.layers["t1_head"]
    view = panel.results.grid.views["brain", "head"]  # as fine as the network's grid
    click(view)
    wait(lambda: panel._all_shown() and len(viewer.layers) == 4)
    shown = viewer.layers["saliency #1 · brain at head"].data
    for index in (20, 40):
        viewer.dims.set_point(0, head.data_to_world((index, 0, 0))[0])
        plane, tile = shown[index], view.values()
        rows = np.linspace(0, len(plane) - 1, 24).astype(int)
        columns = np.linspace(0, plane.shape[1] - 1, 24).astype(int)
        same = tile[np.ix_(rows * len(tile) // len(plane), columns * tile.shape[1] // plane.shape[1])]
        wanted = plane[np.ix_(rows, columns)]
        turned = (same, same[::-1], same[:, ::-1], same[::-1, ::-1], same.T)
        fits = [np.corrcoef(wanted.ravel(), values.ravel())[0, 1] for values in turned]
        assert fits[0] > 0.8
        assert fits[0] > max(fits[1:]) + 0.1


def test_the_causal_check_fills_in_what_is_lost(flow_panel, run_flow, wait):
    run_flow(flow_panel)
    results = flow_panel.results
    view = results.grid.views["triangle", "bottleneck"]
    assert "lost" not in wording.captions(view.tile)[-1]
    assert results.curves.quantity_box.findData("lost") < 0
    assert flow_panel.fields.causal.isEnabled()
    flow_panel.fields.causal.click()
    assert flow_panel.run_bar.is_running
    wait(lambda: not flow_panel.run_bar.is_running)
    flow = flow_panel.flow
    other = sx.information_flow(sx.load_model("triangle"), sx.read_image(TRIANGLE), causal=True)
    assert view.tile.lost == pytest.approx(other.tiles["triangle", "bottleneck"].lost, abs=1e-6)
    assert f"lost {view.tile.lost:.2f}" in wording.captions(view.tile)
    assert "of the Dice is lost" in view.toolTip()
    assert other.route("triangle")
    assert other.route("triangle") in results.advice.text()
    results.curves.set_quantity("lost_skip")
    values = np.array(flow.curve("triangle", "lost_skip"))
    np.testing.assert_array_equal(results.curves.points["triangle"].getData()[1], values[np.isfinite(values)])


def test_advice_is_summed_up_and_in_full_for_a_tile(flow_panel, run_flow):
    run_flow(flow_panel)
    results, flow = flow_panel.results, flow_panel.flow
    text = results.advice.text()
    summed = wording.summary(flow)
    assert summed
    for sentence, where in summed:
        assert sentence in text
        assert where in text
    advised = next(key for key, tile in flow.tiles.items() if tile.advice)
    view = results.grid.views[advised]
    view.enterEvent(None)
    assert advised[1] in results.advice.text()
    assert all(sentence in results.advice.text() for sentence in flow.tiles[advised].advice)
    assert results.advice.text().count("⚠") == len(flow.tiles[advised].advice)
    view.leaveEvent(None)
    assert results.advice.text() == text


def test_many_labels_say_the_same_advice_once(viewer, open_flow, wait, run_flow):
    viewer.add_image(np.random.default_rng(0).normal(size=(20, 24)).astype(np.float32), name="noise")
    panel = open_flow()
    names = ["background", "liver", "spleen", "left kidney"]
    use_model(panel, labels_network(4), wait, labels=names)
    listed = panel.fields.label_list
    assert listed.ticked() == names[1:]
    listed.tick(["liver", "left kidney"])
    assert panel.run_bar.estimate.text().startswith("1 forward, 2 backward")
    panel.fields.layer_picker.combo.setCurrentIndex(ALL)
    run_flow(panel)
    assert panel.flow.labels == ("liver", "left kidney")
    assert len(panel.results.grid.views) == 2 * len(panel.flow.model.example_layers)
    assert set(panel.results.curves.points) == {"liver", "left kidney"}
    sentences = [sentence for sentence, _ in wording.summary(panel.flow)]
    assert len(sentences) == len(set(sentences))
    assert all("spleen" not in view.toolTip() for view in panel.results.grid.views.values())


def test_numbers_in_summed_up_advice_become_ranges():
    said = [Remark.of("restates", "layer restates (Dice {}): little.", n) for n in ("0.85", "0.91", "0.88")]
    assert wording.merge(said) == "layer restates (Dice 0.85–0.91): little."
    assert wording.merge([Remark.of("coarse", "{} x {} cells only.", "3", "3")] * 2) == "3 x 3 cells only."


def test_ticked_layers_are_looked_at(flow_panel, run_flow):
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
    assert "Tick a network layer" in flow_panel.run_bar.estimate.text()
    picker.tick(["decoder1.convs.act1", "bottleneck"])
    run_flow(flow_panel)
    assert [layer.name for layer in flow_panel.flow.layers] == ["bottleneck", "decoder1.convs.act1"]
    image = sx.read_image(TRIANGLE)
    ex = sx.explain(sx.load_model("triangle"), image, "triangle", "seg-grad-cam", layer="decoder1.convs.act1")
    own = flow_panel.results.grid.views["triangle", "decoder1.convs.act1"].values()
    np.testing.assert_allclose(own, ex.map, rtol=1e-4, atol=1e-5 * abs(ex.map).max())


def test_parameters_of_the_method_reach_the_flow(flow_panel, run_flow):
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


def test_exports(flow_panel, run_flow, wait, tmp_path, monkeypatch):
    run_flow(flow_panel)
    export, grid = flow_panel.export, flow_panel.results.grid
    export.tiles(tmp_path)
    assert "Mark tiles first" in flow_panel.run_bar.status.text()
    export.figure(tmp_path / "flow.png")
    wait(lambda: "Wrote" in flow_panel.run_bar.status.text())
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    export.figure(tmp_path / "flow", ending=".svg")
    wait(lambda: "flow.svg" in flow_panel.run_bar.status.text())
    assert "<svg" in (tmp_path / "flow.svg").read_text()
    export.table(tmp_path / "flow.csv")
    wait(lambda: "flow.csv" in flow_panel.run_bar.status.text())
    with (tmp_path / "flow.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == [layer.name for layer in flow_panel.flow.layers]
    click(grid.views["triangle", "encoder2"], ctrl=True)
    click(grid.views["triangle", "bottleneck"], ctrl=True)
    assert len(flow_panel.viewer.layers) == 1  # Ctrl-click marks and adds no layer
    export.tiles(tmp_path / "tiles")
    wait(lambda: "files" in flow_panel.run_bar.status.text())
    assert {path.name for path in (tmp_path / "tiles").iterdir()} == {
        "triangle_encoder2",
        "triangle_bottleneck",
    }
    import nibabel as nib

    saved = nib.load(tmp_path / "tiles" / "triangle_encoder2" / "saliency.nii.gz").get_fdata()
    own = flow_panel.flow.explanation("triangle", "encoder2").map
    assert np.ptp(own) > 0
    assert saved.max() == pytest.approx(float(own.max()), rel=1e-5)
    asked = []
    monkeypatch.setattr(
        "napari_segxai.gui.widgets.saving.QMessageBox.question", lambda *args: asked.append(args[2])
    )
    export.tiles(tmp_path / "tiles")
    assert "triangle at encoder2, triangle at bottleneck" in asked[0]
    export.table(tmp_path / "no" / "such" / "flow.csv")
    wait(lambda: bool(flow_panel.run_bar.status.styleSheet()))  # an error, in words


def test_a_disabled_run_says_why(viewer, open_flow, wait):
    panel = open_flow()
    assert not panel.run_bar.run.isEnabled()
    assert "Open an image" in panel.run_bar.estimate.text()
    assert not panel.fields.causal.isEnabled()
    viewer.open_sample("napari-segxai", "triangle")
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.fields.label_list.tick([])
    assert not panel.run_bar.run.isEnabled()
    assert panel.run_bar.estimate.text() == "Tick a label at least."
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
    model = use_model(panel, PatchSwitch(patch_of(2)), wait, grid={"size": [32, 32]})
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


def test_cancelling_keeps_what_was_there(slow_panel, wait, run_flow):
    run_bar = slow_panel.run_bar
    run_bar.run.click()
    assert run_bar.run.text() == "Cancel"
    assert not slow_panel.fields.causal.isEnabled()
    run_bar.run.click()
    wait(lambda: not run_bar.is_running)
    assert "Cancelled; there is nothing to show" in run_bar.status.text()
    assert slow_panel.flow is None
    assert not slow_panel.fields.causal.isEnabled()
    run_flow(slow_panel)
    flow = slow_panel.flow
    slow_panel.fields.causal.click()
    wait(lambda: "without" in run_bar.status.text())
    run_bar.run.click()
    start = time.perf_counter()
    wait(lambda: not run_bar.is_running)
    assert time.perf_counter() - start < 3 * Slow.delay  # stops before its next pass
    assert "Cancelled" in run_bar.status.text()
    assert all(tile.lost is None for tile in flow.tiles.values())
    assert slow_panel.fields.causal.isEnabled()
    assert slow_panel.results.flow is flow


def test_renaming_and_deleting_the_source_meanwhile(slow_panel, viewer, wait):
    slow_panel.run_bar.run.click()
    viewer.layers["planted"].name = "renamed"
    assert slow_panel.image_box.currentText() == "renamed"
    viewer.layers.remove("renamed")
    wait(lambda: not slow_panel.run_bar.is_running)
    assert "Done" in slow_panel.run_bar.status.text()
    assert "Open an image" in slow_panel.run_bar.estimate.text()
    click(slow_panel.results.grid.views["object", "mix"])
    wait(lambda: slow_panel._all_shown() and len(viewer.layers) == 2)
    assert any(layer.name.startswith("saliency") for layer in viewer.layers)


def test_running_out_of_memory_is_said_and_the_next_run_works(slow_panel, monkeypatch, run_flow):
    slow_panel.network.delay = 0

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(slow_panel.network, "forward", full)
        run_flow(slow_panel)
        assert "ran out of memory" in slow_panel.run_bar.status.text()
    with monkeypatch.context() as patch:
        patch.setattr(LayerRecorder, "each_gradient", full)
        run_flow(slow_panel)
        assert "ran out of memory" in slow_panel.run_bar.status.text()
    run_flow(slow_panel)
    assert "Done" in slow_panel.run_bar.status.text()


def test_closing_the_dock_stops_the_job(slow_panel, viewer, wait, run_flow):
    run_flow(slow_panel)
    slow_panel.fields.causal.click()
    wait(lambda: worker._running is not None)
    job = worker._running
    viewer.window.remove_dock_widget(slow_panel)
    slow_panel.deleteLater()
    gc.collect()
    wait(lambda: job.stop.is_set() and worker._running is None)
    viewer.add_image(np.zeros((4, 4)))  # nothing is connected to what is gone
    viewer.theme = "light"
    viewer.dims.ndisplay = 3


def test_closing_the_viewer_while_a_job_runs(make_napari_viewer, wait):
    viewer = make_napari_viewer()
    viewer.add_image(planted_image().array, name="planted")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
    use_model(panel, Slow(patch_of(2)), wait, grid={"size": [32, 32]})
    panel.run_bar.run.click()
    wait(lambda: worker._running is not None)
    viewer.close()
    wait(lambda: worker._running is None)


def test_two_viewers_do_not_mix(make_napari_viewer, wait, run_flow):
    panels = []
    for _ in range(2):
        viewer = make_napari_viewer()
        viewer.open_sample("napari-segxai", "triangle")
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
        panels.append(panel)
    for panel in panels:
        wait(lambda panel=panel: panel.run_bar.run.isEnabled())
    run_flow(panels[1])
    panels[1].results.wanted.emit("triangle", "head")
    wait(lambda: panels[1]._all_shown() and len(panels[1].viewer.layers) == 3)
    assert panels[0].flow is None
    assert len(panels[0].viewer.layers) == 1


def test_it_is_a_wide_dock_below_within_1280_by_800(flow_panel, viewer, run_flow, wait):
    run_flow(flow_panel)
    dock, window = flow_panel.parentWidget(), flow_panel.window()
    assert isinstance(dock, QDockWidget)
    assert window.dockWidgetArea(dock) == Qt.DockWidgetArea.BottomDockWidgetArea
    wait(lambda: flow_panel.height() >= 300)
    assert (window.width(), window.height()) == (1280, 800)
    assert flow_panel.width() > 800
    run_bar = flow_panel.run_bar
    for part in (run_bar.run, run_bar.copy, run_bar.save, flow_panel.fields.causal):
        corner = part.mapTo(window, QPoint(part.width(), part.height()))
        assert part.isVisible()
        assert corner.y() <= 800
        assert corner.x() <= 1280
    assert flow_panel.results.grid.viewport().height() > 100
    assert flow_panel.results.curves.plot.height() > 80


def test_the_theme_reaches_the_curves(viewer, flow_panel):
    dark = flow_panel.results.curves.plot.backgroundBrush().color()
    accent = flow_panel.run_bar.run.styleSheet()
    viewer.theme = "light"
    light = flow_panel.results.curves.plot.backgroundBrush().color()
    assert light.lightness() > dark.lightness() + 100
    assert flow_panel.run_bar.run.styleSheet() != accent


def test_enter_clicks_a_tile(viewer, flow_panel, run_flow, wait, qtbot):
    run_flow(flow_panel)
    view = flow_panel.results.grid.views["triangle", "encoder4"]
    qtbot.keyClick(view, Qt.Key.Key_Return)
    wait(lambda: flow_panel._all_shown() and len(viewer.layers) == 3)
    assert "saliency #1 · triangle at encoder4" in viewer.layers
