"""The napari reader of NIfTI and FreeSurfer volumes, of pictures that say how large their pixels are, and of saved results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_segxai import io
from napari_segxai.core.errors import UserError
from napari_segxai.gui.manifest.models import is_model, open_model
from napari_segxai.io.results import is_result

LayerData = tuple[Any, dict[str, Any], str]
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return the reader for one path or a list of them, or None if one of them is not ours."""
    paths = _as_list(path)
    if paths and all(is_result(one) or _is_case(one) for one in paths):
        return read_results
    if len(paths) == 1 and is_model(paths[0]):
        return read_model
    return read_volumes if paths and all(_ours(one) for one in paths) else None


def read_volumes(path: Paths) -> list[LayerData]:
    """Read volumes as napari layers: images, labels (see `io.nifti.labels.is_label_volume`), colours or channels.

    Raises
    ------
    UserError
        If a file cannot be read; napari shows its one sentence.
    """
    from napari_segxai.io.layer_data import layers_from_image
    from napari_segxai.io.nifti.labels import is_label_volume
    from napari_segxai.io.nifti.read import read_nifti

    layers: list[LayerData] = []
    for one in _as_list(path):
        _was_opened(one)
        if io.ending(one) not in io.VOLUMES:
            layers += layers_from_image(io.read_image(one))
            continue
        image = read_nifti(one)
        labels = image.channel_axis is None and is_label_volume(
            image.array, name=Path(one).name, intent=image.header["intent"]
        )
        layers += layers_from_image(image, "labels" if labels else "image")
    return layers


def read_results(path: Paths) -> list[LayerData]:
    """Read folders of results, or the record.json in them, as the layers that the results had.

    The image that was explained is among them, below, if its file is still there and no layer of the viewer shows it.
    Cohorts and surveys open in their docks; the folder of one of its cases gives the layers of that case.

    Raises
    ------
    UserError
        If a folder was saved by another version or was changed since, or what it holds has no layers.
    """
    from napari_segxai.gui.cases.opening import open_in_dock
    from napari_segxai.gui.viewer.opened import layers_of_saved
    from napari_segxai.gui.viewer.opened_case import layers_of_case

    layers: list[LayerData] = []
    for one in _as_list(path):
        if not is_result(one):
            layers += layers_of_case(one)
        elif not open_in_dock(one):
            layers += layers_of_saved(one)
    return layers or [(None,)]  # type: ignore[list-item]  # napari's word for "nothing to add"


def read_model(path: Paths) -> list[LayerData]:
    """Open the folder of a model in the *Explain* dock; it makes no layer.

    Raises
    ------
    UserError
        If there is no window.
    """
    (one,) = _as_list(path)
    if not open_model(one):
        raise UserError(
            f"{one}: is a model, which opens in napari's window; in a script, load_model takes it."
        )
    return [(None,)]  # type: ignore[list-item]  # napari's word for "nothing to add"


def _is_case(path: str) -> bool:
    """Tell whether a path may be the folder of a case, in that of a cohort."""
    folder = Path(path)
    return folder.parent.name == "cases" and folder.is_dir() and is_result(folder.parents[1])


def _as_list(path: Paths) -> list[str]:
    if isinstance(path, (str, os.PathLike)):
        return [os.fspath(path)]
    return [os.fspath(one) for one in path]


def _was_opened(path: str) -> None:
    """Where there is a window, files that are opened together may be channels of one image."""
    if "qtpy" in sys.modules:  # a reader is also used where no Qt is
        from napari_segxai.gui.manifest.dropped import was_opened

        was_opened(path)


def _ours(path: str) -> bool:
    """Tell whether a file is for this reader. Other formats are named .hdr and .img too: look into these."""
    kind = io.ending(path)
    if kind in io.ZARR or kind in (".tif", ".tiff"):
        return True
    if kind not in io.VOLUMES or os.path.isdir(path):
        return False
    if kind not in (".hdr", ".img"):
        return True
    from napari_segxai.io.nifti.checks import pair

    try:
        with open(pair(Path(path))[0], "rb") as file:
            size = file.read(4)
    except OSError:
        return False
    return not {int.from_bytes(size, "little"), int.from_bytes(size, "big")}.isdisjoint({348, 540})
