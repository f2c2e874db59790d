"""The curves, the advice, the causal check and the files of an information flow."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from helpers.docks import click
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QDockWidget

import napari_segxai as sx
from napari_segxai.analyses.flow import wording
from napari_segxai.analyses.flow.tiles import Remark
from napari_segxai.datasets.resources import resource

TRIANGLE = resource("sample_data/images/triangle_1.png")


def test_it_is_a_wide_dock_whose_advice_and_points_can_be_looked_at(
    viewer, flow_panel, run_flow, wait, monkeypatch
):
    monkeypatch.setattr("napari_segxai.analyses.flow.evidence.EMERGED", 0.4)
    run_flow(flow_panel)

    # it lies below, within 1280 by 800
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

    # advice is summed up, and in full for a tile
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

    # a clicked point becomes a layer, as a clicked tile does
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

    # the theme reaches the curves
    dark = flow_panel.results.curves.plot.backgroundBrush().color()
    accent = flow_panel.run_bar.run.styleSheet()
    viewer.theme = "light"
    light = flow_panel.results.curves.plot.backgroundBrush().color()
    assert light.lightness() > dark.lightness() + 100
    assert flow_panel.run_bar.run.styleSheet() != accent


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
    for one in results.grid.views.values():  # no number is cut
        assert max(map(one.fontMetrics().horizontalAdvance, wording.captions(one.tile))) <= one.width()
    assert "of the Dice" in view.toolTip()
    assert other.route("triangle")
    assert other.route("triangle") in results.advice.text()
    results.curves.set_quantity("lost_skip")
    values = np.array(flow.curve("triangle", "lost_skip"))
    np.testing.assert_array_equal(results.curves.points["triangle"].getData()[1], values[np.isfinite(values)])


def test_routes_are_asked_for_shown_and_kept(slow_panel, run_flow, wait, tmp_path):
    panel, results = slow_panel, slow_panel.results
    panel.network.delay = 0
    before = panel.plan().passes
    panel.fields.routes_box.setChecked(True)
    assert panel.plan().passes.as_dict() == {"forward": before.forward + 1, "backward": before.backward + 1}
    run_flow(panel)
    tile = results.grid.views["object", "mix"].tile
    assert f"route {tile.relevance:.0%}" in wording.captions(tile)
    results.curves.set_quantity("relevance")
    np.testing.assert_array_equal(
        results.curves.points["object"].getData()[1], panel.flow.curve("object", "relevance")
    )
    assert "reaches the input as relevance" in results.advice.text()
    assert "routes=True" in panel.copy_as_python(tmp_path)
    panel.fields.routes_box.setChecked(False)
    panel.run_bar.again.click()  # asks what the shown flow was asked
    wait(lambda: not panel.run_bar.is_running)
    assert results.grid.views["object", "mix"].tile.relevance == pytest.approx(tile.relevance)


def test_numbers_in_summed_up_advice_become_ranges():
    said = [Remark.of("restates", "layer restates (Dice {}): little.", n) for n in ("0.85", "0.91", "0.88")]
    assert wording.merge(said) == "layer restates (Dice 0.85–0.91): little."
    assert wording.merge([Remark.of("coarse", "{} x {} cells only.", "3", "3")] * 2) == "3 x 3 cells only."


@pytest.mark.usefixtures("figures")
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
