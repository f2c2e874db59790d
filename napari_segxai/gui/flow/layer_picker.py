"""A list in which network layers are chosen: the main blocks, all, or those that are ticked."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLineEdit, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from napari_segxai.gui.widgets.fields import combo, tip
from napari_segxai.models.introspection.layers import NetworkLayer

BLOCKS, ALL, TICKED = range(3)


class LayerPicker(QWidget):
    """A list of three choices; the third shows every network layer with a tick box.

    Attributes
    ----------
    changed
        Emitted after every change.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.combo = combo("The network layers of which maps are made. More layers cost almost nothing.")
        self.combo.addItems(["main blocks", "all", "ticked"])
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("filter by name, type or stage")
        self.filter.setClearButtonEnabled(True)
        self.tree = QTreeWidget()
        self.tree.setColumnCount(4)
        self.tree.setHeaderLabels(["network layer", "type", "stage", "shape"])
        self.tree.setRootIsDecorated(False)
        self.tree.setFixedHeight(150)
        self.tree.setToolTip("Tick the network layers of which maps are made.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for part in (self.combo, self.filter, self.tree):
            layout.addWidget(part)
        self._names: list[str] = []
        self.combo.currentIndexChanged.connect(lambda _: self._on_choice())
        self.filter.textChanged.connect(self._on_filter)
        self.tree.itemChanged.connect(lambda *_: self.changed.emit())
        self._on_choice()

    def set_layers(self, layers: Sequence[NetworkLayer], blocks: Sequence[NetworkLayer]) -> None:
        """Offer the network layers of another model; its main blocks are ticked."""
        names = [layer.name for layer in layers]
        if names == self._names:
            return
        self._names = names
        main = {layer.name for layer in blocks}
        self.combo.setItemText(BLOCKS, f"main blocks ({len(blocks)})")
        self.combo.setItemText(ALL, f"all ({len(layers)})")
        self.tree.blockSignals(True)
        self.tree.clear()
        for layer in layers:
            shape = " x ".join(map(str, layer.shape))
            item = QTreeWidgetItem([layer.name, layer.type, layer.stage, shape])
            item.setToolTip(0, tip(layer.name))
            item.setToolTip(2, tip(layer.reason))
            item.setCheckState(0, Qt.CheckState.Checked if layer.name in main else Qt.CheckState.Unchecked)
            self.tree.addTopLevelItem(item)
        self.tree.resizeColumnToContents(0)
        self.tree.setColumnWidth(0, min(self.tree.columnWidth(0), 130))
        for column in (1, 2, 3):
            self.tree.resizeColumnToContents(column)
        self.tree.blockSignals(False)
        self.changed.emit()

    def chosen(self) -> list[str] | str | None:
        """Return the choice as `information_flow` takes it."""
        if self.combo.currentIndex() == BLOCKS:
            return None
        return "all" if self.combo.currentIndex() == ALL else self.ticked()

    def ticked(self) -> list[str]:
        """Return the names of the ticked layers."""
        items = [self.tree.topLevelItem(k) for k in range(self.tree.topLevelItemCount())]
        return [item.text(0) for item in items if item.checkState(0) == Qt.CheckState.Checked]

    def tick(self, names: Sequence[str]) -> None:
        """Tick these layers and no others, and choose the ticked ones."""
        for k in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(k)
            item.setCheckState(0, Qt.CheckState.Checked if item.text(0) in names else Qt.CheckState.Unchecked)
        self.combo.setCurrentIndex(TICKED)

    def _on_choice(self) -> None:
        open_ = self.combo.currentIndex() == TICKED
        self.filter.setVisible(open_)
        self.tree.setVisible(open_)
        self.changed.emit()

    def _on_filter(self, text: str) -> None:
        for k in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(k)
            item.setHidden(text.lower() not in " ".join(item.text(c) for c in range(3)).lower())
