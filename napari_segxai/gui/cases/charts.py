"""A chart (`core.chart.Chart`), drawn with pyqtgraph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QToolTip, QVBoxLayout, QWidget

from napari_segxai.analyses.cohort.tables.frame import nearest_place
from napari_segxai.core.chart import Chart, Place, Series
from napari_segxai.gui.cases.name_axis import NameAxis
from napari_segxai.gui.cases.points import Points
from napari_segxai.gui.viewer.runs import shortened
from napari_segxai.gui.viewer.theme import COLORS
from napari_segxai.gui.widgets.fields import Words, tip, unbroken
from napari_segxai.gui.widgets.table import number

NEAR, LONGEST, ALONE = 9, 26, 60
"""Pixels around a point; characters of a name in the legend, and of one that is alone there."""

BAR = 0.8
"""The share of the room between two places that the bars at one take."""


class ChartView(QWidget):
    """Draws one chart; a click on a point that is a case asks for it.

    Attributes
    ----------
    clicked
        The id of a case.
    """

    clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.chart: Chart | None = None
        self.axes = {side: NameAxis(side) for side in ("bottom", "left")}
        self.plot = pg.PlotWidget(axisItems=self.axes)
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.caption = Words(1)
        self.legend = Words(2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for part, share in ((self.legend, 0), (self.plot, 1), (self.caption, 0)):
            layout.addWidget(part, share)
        self.legend.label.setTextFormat(self.legend.label.textFormat().RichText)
        self._points: list[tuple[float, float, str, str]] = []
        self._ring = Points(size=16, brush=None, pen=pg.mkPen("#ffb454", width=2.5))
        self._ring.setZValue(20)
        self._case, self._titled = "", True
        self._text, self._background = "#d0d0d0", "#262930"
        self.plot.scene().sigMouseMoved.connect(self._on_moved)
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)
        self.setMinimumWidth(200)

    def set_colors(self, background: str, text: str) -> None:
        """Follow the theme."""
        self._background, self._text = background, text
        self.plot.setBackground(background)
        self.show_chart(self.chart, titled=self._titled)

    def show_chart(self, chart: Chart | None, *, titled: bool = True) -> None:
        """Draw another chart; None for none. Without `titled` its title is not drawn, where a list above it says it."""
        self.chart, self._points, self._titled = chart, [], titled
        self.plot.clear()
        self.plot.setVisible(chart is not None)
        drawn = [] if chart is None or chart.kind == "matrix" else list(enumerate(chart.series))
        said = [(k, one) for k, one in drawn if one.name]  # in the colours in which they are drawn
        words = [
            f'<span style="color:{COLORS[k % len(COLORS)]}">●</span>&nbsp;{unbroken(shortened(one.name, LONGEST if len(said) > 1 else ALONE))}'
            for k, one in said
        ]
        self.legend.setText(" &nbsp;".join(words))
        self.legend.setVisible(bool(words))
        self.caption.setText("" if chart is None else chart.caption)
        self.caption.setVisible(chart is not None and bool(chart.caption))
        if chart is None:
            return
        # Beside an axis of a low chart there is no room for a title: that of the values stands above it.
        above = [chart.title] if titled else []
        above += [chart.y] if chart.kind != "matrix" and chart.y != chart.title else []
        title = escape(": ".join(filter(None, above)), quote=False)
        self.plot.setTitle(title or None, color=self._text, size="9pt")  # without one its room is the chart's
        for side, title in (("bottom", chart.x), ("left", chart.y)):
            axis = self.axes[side]
            axis.setPen(self._text)
            axis.setTextPen(self._text)
            shown = side == "bottom" or chart.kind == "matrix"
            axis.setLabel(escape(title, quote=False) if shown else "", color=self._text)
            axis.showLabel(shown)
        if chart.kind == "matrix":
            self._matrix(chart)
        else:
            self._series(chart)
        box = self.plot.getPlotItem().getViewBox()
        box.enableAutoRange()
        if count := self.axes["bottom"].count:  # half a place beside the first and the last, for their names
            box.setXRange(-0.5, count - 0.5, padding=0)
        self.plot.addItem(self._ring, ignoreBounds=True)
        self.mark(self._case)

    def mark(self, case: str) -> None:
        """Draw a ring around the points of a case; "" for none."""
        self._case = case
        own = [point[:2] for point in self._points if case and point[2] == case]
        self._ring.setData([x for x, _ in own], [y for _, y in own])

    @property
    def marked(self) -> list[tuple[float, float]]:
        """Where the points lie that have a ring."""
        return list(zip(*self._ring.getData(), strict=True))

    def _series(self, chart: Chart) -> None:
        x_names = _names([one.x for one in chart.series])
        y_names = _names([one.y for one in chart.series])
        for side, names, log in (("bottom", x_names, chart.log_x), ("left", y_names, chart.log_y)):
            axis = self.axes[side]
            axis.set_names(names)
            axis.setLogMode(False, False)
            if not names:
                axis.setLogMode(x=log, y=log)
        self.plot.showGrid(x=not x_names, y=not y_names, alpha=0.2)
        bars = [one for one in chart.series if (one.kind or chart.kind) == "bars"]
        for k, one in enumerate(chart.series):
            color, kind = COLORS[k % len(COLORS)], one.kind or chart.kind
            x = _places(one.x, x_names, chart.log_x)
            y = _places(one.y, y_names, chart.log_y)
            known = np.isfinite(x) & np.isfinite(y)
            if kind == "bars":
                wide = BAR / len(bars)
                x = x + (bars.index(one) - (len(bars) - 1) / 2) * wide
                self.plot.addItem(
                    pg.BarGraphItem(x=x[known], height=y[known], width=wide * 0.95, brush=color, pen=None)
                )
            elif kind == "lines":
                pen = pg.mkPen(
                    color, width=2
                )  # in their order, with a gap where nothing is known, as on paper
                gaps = [np.where(known, values, np.nan) for values in (x, y)]
                self.plot.addItem(pg.PlotDataItem(*gaps, pen=pen, connect="finite"))
            else:
                self.plot.addItem(Points(x[known], y[known], size=7, brush=color, pen=None))
            if one.low and one.high:
                self._intervals(x, y, one, color, chart.log_y)
            for n in np.flatnonzero(known):
                case, said = one.cases[n] if one.cases else "", one.text[n] if one.text else ""
                facts = ": ".join(p if isinstance(p, str) else number(p) for p in (one.x[n], one.y[n]))
                self._points.append(
                    (x[n], y[n], case, "\n".join(filter(None, (one.name, said or case, facts))))
                )

    def _intervals(self, x: np.ndarray, y: np.ndarray, one: Series, color: str, log: bool) -> None:
        low, high = (_places(ends, [], log) for ends in (one.low, one.high))
        known = np.isfinite(x) & np.isfinite(y) & np.isfinite(low) & np.isfinite(high)
        if known.any():
            below, above = (y - low)[known], (high - y)[known]
            item = pg.ErrorBarItem(
                x=x[known], y=y[known], top=above, bottom=below, beam=0.08, pen=pg.mkPen(color, width=1.5)
            )
            self.plot.addItem(item)

    def _matrix(self, chart: Chart) -> None:
        one = chart.series[0]
        values = np.array([[math.nan if v is None else v for v in row] for row in one.values], float)
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        if low < 0 < high:
            low, high = -max(-low, high), max(-low, high)
        elif low >= 0:
            low = 0.0
        colors = pg.colormap.get("CET-D1A" if low < 0 else "inferno")
        span = (high - low) or 1.0
        self.plot.showGrid(x=False, y=False)
        for side, names in (("bottom", one.x), ("left", tuple(reversed(one.y)))):
            self.axes[side].setLogMode(False, False)
            self.axes[side].set_names([str(name) for name in names])
        picture = np.zeros((*values.shape[::-1], 4), np.ubyte)
        shares = np.clip((values - low) / span, 0, 1)[::-1].T
        sure = np.isfinite(shares)
        picture[sure] = colors.map(shares[sure], mode="byte")
        item = pg.ImageItem(picture)
        item.setRect(-0.5, -0.5, *values.shape[::-1])
        self.plot.addItem(item)
        few = values.size <= 150
        for row, column in np.ndindex(values.shape):
            value, at = values[row, column], (column, values.shape[0] - 1 - row)
            if not math.isfinite(value):
                continue
            said = f"{one.y[row]}, {one.x[column]}: {number(value)}"
            self._points.append((*at, "", said))
            if few:
                light = np.dot(picture[at][:3], (0.3, 0.59, 0.11)) > 140
                word = pg.TextItem(number(value), color="#000000" if light else "#ffffff", anchor=(0.5, 0.5))
                word.setPos(*at)
                self.plot.addItem(word)

    # -- the mouse ------------------------------------------------------------------------------------------

    def _at(self, scene: Any) -> tuple[float, float, str, str] | None:
        box = self.plot.getPlotItem().getViewBox()
        if not self._points or not box.sceneBoundingRect().contains(scene):
            return None
        at = box.mapSceneToView(scene)
        places = np.array([point[:2] for point in self._points], float)
        pixel, within = box.viewPixelSize(), NEAR
        if self.chart is not None and self.chart.kind == "matrix":
            pixel, within = (1.0, 1.0), 0.71
        found = nearest_place(places, (at.x(), at.y()), pixel, within)
        return None if found is None else self._points[found]

    def _on_moved(self, scene: Any) -> None:
        point = self._at(scene)
        if point is None:
            QToolTip.hideText()
        else:
            QToolTip.showText(self.plot.mapToGlobal(self.plot.mapFromScene(scene)), tip(point[3]), self.plot)

    def _on_clicked(self, event: Any) -> None:
        point = self._at(event.scenePos())
        if point is not None and point[2]:
            self.clicked.emit(point[2])


def _names(axes: Sequence[Sequence[Place | None]]) -> list[str]:
    """Return the names along an axis in the order in which they first come; numbers beside them are places between names."""
    return list(dict.fromkeys(place for axis in axes for place in axis if isinstance(place, str)))


def _places(values: Sequence[Place | None], names: Sequence[str], log: bool) -> np.ndarray:
    """Return where values lie along an axis; NaN for what has no place."""
    if names:
        where = {name: k for k, name in enumerate(names)}
        found = [where[value] if isinstance(value, str) else value for value in values]
        return np.array([math.nan if value is None else value for value in found], float)
    found = np.array([math.nan if value is None else value for value in values], float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(np.where(found > 0, found, np.nan)) if log else found
