"""Tables of thousands of rows: what the window does for each of them is counted, not timed."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_segxai.analyses.cohort.tables import frame as frames
from napari_segxai.analyses.cohort.tables.frame import Frame
from napari_segxai.gui.cases.points import Points
from napari_segxai.gui.cases.table import FrameTable, runs_of

ROWS = [
    {"case": f"c{k // 4}", "label": f"l{k % 2}", "map": f"m{k // 2 % 2}", "n": float(k % 7), "error": ""}
    for k in range(4000)
]


@pytest.fixture
def table(qtbot) -> FrameTable:
    shown = FrameTable()
    qtbot.addWidget(shown)
    shown.resize(600, 300)
    shown.set_frame(Frame.of("maps", ROWS))
    shown.show()
    qtbot.waitExposed(shown)
    QApplication.processEvents()
    return shown


def test_a_selection_of_all_rows_is_painted_without_asking_each(table, monkeypatch):
    """Qt asked for every row of every column whether it is selected, to paint the heads: 400 ms with 12 000 rows."""
    asked = []
    before = type(table.table).rowCount
    monkeypatch.setattr(type(table.table), "rowCount", lambda *args: asked.append(1) or before(*args))
    table.selectAll()
    table.grab()
    assert len(asked) < len(ROWS) / 2
    assert len(table.selectionModel().selectedRows()) == len(ROWS)


def test_names_are_compared_once_and_not_for_every_sort(table, monkeypatch):
    monkeypatch.setattr(frames, "_natural", None)  # would be called for each row
    table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    assert table.table.text(int(table.table.order[0]), "case") == "c999"
    assert table.table.order[:4].tolist() == [3996, 3997, 3998, 3999]  # of one name in their order
    table.table.set_frame(table.table.frame, table.table.frame.matching("C12 m1 n<3"))
    left = [ROWS[row] for row in table.table.order]
    own = [row for row in ROWS if "c12" in row["case"] and row["map"] == "m1" and row["n"] < 3]
    assert len(left) == len(own) > 0
    assert all(row in own for row in left)


def test_rows_of_a_case_and_cases_of_rows():
    frame = Frame.of("maps", ROWS)
    assert frame.rows_of("c2").tolist() == [8, 9, 10, 11]
    assert frame.cases_of([11, 5, 8]) == ["c1", "c2"]
    assert frame.name_of(9, "label") == "l1"
    assert frame.name_of(9, "channel") == ""
    assert frame.row_of["c2", "l1", "m1"] == 11


def test_lines_that_follow_each_other_are_one_range():
    found = [run.tolist() for run in runs_of(np.array([1, 2, 3, 7, 9, 10]))]
    assert found == [[1, 2, 3], [7], [9, 10]]
    assert runs_of(np.arange(0)) == []


def test_points_that_look_alike_are_looked_up_once(qapp, monkeypatch):
    item = Points(size=7, brush="#ff0000")
    asked = []
    before = type(item.fragmentAtlas).__getitem__
    monkeypatch.setattr(
        type(item.fragmentAtlas), "__getitem__", lambda self, s: asked.append(len(s)) or before(self, s)
    )
    item.setData(np.arange(1000.0), np.arange(1000.0))
    item.addPoints(np.arange(10.0), np.arange(10.0))
    assert max(asked) == 1
    assert (item.data["sourceRect"] == item.data["sourceRect"][0]).all()
    assert item.data["sourceRect"]["w"][0] > 0


def test_sizes_and_counts_are_whole_and_heads_begin_alike(qtbot):
    shown = FrameTable()
    qtbot.addWidget(shown)
    rows = [{"case": f"c{k}", "size": 149.0 + k, "iou": 1.0, "ratio": 2.5 + k / 2} for k in range(3)]
    shown.set_frame(Frame.of("study", rows))
    model = shown.table
    assert [model.text(1, name) for name in ("case", "size", "iou", "ratio")] == [
        "c1",
        "150",
        "1.000",
        "3.000",
    ]
    heads = [model.headerData(k, Qt.Orientation.Horizontal) for k in range(4)]
    assert all(head[0].isupper() for head in heads)
