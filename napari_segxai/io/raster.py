"""Pictures: PNG, JPEG, BMP and TIFF, in and out. They have pixels, but no place in the world."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import MILLIMETRES, Image
from napari_segxai.io import sizes
from napari_segxai.io.axes import named_axes
from napari_segxai.io.saving import replacing

OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
"""Numbers that an OME-TIFF may hold."""

ORIENTATION = 0x112
"""The EXIF tag that tells how a picture is to be turned."""

WHITE_IS_ZERO, RGB, YCBCR = 0, 2, 6
"""How colours are stored in a TIFF."""

COLORS_OF_PIL = (3, 5, YCBCR, 8)
"""Palettes, CMYK, YCbCr and CIELAB are not RGB before somebody has converted them."""

JPEG = (6, 7, 34892, 33007)
"""Compressions whose decoder converts YCbCr."""

ALPHA = (1, 2)
"""Kinds of extra samples of a TIFF that are alpha; others are channels of their own."""

LARGEST = 2**36
"""No picture with more bytes of pixels than this is opened."""


def read_raster(
    path: str | os.PathLike[str],
    *,
    channel_axis: int | None = None,
    time_axis: int | None = None,
    axes: str | None = None,
    level: int = 0,
    largest: int = LARGEST,
) -> Image:
    """Read a picture or a TIFF stack.

    Colour pictures get their channels last; an alpha channel is dropped with a warning. Grey ones stay 2D.
    A TIFF with several pages is a 3D image without an affine, unless the file, `channel_axis`, `time_axis` or `axes` says
    that the pages are channels or time points. Pixel sizes that OME or ImageJ wrote are kept. What is left out of a file
    (alpha, further images) is said. A file with more than `largest` bytes of pixels is refused by its header.

    Raises
    ------
    UserError
        If the file is missing, damaged or no picture.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name one image file in it.")
    if not path.exists():
        raise UserError(f"{path}: there is no such file; check the path.")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty (0 bytes); copy or export it again.")
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            array, letters, known = _read_tiff(path, level, largest)
        else:
            array, letters, known = *_read_picture(path, largest), {}
    except UserError:
        raise
    except MemoryError:
        raise UserError(
            f"{path}: its pixels do not fit into the memory of this machine; crop the image."
        ) from None
    except Exception as error:  # the decoders raise whatever they like
        reason = " ".join(str(error).split()).rstrip(".").replace(f" '{path}'", "") or type(error).__name__
        raise UserError(
            f"{path}: cannot be read as a picture ({reason}); is it damaged or misnamed?"
        ) from error
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind not in "uif":
        raise UserError(f"{path}: pixels of type {array.dtype} cannot be used; save them as numbers.")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.size:
        raise UserError(f"{path}: holds no pixels, shape {array.shape}.")

    color = letters.endswith("S") and array.shape[-1] == 3
    if axes is not None:
        channel_axis, time_axis = named_axes(axes, array.shape, path.name, rgb=color)
        letters = axes.strip().upper()[: array.ndim - color] + "S" * color
    elif channel_axis is None and time_axis is None:
        channel_axis = next((letters.index(c) for c in "SC" if c in letters), None)
        time_axis = letters.index("T") if "T" in letters else None
        if time_axis is not None and array.ndim - 1 - (channel_axis is not None) < 2:
            time_axis = None
    elif channel_axis is None and color and time_axis not in (array.ndim - 1, -1):
        channel_axis = array.ndim - 1
    known_axes = sum(axis is not None for axis in (channel_axis, time_axis))
    if axes is None and array.ndim - known_axes > 3 and not known_axes:
        size = " x ".join(map(str, array.shape))
        raise UserError(
            f"{path}: does not say what its {array.ndim} axes ({size}) are; name them all, such as axes={'TZCYX'[-array.ndim :]!r}."
        )
    header: dict[str, Any] = {"format": "raster", "rgb": color and channel_axis == array.ndim - 1}
    if "T" in known and time_axis is not None:
        header["time"] = (*known["T"], 0.0)
    plain = Image(array, channel_axis=channel_axis, time_axis=time_axis, name=path.stem, header=header)
    letters = "".join(letters[k] for k in plain.spatial_axes)
    letters = letters if set(letters) <= set("ZYX") else "ZYX"[-plain.spatial_dims :]
    spacing, unit = sizes.spacing(known, letters, path.name)
    return replace(plain, spacing=spacing, units=unit, path=str(path.absolute()))


