"""Ticking labels by name."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

ROWS_SHOWN = 5
ROW = 18


class LabelList(QListWidget):
    """The labels of a model, all but the first (the background) ticked at first.

    Attributes
    ----------
    changed
        Emitted after every change.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setToolTip("The labels that are asked about; each costs a backward pass.")
        self.itemChanged.connect(lambda _: self.changed.emit())
        self._names: list[str] = []

    def set_labels(self, names: Sequence[str]) -> None:
        """Offer other labels; nothing happens when they are the same."""
        if list(names) == self._names:
            return
        self._names = list(names)
        self.blockSignals(True)
        self.clear()
        for position, name in enumerate(names):
            item = QListWidgetItem(name)
            item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            item.setCheckState(Qt.CheckState.Checked if position else Qt.CheckState.Unchecked)
            self.addItem(item)
        self.blockSignals(False)
        rows = min(max(len(names), 2), ROWS_SHOWN)
        self.setFixedHeight(rows * ROW + 8)
        self.scrollToTop()
        self.changed.emit()

    def ticked(self) -> list[str]:
        """Return the ticked labels, in their order."""
        items = [self.item(k) for k in range(self.count())]
        return [item.text() for item in items if item.checkState() == Qt.CheckState.Checked]

    def tick(self, names: Sequence[str]) -> None:
        """Tick these labels and no others."""
        for k in range(self.count()):
            on = self.item(k).text() in names
            self.item(k).setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
