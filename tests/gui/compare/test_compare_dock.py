"""The Compare and evaluate widget, driven in a real napari window."""

from __future__ import annotations

import csv
import gc
import time

import numpy as np
import pytest
from helpers.networks import OBJECT, PATCH, LinearHead, PatchSwitch, card, patch_of, planted_image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.analyses.compare.tables import curve_points
from napari_segxai.gui import worker
from napari_segxai.gui.compare.table import UNDEFINED, number
from napari_segxai.metrics.functional.chance import MARK
from napari_segxai.metrics.functional.ties import above


class Slow(PatchSwitch):
    """Sleeps in every forward pass, without the interpreter's lock, as real networks compute."""

    delay = 0.1

    def forward(self, x):
        time.sleep(self.delay)
        return super().forward(x)


METRICS = ["dice-explained", "saliency-ratio", "insertion-dice", "dice-over-threshold"]
FAST = {"steps": 4}


@pytest.fixture
def open_compare(viewer):
    """Open the panel as a user does, through the plugin menu's widget."""

    def open_():
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Compare and evaluate")
        return panel

    return open_


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
def compare_panel(viewer, open_compare, wait):
    """A planted image, a planted network, and few quick things to compare."""
    viewer.window.resize(1280, 800)
    viewer.add_image(planted_image().array, name="planted")
    panel = open_compare()
    panel.network = Slow(patch_of(2))
    panel.network.delay = 0
    panel.model = use_model(panel, panel.network, wait, grid={"size": [32, 32]})
    panel.fields.metrics.tree.tick(METRICS)
    panel.fields.metrics.form.set_values(FAST)
    panel.fields.methods.tick(["seg-grad-cam", "vanilla-gradient"])
    return panel


@pytest.fixture
def run_compare(wait):
    """Press Run and wait until the first map is inspected."""

    def run(panel) -> None:
        panel.run_bar.run.click()
        assert panel.run_bar.is_running
        wait(lambda: not panel.run_bar.is_running and not panel.results.inspector.is_busy)

    return run


def cell(panel, name: str, key: str, role=Qt.ItemDataRole.DisplayRole):
    """Return what the table shows."""
    model = panel.results.table.table
    keys = [column.key for column in model.columns]
    return model.data(model.index(model.names.index(name), keys.index(key)), role)


def test_run_fills_the_table_with_what_a_script_gets(compare_panel, run_compare, viewer):
    panel = compare_panel
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


def test_a_clicked_row_shows_its_map_and_no_other(compare_panel, run_compare, viewer, qtbot):
    panel = compare_panel
    run_compare(panel)
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


def test_the_map_of_a_row_is_checked(compare_panel, run_compare, viewer, wait):
    panel = compare_panel
    trust = panel.fields.checks_box
    assert not trust.button.isEnabled()
    run_compare(panel)
    assert trust.button.isEnabled()
    assert trust.button.isVisible()
    assert trust.button.window() is panel.window()
    assert cell(panel, "vanilla-gradient", "trust") == UNDEFINED
    assert "not checked" in cell(panel, "vanilla-gradient", "trust", Qt.ItemDataRole.ToolTipRole)
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


