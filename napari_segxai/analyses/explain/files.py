"""Arrays of an explanation as files; what they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core.image import Image
from napari_segxai.core.prediction import painted
from napari_segxai.io import Kind, write_volume
from napari_segxai.io.names import file_names

if TYPE_CHECKING:
    from napari_segxai.models.card import ModelCard


ALWAYS_WRITTEN = ("saliency.nii.gz", "prediction.nii.gz")
"""Files that every explanation has, of labels that exclude each other."""


RESERVED = ("saliency", "saliency_native", "prediction", "dilation_stages", "region")
"""Files of every explanation; a method's own maps and masks get other names."""


def always_written(card: ModelCard) -> Sequence[str]:
    """Return the files that every explanation of a model has."""
    if not card.overlapping:
        return ALWAYS_WRITTEN
    masks = file_names((("prediction", name) for name in card.labels[1:]), taken=RESERVED)
    names = ["saliency", *masks.values(), *(["prediction"] if card.paint_order else [])]
    return [f"{name}.nii.gz" for name in names]


def write_on_grid(
    folder: Path, image: Image, description: str, name: str, array: np.ndarray, kind: Kind
) -> None:
    """Write an array on the grid of an image as .nii.gz, in 2D also as TIFF (maps) or PNG (labels).

    Parameters
    ----------
    image
        Without a time axis.
    description
        A line for file headers, which hold ASCII alone.
    name
        Of the file, without its ending.
    """
    endings = [".nii.gz"]
    if image.spatial_dims == 2:
        endings.append(".tif" if kind == "image" else ".png")
    for ending in endings:
        write_volume(folder / f"{name}{ending}", array, image, kind=kind, description=description)


def write_prediction(
    prediction: np.ndarray,
    model: Mapping[str, Any],
    files: Mapping[Any, str],
    write: Callable[[str, np.ndarray, Kind], None],
    stem: str = "prediction",
) -> str | dict[str, str]:
    """Write a prediction: one label image, or, of labels that may overlap, a mask for every label, and one if they are painted.

    Parameters
    ----------
    prediction
        As `SegmentationModel.predict` returns it.
    model
        What a record says of the model.
    files
        Of labels that may overlap the file names, by (`stem`, label).
    write
        Writes an array by its name.
    stem
        Name of the file; "truth" for what has the form of a prediction and is none.

    Returns
    -------
    str or dict
        The name of the file, or of the file for every label; see `load.read_prediction`.
    """
    if not model["overlapping"]:
        write(stem, prediction, "labels")
        return stem
    labels, order = model["labels"], model.get("paint_order")
    if order is not None:
        write(stem, painted(prediction, [labels.index(name) for name in order]), "labels")
    for mask, name in zip(prediction, labels[1:], strict=True):
        write(files[stem, name], mask.astype(np.uint8), "labels")
    return {name: files[stem, name] for name in labels[1:]}


def native_image(native: np.ndarray, affine: np.ndarray | None, explained: Image) -> Image:
    """Return the grid of a map at the resolution of its network layer as an image."""
    if native.ndim == 2:
        return Image(native)
    spacing = None
    if affine is None:
        zoom = np.divide(explained.spatial_shape, native.shape)
        spacing = tuple(float(s * z) for s, z in zip(explained.spacing, zoom, strict=True))
    told = {key: explained.header[key] for key in ("format", "units") if key in explained.header}
    return Image(native, affine=affine, spacing=spacing, units=explained.units, header=told)
