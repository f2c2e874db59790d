"""How large pixels are, as OME-TIFF, ImageJ TIFF and OME-Zarr say it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from napari_segxai.core.image import MILLIMETRES

if TYPE_CHECKING:
    import tifffile

Size = tuple[float, str]
"""A length, or a time, and its unit."""

NAMES = {
    "µm": "um", "μm": "um", "micron": "um", "microns": "um", "micrometer": "um", "micrometre": "um", "\\u00b5m": "um",
    "millimeter": "mm", "millimetre": "mm", "nanometer": "nm", "nanometre": "nm", "centimeter": "cm", "meter": "m",
    "sec": "s", "second": "s", "seconds": "s", "millisecond": "ms", "Å": "angstrom", "": "pixel", "pixels": "pixel",
    "inches": "inch", "in": "inch", "\\u00B5m": "um", "nanometers": "nm", "micrometers": "um", "millimeters": "mm",
}  # fmt: skip
"""What units are called here."""


def of_tiff(file: tifffile.TiffFile) -> dict[str, Size]:
    """Return the size of a pixel along the axes of a TIFF's first series, by tifffile's letters; T is the time step.

    Plain TIFFs say dots per inch, which is how large they are to be printed, and is not a size here.
    """
    if file.is_ome and file.ome_metadata:
        return _of_ome(file.ome_metadata)
    if file.is_imagej and file.imagej_metadata is not None:
        return _of_imagej(file)
    return {}


def of_layer(
    path: str | None, shape: Sequence[int], spatial: Sequence[int]
) -> tuple[tuple[float, ...], str] | None:
    """Return the pixel sizes of a layer from its TIFF file, where the reader that opened the file ignored them.

    Parameters
    ----------
    path
        Of the file; None if nobody knows.
    shape, spatial
        Of the layer's data, and its spatial axes. The file counts where it has the same axes.

    Returns
    -------
    tuple or None
        The spacing along the spatial axes and its unit; None where the file does not say it.
    """
    try:
        changed = os.stat(path or "").st_mtime_ns
    except (OSError, ValueError):
        return None
    if not str(path).lower().endswith((".tif", ".tiff")):
        return None
    found = _of_file(str(path), changed)
    if found is None or found[0] != tuple(shape):
        return None
    letters = "".join(found[1][k] for k in spatial)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was said when the file was read, or never will be
        steps, unit = spacing(found[2], letters, "")
    return None if steps is None or unit is None else (steps, unit)


@lru_cache(maxsize=32)
def _of_file(path: str, changed: int) -> tuple[tuple[int, ...], str, dict[str, Size]] | None:
    """Return shape, axes and sizes of a TIFF's first series; `changed` tells one version of a file from another."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            return tuple(series.shape), series.axes, of_tiff(file)
    except Exception:  # the decoders raise whatever they like; a viewer has the pixels already
        return None


def _of_ome(text: str) -> dict[str, Size]:
    import tifffile

    try:
        found: Any = tifffile.xml2dict(text)["OME"]["Image"]
        pixels = (found[0] if isinstance(found, list | tuple) else found)["Pixels"]
    except (KeyError, IndexError, TypeError, ValueError, SyntaxError):
        return {}
    out = {}
    for axis in "XYZ":
        size = _number(pixels.get(f"PhysicalSize{axis}"))
        if size:
            out[axis] = (size, _name(pixels.get(f"PhysicalSize{axis}Unit", "um")))
    step = _number(pixels.get("TimeIncrement"))
    if step:
        out["T"] = (step, _name(pixels.get("TimeIncrementUnit", "s")))
    return out


def _of_imagej(file: tifffile.TiffFile) -> dict[str, Size]:
    meta, tags = file.imagej_metadata or {}, file.pages.first.tags
    unit = _name(str(meta.get("unit", "")).strip('"'))
    out = {}
    for axis, name in (("X", "XResolution"), ("Y", "YResolution")):
        if name in tags and unit != "pixel":
            above, below = tags[name].value
            if above and below and _number(below / above):
                out[axis] = (below / above, unit)
    depth = _number(meta.get("spacing"))
    if depth and unit != "pixel":
        out["Z"] = (depth, unit)
    step = _number(meta.get("finterval"))
    if step:
        out["T"] = (step, _name(str(meta.get("tunit", "sec"))))
    return out


def spacing(
    sizes: Mapping[str, Size], letters: str, name: str
) -> tuple[tuple[float, ...] | None, str | None]:
    """Return the sizes along the spatial axes in one unit, and the unit; (None, None) where nothing is known.

    Parameters
    ----------
    letters
        Of the spatial axes, in order.
    name
        Of the file, for what has to be said.
    """
    known = {c: sizes[c] for c in letters if c in sizes}
    if not known:
        return None, None
    units = list(dict.fromkeys(unit for _, unit in known.values()))
    unit = units[-1]  # of the plane
    if any(own != unit and (own not in MILLIMETRES or unit not in MILLIMETRES) for own in units):
        warnings.warn(
            f"{name}: its pixel sizes are in {' and '.join(units)}, which cannot be compared; they are left out.",
            stacklevel=4,
        )
        return None, None
    factor = lambda own: 1.0 if own == unit else MILLIMETRES[own] / MILLIMETRES[unit]  # noqa: E731
    values = {c: size * factor(own) for c, (size, own) in known.items()}
    missing = [c for c in letters if c not in values]
    if missing:
        assumed = next(iter(values.values()))
        warnings.warn(
            f"{name}: says no pixel size along {' and '.join(missing)}; {assumed:g} {unit} is assumed, as along "
            f"{next(iter(values))}.",
            stacklevel=4,
        )
        values.update(dict.fromkeys(missing, assumed))
    return tuple(values[c] for c in letters), unit


def ome_metadata(spacing_: tuple[float, ...], unit: str, axes: str, description: str) -> dict[str, Any]:
    """Return what tifffile writes into an OME-TIFF for an image with these pixel sizes."""
    out: dict[str, Any] = {"axes": axes, "Description": description or None}
    unit = "µm" if unit == "um" else unit
    for letter, size in zip("ZYX"[-len(spacing_) :], spacing_, strict=True):
        out[f"PhysicalSize{letter}"], out[f"PhysicalSize{letter}Unit"] = size, unit
    return {key: value for key, value in out.items() if value is not None}


def _number(value: Any) -> float | None:
    """Return a positive finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _name(unit: Any) -> str:
    return NAMES.get(str(unit).strip(), str(unit).strip())
