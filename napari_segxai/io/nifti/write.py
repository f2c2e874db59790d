"""Writing NIfTI: the storage order, the affine and the header of the source come back as they were."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io.layer_data import WORLD, index_to_world
from napari_segxai.io.nifti.checks import MILLIMETRES, trim
from napari_segxai.io.nifti.labels import LABEL_INTENT
from napari_segxai.io.saving import replacing

TIMES = {0: "s", 8: "s", 16: "ms", 24: "us", 32: "Hz", 40: "ppm", 48: "rad/s"}
"""The time units of NIfTI by their code; an unknown one counts as seconds."""

_RGB = {n: np.dtype([(c, "u1") for c in "RGBA"[:n]]) for n in (3, 4)}


def write_nifti(
    path: str | os.PathLike[str],
    array: np.ndarray,
    image: Image,
    *,
    kind: str = "image",
    description: str = "",
) -> str:
    """Write an array that lies on the grid of `image` as NIfTI.

    An image that was read from NIfTI, or taken from a layer that was, goes back to the storage order, the
    affine and the header of its file: sform, qform, their codes, the units and the voxel sizes come back
    bit by bit. Of a result (an array that is not `image.array` itself), what the header said about the
    intensities is left out: intent, display range, extensions. An image without an affine is written where
    its layer lies, in mm, with napari's world = -(S, A, R); a pixel counts as 1 mm.

    Parameters
    ----------
    path
        .nii or .nii.gz. It is replaced only once the new file is complete.
    array
        Shape of `image.array`, or of it without channels or time, or one leading axis and the spatial grid.
    image
        The image that the array belongs to.
    kind
        ``"labels"``: whole numbers, written in the smallest type that holds them, with the label intent.
    description
        Up to 79 bytes for the header.

    Raises
    ------
    UserError
        If the array does not fit the image or the file cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise UserError(f"{path}: NIfTI is written as .nii or .nii.gz; choose one of these endings.")
    itself = image.is_read and array is image.array  # what is not read yet cannot be what is written
    array = np.asarray(array)
    data = _file_axes(path, array, image)
    facts = image.header if image.header.get("format") == "nifti" else {}
    turn, affine, exact = storage_of(image)
    data = _turn(data, turn)
    source = facts.get("header")
    source = source if isinstance(source, nib.Nifti1Header) else None
    whole = array.ndim == image.ndim and image.channel_axis is not None
    bytes_of_color = whole and image.channels in (3, 4) and array.dtype == np.uint8
    colors = bytes_of_color and bool(image.header.get("rgb", True))
    scaling = None
    if colors and kind == "image":
        data = (
            data.reshape(data.shape[:4] + data.shape[-1:])
            if data.shape[3] > 1
            else data.reshape(*data.shape[:3], -1)
        )
        data = np.ascontiguousarray(data).view(_RGB[data.shape[-1]])[..., 0]
    else:
        if itself and kind == "image" and source is not None:
            data, scaling = _unscaled(data, source, facts.get("scaling", (1.0, 0.0)))
        data = _storable(path, data, kind, source if itself else None)
        data = data.reshape(trim(data.shape))
    of_source = tuple(facts.get("shape", ()))
    if of_source and [n for n in of_source if n > 1] == [n for n in data.shape if n > 1]:
        data = data.reshape(of_source)

    header, inherited = _new_header(source, data, facts.get("units", 2), whole=itself)
    if not (exact and inherited):
        _set_geometry(header, affine, facts, inherited=inherited)
    if data.ndim > 3 and not (inherited and source is not None and int(source["dim"][0]) > 3):
        _set_time(header, image)
    if kind == "labels":
        if int(header["intent_code"]) != LABEL_INTENT:
            header.set_intent(LABEL_INTENT, name="", allow_unknown=True)
        header["cal_min"] = header["cal_max"] = 0
    if description or not itself:
        header["descrip"] = (description or "napari-segxai").encode()[:79]
    _save(path, data, header, scaling)
    return str(path)


