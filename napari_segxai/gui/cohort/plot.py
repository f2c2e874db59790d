"""Two columns of a cohort against each other: a point is a row, and a click opens its case."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, QObject, QPoint, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.analyses.cohort.tables.columns import describe
from napari_segxai.analyses.cohort.tables.frame import Frame, inside, nearest_place, places
from napari_segxai.gui.cases.points import Points
from napari_segxai.gui.viewer.runs import shortened
from napari_segxai.gui.viewer.theme import COLORS, color_plot
from napari_segxai.gui.widgets.fields import Words, combo, plain_label, tip, unbroken

SYMBOLS = ("o", "t", "s", "d", "star", "x", "p", "h")

NEAR = 9
"""Pixels around a point in which the mouse is at it."""

SIZE, LONGEST = 7, 24

FIRST_X = ("size_px", "truth_px")
FIRST_Y = ("truth_dice", "dice-explained", "dice_explained", "n_dilations", "confidence")

ARROWS = {Qt.Key.Key_Right: 1, Qt.Key.Key_Down: 1, Qt.Key.Key_Left: -1, Qt.Key.Key_Up: -1}
"""Rows that the arrow keys go on."""


class PlotBox(pg.ViewBox):
    """The area of the axes: with Shift held, or while `selects`, the mouse draws around points instead of moving it.

    Attributes
    ----------
    drawn
        What was drawn around: its corners.
    """

    drawn = Signal(object)

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self.selects = False
        self._corners: list[tuple[float, float]] = []
        self._line = pg.PlotCurveItem(pen=pg.mkPen("#ffb454", width=1.5))
        self._line.setZValue(20)

    def mouseDragEvent(self, ev: Any, axis: int | None = None) -> None:
        """Draw around points, or move the axes."""
        shift = ev.modifiers() & Qt.KeyboardModifier.ShiftModifier
        if ev.button() != Qt.MouseButton.LeftButton or not (self.selects or shift or self._corners):
            super().mouseDragEvent(ev, axis)
            return
        ev.accept()
        if ev.isStart():
            start = self.mapSceneToView(ev.buttonDownScenePos())
            self._corners = [(start.x(), start.y())]
            self.addItem(self._line, ignoreBounds=True)
        now = self.mapSceneToView(ev.scenePos())
        self._corners.append((now.x(), now.y()))
        self._line.setData(*np.array([*self._corners, self._corners[0]]).T)
        if ev.isFinish():
            corners, self._corners = self._corners, []
            self._line.setData([], [])
            self.removeItem(self._line)
            self.drawn.emit(corners)


class CohortPlot(QWidget):
    """The plot, and what is chosen of it.

    Attributes
    ----------
    clicked
        A point was clicked: the number of its row.
    selected
        Points were drawn around: the numbers of their rows, as an array.
    stepped
        An arrow key was pressed: 1 for the next row, -1 for the one before.
    """

    clicked = Signal(int)
    selected = Signal(object)
    stepped = Signal(int)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.frame: Frame | None = None
        self.points = np.empty((0, 2))
        self.left: np.ndarray | None = None
        self.hovered: int | None = None
        self.x_box = combo("The column along the x axis.")
        self.y_box = combo("The column along the y axis.")
        self.log_x, self.log_y = QCheckBox("log"), QCheckBox("log")
        self.color_box = combo("The column that decides the colour of a point.")
        self.symbol_box = combo("The column that decides the symbol of a point.")
        self.lasso = QPushButton("Select")
        self.lasso.setCheckable(True)
        self.lasso.setToolTip(
            "Draw around points with the mouse to select them. Without this button, hold Shift and draw. A click beside the points clears "
            "the selection."
        )
        self.box = PlotBox()
        self.plot = pg.PlotWidget(viewBox=self.box)
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.showGrid(x=True, y=True, alpha=0.2)
        for side in ("bottom", "left"):
            self.plot.getAxis(side).enableAutoSIPrefix(False)
        self.plot.setToolTip("")
        self.plot.viewport().setMouseTracking(True)
        self.note = plain_label()
        self.note.setWordWrap(True)
        self.legend = Words(2)
        self.legend.label.setTextFormat(Qt.TextFormat.RichText)
        self._items: dict[tuple[str, str], Points] = {}
        self._rows = np.arange(0)
        self._current: int | None = None
        self._text = "#d0d0d0"
        self._stale = False
        self._by_user: set[QComboBox] = set()
        """Boxes in which the user has chosen: until then the first split that there is counts."""
        ring = {"brush": None, "pxMode": True, "symbol": "o"}
        self._chosen = Points(size=SIZE + 4, pen=pg.mkPen("#ffffff", width=1), **ring)
        self._marked = Points(size=SIZE + 9, pen=pg.mkPen("#ffb454", width=2.5), **ring)
        for depth, item in enumerate((self._chosen, self._marked), 10):
            item.setZValue(depth)
            self.plot.addItem(item, ignoreBounds=True)
        self._lay_out()
        for box in (self.x_box, self.y_box, self.color_box, self.symbol_box):
            box.currentIndexChanged.connect(lambda _: self._draw(fit=True))
        for box in (self.color_box, self.symbol_box):
            box.activated.connect(lambda _, box=box: self._by_user.add(box))
        for tick in (self.log_x, self.log_y):
            tick.toggled.connect(lambda _: self._draw(fit=True))
        self.lasso.toggled.connect(lambda on: setattr(self.box, "selects", on))
        self.box.drawn.connect(self._on_drawn)
        self.plot.installEventFilter(self)
        self.plot.scene().sigMouseMoved.connect(self._on_moved)
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(2)
        parts = [("x", self.x_box, self.log_x), ("y", self.y_box, self.log_y)]
        for k, (word, box, tick) in enumerate(parts):
            grid.addWidget(QLabel(word), 0, 3 * k)
            grid.addWidget(box, 0, 3 * k + 1)
            grid.addWidget(tick, 0, 3 * k + 2)
        grid.addWidget(self.lasso, 0, 6)
        for column in (1, 4):
            grid.setColumnStretch(column, 1)
        below = QHBoxLayout()
        below.setSpacing(4)
        for word, box in (("colour", self.color_box), ("symbol", self.symbol_box)):
            below.addWidget(QLabel(word))
            box.setMinimumWidth(90)
            below.addWidget(box, 1)
        below.addWidget(self.legend, 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(grid)
        layout.addLayout(below)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.note)
        self.setMinimumWidth(240)

    # -- what is shown ------------------------------------------------------------------------------------

    def set_frame(self, frame: Frame | None, left: np.ndarray | None = None) -> None:
        """Show another table, or more rows of the same; `left` are the rows that a filter leaves."""
        before = self.frame
        self.frame, self.left = frame, left
        self._offer()
        self._draw(fit=before is None or frame is None or before.name != frame.name)

    def select(self, rows: np.ndarray, current: int | None) -> None:
        """Mark rows, and ring the current one."""
        self._rows, self._current = rows, current
        self._mark()

    def choose(self, x: str, y: str) -> None:
        """Choose the columns of the axes."""
        for box, name in ((self.x_box, x), (self.y_box, y)):
            box.setCurrentIndex(max(0, box.findData(name)))

    def set_colors(self, background: str, text: str) -> None:
        """Follow the theme."""
        color_plot(self.plot, background, text)
        self._text = text
        self._chosen.setPen(pg.mkPen(text, width=1))
        self._label()

    def _offer(self) -> None:
        """Offer the columns that there are; what was chosen stays."""
        frame = self.frame
        numbers = [] if frame is None else list(frame.numeric)
        splits = [] if frame is None else list(frame.splits)
        wanted = ((self.x_box, FIRST_X, 0), (self.y_box, FIRST_Y, 1))
        for box, first, other in wanted:
            _fill(box, [(describe(name).axis, name) for name in numbers], first, other)
        for box, first in ((self.color_box, ("label", "map")), (self.symbol_box, ("group",))):
            offered = [("none", ""), *((name.replace("_", " "), name) for name in splits)]
            _fill(box, offered, first, 0, keep=box in self._by_user)

    def _draw(self, *, fit: bool = False) -> None:
        if not self.isVisible():
            self._stale = True
            return
        self._stale = False
        frame, x, y = self.frame, self.x_box.currentData(), self.y_box.currentData()
        if frame is None or x is None or y is None:
            self.points = np.empty((0, 2))
            for item in self._items.values():
                item.setData([], [])
            self._mark()
            return
        log_x, log_y = self.log_x.isChecked(), self.log_y.isChecked()
        self.points = places(frame, x, y, log_x=log_x, log_y=log_y)
        if self.left is not None:
            self.points[~self.left] = np.nan
        colors, symbols = (_split(frame, box.currentData()) for box in (self.color_box, self.symbol_box))
        seen = {}
        for n, color in enumerate(colors):
            for m, symbol in enumerate(symbols):
                own = self.points[colors[color] & symbols[symbol]]
                seen[color, symbol] = (
                    own[np.isfinite(own).all(1)],
                    COLORS[n % len(COLORS)],
                    SYMBOLS[m % len(SYMBOLS)],
                )
        for gone in self._items.keys() - seen.keys():
            self.plot.removeItem(self._items.pop(gone))
        for key, (own, color, symbol) in seen.items():
            if key not in self._items:
                self._items[key] = Points(size=SIZE, pen=pg.mkPen("#00000060"))
                self.plot.addItem(self._items[key])
            _fill_points(self._items[key], own, color, symbol)
        for name, log in (("bottom", log_x), ("left", log_y)):
            self.plot.getAxis(name).setLogMode(False, False)
            self.plot.getAxis(name).setLogMode(x=log, y=log)
        if fit:
            self.box.enableAutoRange()
        self._label()
        self._tell(list(colors), list(symbols))
        self._mark()

    def _mark(self) -> None:
        if not self.isVisible():  # it is drawn, with its marks, once it is seen
            self._stale = True
            return
        current = np.array([] if self._current is None else [self._current], int)
        for item, rows in ((self._chosen, self._rows), (self._marked, current)):
            own = self.points[rows[rows < len(self.points)]]
            own = own[np.isfinite(own).all(1)]
            item.setData(own[:, 0], own[:, 1])

    def _label(self) -> None:
        for name, box in (("bottom", self.x_box), ("left", self.y_box)):
            if (column := box.currentData()) is not None:
                self.plot.setLabel(name, escape(describe(column).axis, quote=False), color=self._text)

    def _tell(self, colors: list[str], symbols: list[str]) -> None:
        """Say what colours and symbols mean, and how many rows have no place in the plot."""
        marks = {"o": "●", "t": "▼", "s": "■", "d": "◆", "star": "★", "x": "✕", "p": "⬟", "h": "⬢"}
        words = [
            f'<span style="color:{COLORS[k % len(COLORS)]}">●</span>&nbsp;{unbroken(shortened(name, LONGEST))}'
            for k, name in enumerate(colors)
            if name
        ]
        words += [
            f"{marks[SYMBOLS[k % len(SYMBOLS)]]}&nbsp;{unbroken(shortened(name, LONGEST))}"
            for k, name in enumerate(symbols)
            if name
        ]
        self.legend.setText(" &nbsp;".join(words))
        self.legend.setVisible(bool(words))
        left = np.ones(len(self.points), bool) if self.left is None else self.left
        lacking = int((~np.isfinite(self.points).all(1) & left).sum())
        why = "no number" + (
            ", or one that is not above 0," if self.log_x.isChecked() or self.log_y.isChecked() else ""
        )
        self.note.setText(f"{lacking} of {int(left.sum())} rows have {why} here." if lacking else "")
        self.note.setVisible(bool(lacking))

    # -- the mouse and the keys -----------------------------------------------------------------------------

    def row_at(self, scene: Any) -> int | None:
        """Return the number of the row whose point is at a place of the scene."""
        if self.frame is None or not len(self.points):
            return None
        at, pixel = self.box.mapSceneToView(scene), self.box.viewPixelSize()
        return nearest_place(self.points, (at.x(), at.y()), pixel, NEAR)

    def _on_moved(self, scene: Any) -> None:
        found = self.row_at(scene) if self.box.sceneBoundingRect().contains(scene) else None
        if found == self.hovered:
            return
        self.hovered = found
        if found is None:
            QToolTip.hideText()
            return
        row = self.frame.rows[found]
        lines = [" · ".join(filter(None, self.frame.keys[found]))]
        for box in (self.x_box, self.y_box):
            lines.append(f"{describe(box.currentData()).axis}: {row[box.currentData()]:.4g}")
        at = self.plot.mapFromScene(scene)
        QToolTip.showText(self.plot.mapToGlobal(at) + QPoint(12, 12), tip("\n".join(lines)), self.plot)

    def _on_clicked(self, event: Any) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        found = self.row_at(event.scenePos())
        if found is not None:
            self.clicked.emit(found)
        elif self.box.sceneBoundingRect().contains(event.scenePos()):
            self.selected.emit(np.arange(0))

    def _on_drawn(self, corners: list[tuple[float, float]]) -> None:
        if self.frame is not None:
            self.selected.emit(np.flatnonzero(inside(self.points, corners)))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the arrow keys from the plot, which has the keyboard after a click."""
        if event.type() == QEvent.Type.KeyPress and event.key() in ARROWS:
            self.stepped.emit(ARROWS[event.key()])
            return True
        return super().eventFilter(watched, event)

    def showEvent(self, event: Any) -> None:
        """Draw what came while the plot was hidden."""
        super().showEvent(event)
        if self._stale:
            self._draw()


