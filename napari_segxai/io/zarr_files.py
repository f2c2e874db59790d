"""Zarr arrays and OME-Zarr images, read when their values are needed. The package zarr is loaded when a file needs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image, Lazy
from napari_segxai.io import sizes
from napari_segxai.io.axes import choose, named_axes, readings

MOST_FILES = 200_000
"""So many files of a store are looked at before it is read."""


def read_zarr(
    path: str | os.PathLike[str],
    *,
    channel_axis: int | None = None,
    time_axis: int | None = None,
    axes: str | None = None,
    level: int = 0,
) -> Image:
    """Read a Zarr array or an OME-Zarr image, with the pixel sizes and units that it names.

    Parameters
    ----------
    axes
        All axes at once, e.g. "TCYX".
    level
        Of an OME-Zarr pyramid; 0 is the finest.

    Raises
    ------
    UserError
        If it is missing, damaged or no image, or the package zarr is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such file; check the path.")
    try:
        import zarr
    except ImportError:
        raise UserError(
            f"{path}: reading Zarr needs the package zarr; install it with pip install zarr."
        ) from None
    _check_files(path)
    try:
        found = zarr.open(str(path), mode="r")
        attributes: dict[str, Any] = dict(found.attrs)
        scales = (attributes.get("ome") or attributes).get("multiscales")
        if isinstance(found, zarr.Array):
            if level:
                raise UserError(f"{path}: is one Zarr array and no pyramid; leave level out.")
            array, labels, units, known, start = found, _labels(found, attributes), [], {}, {}
        else:
            array, labels, units, known, start = _level(path, found, scales, level)
    except UserError:
        raise
    except Exception as error:  # what stores and codecs raise is their own
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(f"{path}: cannot be read as Zarr ({reason[:200]}); is it damaged?") from error
    shape = tuple(array.shape)
    if axes is not None:
        channel_axis, time_axis = named_axes(axes, shape, path.name)
        letters = axes.strip().upper()
    elif channel_axis is None and time_axis is None:
        found_axes = choose(readings(shape, labels, units), path.name)
        letters = found_axes.letters
        if len(shape) > 3 and not found_axes.stated:
            size = " x ".join(map(str, shape))
            raise UserError(
                f"{path}: does not say what its {len(shape)} axes ({size}) are; name them all, such as axes={letters!r}."
            )
    else:
        named = _named(path, shape, channel_axis, time_axis)
        rest = [k for k in range(len(shape)) if k not in named]
        space = dict(zip(rest[::-1], "XYZ", strict=False))
        letters = "".join(named.get(k) or space.get(k, "P") for k in range(len(shape)))
    if "P" in letters:
        raise UserError(
            f"{path}: its {len(shape)} axes {labels or shape} are more than one image; open one of them."
        )
    by_letter = {letters[k]: known[k] for k in known}
    spatial = "".join(c for c in letters if c in "ZYX")
    spacing, unit = sizes.spacing(by_letter, spatial, path.name)
    header: dict[str, Any] = {"format": "zarr", "rgb": False}
    if "T" in by_letter:
        step, time_unit = by_letter["T"]
        header["time"] = (step, time_unit, start.get(letters.index("T"), 0.0))
    values: Any = Lazy(lambda: np.asarray(array[...]), shape, array.dtype, array)
    return Image(
        values,
        channel_axis=letters.find("C") if "C" in letters else None,
        time_axis=letters.find("T") if "T" in letters else None,
        spacing=spacing or (),
        units=unit,
        name=path.name.removesuffix(".zarr").removesuffix(".ome"),
        path=str(path.absolute()),
        header=header,
    )


def _named(
    path: Path, shape: tuple[int, ...], channel_axis: int | None, time_axis: int | None
) -> dict[int, str]:
    """Return the axes that the user names, by their letter.

    Raises
    ------
    UserError
        If one is none of the array's, or both are one.
    """
    named = {}
    for word, axis, letter in (("channel_axis", channel_axis, "C"), ("time_axis", time_axis, "T")):
        if axis is None:
            continue
        if not -len(shape) <= axis < len(shape):
            raise UserError(f"{path}: {word} {axis} is outside the {len(shape)} axes of the array.")
        if axis % len(shape) in named:
            raise UserError(f"{path}: channel_axis and time_axis are both {axis}; name two axes.")
        named[axis % len(shape)] = letter
    return named


def _check_files(path: Path) -> None:
    """Refuse a store in which a pipe or a device stands for a file: reading it would wait for ever.

    Raises
    ------
    UserError
        It names the file.
    """
    folders, left = [str(path)] if path.is_dir() else [], MOST_FILES
    while folders and left > 0:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif not entry.is_file() and not entry.is_dir():
                        raise UserError(
                            f"{path}: {entry.name} is not a file; copy or export the image again."
                        )
        except OSError as error:
            raise UserError(
                f"{path}: cannot be looked into ({error.strerror}); check its permissions."
            ) from None


def _labels(array: Any, attributes: dict[str, Any]) -> list[str]:
    names = getattr(array.metadata, "dimension_names", None) or attributes.get("_ARRAY_DIMENSIONS") or ()
    return [str(name or "") for name in names]


def _level(path: Path, group: Any, scales: Any, level: int) -> tuple[Any, list[str], list[str], dict, dict]:
    """Return one level of an OME-Zarr pyramid, the names and units of its axes, its pixel sizes and where it starts."""
    if not scales:
        raise UserError(f"{path}: is a Zarr group without an image; name one of its arrays.")
    sets = scales[0]["datasets"]
    if not 0 <= level < len(sets):
        raise UserError(f"{path}: has levels 0 to {len(sets) - 1}, not {level}.")
    array = group[sets[level]["path"]]
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales[0].get("axes", ())]
    labels = [str(axis.get("name", "")) for axis in axes]
    units = [str(axis.get("unit", "") or "") for axis in axes]
    factor, start = np.ones(array.ndim), np.zeros(array.ndim)
    given = False
    for step in [
        *sets[level].get("coordinateTransformations", ()),
        *scales[0].get("coordinateTransformations", ()),
    ]:
        if step.get("type") == "scale":
            factor, start, given = factor * step["scale"], start * step["scale"], True
        elif step.get("type") == "translation":
            start = start + step["translation"]
    known = {}
    for k in range(array.ndim):
        if given and k < len(axes) and axes[k].get("type", "space") in ("space", "time"):
            known[k] = (float(factor[k]), sizes.NAMES.get(units[k], units[k]))
    return array, labels, units, known, dict(enumerate(start.tolist()))
