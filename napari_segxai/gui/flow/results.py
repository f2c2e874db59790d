"""What an information flow shows: the tiles, the curves over depth, and what to keep in mind."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QSplitter, QVBoxLayout, QWidget

from napari_segxai.analyses.flow import tiles, wording
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.gui.flow.curves import Curves
from napari_segxai.gui.flow.tile_grid import TileGrid
from napari_segxai.gui.widgets.fields import combo, plain_label


class FlowResults(QWidget):
    """The tiles, with the curves and the advice beside them, since the dock is wide and low.

    Attributes
    ----------
    wanted
        A tile or a point was clicked and is to become a layer: (label, layer).
    """

    wanted = Signal(str, str)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.flow: Flow | None = None
        self.scale_box = combo(
            "One colour scale for all tiles shows where the evidence is strong; a scale for each tile shows faint maps as well."
        )
        self.scale_box.addItems(["one colour scale", "a scale for each tile"])
        self.order_box = combo(
            "Tiles in the order of execution, or layers of equal resolution side by side: the encoder on the left, the decoder on the right."
        )
        self.order_box.addItems(["by execution", "by resolution"])
        for box in (self.scale_box, self.order_box):
            box.setSizeAdjustPolicy(box.SizeAdjustPolicy.AdjustToContents)
        self.range = plain_label()
        self.range.setMinimumWidth(60)
        self.range.setWordWrap(True)
        self.grid = TileGrid()
        self.curves = Curves()
        self.advice = QLabel()
        self.advice.setWordWrap(True)
        self.advice.setTextFormat(Qt.TextFormat.RichText)
        self.advice.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.advice.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words = QScrollArea()
        words.setWidgetResizable(True)
        words.setFrameShape(QFrame.Shape.NoFrame)
        words.setWidget(self.advice)
        words.setMinimumHeight(40)
        top = QHBoxLayout()
        top.addWidget(self.scale_box)
        top.addWidget(self.order_box)
        top.addWidget(self.range, 1)
        right = QSplitter(Qt.Orientation.Vertical)
        right.addWidget(self.curves)
        right.addWidget(words)
        right.setSizes([190, 80])
        both = QSplitter(Qt.Orientation.Horizontal)
        both.addWidget(self.grid)
        both.addWidget(right)
        both.setStretchFactor(0, 1)
        right.hide()  # there is nothing to be drawn and said yet
        self._both, self._right = both, right
        for splitter in (right, both):
            splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(top)
        layout.addWidget(both, 1)
        self.scale_box.currentIndexChanged.connect(lambda _: self._on_scale())
        self.order_box.currentIndexChanged.connect(lambda index: self.grid.set_facing(index == 1))
        self.grid.clicked.connect(self._on_click)
        self.grid.hovered.connect(self._on_hover)
        self.curves.clicked.connect(lambda label, layer: self._on_click(label, layer, False))

    @property
    def common(self) -> bool:
        """Whether all tiles share one colour scale."""
        return self.scale_box.currentIndex() == 0

    def set_flow(self, flow: Flow) -> None:
        """Show another result."""
        if self._right.isHidden():
            self._right.show()
            self._both.setSizes([520, 290])
        self.flow = flow
        self.grid.set_flow(flow)
        self.curves.set_flow(flow)
        self._on_scale()
        self.show_advice()

    def refresh(self) -> None:
        """Show the numbers that the causal check has filled in."""
        self.grid.refresh()
        self.curves.set_flow(self.flow)
        self.show_advice()

    def show_advice(self, hovered: tuple[str, str] | None = None) -> None:
        """Show the advice about the tile under the mouse, else about the marked tile, else every piece of advice once."""
        if self.flow is None:
            return
        marked = self.grid.selected[-1] if self.grid.selected else None
        key = hovered or marked
        self.advice.setText(tile_words(self.flow, key) if key else flow_text(self.flow))

    def _on_scale(self) -> None:
        self.grid.set_common(self.common)
        if self.flow is None:
            return
        if not self.common:
            self.range.setText("Red: for the label; blue: against it. White outline: prediction.")
            return
        end = tiles.limit(self.flow.tiles.values())
        number = wording.number(end)
        self.range.setText(
            f"Red (up to {number}): for the label; blue (down to −{number}): against it. White outline: prediction."
        )

    def _on_click(self, label: str, layer: str, add: bool) -> None:
        self.grid.select((label, layer), add=add)
        self.show_advice()
        if not add:
            self.wanted.emit(label, layer)

    def _on_hover(self, label: str, layer: str, over: bool) -> None:
        self.show_advice((label, layer) if over else None)


def tile_words(flow: Flow, key: tuple[str, str]) -> str:
    """Return what is known about a tile, and its advice, as rich text."""
    tile = flow.tiles[key]
    first, *rest = wording.describe(tile)
    lines = [f"<b>{escape(first)}</b>", escape("; ".join(rest))]
    lines += [f"⚠ {escape(sentence)}" for sentence in tile.advice]
    return "<br>".join(lines)


def flow_text(flow: Flow) -> str:
    """Return what is said of the flow as a whole, and every piece of advice once, as rich text."""
    lines = [f"⚠ {escape(warning)}" for warning in flow.warnings]
    lines.append(escape("; ".join(wording.emergence(flow, label) for label in flow.labels)) + ".")
    noted = dict.fromkeys(note for label in flow.labels for note in flow.notes.get(label, ()))
    lines += [escape(note[0].upper() + note[1:]) for note in noted if note not in flow.warnings]
    lines += [f"<b>{escape(flow.route(label))}</b>" for label in flow.labels if flow.route(label)]
    lines += [f"⚠ {escape(text)} <i>({escape(where)})</i>" for text, where in wording.summary(flow)]
    return "<br>".join(lines)
