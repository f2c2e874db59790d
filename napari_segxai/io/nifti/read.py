"""NIfTI (.nii, .nii.gz, .hdr/.img) and FreeSurfer (.mgz, .mgh) volumes, in and out.

The header is checked before any data are read, so that a damaged or dishonest file costs one sentence and
not the memory of the machine. What the file said is kept in `Image.header`, and written back field by field.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io.axes import named_axes
from napari_segxai.io.nifti.checks import (
    DAMAGE,
    LARGEST,
    check_affine,
    check_exists,
    check_sizes,
    damaged,
    nifti_class,
    opened,
    pair,
    parse_header,
    read_to_end,
    stored_affine,
    trim,
)
from napari_segxai.io.nifti.write import TIMES


def read_nifti(
    path: str | os.PathLike[str],
    *,
    channel_axis: int | None = None,
    time_axis: int | None = None,
    axes: str | None = None,
    largest: int = LARGEST,
) -> Image:
    """Read a NIfTI-1, NIfTI-2 or FreeSurfer volume.

    The array keeps the order of the file, (i, j, k[, t][, c]), without axes of length 1 behind the third,
    and `affine` is the file's, from index to RAS+ mm, as nibabel prefers it (sform, then qform, then the
    voxel sizes). Integers stay integers when the file does not scale them. NaN and infinity stay what they
    are.

    Parameters
    ----------
    path
        .nii, .nii.gz, .hdr or .img (either of the pair), .mgz or .mgh.
    channel_axis, time_axis
        Index of these axes in the array. The fourth axis of a file is time and the fifth is channels,
        unless the fourth is named as the channel axis here (e.g. for four MR sequences in one file).
    axes
        All axes at once, e.g. "XYZC".
    largest
        Bytes of data above which the file is refused by its header.

    Raises
    ------
    UserError
        If the file is missing, damaged, no volume, or too large for this machine.
    """
    path = Path(path)
    header_file, data_file = pair(path)
    for file in {header_file, data_file}:
        check_exists(file, asked=path)
    try:
        with opened(header_file) as stream:
            head = stream.read(540)
    except DAMAGE as error:
        raise damaged(path, header_file, error) from error
    freesurfer = path.suffix.lower() in (".mgz", ".mgh")
    klass: Any = nib.MGHImage if freesurfer else nifti_class(path, head, paired=header_file != data_file)
    header = parse_header(path, klass, head)
    shape = check_sizes(path, header, data_file, largest)

    try:
        with opened(header_file) as first, opened(data_file) as second:
            files = {"image": nib.FileHolder(fileobj=second)}
            if header_file != data_file:
                files["header"] = nib.FileHolder(fileobj=first)
            if not freesurfer:  # once more, with its extensions, and as it is: nibabel mends what it opens
                header = klass.header_class.from_fileobj(first, check=False)
                first.seek(0)
            volume = klass.from_file_map(files, mmap=False)
            if freesurfer:
                header = volume.header  # with its footer
            affine = check_affine(path, stored_affine(path, header, volume.affine), header)
            scaling = (float(volume.dataobj.slope), float(volume.dataobj.inter))
            array = _values(volume.dataobj, *scaling)
            read_to_end(second)
    except DAMAGE as error:
        if isinstance(error, UserError):
            raise
        raise damaged(path, data_file, error) from error
    array = _plain(array)

    colors = 0
    if array.dtype.names:
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
        colors = array.shape[-1]
    array, channel, time = _name_axes(path, array, len(shape), colors, channel_axis, time_axis, axes)
    info = _facts(path, header, affine, shape, scaling)
    info["rgb"] = bool(colors)
    return Image(
        array,
        affine=affine,
        channel_axis=channel,
        time_axis=time,
        name=(path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem) or path.name,
        path=str(path.absolute()),
        header=info,
    )


def _values(stored: Any, slope: float, inter: float) -> np.ndarray:
    """Return the data, scaled as the file says. Integers that are only shifted (CT) stay integers."""
    if (
        slope == 1
        and inter
        and inter == int(inter)
        and stored.dtype.kind in "iu"
        and stored.dtype.itemsize < 4
    ):
        array = stored.get_unscaled().astype(np.int32)
        array += int(inter)
        return array.astype(np.int16) if array.min() >= -(2**15) and array.max() < 2**15 else array
    return np.asanyarray(stored)


def _plain(array: np.ndarray) -> np.ndarray:
    """Return the array in the byte order of this machine, and long doubles as doubles."""
    if array.dtype.names:
        return array
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _name_axes(
    path: Path,
    array: np.ndarray,
    file_ndim: int,
    colors: int,
    channel: int | None,
    time: int | None,
    axes: str | None,
) -> tuple[np.ndarray, int | None, int | None]:
    """Return the array without needless axes, and which of its axes are channel and time."""
    shape = array.shape[:file_ndim]
    trimmed = trim(shape)
    if len(trimmed) == 5 and trimmed[3] == 1:
        trimmed, vector = (*trimmed[:3], trimmed[4]), True
    else:
        vector = len(trimmed) == 5
    array = array.reshape((*trimmed, *array.shape[file_ndim:]))
    extra = list(range(3, array.ndim))
    if axes is not None:
        channel, time = named_axes(axes, array.shape, path.name, rgb=bool(colors))
        if set(axes.strip().upper()[:3]) != set("XYZ"):
            raise UserError(
                f"{path}: the first three axes of a volume are space, not {axes[:3]!r}; begin axes with XYZ."
            )
        return array, channel, time
    if channel is None and time is None:
        if colors or vector:
            channel = extra.pop()
        time = extra.pop() if extra else None
        return array, channel, time
    named = {
        axis % array.ndim for axis in (channel, time) if axis is not None and -array.ndim <= axis < array.ndim
    }
    left = [axis for axis in extra if axis not in named]
    if left and time is None and channel is not None:
        time = left.pop(0)
    elif left and channel is None:
        channel = left.pop(0)
    spatial = [
        k for k in range(array.ndim) if k not in {a % array.ndim for a in (channel, time) if a is not None}
    ]
    if spatial != [0, 1, 2]:
        raise UserError(
            f"{path}: the first three axes of a volume are space and its shape is {array.shape}; "
            f"channel_axis or time_axis can be one of {extra or 'none'}."
        )
    return array, channel, time


def _facts(
    path: Path, header: Any, affine: np.ndarray, shape: tuple[int, ...], scaling: tuple[float, float]
) -> dict[str, Any]:
    """Return what is needed to come back from a layer to this file."""
    facts: dict[str, Any] = {
        "format": "nifti", "path": str(path), "shape": shape, "affine": affine, "header": header, "intent": 0,
        "sform_code": 0, "qform_code": 0,
    }  # fmt: skip
    if isinstance(header, MGHHeader):
        return {**facts, "shape": trim(shape), "time": (float(header["tr"]) or 1.0, "ms", 0.0)}
    step, start = float(header["pixdim"][4]), float(header["toffset"])
    return {
        **facts,
        "intent": int(header["intent_code"]),
        "sform_code": int(header["sform_code"]),
        "qform_code": int(header["qform_code"]),
        "scaling": scaling,
        "units": int(header["xyzt_units"]) & 7,
        "time": (
            step if math.isfinite(step) and step > 0 else 1.0,
            TIMES.get(int(header["xyzt_units"]) & 56, "s"),
            start if math.isfinite(start) else 0.0,
        ),
    }