def _file_axes(path: Path, array: np.ndarray, image: Image) -> np.ndarray:
    """Return the array as (three spatial axes in the image's order, time, channel)."""
    grid, full = image.spatial_shape, image.shape
    roles = ["space"] * len(full)
    if image.time_axis is not None:
        roles[image.time_axis] = "time"
    if image.channel_axis is not None:
        roles[image.channel_axis] = "channel"
    variants = []
    for left_out in ((), ("channel",), ("time",), ("channel", "time")):
        kept = [k for k, role in enumerate(roles) if role not in left_out]
        variants.append((tuple(full[k] for k in kept), [roles[k] for k in kept]))
    variants.append(((array.shape[0] if array.ndim else 0, *grid), ["time"] + ["space"] * len(grid)))
    meaning = next((roles for shape, roles in variants if shape == array.shape), None)
    if meaning is None:
        raise UserError(
            f"{path}: an array of shape {array.shape} does not lie on the grid {grid} of {image.name}."
        )
    order = [k for role in ("space", "time", "channel") for k, have in enumerate(meaning) if have == role]
    array = array.transpose(order)
    if len(grid) == 2:
        array = array[None]
    if "time" not in meaning:
        array = array[:, :, :, None]
    return array if "channel" in meaning else array[..., None]


def stored_on_grid(stored: np.ndarray, image: Image) -> np.ndarray:
    """Bring what `write_nifti` wrote of an array on the spatial grid of `image` back to that grid.

    Parameters
    ----------
    stored
        Three axes, in the order of the file; axes of length 1 may be missing.

    Raises
    ------
    UserError
        If it does not lie on the grid.
    """
    turn, _, _ = storage_of(image)
    grid = _with_three_axes(image.spatial_shape)
    there = tuple(grid[axis] for axis in turn[0])
    if [n for n in stored.shape if n > 1] != [n for n in there if n > 1]:
        raise UserError(f"a volume of shape {stored.shape} does not lie on the grid of {image.name}.")
    back = orientation.apply(stored.reshape(there), orientation.invert(turn)).reshape(image.spatial_shape)
    # In the order of memory that the file has, as the image itself: to turn a volume in memory takes longer than to read it.
    return back.copy(order="K") if any(stride < 0 for stride in back.strides) else back


def _with_three_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (3 - len(shape)) + tuple(shape)


def storage_of(image: Image) -> tuple[orientation.Reorientation, np.ndarray, bool]:
    """Return how the axes of an image lie in its file, the file's affine in mm, and whether that is the source's own."""
    facts = image.header if image.header.get("format") == "nifti" else {}
    grid = _with_three_axes(image.spatial_shape)
    if image.affine is None:
        n = image.spatial_dims
        transform = image.layer or {"scale": image.spacing, "units": (image.units,) * n}
        world = np.eye(4)
        small = index_to_world(transform, n)
        world[3 - n : 3, 3 - n :] = small[:n]
        affine = np.eye(4)
        affine[:3] = WORLD @ world[:3]
        turn = ((2, 1, 0), (False,) * 3)
        return turn, orientation.apply_to_affine(affine, grid, turn), False
    stay = ((0, 1, 2), (False,) * 3)
    if facts.get("affine") is not None:
        wanted = np.asarray(facts["affine"], float)
        shape = (*facts["shape"], 1, 1)[:3]
        back = orientation.invert(
            orientation.reorientation(orientation.axis_codes(wanted), orientation.DISPLAY)
        )
        for turn in (stay, back):
            affine = orientation.apply_to_affine(image.affine, grid, turn)
            turned = tuple(grid[axis] for axis in turn[0])
            size = np.linalg.norm(wanted[:3, :3], axis=0).min()
            if turned == shape and orientation.corner_distance(affine, wanted, shape) < 1e-4 * size:
                return turn, wanted, True
        if image.layer:  # moved since it was read: still in the storage order of its file
            return back, orientation.apply_to_affine(image.affine, grid, back), False
    elif image.layer:
        turn = ((2, 1, 0), (False,) * 3)
        return turn, orientation.apply_to_affine(image.affine, grid, turn), False
    return stay, image.affine, False


def _turn(data: np.ndarray, turn: orientation.Reorientation) -> np.ndarray:
    """Reorient the first three of five axes."""
    return orientation.apply(data.transpose(3, 4, 0, 1, 2), turn).transpose(2, 3, 4, 0, 1)


