"""Names under the points of a chart: all that fit, and of long ones the part in which they differ."""

from __future__ import annotations

import pytest
from qtpy.QtGui import QFont, QFontMetrics

from napari_segxai.gui.cases.name_axis import GAP, LEAST, READABLE, NameAxis, differing, fitted

LAYERS = [f"encoder.{k}.conv.block" for k in range(12)]


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (LAYERS, [str(k) for k in range(12)]),
        (["misure of liver", "rise of liver"], ["misure", "rise"]),
        (["encoder.1", "encoder.2", "nowhere"], ["1", "2", "nowhere"]),
        (["one name alone"], ["one name alone"]),
        (["a b", "c d"], ["a b", "c d"]),
    ],
)
def test_what_all_names_share_is_left_out(names, left):
    assert differing(names) == left


def test_every_name_has_its_place(qapp):
    """Of the names of a narrow chart some were not drawn, and others lay over each other."""
    axis = NameAxis("bottom")
    axis.set_names(LAYERS)
    metrics = QFontMetrics(QFont())
    for width, count in ((3000, 12), (12 * LEAST, 12), (6 * LEAST, 6)):
        [(step, places)] = axis.tickValues(0, 12, width)
        said = axis.tickStrings(places, 1, step)
        assert len(said) == count
        room = width / 12 * step
        assert all(metrics.horizontalAdvance(line) < room for name in said for line in name.split("\n"))
        assert said[-1] in (LAYERS[places[-1]], str(places[-1]))


def test_names_are_left_out_rather_than_cut_to_nothing(qapp):
    names = [
        *(f"encoder{k}" for k in range(1, 5)),
        "bottleneck",
        *(f"decoder{k}" for k in range(4, 0, -1)),
        "head",
    ]
    axis = NameAxis("bottom")
    axis.set_names(names)
    metrics = QFontMetrics(QFont())
    wide = metrics.horizontalAdvance("bottleneck") + GAP + 1
    for share, step in ((1.0, 1), (0.5, 2)):
        width = int(share * wide * len(names)) + 1
        assert share == 1 or width / len(names) < READABLE
        [(found, places)] = axis.tickValues(0, len(names), width)
        assert found == step
        assert axis.tickStrings(places, 1, found) == names[::step]


def test_a_name_takes_two_lines_before_it_is_cut(qapp):
    metrics = QFontMetrics(QFont())
    room = metrics.horizontalAdvance("misure of")
    assert fitted("misure of liver", room, metrics) == "misure\nof liver"
    assert fitted("misure", room, metrics) == "misure"
    assert all(
        metrics.horizontalAdvance(line) <= room for line in fitted("x" * 60, room, metrics).split("\n")
    )