def _fill(
    box: QComboBox, entries: list[tuple[str, str]], first: tuple[str, ...], other: int, *, keep: bool = True
) -> None:
    """Offer entries, words and what they mean; keep what is chosen, or choose the first that there is."""
    known = [name for _, name in entries]
    if [box.itemData(k) for k in range(box.count())] == known:
        return
    chosen = box.currentData()
    if chosen not in known or not keep:
        chosen = next((name for name in first if name in known), None)
    box.blockSignals(True)
    box.clear()
    for words, name in entries:
        box.addItem(words, name)
    box.setCurrentIndex(known.index(chosen) if chosen is not None else min(other, len(known) - 1))
    box.blockSignals(False)


def _split(frame: Frame, column: str | None) -> dict[str, np.ndarray]:
    """Return which rows have each value of a column; all under "" where they are not told apart."""
    return frame.splits.get(column or "") or {"": np.ones(len(frame), bool)}


def _fill_points(item: Points, own: np.ndarray, color: str, symbol: str) -> None:
    """Give an item its points; where some have been added alone, only these are made."""
    old = np.column_stack(item.getData())
    same = item.opts["symbol"] == symbol and item.property("color") == color
    if same and len(old) <= len(own) and np.array_equal(old, own[: len(old)]):
        if len(own) > len(old):
            item.addPoints(own[len(old) :, 0], own[len(old) :, 1])
        return
    item.setProperty("color", color)
    item.setData(own[:, 0], own[:, 1], brush=pg.mkBrush(color), symbol=symbol)
