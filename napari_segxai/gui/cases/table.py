"""A table of rows about cases: thousands of them, sorted by a click on a head, filtered by words and conditions."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QRectF,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QFont, QFontMetrics, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_segxai.analyses.cohort.tables.frame import NAMES, Frame, word_of
from napari_segxai.analyses.compare.result import ARROWS
from napari_segxai.core.column import Column
from napari_segxai.gui.viewer.theme import ERROR
from napari_segxai.gui.widgets.fields import tip
from napari_segxai.gui.widgets.table import UNDEFINED, TableView, number
from napari_segxai.io.tables import as_csv

FAILED = QColor(ERROR)

BAR, BELOW = QColor(76, 201, 240, 70), QColor(255, 107, 107, 70)
"""Of a number above 0, and of one below."""

WIDE, MOST = 13, 170
"""Characters in a line of a head; pixels of a column."""

LOOKED_AT = 60
"""Rows by which the widths of columns are chosen."""

Role = Qt.ItemDataRole


SHARE = Role.UserRole
"""What a cell is of the largest magnitude of its column, from -1 to 1."""


class TableModel(QAbstractTableModel):
    """The cells of a table, in an order, as Qt's table asks for them."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.frame: Frame | None = None
        self.order = np.arange(0)
        """The row of the frame that stands in each line."""
        self.lines = np.arange(0)
        """The line in which each row of the frame stands; -1 for those that a filter leaves out."""
        self._left: np.ndarray | None = None
        self._ends: dict[str, float] = {}
        self._whole: dict[str, bool] = {}
        self._sorted: tuple[str, bool] | None = None

    def set_frame(self, frame: Frame | None, left: np.ndarray | None) -> None:
        """Show another table, or what has been added to it; `left` are the rows that a filter leaves."""
        self.beginResetModel()
        self.frame, self._left, self._ends, self._whole = frame, left, {}, {}
        self._arrange()
        self.endResetModel()

    def _arrange(self) -> None:
        frame = self.frame
        if frame is None:
            self.order = self.lines = np.arange(0)
            return
        by = self._sorted
        if by is not None and by[0] in frame.columns:
            order = frame.order(by[0], descending=by[1])
        else:
            order = np.arange(len(frame))
        self.order = order if self._left is None else order[self._left[order]]
        self.lines = np.full(len(frame), -1)
        self.lines[self.order] = np.arange(len(self.order))

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column, numbers by their value; without a column, as the cases come."""
        if self.frame is None:
            return
        known = 0 <= column < len(self.frame.columns)
        self._sorted = (self.frame.columns[column], order == Qt.SortOrder.DescendingOrder) if known else None
        self.beginResetModel()
        self._arrange()
        self.endResetModel()

    def text(self, row: int, column: str) -> str:
        """Return what a cell says; `row` is a number of the frame."""
        value = self.frame.rows[row].get(column)
        if value is None or value == "":
            return UNDEFINED if column in self.frame.numeric else ""
        if isinstance(value, float):
            is_name = column not in self.frame.numeric and value.is_integer()  # the number of a channel, say
            if value == value and (is_name or self.is_whole(column)):
                return f"{value:.0f}"
            return number(value) if value == value else UNDEFINED
        return word_of(value)

    def is_whole(self, column: str) -> bool:
        """Tell whether a column holds whole numbers alone, beyond 0 and 1: sizes and counts, which may come as floats."""
        if column not in self._whole:
            held = self.frame.numbers(column) if column in self.frame.numeric else np.arange(0)
            known = held[np.isfinite(held)]
            end = np.abs(known).max(initial=0)
            self._whole[column] = bool(1 < end < 1e7 and (known == np.rint(known)).all())
        return self._whole[column]

    def share(self, row: int, column: str) -> float | None:
        """Return what a measured number is of the largest magnitude of its column and of its controls; None for words, counts and numbers of units."""
        value = self.frame.rows[row].get(column)
        if not isinstance(value, float) or not math.isfinite(value):
            return None
        if column not in self._ends:
            held = [self.frame.numbers(one) for one in self._compared(column)]
            known = np.concatenate([np.arange(0), *held])
            self._ends[column] = float(np.abs(known[np.isfinite(known)]).max(initial=0))
        return value / self._ends[column] if self._ends[column] else None

    def _compared(self, column: str) -> list[str]:
        """Return the columns of numbers whose bars are as long as those of a column for the same number."""
        frame = self.frame
        of = frame.describes(column).control_of or column
        return [one for one in frame.numeric if of in (one, frame.describes(one).control_of)]

    def as_csv(self) -> str:
        """Return the rows that are shown, in their order, with all digits."""
        return as_csv(self.frame.columns, (self.frame.rows[row] for row in self.order.tolist()))

    # -- what Qt asks for ---------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows that the filter leaves."""
        return len(self.order)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return 0 if self.frame is None else len(self.frame.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole) -> Any:
        """Return the title of a column with its unit and better end, in lines, or its name."""
        if orientation != Qt.Orientation.Horizontal or section >= self.columnCount():
            return None
        name = self.frame.columns[section]
        if role == Role.DisplayRole:
            return head(name, self.frame.describes(name))
        return tip(_told(self.frame.describes(name))) if role == Role.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> Any:
        """Return what a cell shows: its text, its tooltip, its colour, its alignment."""
        row, column = int(self.order[index.row()]), self.frame.columns[index.column()]
        if role == Role.DisplayRole:
            return self.text(row, column)
        if role == SHARE:
            return self.share(row, column)
        held = self.frame.rows[row]
        if role == Role.ToolTipRole:
            said = held.get("error") or str(held.get(column) or "")
            return tip("\n".join(textwrap.wrap(said, 90))) if said else None
        if role == Role.ForegroundRole and held.get("error"):
            return FAILED
        if role == Role.TextAlignmentRole and column in self.frame.numeric:
            return int((Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter).value)
        return None