def test_the_grid_is_on_one_scale_and_leaves_the_viewer_as_it_was(compare_panel, run_compare, viewer):
    panel = compare_panel
    other = viewer.add_image(np.ones((32, 32)), name="other", visible=False)
    panel.image_box.setCurrentText("planted")
    panel.fields.methods.tick(["seg-grad-cam", "vanilla-gradient"])
    run_compare(panel)
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 3, 4), 7.0
    viewer.layers.selection.active = other
    grid, camera = viewer.canvas.grid, viewer.scene.camera

    def state():
        layers = [(layer.name, layer.visible) for layer in viewer.layers]
        view = (grid.enabled, grid.stride, grid.shape, grid.spacing, camera.center, camera.zoom)
        return layers, view, viewer.layers.selection.active

    before = state()
    panel.results.grid_button.click()
    assert grid.enabled
    shown = [layer for layer in viewer.layers if layer.visible]
    assert [layer.name for layer in shown[1::2]] == ["vanilla-gradient", "seg-grad-cam"]
    assert all("planted" not in layer.name for layer in shown)
    maps = shown[1::2]
    places = [grid.position(viewer.layers.index(layer), viewer.layers) for layer in shown]
    assert places == [(0, 0), (0, 0), (0, 1), (0, 1)]  # each map lies on an image
    assert {tuple(layer.contrast_limits) for layer in maps} == {(-1.0, 1.0)}  # a gradient has both signs
    for layer in maps:
        assert np.abs(layer.data).max() == 1
    maps[0].contrast_limits = (-0.5, 0.5)
    assert tuple(maps[1].contrast_limits) == (-0.5, 0.5)  # linked
    panel.results.scale_box.setCurrentIndex(1)
    own = panel.comparison.maps
    end = max(float(np.abs(values).max()) for values in own.values())
    for layer in maps:
        np.testing.assert_array_equal(layer.data, own[layer.name])
        assert tuple(layer.contrast_limits) == pytest.approx((-end, end))
    assert panel.image_box.count() == 2  # what the grid shows is no source
    panel.results.table.select("seg-grad-cam")
    assert viewer.layers.selection.active is maps[1]
    panel.results.table.select("vanilla-gradient")
    panel.results.grid_button.click()
    assert state() == before
    panel.results.grid_button.click()
    grid.enabled = False  # by napari's own button
    assert not panel.results.grid_button.isChecked()
    assert state() == before


def test_the_inspector_recomputes_live_and_shows_every_step(compare_panel, run_compare, viewer, wait):
    panel, inspector = compare_panel, compare_panel.results.inspector
    run_compare(panel)
    found, name = panel.comparison, panel.results.table.name
    assert inspector.threshold == 0.1
    mark = f"\u2009{MARK}"
    assert inspector.dice.text() == number(found.value(name, "dice-explained")) + mark * found.is_chance(
        name, "dice-explained"
    )
    assert inspector.ratio.text() == number(found.value(name, "saliency-ratio"))
    viewer.layers.selection.active = viewer.layers["planted"]
    before = [(layer.name, layer.visible) for layer in viewer.layers]
    inspector.steps.click()
    shown = [layer for layer in viewer.layers if layer.visible]
    names = ["planted", "prediction", f"map · {name}", "binarized", "masked image", "new prediction"]
    assert [layer.name for layer in shown] == names
    places = [viewer.canvas.grid.position(viewer.layers.index(layer), viewer.layers) for layer in shown]
    assert len(set(places)) == 6
    curve = found.curve(name, "dice-over-threshold")
    for threshold, dice in list(zip(curve["share"], curve["score"], strict=True))[::4]:
        inspector.slider.setValue(round(threshold * 1000))
        wait(lambda: not inspector.is_busy)
        level = found._row(name, "dice-over-threshold")["chance_curve"]
        place = level["share"].index(threshold)
        assert inspector.dice.text() == number(dice) + mark * (not above(dice, level["high"][place]))
        assert f"{level['mean'][place]:.3g} on average" in inspector.dice.toolTip()
        assert panel.results.curves.mark.value() == pytest.approx(threshold)
        kept = inspector.found.kept
        np.testing.assert_array_equal(viewer.layers["binarized"].data > 0, kept)
        assert inspector.ratio.text() == number(kept.sum() / (found.prediction > 0).sum())
        masked = viewer.layers["masked image"].data
        np.testing.assert_allclose(masked, np.where(kept, planted_image().array, 0), atol=1e-4)
        np.testing.assert_array_equal(viewer.layers["new prediction"].data, inspector.found.prediction)
    inspector.slider.setValue(123)  # where nothing was measured
    wait(lambda: not inspector.is_busy)
    assert mark not in inspector.dice.text()
    assert "is measured at the threshold of the table" in inspector.dice.toolTip()
    panel.results.table.select("seg-grad-cam")  # another map, in the same layers
    wait(lambda: not inspector.is_busy)
    np.testing.assert_array_equal(viewer.layers["map · seg-grad-cam"].data, found.maps["seg-grad-cam"])
    inspector.steps.click()
    left = [(layer.name, layer.visible) for layer in viewer.layers if "seg-grad-cam" not in layer.name]
    assert left == [(own, visible and not own.startswith("saliency")) for own, visible in before]
    assert not viewer.canvas.grid.enabled