def _unscaled(
    data: np.ndarray, source: Any, scaling: tuple[float, float]
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Return the integers of the file and their scaling, if they still say exactly what `data` says."""
    stored = source.get_data_dtype().newbyteorder("=")
    slope, inter = scaling
    if (
        stored.kind not in "iu"
        or (slope, inter) == (1.0, 0.0)
        or not data.size
        or not np.isfinite(data).all()
    ):
        return data, None
    whole = np.rint((data - inter) / slope)
    limits = np.iinfo(stored)
    if (
        whole.min() < limits.min
        or whole.max() > limits.max
        or not np.array_equal(whole * slope + inter, data)
    ):
        return data, None
    return whole.astype(stored), scaling


def _storable(path: Path, data: np.ndarray, kind: str, source: Any) -> np.ndarray:
    """Return the data in a type that NIfTI has and that other programs read."""
    if data.dtype.kind == "c":
        raise UserError(f"{path}: complex numbers are not written; take the magnitude first.")
    if data.dtype.kind not in "biuf":
        raise UserError(f"{path}: data of type {data.dtype} are not written; use numbers.")
    if kind == "labels" and data.dtype.kind == "f":
        if not np.array_equal(data, np.rint(data)):
            raise UserError(f"{path}: labels must be whole numbers; write these values as an image.")
        data = data.astype(np.int64)
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind == "f":
        return (
            data.astype(np.float32)
            if data.dtype.itemsize < 4
            else data.astype(f"f{min(data.dtype.itemsize, 8)}")
        )
    if source is not None and source.get_data_dtype().newbyteorder("=") == data.dtype:
        return data
    if data.dtype.itemsize < 8:
        return data
    low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
    for small in (np.uint8, np.int16, np.uint16, np.int32, np.uint32):
        if np.iinfo(small).min <= low and high <= np.iinfo(small).max:
            return data.astype(small)
    return data


def _new_header(source: Any, data: np.ndarray, units: int, *, whole: bool) -> tuple[Any, bool]:
    """Return a single-file header for `data`, in `source`'s words or in `units`, and whether it says what `source` says."""
    nifti2 = isinstance(source, nib.Nifti2Header) or max(data.shape) > 32767
    klass = nib.Nifti2Header if nifti2 else nib.Nifti1Header
    inherited = source is not None and isinstance(source, nib.Nifti2Header) == nifti2
    if not inherited:
        header = klass()
        header["xyzt_units"] = units
    else:
        header = klass(source.binaryblock, endianness=source.endianness, check=False)
        header["magic"] = klass()["magic"]
        if whole:
            header.extensions.extend(source.extensions)
        else:
            header["intent_code"], header["intent_name"], header["aux_file"] = 0, b"", b""
            header["intent_p1"] = header["intent_p2"] = header["intent_p3"] = 0
            header["cal_min"] = header["cal_max"] = 0
    header["vox_offset"] = 0
    pixdim = np.array(header["pixdim"])
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    kept = len(pixdim) if whole else data.ndim + 1
    header["pixdim"][:kept] = pixdim[:kept]
    return header, inherited


def _set_geometry(header: Any, affine: np.ndarray, facts: Mapping[str, Any], *, inherited: bool) -> None:
    """Write an affine in mm into the header, with the codes and the unit of the source."""
    code = max(facts.get("sform_code", 0), facts.get("qform_code", 0)) if inherited else 0
    code = code or (1 if "affine" in facts else 2)
    scaled = np.array(affine)
    scaled[:3] /= MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    lengths = np.linalg.norm(scaled[:3, :3], axis=0)
    directions = scaled[:3, :3] / lengths
    header["pixdim"][1:4] = lengths
    header["qform_code"] = 0
    if np.allclose(directions.T @ directions, np.eye(3), atol=1e-5):  # a qform holds no shear
        header.set_qform(scaled, code=code)
    header.set_sform(scaled, code=code)


def _set_time(header: Any, image: Image) -> None:
    step, unit, start = image.header.get("time", (1.0, "", 0.0))
    header["pixdim"][4], header["toffset"] = step, start
    code = next((code for code, name in TIMES.items() if code and name == unit), 0)
    header["xyzt_units"] = (int(header["xyzt_units"]) & 7) + code


def _save(path: Path, data: np.ndarray, header: Any, scaling: tuple[float, float] | None) -> None:
    """Write a complete file beside `path` and put it in its place."""
    nifti2 = isinstance(header, nib.Nifti2Header)
    volume = (nib.Nifti2Image if nifti2 else nib.Nifti1Image)(data, None, header)
    for field, value in header.items():
        volume.header[field] = value  # nibabel mends what it is given; the file shall come back as it was
    volume.header["scl_slope"], volume.header["scl_inter"] = scaling or (1.0, 0.0)
    try:
        with replacing(path) as beside:
            nib.save(volume, beside)
    except HeaderDataError as error:
        raise UserError(f"{path} cannot be written: {error}.") from error
