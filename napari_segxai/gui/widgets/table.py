"""Tables of numbers: how numbers are written, and copying."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractItemModel, QEvent, Qt
from qtpy.QtGui import QFont, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QTableView, QWidget

UNDEFINED = "–"


def number(value: float) -> str:
    """Return a number with three digits after the point; very large and very small ones with an exponent."""
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"


class TableView(QTableView):
    """A table in small letters that is sorted by a click on a column, and copied on Ctrl+C."""

    def __init__(self, model: QAbstractItemModel, parent: QWidget | None = None):
        super().__init__(parent)
        self.setModel(model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setWordWrap(False)
        self.setSortingEnabled(True)
        self.setCornerButtonEnabled(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(20)
        header = self.horizontalHeader()
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setSortIndicatorClearable(True)
        small = QFont(header.font())
        small.setPointSizeF(max(7.0, small.pointSizeF() - 2))
        header.setFont(small)
        header.setStyleSheet(f"QHeaderView::section {{ font-size: {small.pointSizeF():g}pt; padding: 1px; }}")
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignCenter)

    def copy(self) -> str:
        """Put the table on the clipboard; returns it."""
        raise NotImplementedError

    def keyPressEvent(self, event: Any) -> None:
        """Copy the whole table on Ctrl+C."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Keep Ctrl+C from napari, which would copy layers."""
        if event.type() == QEvent.Type.ShortcutOverride and event.matches(QKeySequence.StandardKey.Copy):
            event.accept()
            return True
        return super().event(event)
