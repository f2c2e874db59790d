"""Charts, small pictures and tables of an explanation, in a window beside the dock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from napari_segxai.analyses.cohort.tables.frame import STUDY, Frame
from napari_segxai.core.chart import Chart
from napari_segxai.core.gallery import Gallery
from napari_segxai.gui.cases.buttons import copy_button
from napari_segxai.gui.cases.charts import ChartView
from napari_segxai.gui.cases.pictures import PicturesView
from napari_segxai.gui.cases.table import FrameTable
from napari_segxai.gui.widgets.fields import combo, plain_label

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.result import Explanation

SIZE = (640, 460)
"""Of the window, in pixels."""

Rows = Sequence[Mapping[str, Any]]


class FiguresWindow(QWidget):
    """Shows one figure or table of an explanation at a time.

    Attributes
    ----------
    went
        A step on a path was clicked in a chart: its number.

    Parameters
    ----------
    dock
        Beside which it lies, and with which it goes.
    """

    went = Signal(int)

    def __init__(self, dock: QWidget):
        super().__init__(dock, Qt.WindowType.Tool)
        self.setWindowTitle("Figures")
        self.explanation: Explanation | None = None
        self._entries: dict[str, Chart | Gallery | list[dict[str, Any]]] = {}
        self.box = combo("The figure or table that is shown.")
        self.box.setAccessibleName("Figure or table")
        self.chart, self.table = ChartView(), FrameTable()
        self.pictures = PicturesView()
        self.caption = plain_label()
        self.caption.setWordWrap(True)
        self.copy = copy_button(self.table)
        self.chart.clicked.connect(lambda step: step.isdecimal() and self.went.emit(int(step)))
        self.shown = QStackedWidget()
        for part in (self.chart, self.pictures, self.table):
            self.shown.addWidget(part)
        layout = QVBoxLayout(self)
        for part, share in ((self.box, 0), (self.shown, 1), (self.caption, 0), (self.copy, 0)):
            layout.addWidget(part, share)
        self.box.currentIndexChanged.connect(lambda _: self._show())
        self.resize(*SIZE)

    def set_explanation(self, explanation: Explanation | None) -> bool:
        """Show another explanation, at the figure of this name where it has one; return whether it has any."""
        before = self.box.currentText()
        self.explanation = explanation
        entries = self._entries = {} if explanation is None else figures_of(explanation)
        self.box.blockSignals(True)
        self.box.clear()
        self.box.addItems(list(entries))
        self.box.setCurrentIndex(max(0, self.box.findText(before)) if entries else -1)
        self.box.blockSignals(False)
        if explanation is not None:
            self.setWindowTitle(f"Figures · {explanation.title}")
        if entries:
            self._show()
        else:
            self.hide()
        return bool(entries)

    def set_colors(self, background: str, text: str) -> None:
        """Follow the theme."""
        self.chart.set_colors(background, text)

    def _show(self) -> None:
        shown = self._entries.get(self.box.currentText())  # Qt would sort the columns of what it keeps itself
        self.copy.setVisible(isinstance(shown, list))
        self.caption.setText(shown.caption if isinstance(shown, Gallery) else "")
        self.caption.setVisible(bool(self.caption.text()))
        if isinstance(shown, Chart):
            self.chart.show_chart(shown)
            self.shown.setCurrentWidget(self.chart)
        elif isinstance(shown, Gallery):
            self.pictures.show_gallery(shown)
            self.shown.setCurrentWidget(self.pictures)
        elif shown is not None:
            self.table.set_frame(Frame.of(STUDY, shown))
            self.shown.setCurrentWidget(self.table)


def figures_of(explanation: Explanation) -> dict[str, Chart | Gallery | list[dict[str, Any]]]:
    """Return what an explanation has beside its layers, by what it is called: charts, galleries, tables and curves."""
    out: dict[str, Chart | Gallery | list[dict[str, Any]]] = {}
    for one in (*explanation.charts, *explanation.galleries):
        out[one.title] = one
    for name, rows in explanation.tables.items():
        out[f"table: {name.replace('_', ' ')}"] = list(rows)
    for name, columns in explanation.curves.items():
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        out[f"table: {name.replace('_', ' ')}"] = rows
    return {name: shown for name, shown in out.items() if not isinstance(shown, list) or shown}
