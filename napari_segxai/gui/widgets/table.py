"""Tables of numbers: how numbers are written, and copying."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QTableView

UNDEFINED = "–"


def number(value: float) -> str:
    """Return a number with three digits after the point; very large and very small ones with an exponent."""
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"


class TableView(QTableView):
    """A table that is copied on Ctrl+C."""

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
