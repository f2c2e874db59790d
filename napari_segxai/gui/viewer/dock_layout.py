"""A wide dock below the canvas: where napari first puts it, and how much room it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from weakref import WeakKeyDictionary, ref

from napari.settings import get_settings
from qtpy.QtCore import Qt, QTimer
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

from napari_segxai.gui.viewer.lifetime import when_gone
from napari_segxai.gui.widgets.run_bar import RunBar

HEIGHT = 340
"""That a wide dock asks for at first, in pixels: less than half of a window of 800."""

FIELDS = "fields"
"""Name of the part of the form that scrolls."""

MOST = 16777215
"""What Qt takes for no limit."""

FORM, FOLDED = 295, 130
"""Least width of the form, and its width while it is folded."""


def prefer_below(name: str) -> None:
    """Let napari put the dock of this name below the canvas, unless the user has moved it before."""
    get_settings().application.plugin_widget_positions.setdefault(name, "bottom")


def lay_out_form(
    form: QWidget,
    rows: Mapping[str, QWidget],
    parts: Sequence[QWidget],
    device: Sequence[QWidget],
    run_bar: RunBar,
) -> None:
    """Lay out the form of a wide dock: its fields scroll, and the run bar stays in place below them.

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
    scroll.setObjectName(FIELDS)
    layout = QVBoxLayout(form)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(scroll, 1)
    layout.addWidget(run_bar)
    form.setMinimumWidth(FORM)


class Sides(QSplitter):
    """The form of a wide dock on the left, its results on the right; the form folds to give them the room.

    Parameters
    ----------
    panel
        The dock, which is filled.
    form, run_bar
        The fields as `lay_out_form` has laid them out, and the bar below them.
    results
        The widget that shows the results.
    width
        Of the form, in pixels.
    """

    def __init__(self, panel: QWidget, form: QWidget, run_bar: RunBar, results: QWidget, width: int):
        super().__init__(Qt.Orientation.Horizontal, panel)
        self._form, self._run_bar, self._width = form, run_bar, width
        self._fields = form.findChild(QScrollArea, FIELDS)
        for side in (form, results):
            self.addWidget(side)
        self.setStretchFactor(1, 1)
        self.setSizes([width, 1280 - width])
        self.setChildrenCollapsible(False)
        layout = QHBoxLayout(panel)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self)
        self.is_folded = False
        run_bar.offer_fold()
        run_bar.fold.clicked.connect(lambda: self.fold(not self.is_folded))
        self._say()

    def fold(self, on: bool = True) -> None:
        """Hide everything of the form but the run bar, or show it again."""
        if on == self.is_folded:
            return
        if on:
            self._width = self.sizes()[0]
        self.is_folded = on
        self._fields.setVisible(not on)
        self._run_bar.set_narrow(on)
        form = self._form
        form.layout().setStretchFactor(self._run_bar, 1 if on else 0)
        form.setMinimumWidth(FOLDED if on else FORM)
        form.setMaximumWidth(FOLDED if on else MOST)
        left = FOLDED if on else self._width
        self.setSizes([left, max(1, sum(self.sizes()) - left)])
        self._say()

    def _say(self) -> None:
        button = self._run_bar.fold
        button.setText("Settings ▸" if self.is_folded else "◂ Fold")
        button.setToolTip(
            "Show the settings again." if self.is_folded else "Fold the settings: the results get the room."
        )


def take_room(panel: QWidget) -> None:
    """Take a good part of the window, and fit the view to the rest; napari alone would give the dock a narrow strip."""
    dock, window = panel.parentWidget(), panel.window()
    if isinstance(dock, QDockWidget) and isinstance(window, QMainWindow):
        _lent.setdefault(window, (window.corner(Qt.Corner.BottomLeftCorner), []))[1].append(id(dock))
        # Layer list and controls need 500 pixels; what is below them would get too little of 800.
        window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        _share_place(window, dock)
        when_gone(dock, partial(_give_back_corner, ref(window), id(dock)))
        # The dock may have pushed the window beyond a small screen before the corner was given to the layer list.
        _keep_to_screen(window)
        window.resizeDocks([dock], [HEIGHT], Qt.Orientation.Vertical)
        window.layout().activate()
        QTimer.singleShot(0, partial(_fit_view, ref(panel)))


def _share_place(window: QMainWindow, dock: QDockWidget) -> None:
    """Make tabs of two wide docks that beside each other would push the window beyond the screen."""
    area, widest = window.dockWidgetArea(dock), window.screen().availableGeometry().width()
    beside = [
        other
        for other in window.findChildren(QDockWidget)
        if id(other) in _lent[window][1] and other is not dock and window.dockWidgetArea(other) == area
        if other.isVisible() and not other.isFloating() and not dock.isFloating()
    ]
    if beside and max(window.width(), window.minimumSizeHint().width()) > widest:
        window.tabifyDockWidget(beside[-1], dock)
        dock.raise_()
        window.layout().activate()
        window.resize(widest, window.height())


def _keep_to_screen(window: QMainWindow) -> None:
    """Make a window no higher than its screen."""
    lowest = window.screen().availableGeometry().height()
    if window.height() > lowest:
        window.layout().activate()
        window.resize(window.width(), lowest)


def _fit_view(panel: ref[QWidget]) -> None:
    """Show the whole image in the smaller canvas."""
    with suppress(RuntimeError):  # the dock or the window may be gone
        if (alive := panel()) is None:
            return
        if isinstance(window := alive.window(), QMainWindow):
            _keep_to_screen(window)  # tabs of two docks take some room, too
        if alive.viewer.layers:
            alive.viewer.reset_view()


_lent: WeakKeyDictionary[QMainWindow, tuple[Qt.DockWidgetArea, list[int]]] = WeakKeyDictionary()
"""Windows whose corner is lent to the layer list: the area it belonged to, and the docks it is lent for."""


def _give_back_corner(window: ref[QMainWindow], dock: int) -> None:
    """Give the corner of the window back to its area when the last wide dock is gone."""
    with suppress(RuntimeError, KeyError):  # the window may be gone
        if (alive := window()) is not None:
            before, docks = _lent[alive]
            docks.remove(dock)
            if not docks:
                del _lent[alive]
                alive.setCorner(Qt.Corner.BottomLeftCorner, before)