def test_of_many_thresholds_the_latest_counts(compare_panel, run_compare, wait):
    panel, inspector = compare_panel, compare_panel.results.inspector
    run_compare(panel)
    panel.network.delay = 0.05
    seen = []
    inspector.inspected.connect(lambda found: seen.append(found.threshold))
    for k in range(200, 701, 10):
        inspector.slider.setValue(k)
    wait(lambda: not inspector.is_busy)
    assert seen[-1] == pytest.approx(0.7)
    assert len(seen) <= 3


def test_curves_follow_the_metrics_and_stages(compare_panel, run_compare):
    panel, curves = compare_panel, compare_panel.results.curves
    panel.fields.metrics.tree.tick([*METRICS, "deletion-dice"])
    panel.fields.methods.tick(["misure", "vanilla-gradient"])
    run_compare(panel)
    found = panel.comparison
    assert list(curves.drawings) == ["insertion-dice", "deletion-dice", "dice-over-threshold", "dilation"]
    for kind in ("insertion-dice", "deletion-dice", "dice-over-threshold"):
        curves.set_kind(kind)
        for name, line in curves.lines.items():
            x, y = line.getData()
            np.testing.assert_allclose(x, found.curve(name, kind)["share"])
            np.testing.assert_allclose(y, found.curve(name, kind)["score"])
    assert set(curves.lines) == {"misure", "vanilla-gradient"}  # thresholds of a random order say nothing
    curves.set_kind("dilation")
    table = found.explanations["misure"].stage_table
    np.testing.assert_allclose(curves.lines["misure"].getData()[1], [row["dice"] for row in table])
    points = [
        point
        for point in curve_points(found.rows, found.explanations)
        if point["metric"] == "dice-over-dilation"
    ]
    assert [(p["share"], p["score"]) for p in points] == [(row["dilations"], row["dice"]) for row in table]
    curves.clicked.emit("misure")
    assert panel.results.table.name == "misure"


def test_methods_have_parameters_of_their_own_and_can_be_had_twice(compare_panel, run_compare, tmp_path):
    panel, methods = compare_panel, compare_panel.fields.methods
    methods.tick(["rise"])
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
    again = eval(call.removeprefix("comparison = "), _names_of(panel))
    assert [row["value"] for row in again.rows] == [row["value"] for row in panel.comparison.rows]
    assert QApplication.clipboard().text() == text


def _names_of(panel) -> dict:
    image = sx.image_of_layer(panel.layer)
    return {"sx": sx, "model": panel.model, "image": image, "target": "object", "viewer": panel.viewer}


def test_maps_that_are_there_are_measured_as_well(compare_panel, run_compare, viewer, tmp_path):
    panel = compare_panel
    panel.fields.metrics.tree.tick(METRICS)
    found = sx.explain(panel.model, sx.image_of_layer(panel.layer), "object", "occlusion")
    other = sx.explain(panel.model, sx.image_of_layer(panel.layer), "background", "vanilla-gradient")
    foreign = sx.explain(panel.model, planted_image().array + 1, "object", "vanilla-gradient")
    for explanation in (found, other, foreign):
        [data] = [d for d in explanation.to_layers(1) if d[1]["metadata"]["segxai_role"] == "saliency"]
        viewer.add_image(data[0], **data[1])
    mine, theirs, away = viewer.layers[1:]
    tree = panel.fields.methods.tree
    keys = {key: tree.reason(key) for key in tree.keys if key[0] == "map"}
    assert keys == {
        ("map", id(mine)): "",
        ("map", id(theirs)): "explains the label background, not object",
        ("map", id(away)): "explains image, another image than planted",
    }
    panel.fields.methods.tick(["vanilla-gradient"], [mine])
    run_compare(panel)
    assert list(panel.comparison.maps) == ["#1 · occlusion · object", "vanilla-gradient"]
    np.testing.assert_array_equal(panel.comparison.maps["#1 · occlusion · object"], found.map)
    script = panel.copy_as_python(tmp_path)
    assert "maps={'#1 · occlusion · object': sx.read_image(folder / 'map.tif').array}" in script
    panel.results.table.select("vanilla-gradient")
    assert not mine.visible
    panel.results.table.select("#1 · occlusion · object")
    assert mine.visible
    assert len(viewer.layers) == 6  # the map is not added again
    panel.fields.methods.tick([], [mine])
    run_compare(panel)
    assert list(panel.comparison.maps) == ["#1 · occlusion · object"]
    viewer.layers.remove(mine)
    assert panel.run_bar.estimate.text() == "Tick a method or a map at least."


