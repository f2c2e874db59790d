"""What a sweep shows: a table of one number, coloured as a heat map, and what is known of the chosen cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.analyses.compare.result import ARROWS
from napari_segxai.analyses.sweep.result import Number, Sweep, best_cells
from napari_segxai.figures.sweep import FRAME, cell_colors
from napari_segxai.gui.widgets.fields import combo, plain_label
from napari_segxai.gui.widgets.metric_list import metric_tip
from napari_segxai.gui.widgets.table import UNDEFINED, number
from napari_segxai.metrics.functional.chance import MARK, level_words

BEST = Qt.ItemDataRole.UserRole
"""Whether a cell is framed."""

CELL = (70, 30)
"""Least width and height, in pixels; larger tables scroll."""


class SweepResults(QWidget):
    """A list of the available numbers, and a table of the chosen one.

    Attributes
    ----------
    wanted
        A cell was chosen: the number of its combination, row by row.
    """

    wanted = Signal(int)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.sweep: Sweep | None = None
        self.number_box = combo("The number that the table shows.")
        self.number_box.setMinimumWidth(260)
        self.legend = QLabel()
        self.legend.setMinimumWidth(60)
        self.table = QTableWidget()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setItemDelegate(_Cell(self.table))
        self.table.setToolTip("Click a cell: its map is shown.")
        for header, least in zip(
            (self.table.horizontalHeader(), self.table.verticalHeader()), CELL, strict=True
        ):
            header.setMinimumSectionSize(least)
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            header.setSectionsClickable(False)
        self.note = plain_label(
            "Choose a method, one or two of its parameters and their values, and press Run."
        )
        self.note.setMinimumWidth(60)
        self.note.setWordWrap(True)
        top = QHBoxLayout()
        top.addWidget(self.number_box)
        top.addWidget(self.legend, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addLayout(top)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.note)
        self.number_box.currentIndexChanged.connect(lambda _: self._fill())
        self.table.currentCellChanged.connect(lambda row, column, *_: self._on_cell(row, column))

    @property
    def number(self) -> Number | None:
        """The number that is shown; None if there is none for this cell."""
        return self.number_box.currentData()

    def set_sweep(self, sweep: Sweep) -> None:
        """Show another sweep; the number stays the same where both have it, and no cell is chosen."""
        self.sweep = None  # the table is emptied first: no cell of the old sweep is meant
        self.table.clear()
        chosen = self.number
        self.number_box.blockSignals(True)
        self.number_box.clear()
        for k, one in enumerate(sweep.numbers):
            self.number_box.addItem(one.title + ARROWS[one.better], one)
            self.number_box.setItemData(k, _tip(sweep, one), Qt.ItemDataRole.ToolTipRole)
        if chosen in sweep.numbers:
            self.number_box.setCurrentIndex(sweep.numbers.index(chosen))
        self.number_box.blockSignals(False)
        rows, columns = sweep.shape
        self.table.setRowCount(rows)
        self.table.setColumnCount(columns)
        names = list(sweep.grid)
        self.table.setHorizontalHeaderLabels(_titles(names[-1], sweep.grid[names[-1]]))
        left = _titles(names[0], sweep.grid[names[0]]) if len(names) == 2 else [""]
        self.table.setVerticalHeaderLabels(left)
        self.table.setCurrentCell(-1, -1)
        self.sweep = sweep
        self.note.setText("Click a cell: its map is shown.")
        self._fill()

    def show_number(self, name: str) -> None:
        """Choose what is shown by its name."""
        names = [self.number_box.itemData(k).name for k in range(self.number_box.count())]
        self.number_box.setCurrentIndex(names.index(name))

    def select(self, index: int) -> None:
        """Choose the cell of a combination."""
        self.table.setCurrentCell(*divmod(index, self.table.columnCount()))

    def _fill(self) -> None:
        sweep, shown = self.sweep, self.number
        if sweep is None:
            return
        values = sweep.array(shown) if shown is not None else np.full(sweep.shape, np.nan)
        ground, ink = cell_colors(values)
        best = best_cells(values, shown.better if shown is not None else None)
        chance = sweep.chance_cells(shown) if shown is not None else np.zeros(values.shape, bool)
        levels = sweep.chance(shown) if shown is not None else []
        for k, combination in enumerate(sweep.combinations):
            row, column = divmod(k, values.shape[1])
            value = values[row, column]
            mark = f"\u2009{MARK}" if chance[row, column] else ""
            item = QTableWidgetItem(number(value) + mark if value == value else UNDEFINED)
            item.setBackground(QColor.fromRgbF(*ground[row, column]))
            item.setForeground(QColor(ink[row][column]))
            item.setData(BEST, bool(best[row, column]))
            tip = words_of(combination) + ("" if k < len(sweep.comparison.maps) else ": not reached")
            if k < len(levels) and levels[k] is not None:
                mean, high = levels[k]
                tip += f"\n{level_words(mean, high, above=not chance[row, column])}"
            item.setToolTip(tip)
            self.table.setItem(row, column, item)
        signs = [f'<span style="color: {FRAME}">▢</span> best'] * bool(best.any())
        signs += [f"{MARK} no better than chance"] * bool(chance.any())
        self.legend.setText(" &nbsp; ".join(signs))

    def _on_cell(self, row: int, column: int) -> None:
        if self.sweep is None or row < 0:
            return
        index = row * self.table.columnCount() + column
        words = words_of(self.sweep.combinations[index])
        explanations = list(self.sweep.comparison.explanations.values())
        if index >= len(explanations):
            self.note.setText(f"{words}: the sweep was stopped before this combination.")
            return
        warnings = [f"⚠ {warning}" for warning in explanations[index].record.warnings]
        self.note.setText("\n".join([words, *warnings]))
        self.wanted.emit(index)


def words_of(combination: dict[str, Any]) -> str:
    """Return the values of a combination in words."""
    return ", ".join(f"{name.replace('_', ' ')} {_word(value)}" for name, value in combination.items())


class _Cell(QStyledItemDelegate):
    """Draws a cell in its colours, which a style sheet would paint over, with a frame around the best."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Fill, frame, write."""
        painter.save()
        painter.fillRect(option.rect, index.data(Qt.ItemDataRole.BackgroundRole))
        painter.setPen(index.data(Qt.ItemDataRole.ForegroundRole).color())
        font = painter.font()
        table = self.parent()
        chosen = (index.row(), index.column()) == (table.currentRow(), table.currentColumn())
        font.setBold(chosen)
        font.setUnderline(chosen)
        painter.setFont(font)
        painter.drawText(option.rect, Qt.AlignmentFlag.AlignCenter, index.data())
        if index.data(BEST):
            pen = QPen(QColor(FRAME), 3)
            pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
            painter.setPen(pen)
            painter.drawRect(option.rect.adjusted(3, 3, -4, -4))
        painter.restore()


def _titles(name: str, values: list[Any]) -> list[str]:
    return [f"{name.replace('_', ' ')} {_word(value)}" for value in values]


def _word(value: Any) -> str:
    if value is None:
        return "auto"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tip(sweep: Sweep, number: Number) -> str:
    for metric in sweep.comparison.metrics:
        if not number.own and metric.name == number.name:
            return metric_tip(metric)
    better = f"; {number.better} is better" if number.better else ""
    return f"{number.name.replace('_', ' ')}: a number that the method itself reports{better}."
