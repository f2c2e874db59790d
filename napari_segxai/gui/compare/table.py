"""The table of a comparison: a row per map, a column per metric, sorted by a click on a header."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetrics
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QWidget

from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.checks.registry import describe
from napari_segxai.gui.compare.curves import map_colors
from napari_segxai.gui.widgets.checks_box import verdicts
from napari_segxai.gui.widgets.metric_list import metric_tip, metric_words
from napari_segxai.gui.widgets.table import UNDEFINED, TableView, number
from napari_segxai.metrics.functional.chance import MARK, columns, short, words
from napari_segxai.metrics.functional.ties import tied

STOPPED = "not measured: the run was stopped earlier"
NO_MAP = "a random order is not a map: it is measured by insertion and deletion only"

CHANCE = f"{MARK} after a number: no better than random maps of the same area. The tooltip of the cell says what they reach."

WIDE = 11
"""Characters in a line of a header."""

MARGIN = 16
"""Beside the text of a cell, in pixels: room for the mark of sorting."""

COLOR = 36
"""Of the coloured square beside a name."""

Role = Qt.ItemDataRole


@dataclass(frozen=True)
class Column:
    """The title of a column and its tooltip; `key` is a metric's name, "map", "trust" or "seconds"."""

    key: str
    title: str
    tip: str


TRUST = Column(
    "trust",
    "Trust",
    "Trust checks that the map passed (✓) and that warn (⚠). Choose a row, then Check. The tooltip of a cell says more.",
)


class TableModel(QAbstractTableModel):
    """The cells of a comparison, as Qt's table asks for them."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.comparison: Comparison | None = None
        self.columns: list[Column] = []
        self.names: list[str] = []
        self._best: dict[str, float | None] = {}
        self._colors: dict[str, str] = {}
        self._cells: dict[tuple[str, str], dict[str, Any]] = {}

    def set_comparison(self, comparison: Comparison) -> None:
        """Show another comparison, in the order in which its maps were made."""
        self.beginResetModel()
        self.comparison = comparison
        self._cells = {(row["map"], row["metric"]): row for row in comparison.rows}
        tips = {m.name: metric_tip(m) + (f"\n{CHANCE}" if m.chance else "") for m in comparison.metrics}
        metrics = [Column(m.name, metric_words(m), tips[m.name]) for m in comparison.metrics]
        self.columns = [
            Column("map", "Map", "The method, or the map that was there already. A click shows it."),
            *([TRUST] if comparison.explanations else []),
            *metrics,
            Column("seconds", "Seconds", "How long the method took."),
        ]
        self.names, self._colors = comparison.names, map_colors(comparison)
        self._best = {}
        for metric in comparison.metrics if comparison.rows else ():
            best = comparison.best(metric.name)
            self._best[metric.name] = None if best is None else self.value(best, metric.name)
        self.endResetModel()

    def value(self, name: str, key: str) -> float | None:
        """Return a number; None where there is none."""
        explanation = self.comparison.explanations.get(name)
        if key == "seconds":
            return explanation.record.seconds if explanation is not None else None
        if key == "trust":
            passed = [row["passed"] for row in explanation.record.trust] if explanation is not None else []
            known = [one for one in passed if one is not None]
            return sum(known) / len(known) if known else None
        return self._cells.get((name, key), {"value": None})["value"]

    def reason(self, name: str, key: str) -> str:
        """Say why there is no number."""
        if key == "seconds":
            return "a random order takes no time" if self.is_control(name) else "the map was there already"
        if key == "trust":
            there = name in self.comparison.explanations
            return (
                "not checked: choose Check"
                if there
                else "checks need the record of a map, and this map has none"
            )
        if (name, key) in self._cells:
            return self._cells[name, key]["reason"]
        return NO_MAP if self.is_control(name) else STOPPED

    def is_control(self, name: str) -> bool:
        """Tell whether a row is a random order."""
        return name not in self.comparison.maps

    def is_best(self, name: str, key: str) -> bool:
        """Tell whether a map has the best number of its column; random orders do not count."""
        best, value = self._best.get(key), self.value(name, key)
        known = best is not None and value is not None and not self.is_control(name)
        return known and bool(tied(value, best))

    def level(self, name: str, key: str) -> str:
        """Say which number random maps reach; "" if that was not measured."""
        return words(self._cells.get((name, key), {}))

    def first_level(self, name: str) -> str:
        """Say in short what random maps reach in the first metric for which that was measured; "" if there is none."""
        for column in self.columns:
            cell = self._cells.get((name, column.key), {})
            if cell.get("chance") is not None:
                return f"Random maps, {column.title.rstrip(' ↑↓')}: {short(cell)}"
        return ""

    def text(self, name: str, key: str) -> str:
        """Return the text of a cell."""
        if key == "map":
            return name
        value = self.value(name, key)
        if value is None:
            return UNDEFINED
        if key == "trust":
            return verdicts(self.comparison.explanations[name].record)
        mark = f"\u2009{MARK}" if self._cells.get((name, key), {}).get("above_chance") is False else ""
        return f"{value:.2f}" if key == "seconds" else number(value) + mark

    def as_text(self) -> str:
        """Return the table as it is sorted now, with tabs between the columns, for a spreadsheet."""
        levels = list(dict.fromkeys(key for cell in self._cells.values() for key in columns(cell)))
        lines = [[column.title for column in self.columns] + levels]
        for name in self.names:
            known: dict[str, Any] = {}
            for column in self.columns:
                known |= columns(self._cells.get((name, column.key), {}))
            own = [self._plain(name, column.key) for column in self.columns[1:]]
            lines.append([name, *own, *(str(known.get(key, "")) for key in levels)])
        return "\n".join("\t".join(line) for line in lines)

    def _plain(self, name: str, key: str) -> str:
        """Return a cell for a spreadsheet: a number with all its digits, or nothing."""
        value = self.value(name, key)
        if value is None:
            return ""
        return self.text(name, key) if key == "trust" else repr(float(value))

    # -- what Qt asks for ---------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of maps and random orders."""
        return len(self.names)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Role.DisplayRole) -> Any:
        """Return the title of a column, in lines, or its tooltip."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self.columns):
            return None
        column = self.columns[section]
        if role == Role.DisplayRole:
            words = column.title.replace(" ↑", "\xa0↑").replace(
                " ↓", "\xa0↓"
            )  # an arrow stays with the word before it
            return "\n".join(textwrap.wrap(words, WIDE, break_long_words=False))
        return column.tip if role == Role.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> Any:
        """Return what a cell shows: its text, its tooltip, its font, its alignment."""
        name, column = self.names[index.row()], self.columns[index.column()]
        if role == Role.DisplayRole:
            return self.text(name, column.key)
        if role == Role.ToolTipRole:
            if column.key == "map":
                return NO_MAP if self.is_control(name) else self._about(name)
            value = self.value(name, column.key)
            if value is None:
                return self.reason(name, column.key)
            if column.key == "trust":
                return "\n".join(describe(self.comparison.explanations[name].record.trust))
            best = "\nthe best of the maps" if self.is_best(name, column.key) else ""
            level = self.level(name, column.key)
            return f"{name}\n{column.title}: {value:.6g}{best}" + (f"\n{level}" if level else "")
        if role == Role.FontRole:
            font = QFont(QApplication.font())
            font.setBold(self.is_best(name, column.key))
            font.setItalic(self.is_control(name))
            return font
        if role == Role.DecorationRole and column.key == "map":
            return QColor(self._colors[name])
        if role == Role.TextAlignmentRole and column.key != "map":
            return int((Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter).value)
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column, numbers by their value; undefined numbers come last in both directions."""
        if self.comparison is None or not 0 <= column < len(self.columns):
            return
        key, down = self.columns[column].key, order == Qt.SortOrder.DescendingOrder
        self.layoutAboutToBeChanged.emit()
        if key == "map":
            self.names.sort(key=str.lower, reverse=down)
        else:
            known = [name for name in self.names if self.value(name, key) is not None]
            rest = [name for name in self.names if name not in known]
            self.names = [*sorted(known, key=lambda name: self.value(name, key), reverse=down), *rest]
        self.layoutChanged.emit()

    def _about(self, name: str) -> str:
        explanation = self.comparison.explanations.get(name)
        if explanation is None:
            return name
        parameters = ", ".join(f"{key} {value}" for key, value in explanation.record.parameters.items())
        warnings = "".join(f"\n⚠ {warning}" for warning in explanation.record.warnings)
        return f"{name}\n{parameters}{warnings}" if parameters else f"{name}{warnings}"


