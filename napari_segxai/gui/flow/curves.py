"""The curves of an information flow over depth, one per label."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QRectF, Qt, Signal
from qtpy.QtGui import QFont, QFontMetricsF
from qtpy.QtWidgets import QApplication, QComboBox, QVBoxLayout, QWidget

from napari_segxai.analyses.flow import wording
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.core.text_table import short
from napari_segxai.gui.viewer.runs import shortened
from napari_segxai.gui.viewer.theme import COLORS, color_plot
from napari_segxai.gui.widgets.fields import Words, tip

NAMES_SHOWN = 24
"""More layer names than this are thinned out along the axis."""


LONGEST_TICK = 10
"""Characters of a layer below the curves, which have little height."""

LONGEST = 24
"""Characters of a label beside the curves."""


class Curves(QWidget):
    """A quantity over depth, with the layer at which each label emerges.

    Attributes
    ----------
    clicked
        A point was clicked: (label, layer).
    """

    clicked = Signal(str, str)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.flow: Flow | None = None
        self.quantity_box = QComboBox()
        self.quantity_box.setToolTip(
            "The number that is drawn for every network layer, in the order of execution."
        )
        self.quantity_box.setMinimumWidth(180)
        self.quantity_box.currentIndexChanged.connect(lambda _: self._draw())
        self.axis = UprightNames("bottom")
        self.plot = pg.PlotWidget(axisItems={"bottom": self.axis})
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(False, False)
        self.plot.hideButtons()
        self.plot.showGrid(x=True, y=True, alpha=0.2)
        self.plot.setToolTip("Click a point: its map becomes a layer in the viewer.")
        self.legend = Words(2)
        self.legend.label.setTextFormat(Qt.TextFormat.RichText)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.quantity_box)
        layout.addWidget(self.legend)
        layout.addWidget(self.plot, 1)
        self.setMinimumWidth(200)
        self.points: dict[str, pg.ScatterPlotItem] = {}
        self.marks: dict[str, pg.InfiniteLine] = {}

    @property
    def quantity(self) -> str:
        """The chosen quantity, as an attribute of a tile."""
        return self.quantity_box.currentData() or "energy_inside"

    def set_flow(self, flow: Flow) -> None:
        """Show another result, or new numbers of the same one."""
        self.flow = flow
        chosen = self.quantity
        self.quantity_box.blockSignals(True)
        self.quantity_box.clear()
        for name, words in wording.QUANTITIES.items():
            if wording.available(flow, name):
                self.quantity_box.addItem(words, name)
        self.quantity_box.setCurrentIndex(max(0, self.quantity_box.findData(chosen)))
        self.quantity_box.blockSignals(False)
        self._draw()

    def set_quantity(self, name: str) -> None:
        """Choose what is drawn, as an attribute of a tile."""
        self.quantity_box.setCurrentIndex(self.quantity_box.findData(name))

    def set_colors(self, background: str, text: str) -> None:
        """Follow the theme."""
        color_plot(self.plot, background, text)

    def _draw(self) -> None:
        self.plot.clear()
        self.points, self.marks = {}, {}
        flow = self.flow
        if flow is None:
            return
        names = [layer.name for layer in flow.layers]
        self.axis.set_names(names)
        words = []
        for number, label in enumerate(flow.labels):
            color = COLORS[number % len(COLORS)]
            values = np.array(flow.curve(label, self.quantity))
            depth = np.arange(len(values))
            self.plot.addItem(
                pg.PlotDataItem(depth, values, pen=pg.mkPen(color, width=1.5), connect="finite")
            )
            seen = np.isfinite(values)
            points = pg.ScatterPlotItem(
                depth[seen],
                values[seen],
                data=np.array(names, object)[seen],
                brush=color,
                pen=None,
                size=8,
                hoverable=True,
                hoverSize=12,
                tip=lambda x, y, data, label=label: f"{label} at {data}: {y:.3g}",
            )
            points.sigClicked.connect(lambda _item, found, _event, label=label: self._on_click(label, found))
            self.plot.addItem(points)
            self.points[label] = points
            emerged = flow.emergence(label)
            if emerged is not None:
                line = pg.InfiniteLine(
                    names.index(emerged.name),
                    angle=90,
                    pen=pg.mkPen(color, width=1.5, style=Qt.PenStyle.DashLine),
                    label=f"{shortened(label, LONGEST)} emerges",
                    labelOpts={
                        "color": color,
                        "position": 0.9 - 0.14 * (number % 6),
                        "anchors": [(0, 0.5), (1, 0.5)],
                    },
                )
                self.plot.addItem(line)
                self.marks[label] = line
            words.append(f'<span style="color: {color}">●</span> {escape(shortened(label, LONGEST))}')
        self.legend.setText(" ".join(words))
        self.legend.setToolTip(tip("\n".join(wording.emergence(flow, label) for label in flow.labels)))
        self.plot.setXRange(-0.4, len(names) - 0.6, padding=0)
        if self.quantity in wording.SHARES:
            lowest = np.nanmin([0.0, *(v for label in flow.labels for v in flow.curve(label, self.quantity))])
            self.plot.setYRange(float(lowest), 1, padding=0.05)
        else:
            self.plot.enableAutoRange("y")

    def _on_click(self, label: str, found: Any) -> None:
        if len(found):
            self.clicked.emit(label, str(found[0].data()))


class UprightNames(pg.AxisItem):
    """An axis whose ticks are names, written upwards so that many fit."""

    def __init__(self, orientation: str):
        super().__init__(orientation)
        self._names: list[str] = []

    def set_names(self, names: list[str]) -> None:
        """Set the name at 0, 1, 2, ..."""
        self._names = [short(name, LONGEST_TICK) for name in names]
        step = -(-len(names) // NAMES_SHOWN) if names else 1
        self.setTicks([[(k, name) for k, name in enumerate(self._names) if k % step == 0]])
        metrics = QFontMetricsF(_small())
        widest = max([metrics.horizontalAdvance(name) for name in self._names], default=20)
        self.setHeight(int(widest) + 12)

    def generateDrawSpecs(self, painter: Any) -> Any:
        """Place the names upright below their ticks."""
        specs = super().generateDrawSpecs(painter)
        if specs is None:
            return None
        axis, ticks, _ = specs
        low, high = self.range
        texts = [
            (QRectF((value - low) / (high - low) * self.width() - 8, 8, 16, self.height() - 8), 0, name)
            for level in (self._tickLevels or [])
            for value, name in level
            if low <= value <= high
        ]
        return axis, ticks, texts

    def drawPicture(self, painter: Any, axis: Any, ticks: Any, texts: Any) -> None:
        """Draw axis and ticks as pyqtgraph does, and the names upright."""
        super().drawPicture(painter, axis, ticks, [])
        painter.setPen(self.textPen())
        painter.setFont(_small())
        for box, _, name in texts:
            painter.save()
            painter.translate(box.center().x(), box.top())
            painter.rotate(-90)
            flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(-box.height(), -8, box.height(), 16), int(flags.value), name)
            painter.restore()


def _small() -> QFont:
    font = QFont(QApplication.font())
    font.setPointSizeF(max(6.0, font.pointSizeF() - 2))
    return font
