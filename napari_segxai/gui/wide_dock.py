"""A wide dock below the canvas: where napari first puts it, and how much room it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from weakref import WeakKeyDictionary, ref

from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDockWidget,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_segxai.gui.run_bar import RunBar

HEIGHT = 400
"""That a wide dock asks for at first, in pixels."""


def prefer_below(name: str) -> None:
    """Let the dock of this name start below; napari asks where a dock was last before it adds it."""
    get_settings().application.plugin_widget_positions.setdefault(name, "bottom")


def lay_out_form(
    form: QWidget,
    rows: Mapping[str, QWidget],
    parts: Sequence[QWidget],
    device: Sequence[QWidget],
    run_bar: RunBar,
) -> None:
    """Lay out the fields of a wide dock: they scroll, the run bar is pinned below them.

    Parameters
    ----------
    rows
        Fields by their titles.
    parts
        What comes below them, over the full width.
    device
        The box that chooses a device, and the line below it.
    """
    box, *notes = device
    fields = QFormLayout()
    fields.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    fields.setVerticalSpacing(3)
    for title, field in rows.items():
        fields.addRow(title, field)
    last = QFormLayout()
    last.addRow("Device", box)
    content = QWidget()
    column = QVBoxLayout(content)
    column.setContentsMargins(2, 2, 2, 2)
    column.setSpacing(3)
    column.addLayout(fields)
    for part in parts:
        column.addWidget(part)
    column.addLayout(last)
    for note in notes:
        column.addWidget(note)
    column.addStretch(1)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidget(content)
    layout = QVBoxLayout(form)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(scroll, 1)
    layout.addWidget(run_bar)
    form.setMinimumWidth(295)


def put_side_by_side(panel: QWidget, fields: QWidget, results: QWidget, width: int) -> None:
    """Fill a dock: fields of this width on the left, results on the right, and a handle between them."""
    sides = QSplitter(Qt.Orientation.Horizontal)
    sides.addWidget(fields)
    sides.addWidget(results)
    sides.setStretchFactor(1, 1)
    sides.setSizes([width, 1280 - width])
    sides.setChildrenCollapsible(False)
    layout = QHBoxLayout(panel)
    layout.setContentsMargins(4, 4, 4, 4)
    layout.addWidget(sides)


def take_room(panel: QWidget) -> None:
    """Ask for a good part of the window, once; napari would leave a strip."""
    dock, window = panel.parentWidget(), panel.window()
    if isinstance(dock, QDockWidget) and isinstance(window, QMainWindow):
        _lent.setdefault(window, (window.corner(Qt.Corner.BottomLeftCorner), []))[1].append(id(dock))
        # Layer list and controls need 500 pixels; what is below them would get too little of 800.
        window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        dock.destroyed.connect(partial(_give_back_corner, ref(window), id(dock)))
        # The dock may have pushed the window beyond a small screen before the corner was given to the layer list.
        lowest = window.screen().availableGeometry().height()
        if window.height() > lowest:
            window.layout().activate()
            window.resize(window.width(), lowest)
        window.resizeDocks([dock], [HEIGHT], Qt.Orientation.Vertical)


_lent: WeakKeyDictionary[QMainWindow, tuple[Qt.DockWidgetArea, list[int]]] = WeakKeyDictionary()
"""Windows whose corner is lent to the layer list: the area it belonged to, and the docks it is lent for."""


def _give_back_corner(window: ref[QMainWindow], dock: int, *_: object) -> None:
    """Let the corner of the window belong to the area it belonged to, once the last wide dock is gone."""
    with suppress(RuntimeError, KeyError):  # the window may be gone
        if (alive := window()) is not None:
            before, docks = _lent[alive]
            docks.remove(dock)
            if not docks:
                del _lent[alive]
                alive.setCorner(Qt.Corner.BottomLeftCorner, before)
