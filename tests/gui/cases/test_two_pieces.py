"""Two pieces of a case are read at the same time, and their layers come in the order of the pieces."""

from __future__ import annotations

from threading import Event

import numpy as np

from napari_segxai.gui.cases.case import CaseView
from napari_segxai.gui.viewer.opened_case import Piece


def test_a_piece_that_is_read_sooner_waits_for_the_one_below_it(viewer, open_panel, wait):
    panel = open_panel()
    case = CaseView(viewer, panel.tasks, panel)
    second = Event()

    def image():
        assert second.wait(30), "the second piece is not read while the first one is"
        yield np.zeros((4, 4)), {"name": "image", "metadata": {}}, "image"

    def truth():
        second.set()
        yield np.zeros((4, 4), np.uint8), {"name": "truth", "metadata": {}}, "labels"

    def map():
        yield np.ones((4, 4)), {"name": "map", "metadata": {"segxai_role": "saliency"}}, "image"

    pieces = [Piece("image", image), Piece("truth", truth), Piece("map", map)]
    case.show(("results", "case"), lambda: pieces)
    wait(lambda: not case.is_busy)
    assert [layer.name for layer in viewer.layers] == ["image", "truth", "map"]


def test_a_piece_that_cannot_be_read_is_said_and_the_others_are_shown(viewer, open_panel, wait):
    panel = open_panel()
    case = CaseView(viewer, panel.tasks, panel)
    said = []
    case.told.connect(lambda text, failed: said.append((text, failed)))

    def image():
        raise MemoryError("no room for the image")

    def truth():
        yield np.zeros((4, 4), np.uint8), {"name": "truth", "metadata": {}}, "labels"

    case.show(("results", "case"), lambda: [Piece("image", image), Piece("truth", truth)])
    wait(lambda: not case.is_busy)
    assert [layer.name for layer in viewer.layers] == ["truth"]
    assert said == [("case\nno room for the image", True)]
