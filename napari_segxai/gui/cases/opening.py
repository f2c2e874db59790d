"""Opening results about folders of cases in their docks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

import napari
from qtpy.QtCore import QTimer

from napari_segxai.gui.viewer.layers import is_open
from napari_segxai.io.held import RECORD, look

DOCKS = {"cohort": "Cohort", "survey": "Concepts"}
"""Which dock shows what a folder holds."""


def open_in_dock(path: str | Path) -> bool:
    """Open a result in its dock of the current viewer; return whether the folder holds one of these and there is a window.

    Parameters
    ----------
    path
        A folder of results, or the record.json in it.
    """
    folder = Path(path).parent if Path(path).name == RECORD else Path(path)
    viewer, dock = napari.current_viewer(), DOCKS.get(look(folder).kind)
    if viewer is None or dock is None:
        return False
    # A reader may be called while napari is busy with what was dropped.
    QTimer.singleShot(0, partial(_open, ref(viewer), dock, str(folder)))
    return True


def _open(viewer: ref[Any], name: str, folder: str) -> None:
    if (alive := viewer()) is not None and is_open(alive):
        _, dock = alive.window.add_plugin_dock_widget("napari-segxai", name)
        dock.open(folder)
