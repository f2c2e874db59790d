"""Opening the folder of a cohort in its dock."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

import napari
from qtpy.QtCore import QTimer

from napari_segxai.gui.viewer.layers import is_open
from napari_segxai.io.held import RECORD, look


def open_cohort(path: str | Path) -> bool:
    """Open a cohort in the dock of the current viewer; return whether the folder holds one and there is a window.

    Parameters
    ----------
    path
        A folder of results, or the record.json in it.
    """
    folder = Path(path).parent if Path(path).name == RECORD else Path(path)
    viewer = napari.current_viewer()
    if viewer is None or look(folder).kind != "cohort":
        return False
    # A reader may be called while napari is busy with what was dropped.
    QTimer.singleShot(0, partial(_open, ref(viewer), str(folder)))
    return True


def _open(viewer: ref[Any], folder: str) -> None:
    if (alive := viewer()) is not None and is_open(alive):
        _, dock = alive.window.add_plugin_dock_widget("napari-segxai", "Cohort")
        dock.open(folder)
