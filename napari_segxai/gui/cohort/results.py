"""The results of a cohort: table, plot and studies, which share one selection with the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.tables.frame import Frame, frames
from napari_segxai.core.progress import Steps
from napari_segxai.gui.cases.buttons import copy_button, open_button, pin_button
from napari_segxai.gui.cases.filter import FilterLine
from napari_segxai.gui.cases.table import FrameTable
from napari_segxai.gui.cohort.plot import CohortPlot
from napari_segxai.gui.cohort.studies import CONTRAST, THESE, StudyTab
from napari_segxai.gui.widgets.fields import combo, plain_label

if TYPE_CHECKING:
    from napari_segxai.gui.worker import Outcome

ROWS = {"maps": "maps", "objects": "objects", "flow": "information flow", "channels": "channels"}


class CohortResults(QWidget):
    """Table, plot and studies of a cohort.

    Parameters
    ----------
    beside
        Runs a task that asks no network: `Tasks.beside`.

    Attributes
    ----------
    wanted
        A case is to be shown: its id, label and map, "" where the row has none.
    opening
        Another folder of results is asked for.
    reporting
        A report is asked for; with True, numbers take the place of names.
    cohort
        What is shown; None while there is nothing.
    """

    wanted = Signal(str, str, str)
    opening = Signal()
    reporting = Signal(bool)

    def __init__(self, beside: Callable[[Callable[[], Steps[Any]], Callable[[Outcome], None]], Any]):
        super().__init__()
        self._beside = beside
        self.cohort: Cohort | None = None
        self.frames: dict[str, Frame] = {}
        self.current: int | None = None
        """The row that the user is at: its number in the frame."""
        self.chosen = np.arange(0)
        """The rows that are selected."""
        self._shown: Frame | None = None
        self._words = ""
        self.rows_box = combo("What the rows are. A row of a map also has the numbers of its object.")
        self.rows_box.setMinimumWidth(100)
        self.filter = FilterLine("truth_dice<0.9")
        self.table, self.plot, self.studies = FrameTable(), CohortPlot(), StudyTab(beside)
        self.copy, self.pin = copy_button(self.table), pin_button()
        self.open = open_button(
            "Open the folder of the results of a cohort, also of one that was stopped or that is still run elsewhere."
        )
        self.report = QPushButton("Report")
        self.report.setToolTip("Write everything that the tables tell into one file: HTML or PDF.")
        menu = QMenu(self.report)
        for words, anonymous in (("Report…", False), ("Report without names…", True)):
            menu.addAction(words, lambda anonymous=anonymous: self.reporting.emit(anonymous))
        self.report.setMenu(menu)
        self._buttons = [self.report, self.pin]
        """Those that ask for a cohort."""
        self.note = plain_label("Choose a folder of cases and press Run, or open results.")
        self.note.setMinimumWidth(60)
        self.note.setWordWrap(True)
        self.averages = QPushButton("Averages of these")
        self.rest = QPushButton("Compare with the rest")
        self.averages.setToolTip("Average every number over the selected cases.")
        self.rest.setToolTip(
            "Compare the selected cases with all others: the median of every number in both groups, and how far the groups overlap."
        )
        self.tabs = QTabWidget()
        for name, part in (("Table", self.table), ("Plot", self.plot), ("Study", self.studies)):
            self.tabs.addTab(part, name)
        self._by_user = False
        """Whether the user has chosen the rows: until then those of the maps are shown, once there are some."""
        self._lay_out()
        self._connect()
        self._say()

    def _lay_out(self) -> None:
        self.top = QHBoxLayout()
        self.top.addWidget(self.rows_box, 1)
        self.top.addWidget(self.filter, 3)
        for button in (self.copy, self.pin, self.report, self.open):
            self.top.addWidget(button)
        below = QHBoxLayout()
        below.addWidget(self.note, 1)
        for button in (self.averages, self.rest):
            # They keep their room, else the plot would be laid out, and its axes drawn, anew with every selection.
            policy = button.sizePolicy()
            policy.setRetainSizeWhenHidden(True)
            button.setSizePolicy(policy)
            below.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(self.top)
        layout.addWidget(self.tabs, 1)
        layout.addLayout(below)

    def add_button(self, button: QPushButton) -> None:
        """Put a button before *Open results…*, which asks for a cohort that is shown."""
        self._buttons.append(button)
        self.top.insertWidget(self.top.count() - 1, button)
        self._say()

    def _connect(self) -> None:
        self.rows_box.currentIndexChanged.connect(lambda _: self._show())
        self.rows_box.activated.connect(lambda _: setattr(self, "_by_user", True))
        self.filter.wanted.connect(self._show)
        self.open.clicked.connect(self.opening)
        self.averages.clicked.connect(lambda: self._ask("averages", THESE))
        self.rest.clicked.connect(lambda: self._ask(CONTRAST, THESE))
        self.table.stepped.connect(self._on_stepped)
        self.table.selected.connect(self._on_selected)
        self.plot.clicked.connect(self._on_clicked)
        self.plot.selected.connect(self._on_drawn)
        self.plot.stepped.connect(self.table.step)
        self.studies.wanted.connect(self._on_case)

    @property
    def case(self) -> str:
        """The id of the case that the user is at, or of the only one that is selected; "" where there is none."""
        frame, rows = self.frame, self.chosen if self.current is None else np.array([self.current])
        found = [] if frame is None else frame.cases_of(rows)
        return found[0] if len(found) == 1 else ""

    @property
    def frame(self) -> Frame | None:
        """The table that is shown."""
        return self.frames.get(self.rows_box.currentData() or "")

    # -- what is shown --------------------------------------------------------------------------------------

    def set_cohort(
        self, cohort: Cohort | None, *, ended: bool = True, made: dict[str, Frame] | None = None
    ) -> None:
        """Show another cohort, or what has been added to it: the selection stays, where its rows are still there.

        Parameters
        ----------
        ended
            Whether it does not go on by itself: then the study is asked once more.
        made
            Its tables as `frames` makes them, if another thread has made them.
        """
        other = self.cohort is None or cohort is None or self.cohort.folder != cohort.folder
        self.cohort = cohort
        self._words = "" if cohort is None else f"{cohort.folder.name}: {cohort}"
        self.frames = {} if cohort is None else frames(cohort) if made is None else made
        if other:
            self._shown, self._by_user = None, False
            self.current, self.chosen = None, np.arange(0)
            self.studies.set_chosen(())
        chosen = self.rows_box.currentData() if self._by_user else None
        self.rows_box.blockSignals(True)
        self.rows_box.clear()
        for name in sorted(self.frames, key=list(ROWS).index):
            self.rows_box.addItem(ROWS[name], name)
        self.rows_box.setCurrentIndex(max(0, self.rows_box.findData(chosen)) if self.frames else -1)
        self.rows_box.blockSignals(False)
        self._show()
        self.studies.set_cohort(cohort, ask=ended)

    def set_colors(self, background: str, text: str) -> None:
        """Follow the theme."""
        self.plot.set_colors(background, text)
        self.studies.chart.set_colors(background, text)

    def _show(self) -> None:
        frame = self.frame
        left, problem = self.filter.left(frame)
        self._follow(frame)
        self.table.set_frame(frame, left)
        self.plot.set_frame(frame, left)
        self._select()
        self._say(problem, None if left is None else int(left.sum()))

    def _follow(self, frame: Frame | None) -> None:
        """Keep what is selected, where the table that is shown from now on has it."""
        before, self._shown = self._shown, frame
        if before is frame:
            return
        there = {} if frame is None or before is None else frame.row_of
        keys = before.keys if before is not None else []
        found = [there.get(keys[row]) for row in self.chosen]
        self.chosen = np.array([row for row in found if row is not None], int)
        self.current = None if self.current is None else there.get(keys[self.current])

    def _say(self, problem: str = "", left: int | None = None) -> None:
        cohort, frame = self.cohort, self.frame
        if cohort is not None:
            words = [self._words]
            if left is not None and frame is not None:
                words.append(f"{left} of {len(frame)} rows")
            self.note.setText(problem or " · ".join(words))
            self.note.setToolTip(str(cohort.folder))
        cases = self.cases
        for button in (self.averages, self.rest):
            button.setVisible(bool(cases))
        if cases:
            self.averages.setText(f"Averages of these {len(cases)}")
        self.copy.setEnabled(frame is not None)
        for button in self._buttons:
            button.setEnabled(cohort is not None)

    # -- one selection --------------------------------------------------------------------------------------

    @property
    def cases(self) -> list[str]:
        """The ids of the cases of the selected rows, if there is more than the current row."""
        return [] if len(self.chosen) < 2 or self.frame is None else self.frame.cases_of(self.chosen)

    def _want(self, row: int) -> None:
        """Ask for the case of a row."""
        self.wanted.emit(*(self.frame.name_of(row, part) for part in ("case", "label", "map")))

    def _select(self) -> None:
        self.table.select(self.chosen, self.current)
        self.plot.select(self.chosen, self.current)

    def _on_stepped(self, row: int) -> None:
        self.current = row
        self.plot.select(self.chosen, row)
        self._want(row)

    def _on_selected(self, rows: np.ndarray) -> None:
        self.chosen = rows
        self.plot.select(rows, self.current)
        self._tell_chosen()

    def _on_clicked(self, row: int) -> None:
        self.current, self.chosen = row, np.array([row])
        self._select()
        self._tell_chosen()
        self._want(row)

    def _on_drawn(self, rows: np.ndarray) -> None:
        self.chosen = rows
        self._select()
        self._tell_chosen()

    def _on_case(self, case: str) -> None:
        """Go to the first row of a case."""
        if self.frame is not None and len(found := self.frame.rows_of(case)):
            self._on_clicked(int(found[0]))

    def mark(self, case: str, label: str, map: str) -> None:
        """Make the row of a layer that was selected in the viewer the current one; the case is not opened again."""
        frame, now = self.frame, self.current
        if frame is None or (now is not None and frame.name_of(now, "case") == case and not map):
            return
        own = frame.rows_of(case).tolist()
        asked = [(part, value) for part, value in (("label", label), ("map", map)) if part in frame.names]
        exact = [row for row in own if all(frame.name_of(row, part) == value for part, value in asked)]
        if (found := exact or own) and found[0] != now:
            self.current = found[0]
            if len(self.chosen) < 2:
                self.chosen = np.array(found[:1])
            self._select()

    def _tell_chosen(self) -> None:
        self.studies.set_chosen(self.cases)
        self._say()

    def _ask(self, name: str, of: str) -> None:
        self.tabs.setCurrentWidget(self.studies)
        self.studies.show_study(name, of)
