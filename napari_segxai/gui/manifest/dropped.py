"""Files that were dropped on the window together: are they channels of one image?

napari hands files to a reader one by one, so it is asked when the drop is over. The question stands beside the window and
holds nothing up. A script that opens files is never asked: it is only for what is opened from within the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
from napari.layers import Image as ImageLayer
from qtpy.QtCore import QObject, Qt, QThread
from qtpy.QtWidgets import QApplication, QDialog, QDialogButtonBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_segxai.gui.manifest.commands import docks
from napari_segxai.gui.widgets.fields import combo
from napari_segxai.gui.widgets.image_details import may_join, tell_channels
from napari_segxai.io.joining import match_channels

if TYPE_CHECKING:
    import napari.viewer

MOST = 12
"""Files about which it is asked; more are a series, not channels."""

_opened: list[str] = []
"""What was opened since the event loop was idle."""

_end: list[QObject] = []
"""What is deleted when it is idle again."""


def was_opened(path: str) -> None:
    """Note that a file is opened; where that is done from within the event loop, it is asked once the loop is idle."""
    thread = QThread.currentThread()
    app = QApplication.instance()
    if app is None or thread is not app.thread() or thread.loopLevel() == 0:
        return
    if not _opened:
        # Between two files napari lets timers run; a deletion waits until the drop has returned to the loop it came from.
        _end.append(QObject())
        _end[0].destroyed.connect(_ask)
        _end[0].deleteLater()
    _opened.append(str(Path(path).absolute()))


def _ask() -> None:
    paths = list(_opened)
    _opened.clear()
    _end.clear()
    viewer = napari.current_viewer()
    layers = [] if viewer is None else dropped_channels(viewer, paths)
    if viewer is not None and layers:
        Channels(viewer, layers).show()


def dropped_channels(viewer: napari.viewer.Viewer, paths: Sequence[str]) -> list[ImageLayer]:
    """Return the layers of files that can be channels of one image: of one grid, at one place, an image each; else none."""
    found: dict[str, list[Any]] = {path: [] for path in paths}
    for layer in viewer.layers:
        path = str(Path(layer.source.path).absolute()) if layer.source.path else ""
        if path in found:
            found[path].append(layer)
    images = [own for own in found.values() if own and all(isinstance(layer, ImageLayer) for layer in own)]
    layers = [own[-1] for own in images]
    several = any(len({layer.name for layer in own}) > 1 for own in images)  # a file that has channels itself
    if several or not 2 <= len(layers) <= MOST or not all(may_join(own, layers[0]) for own in layers):
        return []
    return layers


class Channels(QDialog):
    """The question: which file is which channel. Whoever answers with Yes finds them chosen so in every dock.

    Parameters
    ----------
    viewer
        Whose docks are told.
    layers
        One for every file.
    """

    def __init__(self, viewer: napari.viewer.Viewer, layers: Sequence[ImageLayer]):
        super().__init__(viewer.window._qt_window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Channels of one image?")
        self.viewer, self.layers = viewer, list(layers)
        files = [Path(str(layer.source.path)).name for layer in layers]
        model, names = _channels_of_model(viewer, len(files))
        order = match_channels(names, [layer.name for layer in layers], layers[0].name) if model else {}
        rest = [k for k in range(len(files)) if k not in order.values()]
        of = f" for {model}" if model else ""
        words = QLabel(
            f"These {len(files)} files lie on one grid, at one place. Are they channels of one image{of}? Then say which is which; "
            "docks take them so. They stay layers of their own."
        )
        words.setWordWrap(True)
        rows = QFormLayout()
        self.boxes = []
        for name in names:
            box = combo(f"The file that holds the channel {name}.")
            box.addItems(files)
            box.setCurrentIndex(order[name] if name in order else rest.pop(0))
            box.currentIndexChanged.connect(lambda _: self._check())
            rows.addRow(name, box)
            self.boxes.append(box)
        buttons = QDialogButtonBox()
        self.yes = buttons.addButton("Yes, in this order", QDialogButtonBox.ButtonRole.AcceptRole)
        self.no = buttons.addButton("No, images of their own", QDialogButtonBox.ButtonRole.RejectRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.wrong = QLabel("Choose each file once.")
        self.wrong.hide()
        column = QVBoxLayout(self)
        for part in (words, rows, self.wrong, buttons):
            column.addWidget(part) if isinstance(part, QWidget) else column.addLayout(part)
        self.setMinimumWidth(420)

    def _check(self) -> None:
        chosen = [box.currentIndex() for box in self.boxes]
        each_once = len(set(chosen)) == len(chosen)
        self.yes.setEnabled(each_once)
        self.wrong.setVisible(not each_once)

    def accept(self) -> None:
        """Tell the docks, if the layers are still there."""
        chosen = [self.layers[box.currentIndex()] for box in self.boxes]
        if all(layer in self.viewer.layers for layer in chosen):
            tell_channels(chosen)
            self.viewer.layers.selection.active = chosen[0]
            for dock in docks(self.viewer):
                dock.image_box.details.changed.emit()
        super().accept()


def _channels_of_model(viewer: napari.viewer.Viewer, count: int) -> tuple[str, Sequence[str]]:
    """Return the model of an open dock that takes so many channels, and what it calls them; "" and numbers without one."""
    for dock in docks(viewer):
        if dock.card is not None and len(dock.card.channels) == count:
            return dock.card.name, dock.card.channels
    return "", [f"channel {k + 1}" for k in range(count)]
