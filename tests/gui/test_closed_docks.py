"""What is left of a dock that a user closed, and what docks are told when layers come and go."""

from __future__ import annotations

import time

import numpy as np
import pytest
from helpers.networks import planted_image
from qtpy.QtWidgets import QApplication

from napari_segxai.core.progress import Step
from napari_segxai.gui import worker

DOCKS = ("Explain", "Information flow", "Compare and evaluate", "Sweep parameters")


@pytest.mark.parametrize("name", [*DOCKS, "Cohort", "Concepts"])
def test_a_dock_has_the_viewer_itself_and_listens_no_more_once_it_is_closed(viewer, wait, name):
    """A proxy's layers are made anew whenever they are asked for: what is kept of them by a weak reference is lost at once."""
    layer = viewer.add_image(planted_image().array, name="planted")
    events = (
        viewer.layers.events.inserted,
        viewer.layers.selection.events.active,
        viewer.dims.events.ndisplay,
    )
    before = [len(event.callbacks) for event in events]
    area, panel = viewer.window.add_plugin_dock_widget("napari-segxai", name)
    assert [len(event.callbacks) for event in events] != before
    assert panel.viewer is viewer
    assert panel.viewer.layers.selection.active is layer
    assert panel.viewer.layers[0] is layer
    gone = []
    panel.destroyed.connect(lambda *_: gone.append(True))
    area.destroyOnClose()  # what the cross in its title does
    wait(lambda: bool(gone))
    assert [len(event.callbacks) for event in events] == before


def test_a_task_that_asks_no_network_does_not_wait_for_one_that_does(viewer, open_panel, wait):
    panel = open_panel()
    told = []

    def long():
        while not told:
            time.sleep(0.01)
            yield Step(0, 1, "")
        return "long"

    def short():
        yield from ()
        return "short"

    panel.tasks.in_background(long, lambda outcome: told.append(outcome.result))
    panel.tasks.beside(short, lambda outcome: told.append(outcome.result))
    wait(lambda: len(told) == 2)
    assert told == ["short", "long"]


def test_a_task_beside_ends_with_its_dock(viewer, open_panel, wait):
    panel = open_panel()
    steps, told = [], []

    def make():
        for k in range(400):
            steps.append(k)
            time.sleep(0.01)
            yield Step(k, 400, "")

    panel.tasks.beside(make, told.append)
    wait(lambda: bool(steps))
    viewer.window.remove_dock_widget(panel)
    wait(lambda: not worker._beside)
    assert len(steps) < 400
    assert told == []


def test_a_dock_that_is_closed_while_an_object_is_picked_gives_the_cursor_back(viewer, wait):
    viewer.add_image(planted_image().array, name="planted")
    style, before = viewer.cursor.style, list(viewer.mouse_drag_callbacks)
    area, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    panel.fields.region_box.pick.click()
    assert viewer.cursor.style != style
    area.destroyOnClose()
    wait(lambda: viewer.cursor.style == style)
    assert list(viewer.mouse_drag_callbacks) == before
    assert not [key for key in viewer.keymap if str(key) == "Escape"]


def test_a_task_in_the_background_ends_with_its_dock(viewer, open_panel, wait):
    panel = open_panel()
    steps, told = [], []

    def make():
        for k in range(400):
            steps.append(k)
            time.sleep(0.01)
            yield Step(k, 400, "")

    panel.tasks.in_background(make, told.append)
    wait(lambda: bool(steps))
    viewer.window.remove_dock_widget(panel)
    wait(lambda: worker._running is None)
    assert len(steps) < 400
    assert told == []


def test_a_widget_that_is_put_into_another_dock_stays(viewer, open_panel):
    panel = open_panel()
    viewer.window.remove_dock_widget(panel)
    viewer.window.add_dock_widget(panel, name="again")
    for _ in range(3):
        QApplication.processEvents()
    assert panel.isVisible()


def test_an_image_is_looked_at_again_only_if_it_is_another_one(viewer, open_panel):
    layer = viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    told = []
    panel.image_box.changed.connect(lambda: told.append("image"))
    panel.image_box.others_changed.connect(lambda: told.append("others"))

    def after(do) -> list[str]:
        told.clear()
        do()
        return list(told)

    labels = viewer.add_labels(np.ones((32, 32), np.uint8), name="drawn")
    offered = panel.fields.region_box.combo
    assert told == ["others"]
    assert offered.findText("drawn") >= 0
    assert after(lambda: setattr(labels, "name", "by hand")) == ["others"]
    assert offered.findText("by hand") >= 0
    offered.setCurrentText("by hand")
    assert after(lambda: viewer.layers.remove(labels)) == ["others"]
    assert offered.currentText() == "predicted pixels"
    result = {"metadata": {"segxai_role": "saliency"}}
    assert after(lambda: viewer.add_image(layer.data, **result)) == ["others"]
    assert after(lambda: viewer.add_image(layer.data, name="second"))[0] == "image"
    # what is no news for napari's list of layers is seen when something else is
    panel.image_box.setCurrentText("planted")
    layer.data = layer.data + 1
    assert after(lambda: viewer.add_points()) == ["image"]
    layer.scale = (2, 2)
    assert after(lambda: viewer.add_points()) == ["image"]
    assert after(lambda: viewer.add_points()) == ["others"]
    assert after(lambda: viewer.layers.remove("planted"))[0] == "image"
    assert panel.layer.name == "second"
