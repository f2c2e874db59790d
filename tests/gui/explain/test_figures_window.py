"""Charts, pictures and tables of an explanation beside the Explain dock."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.docks import choose, use_model
from helpers.networks import PatchSwitch, card, patch_of, planted_image
from qtpy.QtWidgets import QApplication, QLabel

import napari_segxai as sx
from napari_segxai.analyses.cohort.tables.frame import STUDY, Frame
from napari_segxai.core.chart import Chart, Series
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.gui.cases.charts import COLORS, ChartView
from napari_segxai.gui.cases.table import FrameTable
from napari_segxai.gui.explain.figures import FiguresWindow, figures_of


@pytest.fixture
def panel(viewer, open_panel, wait):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    use_model(
        panel, sx.load_model(PatchSwitch(patch_of(2)), card=card(name="figures", grid={"size": [32, 32]}))
    )
    wait(lambda: panel.run_bar.run.isEnabled())
    return panel


def run(panel, wait, method: str, **params) -> None:
    choose(panel, method, **params)
    panel.run()
    wait(lambda: not panel.run_bar.is_running and panel._all_shown())


def test_figures_of_a_dream_and_a_layer_with_a_slider(panel, viewer, wait):
    assert not panel.fields.figures.isEnabled()
    run(panel, wait, "deep-dream", steps=4, frames=4)
    steps = next(layer for layer in viewer.layers if layer.name.startswith("dream"))
    assert steps.data.shape == (5, 32, 32)
    assert viewer.dims.ndim == 3
    viewer.dims.set_current_step(0, 4)
    np.testing.assert_allclose(steps.data[0], planted_image().array, rtol=1e-6)
    panel.fields.figures.click()
    window = panel.figures
    assert window.isVisible()
    names = [window.box.itemText(k) for k in range(window.box.count())]
    assert names[0] == "What changes on the way up to object"
    assert "table: random" in names
    assert window.shown.currentWidget() is window.chart
    assert window.chart.chart is panel.explanation.charts[0]
    window.box.setCurrentText("score, on the way up to object")
    viewer.dims.set_current_step(0, 2)  # the slider goes along the curve
    [(step, score)] = window.chart.marked
    assert (step, score) == (2, pytest.approx(panel.explanation.curves["dream"]["score"][2]))
    window.chart.clicked.emit("3")  # and a click on the curve moves the slider
    assert viewer.dims.current_step[0] == 3
    window.box.setCurrentText("table: dream")
    assert window.shown.currentWidget() is window.table
    assert window.table.model().rowCount() == 5
    window.copy.click()
    assert QApplication.clipboard().text().startswith("step,score,mean,")
    run(panel, wait, "deep-dream", steps=2, frames=2)  # the next result takes its place
    assert window.box.currentText() == "table: dream"
    assert window.table.model().rowCount() == 3
    run(panel, wait, "vanilla-gradient")
    assert not window.isVisible()
    panel.fields.figures.click()
    assert "vanilla-gradient makes no charts, pictures or tables" in panel.run_bar.status.text()


def test_a_gallery_is_laid_out(panel, wait):
    run(panel, wait, "vanilla-gradient")
    pictures = [
        Picture("unit 1", np.eye(4), "made", (0, 1)),
        Picture("unit 1", np.ones((4, 8, 3))),
        Picture("unit 2", np.eye(3)),
    ]
    panel.explanation.galleries = (Gallery("units", "What units see", pictures, "In one scale."),)
    assert list(figures_of(panel.explanation)) == ["What units see"]
    panel.show_figures()
    window: FiguresWindow = panel.figures
    drawn = [label for label in window.pictures.findChildren(QLabel) if not label.pixmap().isNull()]
    assert len(drawn) == 3
    assert (drawn[1].pixmap().width(), drawn[1].pixmap().height()) == (112, 56)
    assert window.caption.text() == "In one scale."


def test_places_between_names_are_drawn_where_they_lie(qtbot):
    view = ChartView()
    qtbot.addWidget(view)
    leaves = Series("", ("cat", "dog", "car"), (0.0, 0.0, 0.0), kind="points")
    joined = Series("decisions", (0.5, 0.0, 1.0), (1.0, 1.0, 1.0))
    view.show_chart(Chart("lines", "Tree", "label", "height", (leaves, joined)))
    drawn = [np.asarray(item.getData()[0], float).tolist() for item in view.plot.listDataItems()]
    assert [0.5, 0.0, 1.0] in drawn
    words = view.legend.text()
    assert words.count("●") == 1
    assert COLORS[1] in words  # the first one has no name, and its colour belongs to nobody


def test_the_number_of_a_channel_is_whole(qtbot):
    table = FrameTable()
    qtbot.addWidget(table)
    table.set_frame(
        Frame.of(STUDY, [{"channel": 6.0, "relevance": 0.126}, {"channel": 0.0, "relevance": 2.0}])
    )
    assert [table.table.text(row, "channel") for row in (0, 1)] == ["6", "0"]
    assert table.table.text(1, "relevance") == "2.000"
