"""Explanations in and out of folders."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io import Kind, read_image, write_volume
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import replacing, save_folder

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.result import Explanation
    from napari_segxai.models.card import ModelCard

SURE = ("saliency.nii.gz", "prediction.nii.gz")
"""Files that every explanation has, of labels that exclude each other."""

OWN = ("saliency", "saliency_native", "prediction", "dilation_stages")
"""Files of every explanation; a method's own maps and masks get other names."""


def sure_files(card: ModelCard) -> Sequence[str]:
    """Return the files that every explanation of a model has."""
    if not card.overlapping:
        return SURE
    masks = file_names((("prediction", name) for name in card.labels[1:]), taken=OWN)
    names = ["saliency", *masks.values(), *(["prediction"] if card.paint_order else [])]
    return [f"{name}.nii.gz" for name in names]


def save_explanation(
    explanation: Explanation,
    folder: Path,
    *,
    overwrite: bool = False,
    pictures: Mapping[str, np.ndarray] | None = None,
) -> list[Path]:
    """Write every array of an explanation and its record; see `Explanation.save`.

    Parameters
    ----------
    pictures
        Further pictures by file name, e.g. a screenshot: (rows, columns, 3 or 4), uint8.
    """

    def write(new: Path) -> dict[str, Any]:
        facts = write_explanation(explanation, new)
        for name, array in (pictures or {}).items():
            from PIL import Image as Picture

            Picture.fromarray(array).save(new / name)
        return facts

    return save_folder(folder, write, overwrite=overwrite)


def write_explanation(explanation: Explanation, folder: Path) -> dict[str, Any]:
    """Fill an empty folder with the arrays and tables of an explanation; returns what its record says."""
    image = explanation.image.frame(0)

    def write(name: str, array: np.ndarray, kind: Kind) -> None:
        endings = [".nii.gz"]
        if image.spatial_dims == 2:
            endings.append(".tif" if kind == "image" else ".png")
        for ending in endings:
            write_volume(
                folder / f"{name}{ending}", array, image, kind=kind, description=describe(explanation)
            )

    write("saliency", explanation.map, "image")
    labels = explanation.record.model["labels"][1:] if explanation.overlapping else []
    files = file_names(
        [*explanation.maps, *explanation.masks, *(("prediction", name) for name in labels)], taken=OWN
    )
    for name, values in explanation.maps.items():
        write(files[name], values, "image")
    for name, mask in explanation.masks.items():
        write(files[name], mask.astype(np.uint8), "labels")
    if explanation.stages is not None:
        write("dilation_stages", explanation.stages, "labels")
    one = explanation.painted() if explanation.overlapping else explanation.prediction
    if one is not None:
        write("prediction", one, "labels")
    for name in labels:
        write(files["prediction", name], explanation.drawn(name).astype(np.uint8), "labels")
    if explanation.native is not None:
        _write_native(explanation, folder)
    if explanation.stage_table:
        write_csv(folder / "dilation_stages.csv", explanation.stage_table)
    curves = {name: tuple(name.replace("slice ", "slice").split(": ")) for name in explanation.curves}
    files = file_names(curves.values())
    for name, columns in explanation.curves.items():
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if rows:
            write_csv(folder / f"curve_{files[curves[name]]}.csv", rows)
    return {"kind": "explanation", **explanation.record.as_dict()}


def least_size(image: Image, maps: int = 1) -> int:
    """Return how many bytes maps of an image take at least: maps compress to a quarter, hardly ever to less."""
    return math.prod(image.spatial_shape) * maps


def describe(explanation: Explanation) -> str:
    """Return a line for file headers, which hold ASCII alone."""
    return f"napari-segxai {explanation.record.method} of {explanation.record.target['label']}"


def _write_native(explanation: Explanation, folder: Path) -> None:
    """Write the map at the network layer's own resolution, placed in the world when the image is."""
    native = explanation.native
    if native.ndim == 3:
        path = folder / "saliency_native.nii.gz"
        spacing = None
        if explanation.native_affine is None:
            zoom = np.divide(explanation.map.shape, native.shape)
            spacing = tuple(float(s * z) for s, z in zip(explanation.image.spacing, zoom, strict=True))
        source = explanation.image
        told = {key: source.header[key] for key in ("format", "units") if key in source.header}
        image = Image(
            native, affine=explanation.native_affine, spacing=spacing, units=source.units, header=told
        )
    else:
        path = folder / "saliency_native.tif"
        image = Image(native)
    write_volume(path, native, image, description=describe(explanation))


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows; one that an earlier row has not lies behind what it follows in its own row."""
    out: list[str] = []
    for row in rows:
        place = 0
        for key in row:
            if key not in out:
                out.insert(place, key)
            place = out.index(key) + 1
    return out


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a table; a column that a row has not stays empty there.

    A name that a spreadsheet would take for a formula gets an apostrophe before it.

    Raises
    ------
    UserError
        If it cannot be written; then an older file is as it was.
    """
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=_columns(rows))
        writer.writeheader()
        writer.writerows({key: _no_formula(value) for key, value in row.items()} for row in rows)
    return path


def _no_formula(value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith(("=", "+", "-", "@"))):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def read_region(path: str | Path, image: Image) -> np.ndarray:
    """Read a mask file that lies on the grid of `image`, in whatever storage order: boolean.

    Raises
    ------
    UserError
        If the file cannot be read or lies on another grid.
    """
    return _read_on_grid(path, image, "region").any(0)


def read_truth(path: str | Path, image: Image) -> np.ndarray:
    """Read a file of label values that lies on the grid of `image`, in whatever storage order: whole numbers.

    Raises
    ------
    UserError
        If the file cannot be read, holds other values or lies on another grid.
    """
    array = _read_on_grid(path, image, "truth")[0]
    if array.dtype.kind not in "bui" and not np.array_equal(array, np.rint(array)):
        raise UserError(
            f"{path}: the truth holds values that are no label values; give whole numbers from 0."
        )
    if array.size and array.min() < 0:
        raise UserError(f"{path}: the truth holds negative values; label values begin at 0.")
    return array.astype(np.uint16)


def _read_on_grid(path: str | Path, image: Image, what: str) -> np.ndarray:
    """Read a file on the grid of `image`: (channels, *image grid)."""
    file = read_image(path)
    array = file.frame(0).channels_first()
    affine = file.affine
    if file.codes is not None and image.codes is not None and file.codes != image.codes:
        turn = orientation.reorientation(file.codes, image.codes)
        affine = orientation.apply_to_affine(affine, array.shape[1:], turn)
        array = orientation.apply(array, turn)
    if array.shape[1:] != image.spatial_shape:
        raise UserError(
            f"{path}: the {what} has shape {array.shape[1:]}, but {image.name} has {image.spatial_shape}; draw it on the "
            "image's own grid."
        )
    if affine is not None and image.affine is not None:
        corners = np.abs((affine - image.affine)[:3] @ np.array([*array.shape[1:], 1.0]))
        if corners.max() > 0.5 * min(image.spacing):
            raise UserError(
                f"{path}: the {what} lies {corners.max():.1f} mm away from {image.name}; resample it to the image's grid."
            )
    return np.ascontiguousarray(array)
