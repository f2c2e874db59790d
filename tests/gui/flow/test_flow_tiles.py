"""The tiles of an information flow: a map for every label and network layer."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.docks import click, use_network
from helpers.networks import LinearHead
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.analyses.flow import tiles, wording
from napari_segxai.datasets.resources import resource
from napari_segxai.gui.flow.layer_picker import ALL

TRIANGLE = resource("sample_data/images/triangle_1.png")


def labels_network(labels: int = 4, ndim: int = 2) -> LinearHead:
    return LinearHead(ndim, labels=labels)


def drawn(view) -> np.ndarray:
    """Return the pixels that a tile has drawn, (rows, columns, 3)."""
    view.grab()
    picture = view._picture.convertToFormat(QImage.Format.Format_RGB888)
    bits = np.frombuffer(picture.constBits().asstring(picture.sizeInBytes()), np.uint8)
    rows = bits.reshape(picture.height(), picture.bytesPerLine())[:, : 3 * picture.width()]
    return rows.reshape(picture.height(), picture.width(), 3)


def test_run_shows_a_tile_for_every_label_and_layer_on_one_scale_or_facing(
    flow_panel, run_flow, wait, monkeypatch
):
    monkeypatch.setattr(
        "napari_segxai.analyses.flow.evidence.EMERGED", 0.4
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

    # the scale switch changes colours, but no number
    results = panel.results
    faint = results.grid.views["triangle", "encoder1"]
    common, tip = drawn(faint).copy(), faint.toolTip()
    ends = {view.end for view in results.grid.views.values()}
    strongest = max(max(abs(t.maximum), abs(t.minimum)) for t in panel.flow.tiles.values())
    assert ends == {strongest}
    assert wording.number(strongest) in results.range.text()
    results.scale_box.setCurrentIndex(1)
    own = drawn(faint)
    assert len({view.end for view in results.grid.views.values()}) == len(results.grid.views)
    assert np.ptp(own.astype(int)) > 5 * np.ptp(common.astype(int))
    assert faint.toolTip() == tip
    end = max(abs(faint.tile.maximum), abs(faint.tile.minimum))
    np.testing.assert_array_equal(own, tiles.colors(faint.tile.map, end))

    # facing puts equal resolutions side by side
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


def test_a_clicked_tile_becomes_a_layer_at_the_right_place(viewer, flow_panel, run_flow, wait, qtbot):
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
    qtbot.keyClick(grid.views["triangle", "encoder4"], Qt.Key.Key_Return)  # Enter clicks
    wait(lambda: flow_panel._all_shown() and len(viewer.layers) == 5)
    assert any(layer.name.endswith("triangle at encoder4") for layer in viewer.layers)


@pytest.mark.usefixtures("drawn")
def test_tiles_of_a_volume_follow_the_slice(viewer, open_flow, wait, run_flow):
    rng = np.random.default_rng(0)
    volume = rng.uniform(size=(8, 10, 12)).astype(np.float32)
    viewer.add_image(volume, name="volume", scale=(2, 1, 1), translate=(5, 0, 0))
    panel = open_flow()
    use_network(panel, labels_network(3, 3), wait, spatial_dims=3, labels=["background", "a", "b"])
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


def test_many_labels_say_the_same_advice_once(viewer, open_flow, wait, run_flow):
    viewer.add_image(np.random.default_rng(0).normal(size=(20, 24)).astype(np.float32), name="noise")
    panel = open_flow()
    names = ["background", "liver", "spleen", "left kidney"]
    use_network(panel, labels_network(4), wait, labels=names)
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
