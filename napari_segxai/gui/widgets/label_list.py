"""A list of labels, in which several can be ticked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QBrush
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from napari_segxai.gui.widgets.fields import GRAY, NOT_DRAWN, tip

ROWS_SHOWN = 5
ROW = 18


class LabelList(QListWidget):
    """The labels of a model; at first all are ticked but the background, which is the first.

    Attributes
    ----------
    changed
        Emitted after every change.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setToolTip("The labels to explain. Each of them costs a backward pass.")
        self.itemChanged.connect(lambda _: self._on_change())
        self._names: list[str] = []
        self._touched = False

    def set_labels(self, names: Sequence[str]) -> None:
        """Offer other labels; nothing happens when they are the same."""
        if list(names) == self._names:
            return
        self._names, self._touched = list(names), False
        self._fill(self._names, self._names[1:], self._names)
        rows = min(max(len(names), 2), ROWS_SHOWN)
        self.setFixedHeight(rows * ROW + 8)
        self.scrollToTop()
        self.changed.emit()

    def set_present(self, present: Collection[str]) -> None:
        """Put the labels that are drawn first; the others are not ticked unless the user has ticked some."""
        drawn = [name for name in self._names if name in present]
        order = drawn + [name for name in self._names if name not in present]
        ticked = self.ticked() if self._touched else [name for name in drawn if name != self._names[0]]
        self._fill(order, ticked or self.ticked(), drawn)
        self.changed.emit()

    def _fill(self, order: Sequence[str], ticked: Collection[str], drawn: Collection[str]) -> None:
        self.blockSignals(True)
        self.clear()
        for name in order:
            item = QListWidgetItem(name)
            item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            item.setCheckState(Qt.CheckState.Checked if name in ticked else Qt.CheckState.Unchecked)
            item.setToolTip(tip(name if name in drawn else f"{name}: {NOT_DRAWN}"))
            if name not in drawn:
                item.setForeground(QBrush(GRAY))
            self.addItem(item)
        self.blockSignals(False)

    def _on_change(self) -> None:
        self._touched = True
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
