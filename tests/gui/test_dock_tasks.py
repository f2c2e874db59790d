"""The tasks of a dock end with it, whatever they have found until then."""

from __future__ import annotations

import time

from napari.components import ViewerModel

from napari_segxai.core.progress import Step
from napari_segxai.gui import worker
from napari_segxai.gui.viewer.lifetime import Tasks


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
