"""Opening an explanation that was saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.analyses.explain.files import native_image
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.prediction import label_dtype
from napari_segxai.core.record import Record
from napari_segxai.io import read_image
from napari_segxai.io.image_record import image_from_dict
from napari_segxai.io.results import Saved, open_folder


def load_explanation(folder: str | Path) -> Explanation:
    """Open an explanation that `Explanation.save` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder, or the record.json in it.

    Returns
    -------
    Explanation
        With the maps, masks, tables and the record that were saved: maps and masks value by value; numbers that were
        not finite are None in the record. The values of the image are read from its own file when they are needed.

    Raises
    ------
    UserError
        If the folder holds something else, was saved by another version, or was changed since.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> sx.load_explanation("results").record.method  # doctest: +SKIP
    'misure'
    """
    saved = open_folder(folder, "explanation")
    return read_explanation(saved, saved.record)


def read_explanation(saved: Saved, told: Mapping[str, Any], below: str = "") -> Explanation:
    """Return an explanation from a folder of results.

    Parameters
    ----------
    told
        What its record says, with the names of its files.
    below
        Beginning of the names of its files: of the folder inside the folder in which they lie, with a slash.

    Raises
    ------
    UserError
        If the record does not say what the record of an explanation says.
    """
    try:
        return _read(saved, told, below)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{saved.folder}: its record lacks what the record of an explanation says ({error}); save the result again."
        ) from error


def _read(saved: Saved, told: Mapping[str, Any], below: str) -> Explanation:
    record = Record.from_dict(told)
    image = image_from_dict(record.image)

    def on_grid(name: str, grid: Image = image) -> np.ndarray:
        return saved.on_grid(below + name, grid)

    native = native_affine = None
    files = saved.record["files"]
    if f"{below}saliency_native.tif" in files:
        native = read_image(saved.folder / f"{below}saliency_native.tif").array
    elif f"{below}saliency_native.nii.gz" in files:
        if told["native_affine"] is not None:
            native_affine = np.array(told["native_affine"], float)
        stored = read_image(saved.folder / f"{below}saliency_native.nii.gz").array
        native = on_native_grid(stored, native_affine, image)
    return Explanation(
        map=on_grid("saliency"),
        image=image,
        record=record,
        prediction=read_prediction(told["prediction"], record.model, on_grid),
        native=native,
        native_affine=native_affine,
        maps={name: on_grid(file) for name, file in told["maps"].items()},
        masks={name: on_grid(file) > 0 for name, file in told["masks"].items()},
        stages=on_grid("dilation_stages").astype(np.uint16) if told["stage_table"] else None,
        stage_table=list(told["stage_table"]),
        curves={
            name: {key: _numbers(values) for key, values in columns.items()}
            for name, columns in told["curves"].items()
        },
        region=on_grid("region") > 0 if record.target["region"]["kind"] == "drawn" else None,
    )


def read_prediction(
    files: str | Mapping[str, str], model: Mapping[str, Any], read: Callable[[str], np.ndarray]
) -> np.ndarray:
    """Return the prediction that `write_prediction` wrote.

    Parameters
    ----------
    files
        What it returned.
    model
        What a record says of the model.
    read
        Reads an array by its name.
    """
    labels = model["labels"]
    if model["overlapping"]:
        return np.stack([read(files[name]) > 0 for name in labels[1:]])
    return read(files).astype(label_dtype(len(labels)))


def on_native_grid(stored: np.ndarray, affine: np.ndarray | None, image: Image) -> np.ndarray:
    """Bring a volume of a network layer's map from the order of its file to that of the image."""
    if affine is not None:
        return stored
    from napari_segxai.io.nifti.write import stored_on_grid

    turned = stored.transpose(2, 1, 0)
    return stored_on_grid(stored, native_image(np.ascontiguousarray(turned), None, image))


def _numbers(values: list[Any]) -> list[Any]:
    return [float("nan") if value is None else value for value in values]
