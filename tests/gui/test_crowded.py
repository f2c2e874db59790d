"""Sixteen channels, forty labels and long names: Run stays in sight, and the keyboard goes only where something is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.docks import use_model
from helpers.networks import card
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtWidgets import QApplication, QWidget
from torch import nn

import napari_segxai as sx
from napari_segxai.gui import worker
from napari_segxai.models.present import present_labels

DOCKS = ["Explain", "Information flow", "Compare and evaluate", "Sweep parameters"]
LABELS = [
    "background",
    *(f"left inferior part of the parahippocampal gyrus number {k}" for k in range(1, 40)),
]
DRAWN = [LABELS[17], LABELS[30]]
IMAGE = "an_image_with_a_very_long_name_that_came_from_a_microscope_2026_11_27_series_004_of_12"


class Forty(nn.Module):
    """Draws two of its 39 labels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(16, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 40, 1)
        with torch.no_grad():
            self.head.bias.fill_(-100)
            for name in DRAWN:
                self.head.bias[LABELS.index(name)] = 0

    def forward(self, x):
        return self.head(self.features(x))


@pytest.fixture(scope="module")
def crowded_model():
    made = card(
        name="A model with a very long name that somebody gave it, version 12.3 of the year 2026",
        labels=LABELS,
        channels=[f"modality number {k} (weighted, with a contrast agent)" for k in range(16)],
        license="A licence whose name is long, too, and says who may do what with these weights",
    )
    return sx.load_model(Forty(), card=made)


@pytest.fixture
def crowded(viewer, wait, crowded_model):
    """Open a dock at 1280 x 800 with the model and its image."""
    viewer.window.resize(1280, 800)
    image = np.random.default_rng(0).normal(size=(16, 24, 24)).astype(np.float32)
    viewer.add_image(image, name=IMAGE, axis_labels=("c", "y", "x"))

    def open_(name: str):
        _dock, panel = viewer.window.add_plugin_dock_widget("napari-segxai", name)
        use_model(panel, crowded_model)
        wait(lambda: panel.run_bar.run.isEnabled() and worker._running is None)
        return panel

    return open_


def in_sight(widget: QWidget, window: QWidget) -> bool:
    """Tell whether all of a widget is seen inside the window and every widget that it lies in."""
    if not widget.isVisible():
        return False
    box = QRect(widget.mapTo(window, QPoint(0, 0)), widget.size())
    if not QRect(0, 0, 1280, 800).contains(box):
        return False
    return widget.visibleRegion().boundingRect().size() == widget.size()


def stops(window: QWidget, first: QWidget) -> list[QWidget]:
    """Return the widgets that Tab goes to from one, in the way Qt goes: enabled, visible, by Tab."""
    out, widget = [], first.nextInFocusChain()
    while widget is not first:
        by_tab = widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        if by_tab and widget.isEnabled() and widget.isVisibleTo(window):
            out.append(widget)
        widget = widget.nextInFocusChain()
    return out


@pytest.mark.parametrize("name", DOCKS)
def test_tab_goes_only_to_what_is_seen_and_run_stays_in_sight(crowded, viewer, name):
    panel = crowded(name)
    window = viewer.window._qt_window
    QApplication.processEvents()
    assert window.width() <= 1280
    assert window.height() <= 800
    assert in_sight(panel.run_bar.run, window)
    inside = [w for w in stops(window, panel.run_bar.run) if panel.isAncestorOf(w)]
    assert len(inside) > 4
    flat = [w for w in inside if w.visibleRegion().isEmpty() and not _scrolls(w)]
    assert not flat, [(type(w).__name__, w.toolTip()) for w in flat]
    fold = panel.fields.target
    seed = panel.fields.target_fields.seed_box
    assert seed not in inside
    fold.expand(animate=False)
    assert seed in stops(window, panel.run_bar.run)
    fold.collapse(animate=False)
    assert seed not in stops(window, panel.run_bar.run)
    QApplication.processEvents()
    panel.run_bar.set_blocked("This cannot be run, because " + "a very long reason " * 40)
    panel.run_bar.show_status("⚠ " + "something that has to be said of the result " * 60)
    QApplication.processEvents()
    for button in (panel.run_bar.run, panel.run_bar.copy, panel.run_bar.save):
        assert in_sight(button, window), button.text()
    assert "long reason" in panel.run_bar.estimate.text()  # nothing of it is lost: it scrolls


