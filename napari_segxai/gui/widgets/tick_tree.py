"""A list of many things in groups, each with a tick box."""

from __future__ import annotations

from collections.abc import Collection, Hashable

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QTreeWidget, QTreeWidgetItem, QWidget

from napari_segxai.gui.widgets.fields import tip as plain_tip

ON, OFF = Qt.CheckState.Checked, Qt.CheckState.Unchecked


class TickTree(QTreeWidget):
    """Groups of things with a tick box each; what cannot be ticked is grey and says why.

    Attributes
    ----------
    changed
        Emitted after every change of a tick.
    chosen
        Another line is the current one: its key, or None.
    """

    changed = Signal()
    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setHeaderHidden(True)
        self.setIndentation(12)
        self.setUniformRowHeights(True)
        self._items: dict[Hashable, QTreeWidgetItem] = {}
        self._tips: dict[Hashable, str] = {}
        self.itemChanged.connect(lambda *_: self.changed.emit())
        self.currentItemChanged.connect(lambda item, _: self.chosen.emit(self._key(item)))

    @property
    def keys(self) -> list[Hashable]:
        """The keys of everything in the tree, in its order."""
        groups = [self.topLevelItem(k) for k in range(self.topLevelItemCount())]
        items = [group.child(k) for group in groups for k in range(group.childCount())]
        return [self._key(item) for item in items]

    @property
    def current(self) -> Hashable | None:
        """The key of the current line."""
        return self._key(self.currentItem())

    def add(
        self,
        group: str,
        key: Hashable,
        text: str,
        tip: str,
        *,
        ticked: bool = False,
        first: bool = False,
        after: Hashable | None = None,
    ) -> None:
        """Add a line to a group; a new group is made, and put first if asked for."""
        self.blockSignals(True)
        above = self._group(group, first)
        item = QTreeWidgetItem([text])
        flags = Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        item.setFlags(flags)
        item.setCheckState(0, ON if ticked else OFF)
        item.setToolTip(0, plain_tip(tip))
        place = above.childCount() if after is None else above.indexOfChild(self._items[after]) + 1
        above.insertChild(place, item)
        if ticked:
            above.setExpanded(True)
        self._items[key], self._tips[key] = item, tip
        self.blockSignals(False)

    def remove(self, key: Hashable) -> None:
        """Remove a line, and its group if the line was the last one in it."""
        self._tips.pop(key)
        item = self._items.pop(key)
        group = item.parent()
        self.blockSignals(True)
        group.removeChild(item)
        if not group.childCount():
            self.takeTopLevelItem(self.indexOfTopLevelItem(group))
        self.blockSignals(False)

    def set_text(self, key: Hashable, text: str) -> None:
        """Write something else in a line."""
        self.blockSignals(True)
        self._items[key].setText(0, text)
        self.blockSignals(False)

    def set_reason(self, key: Hashable, reason: str) -> None:
        """Grey a line out, saying why; with no reason it can be ticked."""
        self.blockSignals(True)
        self._items[key].setDisabled(bool(reason))
        self._items[key].setToolTip(0, plain_tip(reason or self._tips[key]))
        self.blockSignals(False)

    def reason(self, key: Hashable) -> str:
        """Return why a line is grey; "" where it is not."""
        return self._items[key].toolTip(0) if self._items[key].isDisabled() else ""

    def ticked(self) -> list[Hashable]:
        """Return the keys of the ticked lines that are not grey, in the order of the tree."""
        return [
            key
            for key in self.keys
            if self._items[key].checkState(0) == ON and not self._items[key].isDisabled()
        ]

    def tick(self, keys: Collection[Hashable]) -> None:
        """Tick these lines and no others."""
        self.blockSignals(True)
        for key, item in self._items.items():
            item.setCheckState(0, ON if key in keys else OFF)
        self.blockSignals(False)
        self.changed.emit()

    def set_current(self, key: Hashable) -> None:
        """Make a line the current one and show it."""
        self.setCurrentItem(self._items[key])
        self.scrollToItem(self._items[key])

    def show_only(self, text: str) -> None:
        """Show only the lines that contain a text, in themselves or in their tooltips; an empty text shows all."""
        for k in range(self.topLevelItemCount()):
            group = self.topLevelItem(k)
            seen = []
            for n in range(group.childCount()):
                item = group.child(n)
                told = f"{item.text(0)} {self._tips[self._key(item)]}"
                seen.append(text.lower() in told.lower())
                item.setHidden(not seen[-1])
            group.setHidden(not any(seen))
            if text:
                group.setExpanded(True)

    def set_colors(self, text: str, accent: str) -> None:
        """Follow the theme: otherwise one could hardly see the boxes that are not ticked."""
        box = "width: 9px; height: 9px; border-radius: 2px"
        self.setStyleSheet(
            f"QTreeView::indicator {{ {box}; border: 1px solid {text}; }} "
            f"QTreeView::indicator:checked {{ background: {accent}; }} "
            "QTreeView::indicator:disabled { border-color: #808080; }"
        )

    def _group(self, name: str, first: bool) -> QTreeWidgetItem:
        for k in range(self.topLevelItemCount()):
            if self.topLevelItem(k).text(0) == name:
                return self.topLevelItem(k)
        group = QTreeWidgetItem([name])
        group.setFlags(Qt.ItemFlag.ItemIsEnabled)
        self.insertTopLevelItem(0 if first else self.topLevelItemCount(), group)
        return group

    def _key(self, item: QTreeWidgetItem | None) -> Hashable | None:
        return next((key for key, own in self._items.items() if own is item), None)
