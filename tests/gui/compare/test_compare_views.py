"""The grid of maps, the inspector of a threshold, and the curves."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.gui.compare_dock import METRICS
from helpers.networks import planted_image
from qtpy.QtCore import QPoint

from napari_segxai.analyses.compare.tables import curve_points
from napari_segxai.gui.compare.table import number
from napari_segxai.metrics.functional.chance import MARK
from napari_segxai.metrics.functional.ties import above


@pytest.mark.usefixtures("drawn")
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
    assert panel.image_box.count() == 2  # what the grid shows is not a source
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

    # it is usable at 1280 by 800
    window = panel.window()
    wait(lambda: panel.height() >= 300)
    assert (window.width(), window.height()) == (1280, 800)
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

    # every step is shown, at every threshold
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
    assert "is known at the threshold of the table only" in inspector.dice.toolTip()
    panel.results.table.select("seg-grad-cam")  # another map, in the same layers
    wait(lambda: not inspector.is_busy)
    np.testing.assert_array_equal(viewer.layers["map · seg-grad-cam"].data, found.maps["seg-grad-cam"])
    inspector.steps.click()
    left = [(layer.name, layer.visible) for layer in viewer.layers if "seg-grad-cam" not in layer.name]
    assert left == [(own, visible and not own.startswith("saliency")) for own, visible in before]
    assert not viewer.canvas.grid.enabled

    # of many thresholds the latest counts
    panel.network.delay = 0.05
    seen = []
    inspector.inspected.connect(lambda found: seen.append(found.threshold))
    for k in range(200, 701, 10):
        inspector.slider.setValue(k)
    wait(lambda: not inspector.is_busy)
    assert seen[-1] == pytest.approx(0.7)
    assert len(seen) <= 3

    # the theme reaches it
    dark = panel.results.curves.plot.backgroundBrush().color()
    accent = panel.run_bar.run.styleSheet()
    viewer.theme = "light"
    light = panel.results.curves.plot.backgroundBrush().color()
    assert light.lightness() > dark.lightness() + 100
    assert panel.run_bar.run.styleSheet() != accent


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
