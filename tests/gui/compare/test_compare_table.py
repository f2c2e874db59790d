"""The table of a comparison, and what a chosen row shows."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from helpers.gui.compare_dock import FAST, METRICS, cell
from helpers.networks import planted_image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.gui.widgets.table import UNDEFINED, number


def test_run_fills_the_table_whose_rows_show_their_maps_and_can_be_checked(
    compare_panel, run_compare, viewer, qtbot, wait
):
    panel = compare_panel
    trust = panel.fields.checks_box
    assert not trust.button.isEnabled()
    assert "forward" in panel.run_bar.estimate.text()
    run_compare(panel)
    found = sx.compare(
        panel.model, planted_image(), "object", ["vanilla-gradient", "seg-grad-cam"], metrics=METRICS, **FAST
    )
    assert panel.results.table.table.names == found.names
    for row in found.rows:
        shown = cell(panel, row["map"], row["metric"])
        assert shown == (UNDEFINED if row["value"] is None else number(row["value"]))
    assert "Done in" in panel.run_bar.status.text()
    assert "2 maps by 4 metrics" in panel.run_bar.status.text()
    # the first row is chosen, and shown
    assert viewer.layers[0].name == "planted"
    np.testing.assert_array_equal(
        viewer.layers["saliency #1 · vanilla-gradient"].data, found.maps["vanilla-gradient"]
    )
    assert trust.button.isEnabled()
    assert trust.button.isVisible()
    assert trust.button.window() is panel.window()
    assert cell(panel, "vanilla-gradient", "trust") == UNDEFINED
    assert "not checked" in cell(panel, "vanilla-gradient", "trust", Qt.ItemDataRole.ToolTipRole)

    # a clicked row shows its map and no other
    table = panel.results.table
    assert table.name == "vanilla-gradient"
    place = table.visualRect(table.table.index(1, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    shown = [layer.name for layer in viewer.layers if layer.visible and layer.name.startswith("saliency")]
    assert shown == ["saliency #2 · seg-grad-cam"]
    assert "against" in panel.run_bar.legend.text()
    assert panel.results.note.text().startswith("Random maps, Dice explained: mean ")
    assert "activation × gradient" in viewer.canvas.overlays.text.text
    assert panel.sides.is_folded  # the results have the room, and the form comes back at a click
    panel.run_bar.fold.click()
    assert panel.fields.label_box.isVisible()
    assert panel.run_bar.run.isVisible()
    assert panel.results.curves.lines["seg-grad-cam"].opts["pen"].widthF() == 3
    table.select("vanilla-gradient")
    shown = [layer.name for layer in viewer.layers if layer.visible and layer.name.startswith("saliency")]
    assert shown == ["saliency #1 · vanilla-gradient"]
    before = len(viewer.layers)
    table.select("random order")  # no map: nothing changes
    assert len(viewer.layers) == before
    assert not panel.results.inspector.slider.isEnabled()
    assert viewer.layers.selection.active.name == "planted"

    # the map of a row is checked
    panel.results.table.select("seg-grad-cam")
    trust.menu.aboutToShow.emit()
    texts = [action.text() for action in trust.menu.actions()]
    assert any("passes" in text or "forward" in text for text in texts), texts
    trust.chosen.emit("restates-prediction")
    assert panel.run_bar.is_running
    wait(lambda: not panel.run_bar.is_running)
    record = panel.comparison.explanations["seg-grad-cam"].record
    [row] = record.trust
    assert row["check"] == "restates-prediction"
    assert cell(panel, "seg-grad-cam", "trust") == ("1 ✓" if row["passed"] else "1 ⚠")
    assert row["sentence"] in cell(panel, "seg-grad-cam", "trust", Qt.ItemDataRole.ToolTipRole)
    assert cell(panel, "vanilla-gradient", "trust") == UNDEFINED
    layer = viewer.layers["saliency #2 · seg-grad-cam"]
    assert layer.metadata["segxai"]["trust"] == record.as_dict()["trust"]
    panel.results.table.select("random order")
    trust.chosen.emit("restates-prediction")
    assert not panel.run_bar.is_running
    assert "Choose a row whose map was made here" in panel.run_bar.status.text()


def test_the_table_sorts_numbers_marks_the_best_and_says_why_there_is_none(compare_panel, run_compare, wait):
    panel = compare_panel
    panel.fields.metrics.tree.tick(["saliency-ratio", "context-share", "insertion-dice"])
    panel.fields.methods.tick(["rise", "vanilla-gradient"])
    panel.fields.methods.set_values("rise", {"masks": 20})
    run_compare(panel)
    model = panel.results.table.table
    keys = [column.key for column in model.columns]
    assert keys == ["map", "trust", "saliency-ratio", "insertion-dice", "context-share", "seconds"]
    header = model.headerData(2, Qt.Orientation.Horizontal)
    assert "↓" in header
    assert "↑" in model.headerData(3, Qt.Orientation.Horizontal)
    tip = model.headerData(2, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)
    assert "lower is better" in tip
    column = keys.index("saliency-ratio")
    for order, sign in ((Qt.SortOrder.AscendingOrder, 1), (Qt.SortOrder.DescendingOrder, -1)):
        panel.results.table.sortByColumn(column, order)
        values = [model.value(name, "saliency-ratio") for name in model.names]
        assert values[-1] is None  # of the random order: last either way
        assert sign * values[0] < sign * values[1]
        assert panel.results.table.currentIndex().row() == model.names.index(panel.results.table.name)
    assert "random order" in cell(panel, "random order", "saliency-ratio", Qt.ItemDataRole.ToolTipRole)
    assert cell(panel, "random order", "saliency-ratio") == UNDEFINED
    best = panel.comparison.best("saliency-ratio")
    bold = {
        name: cell(panel, name, "saliency-ratio", Qt.ItemDataRole.FontRole).bold() for name in model.names
    }
    top = panel.comparison.value(best, "saliency-ratio")
    assert bold == {name: model.value(name, "saliency-ratio") == top for name in model.names}
    assert not any(
        cell(panel, name, "context-share", Qt.ItemDataRole.FontRole).bold() for name in model.names
    )
    text = panel.results.table.copy()
    assert QApplication.clipboard().text() == text
    lines = [line.split("\t") for line in text.split("\n")]
    assert lines[0][:3] == ["Map", "Trust", "Saliency ratio ↓"]
    assert [line[0] for line in lines[1:]] == model.names
    assert lines[1][1] == ""  # nothing was checked
    assert float(lines[1][2]) == model.value(model.names[0], "saliency-ratio")


@pytest.mark.usefixtures("figures")
def test_everything_can_be_written(compare_panel, run_compare, wait, tmp_path, viewer):
    panel, export = compare_panel, compare_panel.export
    assert not panel.run_bar.save.isEnabled()
    run_compare(panel)
    status = panel.run_bar.status
    export.table(tmp_path / "table.csv")
    wait(lambda: "table.csv" in status.text())
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["map"] for row in rows] == panel.comparison.names
    assert float(rows[0]["dice-explained"]) == panel.comparison.value(rows[0]["map"], "dice-explained")
    export.curves(tmp_path / "curves.csv")
    wait(lambda: "curves.csv" in status.text())
    assert (tmp_path / "curves.csv").read_text().startswith("map,metric,share,score")
    assert not export.all_cases.isEnabled()
    viewer.add_image(0.99 * planted_image().array, name="darker")
    panel.image_box.setCurrentText("darker")
    run_compare(panel)
    assert [case.name for case in panel.cases.values()] == ["planted", "darker"]
    shown = [layer.name for layer in viewer.layers if layer.visible and layer.name.startswith("saliency")]
    assert shown == ["saliency #2 · vanilla-gradient"]  # not that of the run before
    import PIL.Image

    heights = []
    for ticked in (False, True):
        export.count()
        export.all_cases.setChecked(ticked)
        export.picture(tmp_path / f"{ticked}.png")
        wait(lambda ticked=ticked: f"{ticked}.png" in status.text())
        heights.append(PIL.Image.open(tmp_path / f"{ticked}.png").height)
    assert heights[1] > 1.5 * heights[0]  # a row per case
    export.picture(tmp_path / "picture", ending=".pdf")
    wait(lambda: "picture.pdf" in status.text())
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")
    export.folder(tmp_path / "all")
    wait(lambda: "files" in status.text())
    assert {"table.csv", "curves.csv", "comparison.png", "seg-grad-cam"} <= {
        path.name for path in (tmp_path / "all").iterdir()
    }
    export.table(tmp_path / "no" / "such" / "table.csv")
    wait(lambda: bool(status.styleSheet()))  # an error, in words
