"""Asks where files are written, and before results in a folder are replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Step, Steps
from napari_segxai.gui.widgets.fields import tip
from napari_segxai.gui.widgets.run_bar import RunBar
from napari_segxai.io.held import look
from napari_segxai.io.saving import check_folder


def choose_file(parent: QWidget, path: str | Path | None, title: str, name: str, kinds: str) -> Path | None:
    """Return the file to write; the user is asked for it if none is given.

    Parameters
    ----------
    path
        Where the user was not asked; a name without an ending gets that of `name`.
    name
        What is proposed.
    kinds
        The files that are offered, as Qt writes it.

    Returns
    -------
    Path or None
        None if the user has cancelled.
    """
    path = path or QFileDialog.getSaveFileName(parent, title, name, kinds)[0]
    return Path(path).with_suffix(Path(path).suffix or Path(name).suffix) if path else None


def choose_folder(
    parent: QWidget,
    run_bar: RunBar,
    folder: str | Path | None,
    title: str,
    inside: Callable[[Path], Mapping[Path, str]] = lambda folder: {folder: ""},
) -> tuple[Path, bool] | None:
    """Return the folder to write to, and whether results that are there are replaced; the user is asked for what is not given.

    Parameters
    ----------
    parent, run_bar
        See `may_write`.
    inside
        The folders that are written in the chosen one, with what each holds, in words; see `may_write`.

    Returns
    -------
    tuple of Path and bool, or None
        None if nothing is to be written.
    """
    chosen = folder or QFileDialog.getExistingDirectory(parent, title)
    overwrite = may_write(parent, run_bar, inside(Path(chosen))) if chosen else None
    return None if overwrite is None else (Path(chosen), overwrite)


def saving_steps(result: Any, folder: str | Path, *, overwrite: bool, **options: Any) -> Steps[list[Path]]:
    """Write a result to a folder by its `save`, in the worker thread; `options` are more arguments of that."""
    yield Step(0, 1, "writing")
    return result.save(folder, overwrite=overwrite, **options)


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
