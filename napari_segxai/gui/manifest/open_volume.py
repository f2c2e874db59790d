"""Opening volumes with this plugin's reader, now or always: napari asks which reader to take when there are several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from napari import Viewer
from napari.settings import get_settings
from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.lifetime import when_gone
from napari_segxai.io import VOLUMES, ending

PLUGIN = "napari-segxai"

ALWAYS = ("*.nii.gz", "*.nii", "*.mgz", "*.mgh")
"""What can be opened by this reader without being asked. Files of other kinds are named .hdr and .img too."""

_FILTER = f"Volumes ({' '.join(f'*{kind}' for kind in VOLUMES)});;All files (*)"


def open_volume(viewer: Viewer) -> None:
    """Ask for files and open them with this plugin's reader; say how napari can be told to do so always."""
    paths, _ = QFileDialog.getOpenFileNames(None, "Open volumes", "", _FILTER)
    open_paths(viewer, paths)


def open_paths(viewer: Viewer, paths: Sequence[str | Path]) -> None:
    """Open volumes with this plugin's reader; what cannot be read is said in its sentence, and the others are opened."""
    opened = []
    for path in paths:
        try:
            viewer.open(path, plugin=PLUGIN)
            opened.append(path)
        except UserError as error:
            _say(str(error), "error")
        except ValueError:  # npe2: our reader does not take such a file
            _say(f"{path}: is not a volume that is read here; use one of {', '.join(VOLUMES)}.", "error")
    if any(f"*{ending(path)}" in ALWAYS for path in opened) and not is_always():
        _say(
            "Open dropped volumes in this way, too?",
            "info",
            [(f"Always take {PLUGIN}", lambda *_: set_always(True))],
        )


def is_always() -> bool:
    """Tell whether napari takes this plugin's reader for every volume without asking."""
    chosen = get_settings().plugins.extension2reader
    return all(chosen.get(pattern) == PLUGIN for pattern in ALWAYS)


def set_always(on: bool) -> None:
    """Make napari take this plugin's reader for every volume without asking, or ask again: in napari's own settings."""
    plugins = get_settings().plugins
    others = {
        pattern: reader
        for pattern, reader in plugins.extension2reader.items()
        if not (pattern in ALWAYS and (on or reader == PLUGIN))
    }
    # Of patterns that fit alike napari takes the first: a "*.gz" that was remembered once must not hide ours.
    plugins.extension2reader = {**dict.fromkeys(ALWAYS, PLUGIN), **others} if on else others


class OpenVolume(QWidget):
    """Open volumes with this plugin's reader, and choose whether napari is to do so always.

    It is the plugin's menu entry, and napari's menu of plugins holds docks alone: so the files are asked for as soon as
    it is first seen.

    Parameters
    ----------
    napari_viewer
        Gets the layers.
    """

    def __init__(self, napari_viewer: Viewer):
        super().__init__()
        self.button = QPushButton("Open volume…")
        self.button.setToolTip(f"Open {', '.join(VOLUMES)} with the reader of {PLUGIN}.")
        self.dialog = QFileDialog(self, "Open volumes", "", _FILTER)
        self.dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        self.dialog.filesSelected.connect(lambda paths: open_paths(napari_viewer, paths))
        self.button.clicked.connect(self.dialog.open)
        self._was_shown = False
        self.always = QCheckBox("Open dropped volumes in this way, without asking")
        self.always.setToolTip(
            f"For {', '.join(p.removeprefix('*') for p in ALWAYS)}; the choice is kept in napari's Preferences > Plugins."
        )
        self.always.setChecked(is_always())
        self.always.toggled.connect(set_always)
        words = QLabel(
            "Volumes come right side up and not mirrored, in millimetres, and label files as Labels. napari's own reader "
            "claims them too, but does not know where they lie: so napari asks when a file is dropped."
        )
        words.setWordWrap(True)
        words.setMinimumWidth(60)
        layout = QVBoxLayout(self)
        layout.addWidget(self.button, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(words)
        layout.addWidget(self.always)
        layout.addStretch(1)
        events = get_settings().plugins.events.extension2reader
        events.connect(self._follow)
        when_gone(self, partial(events.disconnect, self._follow))

    def showEvent(self, event: Any) -> None:
        """Ask which files, the first time."""
        super().showEvent(event)
        if not self._was_shown:
            self._was_shown = True
            QTimer.singleShot(0, self.dialog.open)

    def _follow(self, _: object = None) -> None:
        self.always.blockSignals(True)
        self.always.setChecked(is_always())
        self.always.blockSignals(False)


def _say(text: str, severity: str, actions: Sequence = ()) -> None:
    notification_manager.dispatch(Notification(text, severity, actions))