def add_map(viewer, explanation):
    """Add the map of an explanation as a user of the console does; returns its layer."""
    [data] = [d for d in explanation.to_layers() if d[1]["metadata"]["segxai_role"] == "saliency"]
    return viewer.add_image(data[0], **data[1])


def test_a_map_of_another_time_point_or_model_is_grey_and_says_why(viewer, open_compare, wait, tmp_path):
    import nibabel as nib

    rng = np.random.default_rng(0)
    frames = rng.random((8, 7, 6, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(frames, np.diag([-1.0, 1, 1, 1])), tmp_path / "film.nii.gz")
    viewer.open(tmp_path / "film.nii.gz", plugin="napari-segxai")
    [film] = viewer.layers
    panel = open_compare()
    model = use_model(panel, LinearHead(3), wait, spatial_dims=3, grid={"size": [8, 7, 6]})
    other = sx.load_model(LinearHead(3), card=card(3, name="other", grid={"size": [8, 7, 6]}))
    other.module.head.bias.data += 1
    file = sx.read_image(tmp_path / "film.nii.gz")
    assert file.path == sx.image_of_layer(film).path
    method = {"method": "vanilla-gradient"}
    maps = {
        "first": add_map(viewer, sx.explain(model, file.frame(0), "object", **method)),
        "second": add_map(viewer, sx.explain(model, file.frame(1), "object", **method)),
        "other": add_map(viewer, sx.explain(other, file.frame(0), "object", **method)),
        "layer": add_map(viewer, sx.explain(model, sx.image_of_layer(film), "object", **method)),
    }
    panel.image_box.setCurrentText(film.name)

    def reasons() -> dict[str, str]:
        return {name: panel.fields.methods.tree.reason(("map", id(layer))) for name, layer in maps.items()}

    viewer.dims.set_current_step(0, 0)
    first = reasons()
    assert first["first"] == first["layer"] == ""  # in the axes of the file, and of the layer
    assert first["second"] == "explains film, another image than film (other intensities under the name film)"
    assert first["other"].startswith("explains the model other, not mine")
    viewer.dims.set_current_step(0, 1)
    second = reasons()
    assert second["second"] == ""
    assert "another image" in second["first"]
    assert "another image" in second["layer"]


def test_a_map_is_checked_again_when_run_is_pressed(compare_panel, run_compare, viewer):
    panel = compare_panel
    mine = add_map(
        viewer, sx.explain(panel.model, sx.image_of_layer(panel.layer), "object", "vanilla-gradient")
    )
    panel.fields.methods.tick([], [mine])
    assert panel.run_bar.run.isEnabled()
    viewer.layers["planted"].data[0, 0] += 1  # in place: nobody is told
    panel.run_bar.run.click()
    assert not panel.run_bar.is_running
    assert "explains planted, another image than planted" in panel.run_bar.estimate.text()
    assert "untick it" in panel.run_bar.estimate.text()


def test_an_image_layer_of_the_same_shape_can_be_a_map(compare_panel, run_compare, viewer):
    panel, tree = compare_panel, compare_panel.fields.methods.tree
    cause = np.zeros((32, 32))
    cause[PATCH] = cause[OBJECT] = 1
    mine = viewer.add_image(cause, name="by hand")
    small = viewer.add_image(np.zeros((5, 5)), name="small")
    color = viewer.add_image(np.zeros((32, 32, 3), np.uint8), name="colour")
    panel.image_box.setCurrentText("planted")
    assert panel.model_box.entry.model is panel.model  # chosen by the user: an image of colours leaves it
    assert tree.reason(("map", id(mine))) == ""
    assert tree._items["map", id(mine)].text(0) == "by hand (no record)"
    assert "nothing tells what it explains" in tree._items["map", id(mine)].toolTip(0)
    assert not {("map", id(layer)) for layer in (small, color, viewer.layers["planted"])} & set(tree.keys)
    panel.fields.methods.tick([], [mine])
    run_compare(panel)
    assert panel.comparison.names == ["by hand", "random order"]
    assert panel.comparison.value("by hand", "dice-explained") == 1
    np.testing.assert_array_equal(panel.comparison.maps["by hand"], cause)


def test_a_map_file_that_lies_elsewhere_is_grey(viewer, open_compare, wait, tmp_path):
    import nibabel as nib

    values = np.random.default_rng(0).random((8, 7, 6)).astype(np.float32)
    there = np.diag([2.0, 2, 2, 1])
    there[0, 3] = 9
    for name, affine in (
        ("scan", np.diag([2.0, 2, 2, 1])),
        ("map", np.diag([2.0, 2, 2, 1])),
        ("away", there),
    ):
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
        viewer.open(tmp_path / f"{name}.nii.gz", plugin="napari-segxai")
    panel = open_compare()
    use_model(panel, LinearHead(3), wait, spatial_dims=3, grid={"size": [8, 7, 6]})
    panel.image_box.setCurrentText("scan")
    tree = panel.fields.methods.tree
    assert tree.reason(("map", id(viewer.layers["map"]))) == ""
    assert tree.reason(("map", id(viewer.layers["away"]))) == "lies at another place than scan"


def test_a_truth_on_another_grid_is_resampled_or_refused_in_words(
    compare_panel, run_compare, viewer, wait, tmp_path
):
    panel, note = compare_panel, compare_panel.fields.truth_note
    fine = np.zeros((64, 64), np.uint8)
    fine[8:20, 40:52] = fine[32:52, 12:32] = 1  # the patch and the object, at half the pixel size
    viewer.add_labels(fine, name="fine", scale=(0.5, 0.5), translate=(-0.25, -0.25))
    viewer.add_labels(np.ones((32, 32), np.uint8), name="away", translate=(500, 0))
    panel.image_box.setCurrentText("planted")
    panel.fields.metrics.tree.tick(["f1-mask"])
    panel.fields.truth_box.setCurrentText("away")
    assert not panel.run_bar.run.isEnabled()
    assert "nothing of the truth away lies in planted" in panel.run_bar.estimate.text()
    assert not note.isVisibleTo(panel)
    panel.fields.truth_box.setCurrentText("fine")
    assert panel.run_bar.run.isEnabled()
    assert note.isVisibleTo(panel)
    assert "the truth fine lies on another grid than planted and was resampled" in note.text()
    run_compare(panel)
    wanted = np.zeros((32, 32), bool)
    wanted[PATCH] = wanted[OBJECT] = True
    np.testing.assert_array_equal(panel.comparison.truth, wanted)
    assert "was resampled" in panel.run_bar.status.text()
    text = panel.copy_as_python(tmp_path)
    call = next(line for line in text.splitlines() if line.startswith("comparison = "))
    [folder] = tmp_path.iterdir()
    again = eval(call.removeprefix("comparison = "), {**_names_of(panel), "folder": folder})
    assert (
        again.value("seg-grad-cam", "f1-mask")
        == panel.comparison.value("seg-grad-cam", "f1-mask")
        is not None
    )
    viewer.layers["fine"].data = np.zeros_like(fine)
    run_compare(panel)
    assert not panel.comparison.truth.any()  # not the one that was resampled before
    panel.fields.truth_box.setCurrentText("none")
    assert not note.isVisibleTo(panel)


def test_a_noise_model_is_a_file(compare_panel, run_compare, tmp_path):
    panel, metrics = compare_panel, compare_panel.fields.metrics
    image, file = sx.image_of_layer(panel.layer), tmp_path / "noise.safetensors"
    small = {"steps": 1, "batch": 1, "depth": 1, "channels": 2, "weights": str(file)}
    sx.explain(panel.model, image, "object", "u-noise", **small)
    metrics.tree.tick(["ana"])
    assert "u-noise" in metrics.tree.reason("ana")
    assert panel.run_bar.estimate.text() == "Tick a metric at least."
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


def test_presets(compare_panel):
    from napari_segxai.methods.registry import find_method

    methods, rise = compare_panel.fields.methods, find_method("rise")
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


def test_a_truth_brings_its_metrics(compare_panel, run_compare, viewer, tmp_path):
    panel, tree = compare_panel, compare_panel.fields.metrics.tree
    tree.tick(["f1-mask", "saliency-ratio"])
    assert panel.fields.metrics.chosen() == ["saliency-ratio"]
    assert "truth" in tree.reason("f1-mask")
    truth = np.zeros((32, 32), np.uint8)
    truth[PATCH] = truth[OBJECT] = 1
    viewer.add_labels(truth, name="truth")
    panel.fields.truth_box.setCurrentText("truth")
    assert panel.fields.metrics.chosen() == ["saliency-ratio", "f1-mask"]
    run_compare(panel)
    wanted = sx.compare(
        panel.model, planted_image(), "object", ["seg-grad-cam"], truth=truth, metrics=["f1-mask"]
    )
    assert panel.comparison.value("seg-grad-cam", "f1-mask") == wanted.value("seg-grad-cam", "f1-mask")
    assert "truth=sx.read_region(folder / 'truth.tif', image)" in panel.copy_as_python(tmp_path)
    assert panel.fields.truth_note.text() == ""


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


def test_a_disabled_run_says_why(viewer, open_compare, wait):
    panel = open_compare()
    estimate = panel.run_bar.estimate
    assert not panel.run_bar.run.isEnabled()
    assert "Open an image" in estimate.text()
    viewer.add_image(planted_image().array, name="planted")
    model = use_model(panel, PatchSwitch(patch_of(2)), wait, grid={"size": [32, 32]})
    panel.fields.methods.tick([])
    assert not panel.run_bar.run.isEnabled()
    assert estimate.text() == "Tick a method or a map at least."
    panel.fields.methods.tick(["rise"])
    panel.fields.metrics.tree.tick([])
    assert estimate.text() == "Tick a metric at least."
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
    model = use_model(panel, PatchSwitch(patch_of(2)), wait, grid={"size": [32, 32]})
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
    use_model(panel, PatchSwitch(patch_of(3), 3), wait, spatial_dims=3, grid={"size": list(shape)})
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
    use_model(panel, LinearHead(2, inputs=3), wait, channels=["r", "g", "b"], grid={"size": [16, 16]})
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


def test_cancelling_keeps_what_was_found(compare_panel, run_compare, wait):
    panel, run_bar = compare_panel, compare_panel.run_bar
    panel.network.delay = 0.1
    panel.fields.methods.tick(["vanilla-gradient", "occlusion"])
    run_bar.run.click()
    wait(lambda: run_bar.status.text().startswith("occlusion"))
    assert run_bar.run.text() == "Cancel"
    run_bar.run.click()
    wait(lambda: not run_bar.is_running)
    assert list(panel.comparison.maps) == ["vanilla-gradient"]
    assert "The 1 map found until then can be shown; nothing was measured yet." in run_bar.status.text()
    assert cell(panel, "vanilla-gradient", "dice-explained") == UNDEFINED
    tip = cell(panel, "vanilla-gradient", "dice-explained", Qt.ItemDataRole.ToolTipRole)
    assert "the run was stopped" in tip
    assert "saliency #1 · vanilla-gradient" in panel.viewer.layers
    wait(lambda: not panel.results.inspector.is_busy)
    kept = panel.comparison
    run_bar.run.click()
    run_bar.run.click()
    wait(lambda: not run_bar.is_running)
    assert "nothing to show yet" in run_bar.status.text()
    assert panel.comparison is kept


def test_running_out_of_memory_is_said_and_the_next_run_works(compare_panel, monkeypatch, run_compare):
    import torch

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    panel = compare_panel
    with monkeypatch.context() as patch:
        patch.setattr(panel.network, "forward", full)
        run_compare(panel)
        assert "ran out of memory" in panel.run_bar.status.text()
    run_compare(panel)
    assert "Done" in panel.run_bar.status.text()


def test_deleting_the_source_meanwhile(compare_panel, viewer, wait, run_compare):
    panel = compare_panel
    panel.network.delay = 0.05
    panel.run_bar.run.click()
    viewer.layers.remove("planted")
    wait(lambda: not panel.run_bar.is_running and not panel.results.inspector.is_busy)
    assert "Done" in panel.run_bar.status.text()
    panel.results.grid_button.click()
    assert viewer.layers["vanilla-gradient · image"].data.shape == (32, 32)
    panel.results.inspector.steps.click()
    assert "masked image" in viewer.layers
    panel.results.inspector.steps.click()
    assert all("segxai" in layer.metadata for layer in viewer.layers)


def test_closing_the_dock_stops_the_job_and_keeps_the_maps(compare_panel, viewer, wait):
    panel = compare_panel
    panel.network.delay = 0.1
    panel.fields.methods.tick(["vanilla-gradient", "occlusion"])
    panel.run_bar.run.click()
    wait(lambda: panel.run_bar.status.text().startswith("occlusion"))
    job = worker._running
    viewer.window.remove_dock_widget(panel)
    panel.deleteLater()
    gc.collect()
    wait(lambda: job.stop.is_set() and worker._running is None)
    assert any(layer.name.startswith("saliency #1 · vanilla-gradient") for layer in viewer.layers)
    viewer.add_image(np.zeros((4, 4)))  # nothing is connected to what is gone
    viewer.theme = "light"


def test_closing_the_dock_leaves_the_grid(compare_panel, viewer, wait, run_compare):
    panel = compare_panel
    run_compare(panel)
    before = [(layer.name, layer.visible) for layer in viewer.layers]
    panel.results.grid_button.click()
    panel.results.inspector.set_threshold(0.3)
    viewer.window.remove_dock_widget(panel)
    panel.deleteLater()
    wait(lambda: not viewer.canvas.grid.enabled)
    assert [(layer.name, layer.visible) for layer in viewer.layers] == before
    wait(lambda: worker._running is None)


@pytest.mark.parametrize("shown", ["grid", "steps", "running"])
def test_closing_the_viewer(make_napari_viewer, wait, run_compare, shown):
    viewer = make_napari_viewer()
    viewer.add_image(planted_image().array, name="planted")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Compare and evaluate")
    network = Slow(patch_of(2))
    network.delay = 0
    use_model(panel, network, wait, grid={"size": [32, 32]})
    panel.fields.methods.tick(["vanilla-gradient"])
    panel.fields.metrics.tree.tick(["dice-explained"])
    run_compare(panel)
    network.delay = 0.05
    if shown == "running":
        panel.run_bar.run.click()
        wait(lambda: worker._running is not None)
    else:
        button = panel.results.grid_button if shown == "grid" else panel.results.inspector.steps
        button.click()
        panel.results.inspector.set_threshold(0.3)
    viewer.close()
    wait(lambda: worker._running is None)


def test_it_is_usable_at_1280_by_800_and_follows_the_theme(compare_panel, viewer, run_compare, wait):
    panel = compare_panel
    run_compare(panel)
    window = panel.window()
    wait(lambda: panel.height() >= 300)
    assert (window.width(), window.height()) == (1280, 800)
    inspector = panel.results.inspector
    parts = (
        panel.run_bar.run,
        panel.run_bar.copy,
        panel.run_bar.save,
        inspector.steps,
        inspector.slider,
        inspector.ratio,
        panel.results.grid_button,
    )
    for part in parts:
        corner = part.mapTo(window, QPoint(part.width(), part.height()))
        assert part.isVisible()
        assert corner.y() <= 800
        assert corner.x() <= 1280
    assert panel.results.table.viewport().height() > 60
    assert panel.results.curves.plot.height() > 80
    assert inspector.slider.width() > 60
    dark = panel.results.curves.plot.backgroundBrush().color()
    accent = panel.run_bar.run.styleSheet()
    viewer.theme = "light"
    light = panel.results.curves.plot.backgroundBrush().color()
    assert light.lightness() > dark.lightness() + 100
    assert panel.run_bar.run.styleSheet() != accent
