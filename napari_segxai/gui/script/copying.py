"""Puts a script on the clipboard, after the files that it needs have been written to a folder that the user chooses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from napari_segxai.core.errors import UserError
from napari_segxai.core.text_table import listed
from napari_segxai.gui.script.files import ScriptFiles

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_segxai.core.image import Image
    from napari_segxai.gui.widgets.run_bar import RunBar


def copy_script(
    parent: QWidget,
    run_bar: RunBar,
    make: Callable[[ScriptFiles], str],
    image: Image,
    source: Layer | None,
    folder: str | Path | None = None,
) -> str:
    """Put a script on the clipboard; returns it, or "" if nothing was copied.

    Parameters
    ----------
    run_bar
        Says what was done.
    make
        Returns the script; see `ScriptFiles`.
    image, source
        The explained image, and the layer that it was taken from, if that is still there.
    folder
        Where the arrays are written that the script reads and no file holds; the user is asked for it if it is not given.
    """
    path = getattr(source.source, "path", None) if source is not None else None
    files = ScriptFiles([path])
    try:
        text = make(files)
        if files.wanted:
            needs = listed(files.wanted)
            near = next((str(Path(one).parent) for one in (image.path, path) if one), "")
            folder = folder or QFileDialog.getExistingDirectory(
                parent, f"The script needs a file of {needs}: in which folder?", near
            )
            if not folder:
                run_bar.show_status(f"Nothing was copied: the script needs a file of {needs}.")
                return ""
            files.save_in(folder, next(iter(image.header.get("joined", ())), image).name)
            text = make(files)
    except (UserError, OSError) as error:
        run_bar.show_status(f"Nothing was copied: {error}", error=True)
        return ""
    reads = listed([path.name for path in files.written]) if files.written else ""
    return put_on_clipboard(text, run_bar, f" It reads {reads}, saved in {files.folder}." if reads else "")


def put_on_clipboard(text: str, run_bar: RunBar, more: str = "") -> str:
    """Put a script on the clipboard and say so, with what more there is to be said; returns the script."""
    QApplication.clipboard().setText(text)
    run_bar.show_status(f"The script is on the clipboard.{more}")
    return text
