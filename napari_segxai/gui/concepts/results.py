"""What a survey found: units or concepts in a table, and beside it reference crops and charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.analyses.cohort.tables.frame import STUDY, Frame
from napari_segxai.analyses.concepts.result import Survey
from napari_segxai.core.gallery import shows
from napari_segxai.gui.cases.buttons import copy_button, open_button, pin_button
from napari_segxai.gui.cases.charts import ChartView
from napari_segxai.gui.cases.filter import FilterLine
from napari_segxai.gui.cases.table import FrameTable
from napari_segxai.gui.concepts.gallery import CropGallery
from napari_segxai.gui.widgets.fields import Words, combo

MAIN, CASES = "findings", "cases"
"""The tables that every survey has."""

CHOOSE = "Choose a row to see where it is strongest."


class ConceptsResults(QWidget):
    """Table, crops and charts of a survey, which share one selection with the viewer.

    Attributes
    ----------
    chosen
        The user went to a row, which is given, or to none.
    wanted
        A case is to be shown: its id.
    opening
        Another saved survey is asked for.
    survey
        What is shown; None while there is nothing.
    """

    chosen = Signal(object)
    wanted = Signal(str)
    opening = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.survey: Survey | None = None
        self.frames: dict[str, Frame] = {}
        self.current: int | None = None
        """The row that the user is at: its number in the frame."""
        self._by_user = False
        """Whether the user has chosen the table: until then the first one is shown, once it has rows."""
        self._tab_by_user = False
        """Whether the user has chosen between crops and charts: until then crops are shown, once there are some."""
        self.rows_box = combo("The table that is shown.")
        self.rows_box.setMinimumWidth(110)
        self.filter = FilterLine("auc>0.9")
        self.table = FrameTable(bars=True)
        self.copy, self.pin = copy_button(self.table), pin_button()
        self.open = open_button("Open the folder of a survey that was saved.")
        self.words = Words(4, grows=False)  # the room is that of the table
        self.words.setText("Choose a folder of cases and press Run, or open results.")
        self.gallery = CropGallery()
        self.chart = ChartView()
        self.chart_box = combo("The chart that is shown.")
        self.tabs = QTabWidget()
        self._lay_out()
        self._connect()
        self._say()

    def _lay_out(self) -> None:
        charts = QWidget()
        column = QVBoxLayout(charts)
        column.setContentsMargins(0, 2, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.chart_box)
        column.addWidget(self.chart, 1)
        self.tabs.addTab(self.gallery, "Crops")
        self.tabs.addTab(charts, "Charts")
        top = QHBoxLayout()
        for part, share in ((self.rows_box, 1), (self.filter, 2), (self.copy, 0)):
            top.addWidget(part, share)
        corner = QWidget()
        buttons = QHBoxLayout(corner)
        buttons.setContentsMargins(0, 0, 0, 2)
        for button in (self.pin, self.open):
            buttons.addWidget(button)
        self.tabs.setCornerWidget(corner)
        # Crops and charts need height, of which a dock at the bottom has little: all of it is theirs.
        left = QWidget()
        own = QVBoxLayout(left)
        own.setContentsMargins(0, 0, 0, 0)
        own.setSpacing(2)
        own.addLayout(top)
        own.addWidget(self.words)
        own.addWidget(self.table, 1)
        sides = QSplitter(Qt.Orientation.Horizontal)
        for side in (left, self.tabs):
            sides.addWidget(side)
        sides.setSizes([480, 440])
        sides.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(sides)

    def _connect(self) -> None:
        self.rows_box.currentIndexChanged.connect(lambda _: self._on_rows())
        self.filter.wanted.connect(self._show)
        self.open.clicked.connect(self.opening)
        self.table.stepped.connect(self._on_stepped)
        self.chart.clicked.connect(self._on_case)
        self.chart_box.currentIndexChanged.connect(lambda _: self._show_chart())
        self.tabs.tabBarClicked.connect(lambda _: self._on_tab())

    @property
    def frame(self) -> Frame | None:
        """The table that is shown."""
        return self.frames.get(self.rows_box.currentData() or "")

    @property
    def row(self) -> Mapping[str, Any] | None:
        """The row that the user is at."""
        frame = self.frame
        return None if frame is None or self.current is None else frame.rows[self.current]

    # -- what is shown --------------------------------------------------------------------------------------

    def set_survey(self, survey: Survey | None) -> None:
        """Show another survey, or what has been added to it: the row stays, where it is still there."""
        before, chosen = self.row, self.rows_box.currentData() if self._by_user else MAIN
        same = survey is not None and self.survey is not None and survey.method == self.survey.method
        self.survey, self._by_user = survey, self._by_user and same
        tables = {} if survey is None else {MAIN: survey.table, **survey.tables, CASES: _cases(survey)}
        of = None if survey is None else survey.column
        self.frames = {
            name: Frame.of(STUDY, list(rows), None if name == CASES else of)
            for name, rows in tables.items()
            if rows
        }
        self.rows_box.blockSignals(True)
        self.rows_box.clear()
        for name in self.frames:
            self.rows_box.addItem(name, name)
        self.rows_box.setCurrentIndex(
            max(0, self.rows_box.findData(chosen) if same else 0) if self.frames else -1
        )
        self.rows_box.blockSignals(False)
        self.current = self._row_like(before) if same else None
        charts = () if survey is None else survey.charts
        title = self.chart_box.currentText()
        self.chart_box.blockSignals(True)
        self.chart_box.clear()
        self.chart_box.addItems([chart.title for chart in charts])
        self.chart_box.setCurrentIndex(max(0, self.chart_box.findText(title)) if charts else -1)
        self.chart_box.blockSignals(False)
        self.chart_box.setVisible(len(charts) > 1)
        self._tab_by_user = self._tab_by_user and same
        if not self._tab_by_user and survey is not None:  # maps come last
            self.tabs.setCurrentIndex(0 if survey.maps or survey.galleries or not charts else 1)
        self._show()
        self._show_chart()
        self.chosen.emit(self.row)

    def choose_first(self) -> None:
        """Go to the first row of which a map is kept, or of a case."""
        frame, survey = self.frame, self.survey
        if frame is None or survey is None:
            return
        kept = [*survey.maps, *(picture for one in survey.galleries for picture in one.pictures)]
        numbers = range(len(frame.rows))
        first = next(
            (k for k in numbers if any(shows(one.of, one.case, frame.rows[k]) for one in kept)), None
        )
        if first is not None:
            self.choose(first)

    def set_colors(self, background: str, text: str) -> None:
        """Follow the theme."""
        self.chart.set_colors(background, text)

    def mark(self, case: str) -> None:
        """Mark a case, of which a layer was selected in the viewer: its points, and its row."""
        self.chart.mark(case)
        frame = self.frame
        if frame is None or (self.row or {}).get("case") == case:
            return
        found = frame.rows_of(case)
        if len(found):
            self.current = int(found[0])
            self._select()

    def _show(self) -> None:
        frame = self.frame
        left, problem = self.filter.left(frame)
        self.table.set_frame(frame, left)
        self._select()
        self._say(problem)

    def _say(self, problem: str = "") -> None:
        survey = self.survey
        if problem:
            self.words.setText(problem)
        elif survey is not None:
            so_far = "So far: " if survey.record["partial"] else ""
            words = [so_far + survey.sentence, *(f"⚠ {warning}" for warning in survey.warnings)]
            self.words.setText("\n".join(words))
        for button in (self.copy, self.pin):
            button.setEnabled(survey is not None)

    def _show_chart(self) -> None:
        charts, index = () if self.survey is None else self.survey.charts, self.chart_box.currentIndex()
        self.chart.show_chart(charts[max(0, index)] if charts else None, titled=len(charts) == 1)

    # -- one selection --------------------------------------------------------------------------------------

    def _row_like(self, row: Mapping[str, Any] | None) -> int | None:
        """Return the number of the row that is of the same thing, whatever was measured of it since."""
        frame = self.frame
        if frame is None or row is None:
            return None
        for kinds in ((str, int), (str,)):  # a number may be that of a unit, or have grown with the cases
            own = {key: value for key, value in row.items() if isinstance(value, kinds)}
            for k, other in enumerate(frame.rows):
                if own.items() <= other.items():
                    return k
        return None

    def _select(self) -> None:
        rows = np.arange(0) if self.current is None else np.array([self.current])
        self.table.select(rows, self.current)

    def choose(self, row: int) -> None:
        """Go to a row, by its number in the table."""
        self.current = row
        self._select()
        self.chosen.emit(self.row)

    def _on_rows(self) -> None:
        self.current, self._by_user = None, True
        self._show()
        self.chosen.emit(None)

    def _on_tab(self) -> None:
        self._tab_by_user = True

    def _on_stepped(self, row: int) -> None:
        self.current = row
        held = self.row
        self.chosen.emit(held)
        if held is not None and isinstance(case := held.get("case"), str):
            self.chart.mark(case)
            self.wanted.emit(case)

    def _on_case(self, case: str) -> None:
        self.mark(case)
        self.chosen.emit(self.row)
        self.wanted.emit(case)


def _cases(survey: Survey) -> list[dict[str, Any]]:
    """Return the rows of the cases, in the words of tables."""
    return [
        {"case": one["id"], **{key: one[key] for key in ("subject", "slice", "error")}}
        for one in survey.record["cases"]
    ]
