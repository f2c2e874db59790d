"""Images in and out of files: NIfTI and FreeSurfer volumes, and 2D pictures and TIFF stacks.

Importing this package is cheap: nibabel, tifffile and PIL are loaded when a file needs them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path

VOLUMES = (".nii.gz", ".nii", ".hdr", ".img", ".mgz", ".mgh")
"""Endings that are read as volumes in the world."""

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""Endings that are read as pictures: pixels without a place in the world."""

ZARR = (".zarr",)
"""Endings of folders that are read as Zarr."""

_MEDICAL = (".dcm", ".ima", ".mha", ".mhd", ".nrrd", ".nhdr", ".mnc")

_SERIES = " (a DICOM series: convert it to NIfTI, .nii.gz)"

Kind = Literal["image", "labels"]

__all__ = ["PICTURES", "VOLUMES", "ending", "read_image", "write_volume"]


def ending(path: str | os.PathLike[str]) -> str:
    """Return the ending of a file name in lower case, ``".nii.gz"`` in one piece."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


@checked()
def read_image(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    channel_axis: int | None = None,
    time_axis: int | None = None,
    axes: str | None = None,
    level: int | None = None,
) -> Image:
    """Read an image file, or several that hold a channel each.

    Parameters
    ----------
    path : str, path-like, or a sequence of these
        A volume (.nii, .nii.gz, .hdr/.img, .mgz, .mgh), a picture (.png, .jpg, .tif, .bmp), or a Zarr array or OME-Zarr
        image (.zarr), of which the finest level is read when it is needed. Pixel sizes and units are kept.
        Each file of a list, such as the sequences of an MR examination, is a channel, in the order of the model's
        channels; see `join_channels`.
    channel_axis, time_axis : int, optional
        What the axes of the array in the file mean, where the file does not say it or says it wrongly. The
        fourth axis of a volume is time unless it is named here as the channel axis.
    axes : str, optional
        All axes of the array at once, a letter for each: T time, C channels, Z Y X space, e.g. "TCYX" of a TIFF or
        "XYZC" of a volume.
    level : int, optional
        Of a pyramid (OME-Zarr, OME-TIFF); 0 is the finest.

    Returns
    -------
    Image
        With pixel sizes, units and the place in the world, as far as the file has them.

    Raises
    ------
    UserError
        If the file cannot be read as an image; the message names the file and the reason.
    """
    if not isinstance(path, (str, os.PathLike)):
        from napari_segxai.io.joining import join_channels

        read_one = partial(read_image, channel_axis=channel_axis, time_axis=time_axis, axes=axes, level=level)
        images = [read_one(one) for one in path]
        return images[0] if len(images) == 1 else join_channels(images)
    path = user_path(path)
    kind = ending(path)
    options: dict[str, Any] = {}
    if kind in VOLUMES:
        from napari_segxai.io.nifti.read import read_nifti as read
    elif kind in PICTURES:
        from napari_segxai.io.raster import read_raster as read
    elif kind in ZARR or (path.is_dir() and any(ending(one) in ZARR for one in path.parents)):
        kind = ZARR[0]  # an array in a group lies in a folder of its own
        from napari_segxai.io.zarr_files import read_zarr as read
    elif path.is_dir():
        raise UserError(f"{path}: is a folder; name one image file in it{_SERIES}.")
    else:
        known = ", ".join(VOLUMES + PICTURES + ZARR)
        way = "convert it to NIfTI (.nii.gz)" if kind in _MEDICAL else f"use one of {known}"
        raise UserError(f"{path}: {kind or 'no ending'} is not an image format read here; {way}.")
    if axes is not None and not (channel_axis is None and time_axis is None):
        raise UserError(f"{path}: give axes={axes!r} or channel_axis and time_axis, not both.")
    if level is not None:
        if kind not in (*ZARR, ".tif", ".tiff"):
            raise UserError(f"{path}: level is for pyramids (OME-Zarr, OME-TIFF); leave it out.")
        options["level"] = level
    return read(path, channel_axis=channel_axis, time_axis=time_axis, axes=axes, **options)


def write_volume(
    path: str | os.PathLike[str],
    array: np.ndarray,
    image: Image,
    *,
    kind: Kind = "image",
    description: str = "",
) -> str:
    """Write an array that lies on the grid of `image`: a map, a mask, a prediction or the image itself.

    Parameters
    ----------
    path
        .nii and .nii.gz keep the place in the world; .tif and .png hold the numbers only.
    array
        Shape of the image's array, of its spatial grid, or of the grid with one leading axis (written as
        time).
    image
        Gives the geometry, and the file header if it was read from NIfTI.
    kind
        ``"labels"`` writes the smallest integer type and marks the file as a label volume.
    description
        Short text for the file header.

    Returns
    -------
    str
        The path that was written.

    Raises
    ------
    UserError
        If the array does not fit the image, the format cannot hold it, or the file cannot be written.
    """
    target = ending(path)
    if target in (".nii", ".nii.gz"):
        from napari_segxai.io.nifti.write import write_nifti

        return write_nifti(path, array, image, kind=kind, description=description)
    if target in (".png", ".tif", ".tiff"):
        from napari_segxai.io.raster import write_raster

        return write_raster(path, array, image, kind=kind, description=description)
    raise UserError(
        f"{path}: cannot write {target or 'a file without an ending'}; use .nii.gz, .nii, .tif or .png."
    )
