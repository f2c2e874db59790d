"""The tiles of an information flow, in order of execution or with equal resolutions facing each other."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_segxai.analyses.flow import tiles, wording
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.core.text_table import short
from napari_segxai.gui.flow.tile import TileView
from napari_segxai.gui.widgets.fields import plain_label, tip

SMALLEST, LARGEST = 76, 150
"""Width of a tile in pixels."""

LARGEST_FACING = 100
"""The same where resolutions lie below each other."""

NAMES = 100
"""Width of the column of labels in pixels."""

Key = tuple[str, str]


class TileGrid(QScrollArea):
    """All tiles, in an area that scrolls.

    Attributes
    ----------
    clicked, hovered
        See `TileView`.
    """

    clicked = Signal(str, str, bool)
    hovered = Signal(str, str, bool)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMinimumWidth(180)
        self.flow: Flow | None = None
        self.views: dict[Key, TileView] = {}
        self.selected: list[Key] = []
        self.facing = False
        self.common = True
        self.plane: tuple[int, float, bool] = (0, 0.5, False)
        self._say("Press Run to see a map of every label at every network layer.")

    def _say(self, text: str) -> None:
        label = plain_label(text)
        label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        label.setWordWrap(True)
        self.setWidget(label)

    def set_flow(self, flow: Flow) -> None:
        """Show another result."""
        self.flow = flow
        self.selected = []
        self._build()

    def set_facing(self, on: bool) -> None:
        """Put layers of equal resolution opposite each other, or put all in order of execution."""
        self.facing = on
        self._build()

    def set_common(self, on: bool) -> None:
        """Use one colour scale for all tiles, or one for each."""
        self.common = on
        if self.flow is not None:
            for view in self.views.values():
                view.set_end(tiles.limit(self.flow.tiles.values() if on else [view.tile]))

    def set_plane(self, axis: int, position: float, transposed: bool = False) -> None:
        """Show the plane of a volume that the viewer shows; only tiles in sight are drawn again."""
        self.plane = axis, position, transposed
        for view in self.views.values():
            view.set_plane(*self.plane)

    def select(self, key: Key, *, add: bool = False) -> None:
        """Mark a tile; with `add`, mark or unmark it beside the others."""
        if add and key in self.selected:
            self.selected.remove(key)
        else:
            self.selected = [*(self.selected if add else ()), key]
        for other, view in self.views.items():
            view.select(other in self.selected)

    def refresh(self) -> None:
        """Show numbers and advice that have changed."""
        for view in self.views.values():
            view.refresh()
        self._fit()

    def _build(self) -> None:
        if self.flow is None:
            return
        flow = self.flow
        self.views = {}
        outlines = {
            label: tiles.upright(mask, flow.placement, flow.image) for label, mask in flow.drawn.items()
        }
        for label in flow.labels:
            emerged = flow.emergence(label)
            for layer in flow.layers:
                view = TileView(flow, flow.tiles[label, layer.name], outlines[label])
                view.set_plane(*self.plane)
                view.is_emergence = layer == emerged
                view.clicked.connect(self.clicked)
                view.hovered.connect(self.hovered)
                view.select((label, layer.name) in self.selected)
                self.views[label, layer.name] = view
        self.set_common(self.common)
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(2, 2, 2, 2)
        if self.facing:
            self._place_facing(column)
        else:
            self._place_in_order(column)
        column.addStretch(1)
        self._fit()
        self.setWidget(content)

    def _place_in_order(self, column: QVBoxLayout) -> None:
        """Rows are labels, columns network layers, grouped by stage."""
        flow, grid = self.flow, _grid()
        top = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        place = 1
        for stage, group in groupby(flow.layers, key=lambda layer: layer.stage):
            members = list(group)
            if place > 1:
                grid.addWidget(_line(), 0, place, len(flow.labels) + 2, 1)
                place += 1
            grid.addWidget(_heading(stage), 0, place, 1, len(members))
            for layer in members:
                name = plain_label(short(layer.name, 12))
                name.setAlignment(Qt.AlignmentFlag.AlignCenter)
                name.setToolTip(tip(wording.describe_layer(layer)))
                grid.addWidget(name, 1, place)
                for row, label in enumerate(flow.labels):
                    grid.addWidget(self.views[label, layer.name], row + 2, place, top)
                place += 1
        for row, label in enumerate(flow.labels):
            grid.addWidget(_label_name(label), row + 2, 0)
        grid.setColumnStretch(place, 1)
        column.addLayout(grid)

    def _place_facing(self, column: QVBoxLayout) -> None:
        """For each label: rows are resolutions, before the bottleneck on the left, after it on the right."""
        flow, grid = self.flow, _grid()
        rows = tiles.facing(flow.layers)
        left = max(len(before) for before, _ in rows)
        right = max(len(after) for _, after in rows)
        for row, (before, after) in enumerate(rows):
            cells = (before or after)[0].shape[1:]
            size = QLabel(" x ".join(map(str, cells)))
            size.setToolTip("Size of the feature maps in this row, in cells.")
            grid.addWidget(size, row + 2, 0)
        start = 1
        for label in flow.labels:
            if start > 1:
                grid.addWidget(_line(), 0, start, len(rows) + 2, 1)
                start += 1
            grid.addWidget(_label_name(label), 0, start, 1, left + right)
            grid.addWidget(_heading("encoder"), 1, start, 1, max(1, left))
            grid.addWidget(_heading("decoder"), 1, start + left, 1, max(1, right))
            for row, (before, after) in enumerate(rows):
                first = start + left - len(before)
                for place, layer in enumerate([*before, *after], start=first):
                    grid.addWidget(self._named(label, layer.name), row + 2, place)
            start += left + right
        grid.setColumnStretch(start, 1)
        column.addLayout(grid)

    def _named(self, label: str, layer: str) -> QWidget:
        box = QWidget()
        inside = QVBoxLayout(box)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(0)
        name = plain_label(short(layer, 12))
        name.setAlignment(Qt.AlignmentFlag.AlignCenter)
        name.setToolTip(tip(wording.describe_layer(self.views[label, layer].tile.layer)))
        inside.addWidget(name)
        inside.addWidget(self.views[label, layer], 0, Qt.AlignmentFlag.AlignHCenter)
        inside.addStretch(1)
        return box

    def _fit(self) -> None:
        """Let the tiles fill the width, within limits, and at least as wide as their numbers."""
        if self.flow is None:
            return
        columns = len(self.flow.layers)
        if self.facing:
            rows = tiles.facing(self.flow.layers)
            widest = max(len(a) for a, _ in rows) + max(len(b) for _, b in rows)
            columns = widest * len(self.flow.labels)
        width = int((self.viewport().width() - NAMES - 24) / max(1, columns)) - 4
        least = max([SMALLEST, *(view.least_width for view in self.views.values())])  # no number is cut
        for view in self.views.values():
            view.set_width(max(least, min(width, LARGEST_FACING if self.facing else LARGEST)))

    def resizeEvent(self, event: Any) -> None:
        """Fit the tiles to the new width."""
        super().resizeEvent(event)
        self._fit()


def _grid() -> QGridLayout:
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(2)
    grid.setVerticalSpacing(1)
    return grid


def _heading(text: str) -> QLabel:
    label = QLabel(f"<b>{text}</b>")
    label.setAlignment(Qt.AlignmentFlag.AlignCenter)
    return label


def _label_name(text: str) -> QLabel:
    label = plain_label(text)
    label.setWordWrap(True)
    label.setMaximumWidth(NAMES)
    label.setStyleSheet("font-weight: bold;")
    return label


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.VLine)
    line.setMaximumWidth(6)
    return line
