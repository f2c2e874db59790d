"""The Concepts widget, driven in a real napari window."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.concepts import SQUARE, Planted, planted_folder
from helpers.networks import card
from qtpy.QtCore import QPointF, Qt
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.gui import worker
from napari_segxai.models.zoo.unet import UNet

ASKED = {"layers": "body", "controls": 3}


class Slow(Planted):
    """Sleeps in every forward pass, without the interpreter's lock, as real networks compute."""

    delay = 0.0

    def forward(self, x):
        time.sleep(self.delay)
        return super().forward(x)


def made() -> sx.SegmentationModel:
    return sx.load_model(Slow(), card=card(name="planted", intensity=[{"scale_shift": [1 / 255, 0.0]}]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    return planted_folder(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def saved(folders) -> Path:
    """The folder of a survey that was saved."""
    out = folders[0].parent / "out"
    sx.survey(made(), folders[0], "network-dissection", concepts=folders[1], **ASKED).save(out)
    return out


@pytest.fixture
def dock(viewer):
    """The dock, opened as a user does, with the planted network."""
    model = made()
    sx.register_model(model)
    _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", "Concepts")
    dock.network = model.module
    dock.model_box.refresh_registered()
    dock.model_box.combo.setCurrentIndex(dock.model_box.combo.count() - 1)
    dock.fields.form.set_values(ASKED)
    return dock


def ask(dock, folders, wait) -> None:
    """Fill the form in, until it is known what a run costs."""
    dock.take(str(folders[0]))
    dock.fields.concepts.set_asked(str(folders[1]))
    wait(lambda: "8 cases" in dock.run_bar.estimate.text())


def shown(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers]


def test_a_survey_from_the_folder_to_the_layer(dock, folders, tmp_path, viewer, wait):
    assert "Choose a folder of cases" in dock.run_bar.estimate.text()
    ask(dock, folders, wait)
    assert "8 cases · 10 forward" in dock.run_bar.estimate.text()
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    own = sx.survey(made(), folders[0], "network-dissection", concepts=folders[1], **ASKED)
    assert dock.survey.table == own.table
    words = dock.results.words
    assert words.text().startswith(own.sentence)
    assert 0 < words.height() < 6 * words.fontMetrics().lineSpacing()  # seen, and the table has the room
    assert dock.results.table.height() > words.height()
    assert dock.results.row["unit"] == 1  # the first row that has crops
    table = dock.results.table.table
    heads = {
        name: [table.headerData(k, Qt.Orientation.Horizontal, role) for role in (0, 3)]
        for k, name in enumerate(dock.results.frame.columns)
    }
    assert heads["iou"][0].replace("\xa0", " ") == "IoU ↑"
    assert heads["iou"][1].startswith("iou (higher is better)\nIoU of the unit's highest activations")
    assert heads["control_iou"][1].startswith("control_iou\ncontrol of iou: ")
    row = dock.results.frame.rows[0]
    assert table.share(0, "control_iou") == row["control_iou"] / row["iou"] < 1  # one scale for both bars
    for k, name in enumerate(heads):  # numbers that came after the first partial result are not cut
        wide = dock.results.table.fontMetrics().horizontalAdvance(table.text(0, name))
        assert dock.results.table.columnWidth(k) > wide
    gallery = dock.results.gallery
    wait(lambda: len(gallery.views) == 2)
    tile = gallery.views[0].tile
    assert max(tile.pixels.shape) < 2 * SQUARE  # the square, and not the image
    assert (tile.pixels != tile.plain).any()
    gallery.part_box.setCurrentIndex(1)
    wait(lambda: len(gallery.views) == 2 and gallery.views[0].tile.pixels.shape == (32, 32, 3))
    gallery.views[1].clicked.emit()
    wait(lambda: not dock.case.is_busy and len(viewer.layers) == 3)
    case = gallery.views[1].tile.case
    assert shown(viewer) == [case, f"square: unit 1 of body · {case}", f"square · {case}"]
    np.testing.assert_array_equal(viewer.layers[1].data, own.maps[1].array())
    assert viewer.layers[2].contour == 1  # the drawn mask, as an outline
    assert viewer.layers[2].data.sum() == SQUARE**2
    gallery.views[0].clicked.emit()
    wait(lambda: not dock.case.is_busy and gallery.views[0].tile.case in shown(viewer))
    assert case not in shown(viewer)  # replaced
    script = dock.copy_as_python()
    assert QApplication.clipboard().text() == script
    compile(script, "script", "exec")
    assert f"sx.find_cases({str(folders[0])!r}, layout='folder')" in script
    assert f"concepts={str(folders[1])!r}, seed=0, device='cpu', layers='body', controls=3" in script
    dock.save(tmp_path / "saved")
    wait(lambda: "Wrote" in dock.run_bar.status.text())
    assert sx.load_survey(tmp_path / "saved").table == own.table
    before = dock.survey
    dock.run_bar.again.click()
    wait(lambda: not dock.run_bar.is_running)
    assert dock.survey is not before
    assert dock.survey.table == own.table


def test_cancelling_keeps_what_there_is(dock, folders, wait):
    ask(dock, folders, wait)
    dock.network.delay = 0.15
    dock.run_bar.run.click()
    wait(lambda: any(f"case {k} of 8" in dock.run_bar.status.text() for k in (5, 6, 7)))
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    assert dock.run_bar.status.text() == "Cancelled; what was found until then is shown."
    assert dock.survey.record["partial"]
    assert dock.results.words.text().startswith("So far: ")
    assert dock.results.table.table.rowCount() == len(dock.survey.table) == 1


def reopened(viewer, dock, wait):
    """Close a dock as its cross does, and open it again."""
    gone = []
    dock.destroyed.connect(lambda *_: gone.append(True))
    viewer.window.remove_dock_widget(dock)
    wait(lambda: bool(gone))
    return viewer.window.add_plugin_dock_widget("napari-segxai", "Concepts")[1]


def test_a_dock_that_is_closed_and_opened_again_shows_what_it_had(dock, folders, viewer, tmp_path, wait):
    ask(dock, folders, wait)
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    own = dock.survey
    again = reopened(viewer, dock, wait)
    assert again.survey is own
    assert again.run_bar.status.text() == "The last result is shown again; Save writes it to files."
    wait(lambda: len(again.results.gallery.views) == 2)
    assert again.run_bar.save.isEnabled()
    again.save(tmp_path / "saved")
    wait(lambda: "Wrote" in again.run_bar.status.text())
    assert sx.load_survey(tmp_path / "saved").table == own.table
    assert again.copy_as_python() != ""


def test_a_dock_that_is_closed_during_a_run_leaves_what_was_found(dock, folders, viewer, wait):
    ask(dock, folders, wait)
    dock.network.delay = 0.15
    dock.run_bar.run.click()
    wait(lambda: any(f"case {k} of 8" in dock.run_bar.status.text() for k in (4, 5, 6)))
    again = reopened(viewer, dock, wait)  # before the pass has ended
    wait(lambda: again.survey is not None and again.survey.record["partial"])
    wait(lambda: worker._running is None)
    assert (
        again.run_bar.status.text()
        == "What was found until the dock was closed is shown; Save writes it to files."
    )
    assert again.results.words.text().startswith("So far: ")
    assert len(again.survey.table) == 1
    assert again.run_bar.save.isEnabled()


def test_a_saved_survey_opens_with_its_form_and_is_asked_again(viewer, saved, folders, wait):
    sx.register_model(made())
    viewer.open(saved, plugin="napari-segxai")
    wait(lambda: any("Concepts" in name for name in viewer.window.dock_widgets))
    [dock] = [own for name, own in viewer.window.dock_widgets.items() if "Concepts" in name]
    wait(lambda: dock.survey is not None)
    assert dock.fields.source.path.text() == str(folders[0])
    assert dock.fields.asked()["concepts"] == str(folders[1])
    assert {name: dock.fields.form.values()[name] for name in ASKED} == ASKED
    wait(lambda: len(dock.results.gallery.views) == 2)
    own = dock.survey.table
    dock.run_bar.again.click()
    wait(lambda: not dock.run_bar.is_running and not dock.survey.record["partial"])
    assert dock.survey.table == own


def test_a_survey_of_a_model_that_was_moved_is_asked_again_when_the_new_place_is_shown(
    viewer, folders, tmp_path, wait
):
    """The folder of the model lies elsewhere: that is said, and what it was is known by its weights where it is opened now."""
    shape = {"in_channels": 1, "out_channels": 2, "features": [4, 8]}
    place = tmp_path / "net"
    sx.save_model(
        sx.load_model(
            UNet(**shape),
            card=card(name="moved net", architecture=f"{UNet.__module__}:UNet", arguments=shape),
        ),
        place,
    )
    asked = {"layers": "bottleneck", "controls": 2}
    found = sx.survey(place, folders[0], "network-dissection", concepts=folders[1], **asked)
    found.save(tmp_path / "out")
    place.rename(tmp_path / "elsewhere")
    _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", "Concepts")
    dock.open(tmp_path / "out")
    wait(lambda: dock.survey is not None)
    words = f"the model moved net is not in the list, nor at {place} any more; choose it with Load model…"
    wait(lambda: words in dock.run_bar.status.text())
    dock.run_bar.again.click()
    assert words in dock.run_bar.status.text()
    assert not dock.run_bar.is_running
    dock.model_box.open_asking(tmp_path / "elsewhere")
    dock.run_bar.again.click()
    wait(lambda: "Done in" in dock.run_bar.status.text())
    assert dock.survey is not found
    assert dock.survey.table == found.table


def test_rows_of_units_are_sorted_filtered_and_drawn_as_bars(dock, saved, wait):
    dock.open(saved)
    wait(lambda: dock.survey is not None)
    part = dock.results
    assert [part.rows_box.itemText(k) for k in range(part.rows_box.count())] == [
        "findings",
        "units",
        "cases",
    ]
    part.rows_box.setCurrentIndex(1)
    model = part.table.table
    column = model.frame.columns.index("auc")
    part.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert model.frame.rows[model.order[0]]["unit"] == 1
    assert model.share(int(model.order[0]), "auc") == 1
    assert model.share(int(model.order[0]), "unit") is None  # a number of a unit is no measurement
    part.table.step(1)
    wait(lambda: len(part.gallery.views) == 2)
    part.table.step(1)
    assert "No map is kept of this row, but of: square: unit 1 of body." in part.gallery.words.text()
    assert not part.gallery.views
    unit = part.row["unit"]
    assert part.gallery.look.text() == f"Look for unit {unit} of body in all cases"
    part.gallery.look.click()
    wait(lambda: not dock.run_bar.is_running and len(part.gallery.views) == 8)
    assert part.row["unit"] == unit
    own = [one for one in dock.survey.maps if one.of == {"layer": "body", "unit": unit}]
    tops = [float(one.array().max()) for one in own]
    assert tops == sorted(tops, reverse=True)
    assert {one.case for one in own} == {f"c{k}" for k in range(8)}
    part.filter.setText("auc<0.1")
    wait(lambda: model.rowCount() == 1)
    part.filter.setText("acu<0.1")
    wait(lambda: "is no column of numbers" in part.words.text())


def test_pictures_of_a_method_stand_beside_its_rows(dock, folders, viewer, wait):
    dock.take(str(folders[0]))
    dock.fields.method_box.choose("activation-maximization")
    dock.fields.form.set_values({"layer": "body", "units": "1, 2", "steps": 1})
    wait(lambda: dock.run_bar.run.isEnabled() and "8 cases" in dock.run_bar.estimate.text())
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    [gallery], part = dock.survey.galleries, dock.results
    own = [picture for picture in gallery.pictures if picture.of["unit"] == part.row["unit"]]
    maps = [one for one in dock.survey.maps if one.shows(part.row)]
    wait(lambda: not dock.is_cropping)
    tiles = [view.tile for view in part.gallery.views]
    assert len(tiles) == len(own) + len(maps) < len(gallery.pictures)
    for tile, picture in zip(tiles, own, strict=False):
        np.testing.assert_array_equal(tile.pixels, picture.pixels)
    assert not part.gallery.views[0].tile.case  # it was made, and is of no case
    for patch, picture in zip(part.gallery.views[1:3], own[1:3], strict=True):
        patch.clicked.emit()  # it may be black, and has no map: a ring says where it is
        names = [picture.case, f"middle of the crop · {picture.case}"]
        wait(lambda names=names: not dock.case.is_busy and shown(viewer) == names)
        assert tuple(viewer.layers[1].data[0]) == picture.at


def test_the_map_of_cases_is_linked_with_the_viewer(dock, folders, tmp_path, viewer, wait):
    shutil.copytree(folders[0], tmp_path / "cases")
    for k in range(8):
        shutil.copy(folders[1] / f"c{k}.png", tmp_path / "cases" / f"c{k}_label.png")
    dock.take(str(tmp_path / "cases"))
    chooser = dock.fields.method_box.chooser
    chooser.offer("network-dissection", {})
    assert "Over 10 cases: 12 forward." in chooser.about.text()
    dock.fields.method_box.choose("bottleneck-map")
    assert not dock.fields.concepts.isEnabled()
    wait(lambda: "8 cases" in dock.run_bar.estimate.text())
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    part = dock.results
    assert part.chart.isVisible()  # there are no crops to be shown
    place = next(point for point in part.chart._points if point[2] == "c3")
    QApplication.processEvents()  # the axes are fitted when they are drawn
    scene = part.chart.plot.getPlotItem().getViewBox().mapViewToScene(QPointF(*place[:2]))
    assert part.chart._at(scene)[2] == "c3"
    part.chart.clicked.emit("c3")
    wait(lambda: not dock.case.is_busy and "c3" in shown(viewer))
    assert shown(viewer) == ["c3", "truth · c3_label"]
    assert part.row["case"] == "c3"
    assert part.chart.marked == [place[:2]]
    part.pin.click()
    part.chart.clicked.emit("c5")
    wait(lambda: not dock.case.is_busy and "c5" in shown(viewer))
    viewer.layers.selection.active = viewer.layers["c5"]
    viewer.layers.selection.active = viewer.layers["c3"]
    assert part.row["case"] == "c3"
    assert part.chart.marked == [place[:2]]


def test_what_is_asked_wrongly_is_said_before_it_runs(dock, folders, tmp_path, wait):
    dock.take(str(folders[0]))
    dock.fields.concepts.set_asked("truth")
    wait(lambda: "has no truth whose labels could be concepts" in dock.run_bar.estimate.text())
    assert not dock.run_bar.run.isEnabled()
    dock.fields.concepts.box.setCurrentIndex(dock.fields.concepts.box.findData("masks"))
    assert dock.run_bar.estimate.text() == "Name the folder of masks, or drop it on its line."
    dock.fields.concepts.set_asked("predicted")
    wait(lambda: dock.run_bar.run.isEnabled() and "8 cases" in dock.run_bar.estimate.text())
    dock.open(folders[0])
    wait(lambda: "holds no record.json" in dock.run_bar.status.text())
