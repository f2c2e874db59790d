"""Asks before results in a folder are replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.gui.widgets.fields import tip
from napari_segxai.gui.widgets.run_bar import RunBar
from napari_segxai.io.held import look
from napari_segxai.io.saving import check_folder


def may_write(parent: QWidget, run_bar: RunBar, folders: Mapping[Path, str]) -> bool | None:
    """Find out whether folders can be written to, and ask the user if they hold results.

    Parameters
    ----------
    parent
        The question appears above it.
    run_bar
        Shows the error if a folder cannot be written to.
    folders
        What each folder holds, in words; "" if its record says it.

    Returns
    -------
    bool or None
        Whether results that are there are to be replaced; None if nothing is to be written.
    """
    there = []
    try:
        for folder, words in folders.items():
            check_folder(folder, overwrite=True)
            if (held := look(folder)).kind:
                there.append(words or held.words)
    except UserError as error:
        run_bar.show_status(str(error), error=True)
        return None
    if not there:
        return False
    where = next(iter(folders)) if len(folders) == 1 else next(iter(folders)).parent
    question = f"{where} already holds {', '.join(there)}. Replace? Your other files there stay."
    answer = QMessageBox.question(parent, "Overwrite?", tip(question))
    return True if answer == QMessageBox.StandardButton.Yes else None
