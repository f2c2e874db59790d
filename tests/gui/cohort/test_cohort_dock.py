"""The Cohort widget, driven in a real napari window."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.networks import PatchSwitch, card, patch_of, planted_image
from PIL import Image as Picture
from pyqtgraph import GraphicsView
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

import napari_segxai as sx
from napari_segxai.analyses.cohort import study
from napari_segxai.gui import worker

CASES = 4
METHODS = [("vanilla-gradient", {}), ("misure", {"iterations": 3, "kernel": 3})]


class Slow(PatchSwitch):
    """Sleeps in every forward pass, without the interpreter's lock, as real networks compute."""

    delay = 0.0

    def forward(self, x):
        time.sleep(self.delay)
        return super().forward(x)


def made() -> sx.SegmentationModel:
    return sx.load_model(Slow(patch_of(2)), card=card(name="planted", intensity=[{"divide": 255}]))


def write_cases(folder: Path) -> Path:
    """Four images with truths, and a fifth that cannot be read."""
    folder.mkdir()
    values = planted_image().array * 255
    for k, turned in enumerate((values, values.T, values[::-1], values[:, ::-1])):
        Picture.fromarray(turned.astype(np.uint8)).save(folder / f"c{k}.png")
        mask = (turned > 200).astype(np.uint8)
        Picture.fromarray(mask).save(folder / f"c{k}_label.png")
    (folder / "odd_label.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def results(data) -> Path:
    """The folder of a cohort that was run."""
    out = data.parent / "out"
    sx.run_cohort(made(), data, ["object"], METHODS, out=out, metrics=["dice-explained"])
    return out


@pytest.fixture
def dock(viewer):
    """The dock, opened as a user does, with the planted network."""
    model = made()
    sx.register_model(model)
    _, dock = viewer.window.add_plugin_dock_widget("napari-segxai", "Cohort")
    dock.network = model.module
    dock.model_box.refresh_registered()
    dock.model_box.combo.setCurrentIndex(dock.model_box.combo.count() - 1)
    dock.fields.methods.set_methods(METHODS)
    return dock


@pytest.fixture
def few_draws(monkeypatch) -> None:
    """Intervals are of few samples: their numbers do not matter here."""
    monkeypatch.setattr(study, "DRAWS", 40)


def opened(dock, folder, wait) -> None:
    dock.open(folder)
    wait(lambda: dock.cohort is not None)


def answer(folder: Path, name: str):
    """Return what a study says, or why it says nothing."""
    try:
        return sx.study(sx.read_cohort(folder), name)
    except sx.UserError as error:
        return str(error)


def shown(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers]


def test_a_cohort_from_the_folder_to_the_case(dock, data, tmp_path, viewer, wait):
    assert "Choose a folder of cases" in dock.run_bar.estimate.text()
    dock.take(str(data))
    wait(lambda: dock.fields.source.found is not None)
    assert dock.fields.source.words.text() == "data: 4 cases, 4 with truth, 1 left out (layout: folder)"
    words = dock.fields.source.words.label
    wait(
        lambda: dock.fields.source.words.height() >= words.heightForWidth(words.width())
    )  # nothing is cut off
    assert dock.fields.source.list.item(0).text().startswith("left out: odd_label.png")
    assert "Name a folder for the results" in dock.run_bar.estimate.text()
    dock.fields.out.set_text(str(tmp_path / "out"))
    wait(lambda: "3 jobs each" in dock.run_bar.estimate.text())
    assert "4 cases, 3 jobs each · " in dock.run_bar.estimate.text()
    assert "free" in dock.run_bar.estimate.text()
    script = dock.copy_as_python()
    assert QApplication.clipboard().text() == script
    compile(script, "script", "exec")
    assert f"sx.find_cases({str(data)!r})" in script
    assert (
        "[('misure', {'iterations': 3, 'kernel': 3}), 'vanilla-gradient']" in script
        or "'vanilla-gradient', (" in script
    )
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    assert "Done in" in dock.run_bar.status.text()
    own = sx.read_cohort(tmp_path / "out")
    assert dock.cohort.maps == own.maps
    assert dock.results.frame.name == "maps"
    assert len(dock.results.frame) == 8
    wait(lambda: dock.run_bar.estimate.text() == "All 4 cases are done.")
    dock.results.table.step(1)
    wait(lambda: not dock.case.is_busy and len(viewer.layers) > 3)
    names = shown(viewer)
    assert names[:2] == ["c0", "truth · c0_label"]
    assert any(name.startswith("prediction") for name in names)
    map = next(
        layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "saliency" and layer.visible
    )
    row = dock.results.frame.rows[dock.results.table.table.order[0]]
    np.testing.assert_array_equal(map.data, own.explanation("c0", "object", row["map"]).map)


def test_a_run_that_was_stopped_goes_on(dock, data, tmp_path, wait):
    dock.network.delay = 0.05
    dock.fields.source.set_asked(str(data))
    dock.fields.out.set_text(str(tmp_path / "out"))
    wait(lambda: "jobs each" in dock.run_bar.estimate.text())
    dock.run_bar.run.click()
    wait(lambda: dock.cohort is not None and len(dock.cohort.maps) >= 2)
    assert dock.run_bar.is_running  # the table has filled meanwhile
    assert dock.results.table.table.rowCount() >= 2
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    assert dock.run_bar.status.text().startswith("Cancelled. What is done is kept in")
    wait(lambda: "Run does the rest" in dock.run_bar.estimate.text())
    done = {(row["case"], row["map"]): row["seconds"] for row in dock.cohort.maps}
    assert 2 <= len(done) < 8
    dock.network.delay = 0
    dock.run_bar.run.click()
    wait(lambda: not dock.run_bar.is_running)
    now = {(row["case"], row["map"]): row["seconds"] for row in dock.cohort.maps}
    assert len(now) == 8
    assert done.items() <= now.items()  # not done again


def test_opening_sets_the_form_to_what_was_asked(dock, results, data, wait):
    dock.fields.methods.set_methods([("rise", {})])
    opened(dock, results, wait)
    assert dock.fields.source.path.text() == str(data)
    assert sorted(dock.fields.methods.methods()) == sorted(METHODS)
    assert dock.fields.metrics.chosen() == ["dice-explained"]
    assert dock.fields.labels.ticked() == ["object"]
    wait(lambda: dock.run_bar.estimate.text() == "All 4 cases are done.")


def test_one_selection_for_table_plot_and_viewer(dock, results, viewer, wait):
    opened(dock, results, wait)
    part, table = dock.results, dock.results.table
    part.tabs.setCurrentWidget(part.plot)
    part.plot.choose("size_px", "dice-explained")
    keys = part.frame.keys
    row = int(np.flatnonzero(np.isfinite(part.plot.points).all(1))[-1])
    case, place = keys[row][0], part.plot.points[row]
    QApplication.processEvents()  # the axes are fitted when they are drawn
    scene = part.plot.box.mapViewToScene(QPointF(*place))
    np.testing.assert_allclose(part.plot.points[part.plot.row_at(scene)], place)
    part.plot.clicked.emit(row)
    wait(lambda: not dock.case.is_busy and case in shown(viewer))
    assert table.table.order[table.currentIndex().row()] == row
    ring = part.plot._marked.getData()
    np.testing.assert_allclose([ring[0][0], ring[1][0]], place)
    before = list(viewer.layers)
    for layer in before:
        layer.opacity = 0.7
    steps = next(k for k, key in enumerate(keys) if key[0] != case and key[1:] == keys[row][1:])
    other = keys[steps][0]
    part.plot.clicked.emit(steps)
    wait(lambda: not dock.case.is_busy and other in shown(viewer))
    assert not [name for name in shown(viewer) if case in name]  # replaced
    assert list(viewer.layers)[:3] == before[:3]  # the same layers, which keep their looks
    assert {layer.opacity for layer in before[:3]} == {0.7}
    part.plot.stepped.emit(1)
    wait(lambda: not dock.case.is_busy)
    assert part.current == steps + 1
    last = keys[part.current][0]
    for row in [k for k, key in enumerate(keys) if key[0] == last and k != part.current]:
        part.plot.clicked.emit(row)  # maps of a case change places
        wait(lambda: not dock.case.is_busy)
    assert not [name for name in shown(viewer) if "[1]" in name]
    part.pin.click()
    row = next(k for k, key in enumerate(keys) if key[0] != last)
    other = keys[row][0]
    part.plot.clicked.emit(row)
    wait(lambda: not dock.case.is_busy and other in shown(viewer))
    assert last in shown(viewer)
    viewer.layers.selection.active = viewer.layers[other]
    viewer.layers.selection.active = viewer.layers[last]
    assert keys[part.current][0] == last
    assert dock.case.shown[1] == other  # marked, and not opened again


def test_a_selection_leaves_the_plot_its_room(dock, results, wait):
    """Else its axes would be drawn anew with every selection, which took as long as the points."""
    opened(dock, results, wait)
    part = dock.results
    part.tabs.setCurrentWidget(part.plot)
    QApplication.processEvents()
    before = part.plot.height()
    part.plot.box.drawn.emit([(-9, -9), (9e9, -9), (9e9, 9), (-9, 9)])
    QApplication.processEvents()
    assert part.averages.isVisible()
    assert part.plot.height() == before


def test_a_lasso_averages_and_the_rest(dock, results, wait):
    opened(dock, results, wait)
    part = dock.results
    part.tabs.setCurrentWidget(part.plot)
    assert not part.averages.isVisible()
    part.plot.choose("size_px", "dice-explained")
    rows = [k for k, key in enumerate(part.frame.keys) if key[0] in ("c0", "c1")]
    part.plot.points = np.arange(16, dtype=float).reshape(8, 2)
    part.plot.box.drawn.emit([(-1, -1), (7, -1), (7, 8), (-1, 8)])
    assert part.cases == ["c0", "c1"]
    assert part.chosen.tolist() == rows
    chosen = {part.table.table.order[index.row()] for index in part.table.selectionModel().selectedRows()}
    assert chosen == set(rows)
    part.averages.click()
    wait(lambda: part.studies.result is not None)
    few = part.studies.result
    assert few.rows == sx.study(sx.read_cohort(results), "averages").rows or few.rows[0]["n"] == 2
    assert {row["n"] + row["undefined"] for row in few.rows} == {2}
    part.rest.click()
    wait(lambda: part.studies.result is not None and part.studies.result.name == "contrast")
    assert part.studies.chart.chart.title == "These cases and the rest"
    assert part.studies.table.table.rowCount() == len(part.studies.result.rows)


@pytest.mark.usefixtures("drawn")
def test_points_are_drawn_around_with_the_mouse(dock, results, wait):
    opened(dock, results, wait)
    part = dock.results
    part.tabs.setCurrentWidget(part.plot)
    part.plot.choose("size_px", "truth_dice")
    pixels = part.plot.findChild(GraphicsView).viewport()
    wait(lambda: pixels.width() > 100)
    QApplication.processEvents()
    own = part.plot.box.sceneBoundingRect().adjusted(1, 1, -1, -1)
    kinds = QEvent.Type.MouseButtonPress, *[QEvent.Type.MouseMove] * 3, QEvent.Type.MouseButtonRelease
    corners = own.topLeft(), own.topRight(), own.bottomRight(), own.bottomLeft(), own.topLeft()
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    for kind, corner in zip(kinds, corners, strict=True):
        moves, ends = kind == QEvent.Type.MouseMove, kind == QEvent.Type.MouseButtonRelease
        buttons = none if moves else left, none if ends else left
        QApplication.sendEvent(
            pixels, QMouseEvent(kind, corner, corner, *buttons, Qt.KeyboardModifier.ShiftModifier)
        )
        time.sleep(0.02)  # pyqtgraph takes 100 moves a second
    seen = np.isfinite(part.plot.points).all(1)
    assert part.chosen.tolist() == np.flatnonzero(seen).tolist()


@pytest.mark.usefixtures("few_draws")
def test_every_study_is_shown_or_says_why_not(dock, results, wait):
    opened(dock, results, wait)
    part = dock.results
    part.tabs.setCurrentWidget(part.studies)
    assert part.studies.box.currentData() == "averages"  # which always has something to say
    shown = 0
    for name in [one["name"] for one in sx.list_studies()]:
        part.studies.show_study(name)
        wait(lambda: part.studies.said.text() not in ("", "Working…"))
        own = answer(results, name)
        if isinstance(own, str):
            assert part.studies.said.text() == own, name
            continue
        shown += 1
        assert part.studies.said.text().startswith(own.sentence), name
        assert all(caveat in part.studies.said.text() for caveat in own.caveats), name
        for index in range(len(own.charts)):
            part.studies.chart_box.setCurrentIndex(index)
            assert part.studies.chart.chart == own.charts[index], name
    assert shown


def test_filter_sort_and_copy(dock, results, wait):
    opened(dock, results, wait)
    part, model = dock.results, dock.results.table.table
    part.filter.setText("misure")
    wait(lambda: model.rowCount() == 4)
    assert "4 of 8 rows" in part.note.text()
    column = model.frame.columns.index("case")
    part.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert part.table.copy().splitlines()[1].startswith("c3,object,misure")
    assert QApplication.clipboard().text().count("\n") == 5
    part.filter.setText("nothing<3")
    wait(lambda: "is no column of numbers" in part.note.text())
    assert model.rowCount() == 8


def test_what_failed_is_red_and_says_why(dock, data, tmp_path, wait):
    table = tmp_path / "cases.csv"
    (tmp_path / "broken.png").write_bytes(b"no picture")
    table.write_text(f"image,id\n{data / 'c0.png'},good\nbroken.png,bad\n")
    sx.run_cohort(made(), table, ["object"], ["vanilla-gradient"], out=tmp_path / "out")
    opened(dock, tmp_path / "out", wait)
    model = dock.results.table.table
    line = next(k for k in range(model.rowCount()) if model.data(model.index(k, 0)) == "bad")
    said = model.data(model.index(line, 3), Qt.ItemDataRole.ToolTipRole)
    assert "broken.png" in said
    assert model.data(model.index(line, 0), Qt.ItemDataRole.ForegroundRole) is not None


def test_closing_while_it_runs_keeps_what_is_done(dock, data, tmp_path, viewer, wait):
    dock.network.delay = 0.05
    dock.fields.source.set_asked(str(data))
    dock.fields.out.set_text(str(tmp_path / "out"))
    wait(lambda: "jobs each" in dock.run_bar.estimate.text())
    dock.run_bar.run.click()
    wait(lambda: dock.cohort is not None and len(dock.cohort.maps) >= 1)
    viewer.window.remove_dock_widget(dock)
    wait(lambda: worker._running is None and not worker._beside)
    found = sx.read_cohort(tmp_path / "out")
    assert 1 <= len(found.maps) < 8


def test_a_folder_of_a_cohort_opens_the_dock_and_that_of_a_case_its_maps(viewer, results, wait):
    viewer.open(results, plugin="napari-segxai")
    wait(lambda: any("Cohort" in name for name in viewer.window.dock_widgets))
    [dock] = [own for name, own in viewer.window.dock_widgets.items() if "Cohort" in name]
    wait(lambda: dock.cohort is not None)
    assert dock.cohort.folder == results
    assert not len(viewer.layers)
    viewer.open(results / "cases" / "c1", plugin="napari-segxai")
    assert shown(viewer)[0] == "c1"
    maps = [layer for layer in viewer.layers if layer.metadata.get("segxai_role") == "saliency"]
    assert len(maps) == 2
    assert maps[0].colorbar.visible


def test_what_is_no_cohort_is_said(dock, data, wait):
    dock.open(data)
    wait(lambda: "holds no cohort" in dock.run_bar.status.text())
    dock.fields.source.set_asked(str(data / "nowhere"))
    wait(lambda: "is not there" in dock.run_bar.estimate.text())
    assert not dock.run_bar.run.isEnabled()


@pytest.mark.usefixtures("few_draws")
def test_a_report_is_written(dock, results, tmp_path, wait):
    opened(dock, results, wait)
    dock.write_report(tmp_path / "report.html", anonymous=True)
    wait(lambda: "Wrote" in dock.run_bar.status.text() or bool(dock.run_bar.status.styleSheet()))
    assert dock.run_bar.status.text().startswith("Wrote")
    assert "<script" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_selected_cases_are_exported_for_slicer(dock, results, tmp_path, wait):
    assert not dock.slicer.isEnabled()
    opened(dock, results, wait)
    assert dock.slicer.isEnabled()
    dock.export_to_slicer(tmp_path / "none")
    assert dock.run_bar.status.text() == "Select a case in the table or the plot."
    part = dock.results
    part._on_drawn(np.array([k for k, key in enumerate(part.frame.keys) if key[0] in ("c1", "c2")]))
    dock.export_to_slicer(tmp_path / "both")
    wait(lambda: "for 3D Slicer to" in dock.run_bar.status.text())
    held = sorted(
        path.relative_to(tmp_path / "both").as_posix() for path in tmp_path.rglob("open_in_slicer.py")
    )
    assert held == ["c1/open_in_slicer.py", "c2/open_in_slicer.py"]
    part.table.step(1)
    assert part.case in ("c0", "c1", "c2", "c3")
    assert len(part.cases) < 2
    dock.export_to_slicer(tmp_path / "one")
    wait(lambda: str(tmp_path / "one") in dock.run_bar.status.text())
    assert (tmp_path / "one" / "open_in_slicer.py").is_file()
    wait(lambda: not dock.case.is_busy)


def test_the_next_piece_is_read_while_layers_are_added(dock, results, viewer, wait, monkeypatch):
    """Reading the maps of a volume and showing its image took one after the other."""
    from napari_segxai.gui.cases import case

    begun, steps = threading.Event(), case._steps

    def of(piece):
        if piece.name == "map":
            begun.set()
        return steps(piece)

    monkeypatch.setattr(case, "_steps", of)
    seen = []

    def on_inserted(_) -> None:
        seen.append(begun.wait(5) if not seen else True)

    viewer.layers.events.inserted.connect(on_inserted)
    opened(dock, results, wait)
    dock.show_case("c0")
    wait(lambda: not dock.case.is_busy)
    viewer.layers.events.inserted.disconnect(on_inserted)
    assert seen[0]
    assert len(seen) > 2


def test_a_saved_volume_is_opened_in_the_order_of_its_file(tmp_path):
    """Turning a large volume in memory took longer than reading it."""
    from napari_segxai.io.nifti.read import read_nifti
    from napari_segxai.io.nifti.write import stored_on_grid, write_nifti

    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_nifti(tmp_path / "v.nii.gz", values, sx.Image(values, affine=np.diag([-1.0, 1, 1, 1])))
    image = read_nifti(tmp_path / "v.nii.gz")
    stored = np.asfortranarray(image.array)
    found = stored_on_grid(stored, image)
    np.testing.assert_array_equal(found, values)
    assert found.flags.f_contiguous
