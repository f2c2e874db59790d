"""The curves of a comparison: insertion, deletion, Dice over the threshold and over dilation."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.gui.viewer.theme import COLORS, color_plot
from napari_segxai.gui.widgets.fields import combo

CONTROL = "#8c8c8c"
"""Of random orders."""


@dataclass
class Drawing:
    """The curves of one metric: what its axes show, and the points of every map along both axes."""

    title: str
    along: str
    up: str
    lines: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    levels: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By map: what random maps reach, see `metrics.functional.chance`."""


def drawings(comparison: Comparison) -> dict[str, Drawing]:
    """Return all curves of a comparison by the name of their metric; "dilation" for Dice over dilation stage."""
    out: dict[str, Drawing] = {}
    axes = {metric.name: metric.axes for metric in comparison.metrics}
    for row in comparison.rows:
        if row["curve"] is not None:
            drawing = out.setdefault(row["metric"], Drawing(row["title"], *axes[row["metric"]]))
            drawing.lines[row["map"]] = (row["curve"]["share"], row["curve"]["score"])
            if row.get("chance_curve"):
                drawing.levels[row["map"]] = row["chance_curve"]
    for name, explanation in comparison.explanations.items():
        if (stages := explanation.curves.get("dilation")) is not None:
            drawing = out.setdefault(
                "dilation", Drawing("Dice over dilation stage", "dilation stage", "Dice")
            )
            drawing.lines[name] = (stages["dilations"], stages["dice"])
    return out


def map_colors(comparison: Comparison) -> dict[str, str]:
    """Return the colour of every row of the table; random orders are rows, too."""
    colors = {name: COLORS[k % len(COLORS)] for k, name in enumerate(comparison.maps)}
    return {name: colors.get(name, CONTROL) for name in comparison.names}


class CompareCurves(QWidget):
    """One kind of curve at a time, a line per map; a click on a line chooses its map.

    Attributes
    ----------
    clicked
        The name of a map.
    """

    clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.box: QComboBox = combo("Which curves are drawn.")
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.plot = pg.PlotWidget()
        self.plot.setToolTip(
            "Colours as in the table; a click on a line chooses its map. Grey: what random maps of the same area as the "
            "chosen one reach, their mean (dashed) and 95th percentile (dotted)."
        )
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(False, False)
        self.plot.hideButtons()
        self.plot.showGrid(x=True, y=True, alpha=0.2)
        self.plot.getAxis("bottom").setHeight(38)
        self.mark = pg.InfiniteLine(angle=90, pen=pg.mkPen(CONTROL, width=1.5, style=Qt.PenStyle.DashLine))
        styles = (Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)
        self.levels = [pg.PlotDataItem(pen=pg.mkPen(CONTROL, width=1.5, style=style)) for style in styles]
        top = QHBoxLayout()
        top.addWidget(self.box)
        top.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(top)
        layout.addWidget(self.plot, 1)
        self.setMinimumWidth(200)
        self.drawings: dict[str, Drawing] = {}
        self.lines: dict[str, pg.PlotDataItem] = {}
        self._colors: dict[str, str] = {}
        self._maps: set[str] = set()
        self._name = ""
        self._text = "#d0d0d0"
        self.box.currentIndexChanged.connect(lambda _: self._draw())

    @property
    def kind(self) -> str:
        """Which curves are drawn; see `drawings`."""
        return self.box.currentData() or ""

    def set_comparison(self, comparison: Comparison) -> None:
        """Show another comparison."""
        kind = self.kind
        self.drawings = drawings(comparison)
        self._colors, self._maps = map_colors(comparison), set(comparison.maps)
        self.box.blockSignals(True)
        self.box.clear()
        for key, drawing in self.drawings.items():
            self.box.addItem(drawing.title, key)
        self.box.setCurrentIndex(max(0, self.box.findData(kind)))
        self.box.blockSignals(False)
        self._draw()

    def set_kind(self, kind: str) -> None:
        """Choose which curves are drawn."""
        self.box.setCurrentIndex(self.box.findData(kind))

    def set_current(self, name: str) -> None:
        """Draw the line of one map thicker."""
        self._name = name
        for own, line in self.lines.items():
            line.setPen(self._pen(own))
            line.setZValue(1 if own == name else 0)
        drawing = self.drawings.get(self.kind)
        level = drawing.levels.get(name) if drawing is not None else None
        for item, key in zip(self.levels, ("mean", "high"), strict=True):
            item.setData(*((level["share"], level[key]) if level else ([], [])))

    def set_threshold(self, value: float) -> None:
        """Mark the inspector's threshold among the curves over it."""
        self.mark.setValue(value)

    def set_colors(self, background: str, text: str) -> None:
        """Follow the theme."""
        color_plot(self.plot, background, text)
        self._text = text
        self._label()

    def _draw(self) -> None:
        self.plot.clear()
        self.lines = {}
        drawing = self.drawings.get(self.kind)
        if drawing is None:
            return
        for name, (along, up) in drawing.lines.items():
            few = len(along) < 20
            line = pg.PlotDataItem(
                along,
                up,
                pen=self._pen(name),
                symbol="o" if few else None,
                symbolSize=5,
                symbolBrush=self._colors[name],
                symbolPen=None,
            )
            line.setCurveClickable(True, width=10)
            line.sigClicked.connect(lambda *_, name=name: self.clicked.emit(name))
            self.plot.addItem(line)
            self.lines[name] = line
        if self.kind == "dice-over-threshold":
            self.plot.addItem(self.mark)
        for item in self.levels:
            self.plot.addItem(item)
        self._label()
        end = max(max(along) for along, _ in drawing.lines.values())
        self.plot.setXRange(0, end or 1, padding=0.02)
        self.plot.setYRange(0, 1, padding=0.03)
        self.set_current(self._name)

    def _label(self) -> None:
        if (drawing := self.drawings.get(self.kind)) is not None:
            self.plot.setLabel("bottom", drawing.along, color=self._text)
            self.plot.setLabel("left", drawing.up, color=self._text)

    def _pen(self, name: str) -> object:
        dashed = Qt.PenStyle.SolidLine if name in self._maps else Qt.PenStyle.DashLine
        return pg.mkPen(self._colors[name], width=3 if name == self._name else 1.5, style=dashed)
