"""The tasks of a dock end with it, whatever they have found until then."""

from __future__ import annotations

import time
from functools import partial

from napari.components import ViewerModel
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_segxai.core.progress import Step, part_done
from napari_segxai.gui import worker
from napari_segxai.gui.viewer import lifetime
from napari_segxai.gui.viewer.lifetime import Tasks, when_gone


def test_a_dock_that_is_closed_during_its_checks_adds_no_layer(qtbot, wait):
    viewer, told = ViewerModel(), []
    tasks = Tasks(viewer)

    def checks():
        while True:
            time.sleep(0.01)
            yield Step(1, 2, "checking", partial=lambda: ["a verdict is not a map"])

    assert not tasks.run(checks, lambda step: None, told.append)
    waiting = []
    assert tasks.in_background(checks, waiting.append)  # the other one has to end first
    wait(lambda: worker._running is not None and worker._running.step is not None)
    tasks.end()
    wait(lambda: worker._running is None and not worker._waiting)  # what is raised in a slot fails the test
    assert tasks.is_closed()
    assert len(viewer.layers) == 0
    assert told == waiting == []


def test_a_pass_in_many_parts_is_told_and_cancelled_in_its_midst(qtbot, wait):
    """A whole volume through a sliding window is one pass: nobody waits for its end."""
    viewer, notes, told, parts = ViewerModel(), [], [], []
    tasks = Tasks(viewer)

    def predict():
        yield Step(0, 2, "forward pass", partial=lambda: "so far")
        for number in range(1, 10_000):
            parts.append(number)
            part_done(number, 10_000)
            time.sleep(0.01)
        yield Step(1, 2, "never")

    tasks.run(predict, lambda step: notes.append(step.note), told.append)
    wait(lambda: any("forward pass: window" in note and "of 10000" in note for note in notes))
    tasks.cancel()
    wait(lambda: told != [])
    assert told[0].cancelled
    assert told[0].result == "so far"
    assert told[0].error is None
    assert len(parts) < 9_000


def test_what_is_called_when_a_widget_is_gone_is_held_until_then(qapp):
    """PyQt lets go of it while a window is taken apart, and calls it all the same, which has crashed the process."""
    told, before = [], set(lifetime._called_when_gone)
    widget = QWidget()
    when_gone(widget, partial(told.append, "gone"))
    [held] = lifetime._called_when_gone - before
    assert told == []
    widget.deleteLater()
    QApplication.sendPostedEvents(widget, QEvent.Type.DeferredDelete)
    assert told == ["gone"]
    assert held not in lifetime._called_when_gone