def _read_picture(path: Path, largest: int, *, pages: bool = False) -> tuple[np.ndarray, str]:
    """Return pixels and what their axes are (Y, X, S samples): of the first picture of a file, or of all its pages."""
    from PIL import Image as Picture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Picture.DecompressionBombWarning)
        with Picture.open(path) as picture:
            count = getattr(picture, "n_frames", 1)
            read = count if pages else 1
            if picture.width * picture.height * 4 * read > largest:
                size = f"{picture.width} x {picture.height}" + f" x {read}" * (read > 1)
                raise UserError(f"{path}: {size} pixels are too many; crop the image.")
            if count > 1 and not pages:
                _say(f"{path}: holds {count} pictures; the first one is read.")
            if (turn := picture.getexif().get(ORIENTATION, 1)) not in (0, 1):
                _say(
                    f"{path}: has to be turned or mirrored to stand upright (EXIF orientation {turn}); it is read as it is "
                    "stored, as napari shows it."
                )
            found = []
            for index in range(read):
                picture.seek(index)
                found.append(np.array(_plain(picture, path)))
    array = found[0] if len(found) == 1 else np.stack(found)
    return array, "Z" * (len(found) > 1) + ("YXS" if found[0].ndim == 3 else "YX")


def _plain(picture: Any, path: Path) -> Any:
    """Return a picture as grey or RGB, without alpha."""
    if picture.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in picture.info:
        _say(f"{path}: the alpha channel is left out.")
        gray = picture.mode in ("1", "L", "LA", "La", "I", "I;16")
        picture = picture.convert("RGBA") if picture.mode in ("P", "PA", "RGBa") else picture
        if picture.mode not in ("I", "I;16", "L", "RGB"):
            picture = picture.convert("L" if gray else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        picture = picture.convert("RGB")
    return picture


def _read_tiff(path: Path, level: int, largest: int) -> tuple[np.ndarray, str, dict[str, sizes.Size]]:
    """Return the pixels of the first series of a TIFF, what its axes are, as letters of tifffile, and their sizes."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise UserError(f"{path}: holds no image; is it damaged?")
        series, page, known = file.series[0], file.pages[0], sizes.of_tiff(file)
        if len(file.series) > 1:
            _say(
                f"{path}: holds {len(file.series)} images of different kinds or sizes; the first one is read."
            )
        if not 0 <= level < len(series.levels):
            raise UserError(f"{path}: has levels 0 to {len(series.levels) - 1}, not {level}.")
        finest, series = series, series.levels[level]
        if series.nbytes > largest:
            raise UserError(
                f"{path}: its {series.nbytes / 2**30:.4g} GiB of pixels are too many; crop the image."
            )
        kind, packed = int(getattr(page, "photometric", 1)), int(getattr(page, "compression", 1))
        if kind in COLORS_OF_PIL and not (kind == YCBCR and packed in JPEG) and not level:
            return *_read_picture(path, largest, pages=True), known
        if kind == WHITE_IS_ZERO:
            _say(f"{path}: stores white as 0; its values are read as they are stored, as napari shows them.")
        try:
            array = series.asarray()
        except (ValueError, ImportError) as error:
            if packed == 1:
                raise
            try:
                return *_read_picture(path, largest, pages=True), known
            except Exception:
                name = getattr(page.compression, "name", packed)
                raise UserError(
                    f"{path}: is compressed in a way ({name}) that needs the package imagecodecs; install it with pip "
                    "install imagecodecs, or save the image without compression."
                ) from error
        axes = series.axes
        if level:
            ratio = dict(zip(axes, np.divide(finest.shape, series.shape), strict=True))
            known = {c: (size * float(ratio.get(c, 1)), unit) for c, (size, unit) in known.items()}
        samples = axes.find("S")
        if samples >= 0 and samples != array.ndim - 1:
            array, axes = np.moveaxis(array, samples, -1), axes.replace("S", "") + "S"
        colors = 3 if kind in (RGB, YCBCR) else 1
        alpha = [int(sample) in ALPHA for sample in getattr(page, "extrasamples", ())]
        if axes.endswith("S") and alpha == [True] and array.shape[-1] == colors + 1:
            _say(f"{path}: the alpha channel is left out.")
            array = array[..., :colors]
            if colors == 1:
                array, axes = array[..., 0], axes[:-1]
    return array, axes, known


def _say(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=5)


def write_raster(
    path: str | os.PathLike[str],
    array: np.ndarray,
    image: Image,
    *,
    kind: str = "image",
    description: str = "",
) -> str:
    """Write an array on the grid of `image` as TIFF (any numbers) or PNG (2D, whole numbers to 65535).

    Raises
    ------
    UserError
        If the array does not fit the image or the format, or the file cannot be written.
    """
    path = Path(path)
    array = np.asarray(array)
    grid = image.spatial_shape
    if array.shape != image.shape and array.shape[array.ndim - len(grid) :] != grid:
        raise UserError(
            f"{path}: an array of shape {array.shape} does not lie on the grid {grid} of {image.name}."
        )
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if kind == "labels" and array.dtype.kind == "f":
        if not np.array_equal(array, np.rint(array)):
            raise UserError(f"{path}: labels must be whole numbers; write these values as an image.")
        array = array.astype(np.int64)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2 and array.size:
        for small in (np.uint8, np.uint16, np.int32, np.uint32):
            if np.iinfo(small).min <= array.min() and array.max() <= np.iinfo(small).max:
                array = array.astype(small)
                break
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    with replacing(path) as beside:
        if path.suffix.lower() == ".png":
            _write_png(beside, array, image)
        else:
            import tifffile

            colors: Any = "rgb" if array.shape == image.shape and image.header.get("rgb") else "minisblack"
            ome = _ome_axes(array, image)
            if ome is not None:
                meta = sizes.ome_metadata(image.spacing, str(image.units), ome, description)
                tifffile.imwrite(beside, array, ome=True, photometric=colors, metadata=meta)
            else:
                text = description.encode("ascii", "replace") or None
                tifffile.imwrite(beside, array, photometric=colors, description=text, metadata=None)
    return str(path)


def _ome_axes(array: np.ndarray, image: Image) -> str | None:
    """Return the axes of an array for an OME-TIFF, which keeps pixel sizes; None where it has none to keep, or cannot."""
    if image.units not in MILLIMETRES or array.dtype.name not in OME_TYPES:
        return None
    space, grid = "ZYX"[-image.spatial_dims :], image.spatial_shape
    if array.shape == grid:
        return space
    if array.shape[1:] == grid:
        return "T" + space
    if array.shape != image.shape or image.time_axis is not None:
        return None
    letters = iter(space)
    axes = ["C" if k == image.channel_axis else next(letters) for k in range(image.ndim)]
    return "".join(axes)[:-1] + "S" if image.header.get("rgb") and axes[-1] == "C" else "".join(axes)


def _write_png(path: Path, array: np.ndarray, image: Image) -> None:
    from PIL import Image as Picture

    color = array.shape == image.shape and image.header.get("rgb") and array.dtype == np.uint8
    if not color and (array.ndim != 2 or array.dtype not in (np.uint8, np.uint16)):
        raise UserError(
            f"{path}: PNG holds 2D arrays of whole numbers from 0 to 65535, not {array.dtype} of shape "
            f"{array.shape}; use .tif."
        )
    Picture.fromarray(np.ascontiguousarray(array)).save(path)