def head(name: str, found: Column) -> str:
    """Return the head of a column, in lines; an arrow stays with the word before it."""
    if name in NAMES:
        return name[:1].upper() + name[1:]
    words = found.axis + ARROWS[found.better].replace(" ", "\xa0")
    return "\n".join(textwrap.wrap(words, WIDE, break_long_words=False)[:4])


def _told(column: Column) -> str:
    """Return the tooltip of a head: its name in files and filters, its unit, which end is better, and what it means."""
    facts = ", ".join(filter(None, [column.unit, f"{column.better} is better" if column.better else ""]))
    meaning = textwrap.wrap(column.meaning, 90)
    return "\n".join([f"{column.name} ({facts})" if facts else column.name, *meaning])


class Bars(QStyledItemDelegate):
    """Draws measured numbers as bars behind their digits: those below 0 from the right."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw one cell."""
        share = index.data(SHARE)
        if share is not None:
            box = QRectF(option.rect).adjusted(1, 2, -1, -2)
            wide = abs(share) * box.width()
            left = box.left() if share >= 0 else box.right() - wide
            painter.fillRect(QRectF(left, box.top(), wide, box.height()), BAR if share >= 0 else BELOW)
        super().paint(painter, option, index)


class FrameTable(TableView):
    """Shows a table; rows are walked through with the arrow keys, and several can be selected.

    Attributes
    ----------
    stepped
        The user has gone to another row: its number in the frame.
    selected
        The user has selected other rows: their numbers, as an array.
    """

    stepped = Signal(int)
    selected = Signal(object)

    def __init__(self, parent: QWidget | None = None, *, bars: bool = False):
        self.table = TableModel()
        super().__init__(self.table, parent)
        self.table.setParent(self)
        if bars:
            self.setItemDelegate(Bars(self))
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        # Qt asks for every row of every column whether it is selected, to paint the heads: these know of no selection.
        header = self.horizontalHeader()
        header.setSelectionModel(QItemSelectionModel(self.table, header))
        self._columns: tuple[str, ...] = ()
        self._widths: dict[int, int] = {}
        """What was chosen for each column: one of another width was dragged by the user."""
        self._chosen = np.arange(0)
        self._current: int | None = None
        self._is_set = False  # the selection is changed from elsewhere
        self.table.modelReset.connect(self._restore)
        self.selectionModel().currentRowChanged.connect(lambda now, _: self._on_current(now))
        self.selectionModel().selectionChanged.connect(lambda *_: self._on_selected())

    def set_frame(self, frame: Frame | None, left: np.ndarray | None = None) -> None:
        """Show another table, or more rows of the same: what is selected and seen stays."""
        place = self.verticalScrollBar().value(), self.horizontalScrollBar().value()
        self.table.set_frame(frame, left)
        if frame is not None:
            if frame.columns != self._columns:
                self._columns, self._widths = frame.columns, {}
            self._fit()
        self.verticalScrollBar().setValue(place[0])
        self.horizontalScrollBar().setValue(place[1])

    def select(self, rows: np.ndarray, current: int | None) -> None:
        """Select rows, and make one the current one; nothing is emitted."""
        self._chosen, self._current = rows, current
        self._restore()
        if (line := self._line()) >= 0:
            self.scrollTo(self.table.index(line, max(0, self.columnAt(2))))

    def step(self, by: int) -> None:
        """Go some rows on, as the arrow keys do."""
        count = self.table.rowCount()
        if count:
            now = self._line()
            line = (count if now < 0 and by < 0 else now) + by
            self.setCurrentIndex(self.table.index(min(max(line, 0), count - 1), 0))

    def _line(self) -> int:
        """Return the line of the current row; -1 where there is none, or the filter leaves it out."""
        now = self._current
        return -1 if now is None or now >= len(self.table.lines) else int(self.table.lines[now])

    def copy(self) -> str:
        """Put the rows that are shown on the clipboard as CSV; returns them."""
        text = self.table.as_csv() if self.table.frame is not None else ""
        if text:
            QApplication.clipboard().setText(text)
        return text

    def _restore(self) -> None:
        """Select what was selected before the rows moved."""
        lines = self.table.lines[self._chosen[self._chosen < len(self.table.lines)]]
        chosen = QItemSelection()
        last = self.table.columnCount() - 1
        for run in runs_of(np.sort(lines[lines >= 0])):
            chosen.select(self.table.index(int(run[0]), 0), self.table.index(int(run[-1]), last))
        self._is_set = True
        model = self.selectionModel()
        model.select(chosen, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if (line := self._line()) >= 0:
            model.setCurrentIndex(self.table.index(line, 0), QItemSelectionModel.SelectionFlag.NoUpdate)
        self._is_set = False

    def _on_current(self, now: QModelIndex) -> None:
        if not self._is_set and now.isValid():
            self._current = int(self.table.order[now.row()])
            self.stepped.emit(self._current)

    def _on_selected(self) -> None:
        if self._is_set:
            return
        inside = np.zeros(len(self.table.order), bool)
        for part in self.selectionModel().selection():
            inside[part.top() : part.bottom() + 1] = True
        self._chosen = self.table.order[inside]
        self.selected.emit(self._chosen)

    def _fit(self) -> None:
        """Make every column as wide as its first rows need; it only grows as numbers come, and stays as the user has dragged it."""
        frame = self.table.frame
        font = QFont(self.horizontalHeader().font())
        font.setBold(True)
        heads, cells = QFontMetrics(font), self.fontMetrics()
        rows = self.table.order[:LOOKED_AT].tolist()
        for k, name in enumerate(self._columns):
            before = self._widths.get(k)
            if before is not None and self.columnWidth(k) != before:
                continue
            lines = [heads.horizontalAdvance(line) for line in head(name, frame.describes(name)).split("\n")]
            texts = [cells.horizontalAdvance(self.table.text(row, name)) for row in rows]
            self.setColumnWidth(k, max(before or 0, min(max([*lines, *texts]) + 18, MOST)))
            self._widths[k] = self.columnWidth(k)


def runs_of(lines: np.ndarray) -> list[np.ndarray]:
    """Return sorted lines in parts that follow each other without a gap."""
    return np.split(lines, np.flatnonzero(np.diff(lines) > 1) + 1) if len(lines) else []