class CompareTable(TableView):
    """Shows a comparison; a row can be clicked, or walked to with the arrow keys.

    Attributes
    ----------
    chosen
        Another row is the current one: the name of its map.
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None):
        self.table = TableModel()
        super().__init__(self.table, parent)
        self.table.setParent(self)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setToolTip("")
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.sortIndicatorChanged.connect(lambda *_: self._mark())
        self.name: str | None = None
        self.selectionModel().currentRowChanged.connect(lambda now, _: self._on_row(now))

    def set_comparison(self, comparison: Comparison) -> None:
        """Show another comparison."""
        self.name = None
        self.table.set_comparison(comparison)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self._resize()

    def refresh(self) -> None:
        """Show what has been found out about the maps since the table was filled."""
        self.table.layoutChanged.emit()
        self._resize()

    def select(self, name: str) -> None:
        """Make a row the current one."""
        self.setCurrentIndex(self.table.index(self.table.names.index(name), 0))

    def copy(self) -> str:
        """Put the table on the clipboard; returns it."""
        text = self.table.as_text()
        QApplication.clipboard().setText(text)
        return text

    def _resize(self) -> None:
        """Make every column as wide as its widest line, so that many columns fit."""
        font = QFont(self.horizontalHeader().font())
        font.setBold(True)
        metrics = QFontMetrics(font)
        model = self.table
        for k, column in enumerate(model.columns):
            title = model.headerData(k, Qt.Orientation.Horizontal)
            lines = [*title.split("\n"), *(model.text(name, column.key) for name in model.names)]
            width = max(metrics.horizontalAdvance(line) for line in lines) + MARGIN
            self.setColumnWidth(k, min(width + COLOR, 210) if column.key == "map" else width)

    def _on_row(self, now: QModelIndex) -> None:
        if now.isValid() and self.table.names[now.row()] != self.name:
            self.name = self.table.names[now.row()]
            self.chosen.emit(self.name)

    def _mark(self) -> None:
        """Keep the current map the current one after sorting."""
        if self.name is not None:
            self.select(self.name)
