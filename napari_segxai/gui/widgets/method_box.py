"""A box that chooses one method: its list has a search field, groups by question, and a summary of each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QPoint, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.core.capabilities import ONE_PASS
from napari_segxai.methods.registry import NOMINAL, NOMINAL_EXTENT, QUESTIONS, START_HERE, Method, Scope

if TYPE_CHECKING:
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel

SIZE = (600, 420)
"""Of the list, in pixels: a title and most of its summary fit in one line."""

START = "Start here"
NAME = Qt.ItemDataRole.UserRole
MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)


class MethodBox(QComboBox):
    """The methods in the order of the registry; what does not fit is grey and says why.

    Parameters
    ----------
    methods
        What is offered.
    tip
        The tooltip of the box.
    scope
        What they are asked about here, which is what their cost is told of.
    """

    def __init__(
        self, methods: Sequence[Method], tip: str, parent: QWidget | None = None, *, scope: Scope = "image"
    ):
        super().__init__(parent)
        self.methods, self.scope = list(methods), scope
        self.reasons: dict[str, str] = {}
        self.setToolTip(tip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for index, method in enumerate(self.methods):
            self.addItem(method.title, method.name)
            self.setItemData(index, method.summary, Qt.ItemDataRole.ToolTipRole)
        self._chooser: MethodChooser | None = None

    @property
    def method(self) -> Method:
        """The chosen method."""
        return self.methods[self.currentIndex()]

    @property
    def chooser(self) -> MethodChooser:
        """The list, made when it is first opened."""
        if self._chooser is None:
            self._chooser = MethodChooser(self.methods, self, self.scope)
            self._chooser.chosen.connect(self.choose)
        return self._chooser

    def choose(self, name: str) -> None:
        """Choose the method of this name; nothing happens where it is not offered."""
        index = self.findData(name)
        if index >= 0:
            self.setCurrentIndex(index)

    def set_reasons(self, reasons: Mapping[str, str]) -> None:
        """Grey out the methods that are named here, for these reasons, and no others."""
        self.reasons = {name: reason for name, reason in reasons.items() if reason}
        for index, method in enumerate(self.methods):
            reason = self.reasons.get(method.name, "")
            item = self.model().item(index)
            item.setEnabled(not reason)
            item.setToolTip(reason or method.summary)

    def showPopup(self) -> None:
        """Open the list below the box, inside the screen."""
        self.chooser.offer(self.currentData(), self.reasons)
        screen = self.screen().availableGeometry()
        corner = self.mapToGlobal(QPoint(0, self.height()))
        width, height = self.chooser.width(), self.chooser.height()
        left = max(screen.left(), min(corner.x(), screen.right() - width))
        top = corner.y() if corner.y() + height <= screen.bottom() else corner.y() - self.height() - height
        self.chooser.move(left, max(screen.top(), top))
        self.chooser.show()
        self.chooser.search.setFocus()

    def hidePopup(self) -> None:
        """Close the list."""
        if self._chooser is not None:
            self._chooser.hide()
        super().hidePopup()


LACKS = {
    "network layers": "needs network layers, which TorchScript models do not show",
    "gradients": "needs gradients, which this model does not give",
}
"""What is said of a method that needs what a model is not capable of."""


def why_not(method: Method, card: ModelCard | None, model: SegmentationModel | None) -> str:
    """Say why a method does not fit a model, which may not be loaded yet; "" where it does."""
    if card is not None and card.spatial_dims not in method.spatial_dims:
        return f"works only in {' and '.join(f'{n}D' for n in method.spatial_dims)}"
    lacking = {} if model is None else {n: why for n, why in LACKS.items() if n not in model.capabilities}
    if model is not None and model.windows is not None and ONE_PASS in method.needs:
        return "looks at an image in one pass, and this model sees it through windows"
    return next((why for need, why in lacking.items() if need in method.needs), "")


class MethodChooser(QDialog):
    """A search field, methods by question, and what is known of the current one.

    Attributes
    ----------
    chosen
        Emitted with the name of a method.
    """

    chosen = Signal(str)

    def __init__(self, methods: Sequence[Method], parent: QWidget, scope: Scope = "image"):
        super().__init__(parent, Qt.WindowType.Popup)
        self.setFixedSize(*SIZE)
        self.scope = scope
        self.methods = {method.name: method for method in methods}
        self.search = QLineEdit()
        self.search.setPlaceholderText("search names, summaries and questions")
        self.search.setClearButtonEnabled(True)
        self.search.installEventFilter(self)
        self.tree = QTreeWidget()
        self.tree.setColumnCount(2)
        self.tree.setHeaderHidden(True)
        self.tree.setIndentation(12)
        self.tree.setRootIsDecorated(False)
        self.tree.setUniformRowHeights(True)
        self.tree.setMouseTracking(True)
        self.tree.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the search field moves in it
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.about.setFixedHeight(64)
        self.about.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        for part in (self.search, self.tree, self.about):
            layout.addWidget(part)
        self._fill()
        self.search.textChanged.connect(self._on_search)
        self.tree.itemClicked.connect(lambda item, _: self._choose(item))
        self.tree.itemEntered.connect(lambda item, _: self._tell(item))
        self.tree.currentItemChanged.connect(lambda item, _: self._tell(item))

    def offer(self, name: str | None, reasons: Mapping[str, str]) -> None:
        """Show every method, this one as the current one; those with a reason are grey."""
        self.search.clear()
        for item in self._items():
            reason = reasons.get(item.data(0, NAME), "")
            item.setDisabled(bool(reason))
            for column in range(2):
                item.setToolTip(column, reason or self.methods[item.data(0, NAME)].summary)
        found = [item for item in self._items() if item.data(0, NAME) == name and not item.isDisabled()]
        if found:
            self.tree.setCurrentItem(found[0])
            self.tree.scrollToItem(found[0])

    def shown(self) -> list[str]:
        """Return the names of the methods that the search has left, in their order."""
        return [item.data(0, NAME) for item in self._items() if not item.isHidden()]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Move in the list and choose from it while the search field has the keyboard."""
        if watched is self.search and event.type() == QEvent.Type.KeyPress:
            assert isinstance(event, QKeyEvent)
            if event.key() in MOVES:
                self._move({Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1, Qt.Key.Key_PageUp: -8}.get(event.key(), 8))
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._choose(self.tree.currentItem())
                return True
        return False

    def _fill(self) -> None:
        first = [self.methods[name] for name in START_HERE if name in self.methods]
        groups = {START: first}
        for word, question in QUESTIONS.items():
            groups[question] = [method for method in self.methods.values() if method.question == word]
        for title, methods in groups.items():
            if not methods:
                continue
            group = QTreeWidgetItem([title])
            group.setFlags(Qt.ItemFlag.ItemIsEnabled)
            font = group.font(0)
            font.setBold(True)
            group.setFont(0, font)
            self.tree.addTopLevelItem(group)
            group.setFirstColumnSpanned(True)
            for method in methods:
                item = QTreeWidgetItem([method.title, method.summary])
                item.setData(0, NAME, method.name)
                group.addChild(item)
            group.setExpanded(True)
        self.tree.resizeColumnToContents(0)

    def _items(self) -> list[QTreeWidgetItem]:
        groups = [self.tree.topLevelItem(k) for k in range(self.tree.topLevelItemCount())]
        return [group.child(k) for group in groups for k in range(group.childCount())]

    def _on_search(self, text: str) -> None:
        words = text.lower().split()
        for item in self._items():
            method = self.methods[item.data(0, NAME)]
            facts = (method.title, method.name, method.summary, method.family, item.parent().text(0))
            told = " ".join(facts).lower()
            twice = bool(words) and item.parent().text(0) == START
            item.setHidden(twice or not all(word in told for word in words))
        for k in range(self.tree.topLevelItemCount()):
            group = self.tree.topLevelItem(k)
            group.setHidden(all(group.child(n).isHidden() for n in range(group.childCount())))
        current = self.tree.currentItem()
        if current is None or current.isHidden():
            self.tree.setCurrentItem(next((i for i in self._items() if _can_be_chosen(i)), None))

    def _move(self, step: int) -> None:
        items = [item for item in self._items() if _can_be_chosen(item)]
        if items:
            now = self.tree.currentItem()
            index = items.index(now) + step if now in items else 0
            self.tree.setCurrentItem(items[min(max(index, 0), len(items) - 1)])

    def _choose(self, item: QTreeWidgetItem | None) -> None:
        if item is not None and item.parent() is not None and _can_be_chosen(item):
            self.hide()
            self.chosen.emit(item.data(0, NAME))

    def _tell(self, item: QTreeWidgetItem | None) -> None:
        if item is None or item.parent() is None:
            self.about.setText("")
            return
        method = self.methods[item.data(0, NAME)]
        cost = method.nominal(self.scope)
        grid = " x ".join(map(str, NOMINAL.grid))
        of = f"On a grid of {grid}" if self.scope == "image" else f"Over {NOMINAL_EXTENT.cases} cases"
        reason = f"<br>⚠ {escape(item.toolTip(0))}" if item.isDisabled() else ""
        self.about.setText(
            f"<b>{escape(method.title)}</b>: {escape(method.summary)} ({escape(method.source)}). "
            f"{of}: {cost}.{reason}"
        )


def _can_be_chosen(item: QTreeWidgetItem) -> bool:
    return not item.isHidden() and not item.isDisabled()
