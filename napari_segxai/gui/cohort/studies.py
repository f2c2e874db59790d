"""The studies of a cohort: what its tables say, with what speaks against it, the table and the charts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.cohort.study import StudyResult, all_studies, study
from napari_segxai.analyses.cohort.tables.frame import STUDY, Frame
from napari_segxai.analyses.cohort.tables.selection import contrast, only
from napari_segxai.core.errors import UserError
from napari_segxai.core.gallery import Gallery
from napari_segxai.core.progress import Steps
from napari_segxai.gui.cases.charts import ChartView
from napari_segxai.gui.cases.pictures import PicturesView
from napari_segxai.gui.cases.table import FrameTable
from napari_segxai.gui.widgets.fields import Words, combo, section, tip
from napari_segxai.gui.widgets.parameter_form import ParameterForm

if TYPE_CHECKING:
    from napari_segxai.gui.worker import Outcome

ALL, THESE = "all", "these"

CONTRAST = "contrast"
"""The chosen cases against the rest, which is no study of the registry: it needs cases that were chosen."""

FIRST = "averages"
"""The study that every cohort has something for."""

PAUSE = 300
"""Milliseconds after the last change of a parameter."""


class StudyTab(QWidget):
    """Chooses a study and shows what it says.

    Parameters
    ----------
    beside
        Runs a task that asks no network: `Tasks.beside`.

    Attributes
    ----------
    wanted
        The id of a case that was clicked.
    result
        What is shown; None while there is nothing.
    """

    wanted = Signal(str)

    def __init__(self, beside: Callable[[Callable[[], Steps[Any]], Callable[[Outcome], None]], Any]):
        super().__init__()
        self._beside = beside
        self.cohort: Cohort | None = None
        self.result: StudyResult | None = None
        self.chosen: Collection[str] = ()
        self.box = combo("The study that is made of the tables.")
        self.known = {one.name: one for one in all_studies()}
        for name, one in self.known.items():
            self.box.addItem(one.title, name)
            words = tip(f"{one.summary}\n{one.source}")
            self.box.setItemData(self.box.count() - 1, words, Qt.ItemDataRole.ToolTipRole)
        self.box.addItem("These cases and the rest", CONTRAST)
        self.box.setCurrentIndex(self.box.findData(FIRST))
        self.of_box = combo(
            "Which cases the study uses. To use some of them, select them in the table or the plot."
        )
        self.again = QPushButton("Update")
        self.again.setToolTip("Make the study again, of the tables as they are now.")
        self.form = ParameterForm()
        self.parameters = section("Parameters", self.form)
        self.said = Words(4)
        self.table_box = combo("The table of the study that is shown.")
        self.chart_box = combo("The chart or the pictures of the study that are shown.")
        self.table = FrameTable()
        self.chart, self.pictures = ChartView(), PicturesView()
        self.drawn = QStackedWidget()
        for part in (self.chart, self.pictures):
            self.drawn.addWidget(part)
        self._count = 0
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE)
        self._lay_out()
        self._offer()
        self._set_parameters()
        self.box.currentIndexChanged.connect(lambda _: self._on_study())
        self.of_box.currentIndexChanged.connect(lambda _: self.ask())
        self.again.clicked.connect(lambda: self.ask())
        self.form.changed.connect(self._pause.start)
        self._pause.timeout.connect(self.ask)
        self.table_box.currentIndexChanged.connect(lambda _: self._show_table())
        self.chart_box.currentIndexChanged.connect(lambda _: self._show_chart())
        self.chart.clicked.connect(self.wanted)
        self.table.stepped.connect(self._on_row)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.box, 2)
        top.addWidget(self.of_box, 1)
        top.addWidget(self.again)
        # A chart needs height, of which a dock at the bottom has little: all of it is the chart's.
        left, right = QWidget(), QWidget()
        words = (self.parameters, self.said, self.table_box)
        for side, above, part in ((left, words, self.table), (right, (self.chart_box,), self.drawn)):
            column = QVBoxLayout(side)
            column.setContentsMargins(0, 0, 0, 0)
            column.setSpacing(2)
            for one in above:
                column.addWidget(one)
            column.addWidget(part, 1)
        sides = QSplitter(Qt.Orientation.Horizontal)
        for side in (left, right):
            sides.addWidget(side)
        sides.setSizes([400, 400])
        sides.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(top)
        layout.addWidget(sides, 1)

    # -- what is asked --------------------------------------------------------------------------------------

    def set_cohort(self, cohort: Cohort | None, *, ask: bool) -> None:
        """Ask another cohort from now on, at once if `ask`."""
        self.cohort = cohort
        if ask:
            self.ask()

    def set_chosen(self, cases: Collection[str]) -> None:
        """Other cases are selected."""
        self.chosen = cases
        self._offer()

    def show_study(self, name: str, of: str = ALL) -> None:
        """Choose a study, and of which cases, and ask it."""
        for box, value in ((self.box, name), (self.of_box, of)):
            box.blockSignals(True)
            box.setCurrentIndex(max(0, box.findData(value)))
            box.blockSignals(False)
        self._set_parameters()
        self.ask()

    def ask(self) -> None:
        """Ask the chosen study, beside what runs; what is asked later is what counts."""
        cohort, name = self.cohort, self.box.currentData()
        self._pause.stop()
        if cohort is None or not self.isVisible():
            self._show(None, "" if cohort is not None else "There are no tables yet.")
            return
        cases = tuple(self.chosen) if self.of_box.currentData() == THESE else None
        parameters = self.form.changed_values()

        def make() -> Steps[StudyResult]:
            yield from ()
            if name == CONTRAST:
                if not self.chosen:
                    raise UserError("Select cases in the table or the plot: they are compared with the rest.")
                return contrast(cohort, set(self.chosen))
            return study(cohort if cases is None else only(cohort, set(cases)), name, **parameters)

        self._count += 1
        self.said.setText("Working…")
        self._beside(make, partial(self._on_answer, self._count))

    def _on_answer(self, count: int, outcome: Outcome) -> None:
        if count != self._count:
            return
        if outcome.error is not None:
            expected = isinstance(outcome.error, UserError)
            self._show(
                None, str(outcome.error) if expected else f"{type(outcome.error).__name__}: {outcome.error}"
            )
        elif outcome.result is not None:
            self._show(outcome.result, "")

    def _on_study(self) -> None:
        self._set_parameters()
        self.ask()

    def _set_parameters(self) -> None:
        name = self.box.currentData()
        known = self.known[name].parameters if name in self.known else ()
        self.form.blockSignals(True)
        self.form.set_parameters(known)
        self.form.blockSignals(False)
        self.parameters.setVisible(bool(known))
        self.of_box.setEnabled(name != CONTRAST)

    def _offer(self) -> None:
        count, own = len(self.chosen), self.of_box.currentData()
        self.of_box.blockSignals(True)
        self.of_box.clear()
        self.of_box.addItem("of all cases", ALL)
        if count:
            self.of_box.addItem(f"of the {count} selected", THESE)
        self.of_box.setCurrentIndex(max(0, self.of_box.findData(own)))
        self.of_box.blockSignals(False)

    # -- what is shown --------------------------------------------------------------------------------------

    def _show(self, result: StudyResult | None, words: str) -> None:
        self.result = result
        if result is not None:
            words = "\n".join([result.sentence, *(f"⚠ {caveat}" for caveat in result.caveats)])
        self.said.setText(words)
        tables = [] if result is None else ["the table", *result.tables]
        charts = [] if result is None else [one.title for one in (*result.charts, *result.galleries)]
        for box, titles in ((self.table_box, tables), (self.chart_box, charts)):
            chosen = box.currentText()
            box.blockSignals(True)
            box.clear()
            box.addItems(titles)
            box.setCurrentIndex(max(0, box.findText(chosen)) if titles else -1)
            box.blockSignals(False)
            box.setVisible(len(titles) > 1)
        self._show_table()
        self._show_chart()

    def _show_table(self) -> None:
        result, index = self.result, self.table_box.currentIndex()
        rows = [] if result is None else [result.rows, *result.tables.values()][max(0, index)]
        self.table.set_frame(Frame.of(STUDY, rows) if rows else None)

    def _show_chart(self) -> None:
        result, index = self.result, max(0, self.chart_box.currentIndex())
        shown = () if result is None else (*result.charts, *result.galleries)
        one = shown[index] if shown else None
        if isinstance(one, Gallery):
            self.pictures.show_gallery(one)
            self.pictures.setToolTip(tip(one.caption))
        else:
            self.chart.show_chart(one, titled=len(shown) == 1)
        self.drawn.setCurrentWidget(self.pictures if isinstance(one, Gallery) else self.chart)

    def _on_row(self, row: int) -> None:
        if case := self.table.table.frame.name_of(row, "case"):
            self.wanted.emit(case)

    def showEvent(self, event: Any) -> None:
        """Ask when the tab is first seen."""
        super().showEvent(event)
        if self.result is None and self.cohort is not None:
            self.ask()