def _scrolls(widget: QWidget) -> bool:
    """Tell whether a widget is out of sight only because a form is scrolled: Tab brings it into sight."""
    return (
        widget.height() > 0
        and widget.width() > 0
        and not any(isinstance(above, QWidget) and above.maximumHeight() == 0 for above in _above(widget))
    )


def _above(widget: QWidget) -> list[QWidget]:
    out = []
    while (widget := widget.parentWidget()) is not None:
        out.append(widget)
    return out


def test_labels_that_are_not_drawn_are_neither_ticked_nor_first_and_the_form_folds_after_a_run(
    crowded, wait, viewer
):
    panel = crowded("Information flow")
    fields = panel.fields.label_list
    wait(lambda: fields.ticked() == DRAWN)
    assert [fields.item(k).text() for k in range(2)] == DRAWN
    assert "2 backward" in panel.run_bar.estimate.text()
    wide = panel.results.width()
    panel.run_bar.run.click()
    wait(lambda: not panel.run_bar.is_running)
    QApplication.processEvents()
    assert panel.sides.is_folded
    assert panel.results.width() > wide + 100
    window = viewer.window._qt_window
    for button in (panel.run_bar.run, panel.run_bar.copy, panel.run_bar.save, panel.run_bar.fold):
        assert in_sight(button, window), button.text()
    hidden = [w for w in stops(window, panel.run_bar.run) if panel.fields.isAncestorOf(w)]
    assert panel.fields.region_box.combo not in hidden
    panel.run_bar.fold.click()
    QApplication.processEvents()
    assert not panel.sides.is_folded
    assert panel.fields.region_box.combo in stops(window, panel.run_bar.run)
    assert abs(panel.results.width() - wide) < 20
    assert list(panel.flow.labels) == DRAWN
    fields.tick([LABELS[3]])
    fields.set_present(DRAWN)  # what the user has ticked stays
    assert fields.ticked() == [LABELS[3]]


def test_a_label_that_is_drawn_is_chosen_first(crowded, wait):
    panel = crowded("Explain")
    wait(lambda: panel.fields.label_box.currentText() == DRAWN[0])
    panel.fields.label_box.setCurrentText(LABELS[5])  # may be asked about all the same
    panel.present_labels.ask()
    assert panel.fields.label_box.currentText() == LABELS[5]
    index = panel.fields.label_box.findText(LABELS[5])
    assert "does not predict" in panel.fields.label_box.itemData(index, Qt.ItemDataRole.ToolTipRole)


def test_labels_of_a_prediction():
    assert present_labels(np.array([[0, 2]]), ("a", "b", "c"), overlapping=False) == ("a", "c")
    masks = np.array([[[True, False]], [[False, False]]])
    assert present_labels(masks, ("a", "b", "c"), overlapping=True) == ("b",)


def canvas_height(viewer) -> int:
    return viewer.window._qt_viewer.canvas.native.height()


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("name", DOCKS[1:])
def test_a_wide_dock_leaves_half_of_the_canvas_and_fits_the_image(viewer, wait, name):
    viewer.window.resize(1280, 800)
    viewer.open_sample("napari-segxai", "triangle")
    QApplication.processEvents()
    before, zoom = canvas_height(viewer), viewer.scene.camera.zoom
    _, _panel = viewer.window.add_plugin_dock_widget("napari-segxai", name)
    wait(lambda: viewer.scene.camera.zoom < zoom)
    assert canvas_height(viewer) >= before / 2
    extent = viewer.layers[0].extent.world
    assert (extent[1] - extent[0])[0] * viewer.scene.camera.zoom <= canvas_height(viewer)
