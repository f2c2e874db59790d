"""The files that a copied script reads: those that hold what was explained, and those that are written for the script."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io import read_image, write_volume
from napari_segxai.io.joining import join_channels
from napari_segxai.io.names import file_name
from napari_segxai.io.regions import read_region

SAMPLES = 1000
"""Values that are compared before all are."""

LONGEST = 32
"""Characters of an image's name in that of a folder."""


class ScriptFiles:
    """Gives code that reads arrays and images in a process that knows nothing of this one.

    A script is made once without a folder, to see what has to be saved (`wanted`), and then again with one.

    Parameters
    ----------
    paths
        Files from which the explained image may have come, in addition to the one that it names itself.
    """

    def __init__(self, paths: Iterable[str | None] = ()):
        self.paths = [path for path in paths if path]
        self.folder: Path | None = None
        self.wanted: list[str] = []
        self.written: list[Path] = []
        self._found: dict[int, tuple[str, Image] | None] = {}

    def save_in(self, folder: str | Path, name: str) -> None:
        """Write what is wanted into a new folder inside `folder`, which is made at once.

        Raises
        ------
        UserError
            If it cannot be made.
        """
        stem = Path(folder).expanduser().absolute() / file_name(f"script {name[:LONGEST].strip()}")
        number = 1
        while (own := stem.with_name(f"{stem.name}-{number}")).exists():
            number += 1
        try:
            own.mkdir(parents=True)
        except OSError as error:
            raise UserError(
                f"{own}: cannot be made ({error.strerror}); choose a folder that may be written to."
            ) from None
        self.folder = own

    def opening(self) -> list[str]:
        """Return the lines that the script begins with."""
        lines = ["import napari_segxai as sx", ""]
        if self.written:
            numpy = (
                ["import numpy as np", ""] if any(path.suffix == ".npy" for path in self.written) else [""]
            )
            lines = ["from pathlib import Path", "", *numpy, *lines]
            lines.append(f"folder = Path({str(self.folder)!r})")
        return lines

    def image(self, image: Image, words: str, stem: str = "image") -> tuple[str, Image]:
        """Return code that gives an image, and the image as the script will have it: with the axes of its file.

        Parameters
        ----------
        image
            As the dock has it, with the axes that napari shows.
        words
            What it is, for `wanted`.
        stem
            Name of the file, if one has to be written.
        """
        key = id(image)
        if key not in self._found:
            self._found[key] = self._stored(image) or self._joined(image)
        if (found := self._found[key]) is not None:
            return found
        if not self._may_write(words):
            return "...", image
        return self._write_image(image, stem)

    def array(self, values: np.ndarray, image: Image, seen: Image, words: str, stem: str) -> str:
        """Return code that gives an array on the grid of an image.

        Parameters
        ----------
        values
            On the grid of `image`, which the dock has; a boolean array is a region.
        image, seen
            The image, and what the script has of it; see `image`.
        words, stem
            See `image`.
        """
        if not self._may_write(words):
            return "..."
        values = on_grid(values, image, seen)
        region, kind = values.dtype == bool, "image" if values.dtype.kind == "f" else "labels"
        path = self._path(stem, ".nii.gz" if seen.affine is not None else ".tif")
        bare = replace(seen, header={}, layer={}, time_axis=None)
        try:
            write_volume(path, values.astype(np.uint8) if region else values, bare, kind=kind)
            back = read_region(path, seen) if region else read_image(path).array
            if back.shape == values.shape and np.array_equal(back, values, equal_nan=not region):
                self.written.append(path)
                place = f"folder / {path.name!r}"
                return f"sx.read_region({place}, image)" if region else f"sx.read_image({place}).array"
        except UserError:
            pass  # these formats cannot hold it; numpy's can
        path.unlink(missing_ok=True)
        return self._write_numpy(values, stem)

    def _stored(self, image: Image) -> tuple[str, Image] | None:
        """Return code that reads an image from one file that holds just that; None without such a file."""
        paths = (path for one in (image, *image.header.get("joined", ())) for path in _named(one))
        for path in dict.fromkeys([*paths, *self.paths]):
            if (found := _in_file(path, image)) is not None:
                return found
        return None

    def _joined(self, image: Image) -> tuple[str, Image] | None:
        """Return code that joins files that hold one channel each; None if one of the files is missing."""
        found = []
        for k, part in enumerate(image.header.get("joined", ())):
            own = replace(
                part, array=image.channels_first()[k], channel_axis=None
            )  # the layer may have changed
            stored = next((one for path in _named(part) if (one := _in_file(path, own))), None)
            if stored is None:
                return None
            found.append(stored)
        if not found:
            return None
        try:
            seen = join_channels([one for _, one in found])
        except UserError:  # the layers lie at one place, their files do not
            return None
        if not (_equal_values(seen, image) and _equal_geometry(seen, image)):
            return None
        plain = all(code == f"sx.read_image({one.path!r})" for code, one in found)
        if plain:
            return f"sx.read_image({[one.path for _, one in found]!r})", seen
        return f"sx.join_channels([{', '.join(code for code, _ in found)}])", seen

    def _may_write(self, words: str) -> bool:
        if words not in self.wanted:
            self.wanted.append(words)
        return self.folder is not None

    def _path(self, stem: str, ending: str) -> Path:
        path, number = self.folder / f"{file_name(stem)}{ending}", 1
        while path in self.written:
            number += 1
            path = self.folder / f"{file_name(stem)}-{number}{ending}"
        return path

    def _write_numpy(self, values: np.ndarray, stem: str) -> str:
        path = self._path(stem, ".npy")
        np.save(path, values)
        self.written.append(path)
        return f"np.load(folder / {path.name!r})"

    def _write_image(self, image: Image, stem: str) -> tuple[str, Image]:
        """Write an image with its geometry, read it again, and return what the script has to state about it."""
        own = Image(
            image.array,
            affine=image.affine,
            channel_axis=image.channel_axis,
            spacing=image.spacing if image.affine is None else None,
            units=image.units if image.affine is None else None,
            name=image.name,
        )
        path = self._path(stem, ".nii.gz" if own.affine is not None else ".tif")
        code = f"sx.read_image(folder / {path.name!r})"
        try:
            write_volume(path, own.array, own)
            back = read_image(path)
        except UserError:
            back = None
        if back is None or not _equal(back.array, own.array):
            path.unlink(missing_ok=True)
            return explicit(self._write_numpy(own.array, stem), own), own
        self.written.append(path)
        if back.channel_axis == own.channel_axis and _equal_geometry(back, own):
            return code, back
        return explicit(f"{code}.array", own), own


def on_grid(values: np.ndarray, image: Image, seen: Image) -> np.ndarray:
    """Turn an array from the axes that the dock has of an image to those that a script has of it."""
    shown = orientation.apply(values, image.to_display)
    return np.ascontiguousarray(orientation.apply(shown, orientation.invert(seen.to_display)))


def at_index(index: Sequence[int], image: Image, seen: Image) -> tuple[int, ...]:
    """Turn a pixel's index in the same way."""
    order, flips = image.to_display
    shape = image.spatial_shape
    shown = [
        shape[axis] - 1 - index[axis] if flip else index[axis]
        for axis, flip in zip(order, flips, strict=True)
    ]
    return tuple(int(k) for k in seen.index_from_display(shown))


def explicit(array: str, image: Image) -> str:
    """Return code for an image whose geometry no file tells."""
    told = {
        "channel_axis": image.channel_axis,
        "affine": None if image.affine is None else image.affine.tolist(),
        "spacing": image.spacing if image.affine is None and set(image.spacing) != {1.0} else None,
        "units": image.units if image.affine is None and image.units != "pixel" else None,
        "name": image.name,
    }
    return f"sx.Image({', '.join([array, *(f'{k}={v!r}' for k, v in told.items() if v is not None)])})"


def _named(image: Image) -> list[str]:
    """Return the files that an image names, or from which its layer was opened."""
    return [path for path in (image.path, image.layer.get("source")) if path]


def _in_file(path: str, image: Image) -> tuple[str, Image] | None:
    """Return code that reads an image from a file, if the file holds just that."""
    file = _read(path)
    if file is None:
        return None
    for code, one in _readings(f"sx.read_image({str(path)!r}", file, image):
        if _equal_values(one, image):
            if _equal_geometry(one, image):
                return code, one
            if one.affine is None and image.affine is None:
                own = replace(one, spacing=image.spacing, units=image.units, name=image.name)
                return explicit(f"{code}.array", own), own
    return None


def _readings(call: str, file: Image, image: Image) -> Iterator[tuple[str, Image]]:
    """Yield the ways in which a file can be read; the last one uses the axes of the layer."""
    if file.time_axis is None:
        yield f"{call})", file
    else:
        axis = file.time_axis
        if file.channel_axis is None and file.frames == image.channels:
            yield f"{call}, channel_axis={axis})", replace(file, channel_axis=axis, time_axis=None)
        for index in range(file.frames):
            yield f"{call}).frame({index})", file.frame(index)
    if "letters" not in image.layer:
        return
    picked = image.layer.get("at", {})
    letters = "".join("T" if k in picked else c for k, c in enumerate(image.layer["letters"]))
    read = _read(file.path, axes=letters)
    if read is not None:
        frame = "".join(f".frame({index})" for index in picked.values())
        yield f"{call}, axes={letters!r}){frame}", read.frame(*picked.values()) if picked else read


def _read(path: str, **asked: str) -> Image | None:
    """Read a file without warnings: if something is left out of it, the image differs, and the file is not used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read_image(path, **asked)
    except UserError:
        return None


def _equal_values(file: Image, image: Image) -> bool:
    if file.spatial_dims != image.spatial_dims or file.channels != image.channels:
        return False
    theirs, ours = (orientation.apply(one.channels_first(), one.to_display) for one in (file, image))
    if theirs.shape != ours.shape:
        return False
    step = tuple(slice(None, None, max(1, n // round(SAMPLES ** (1 / ours.ndim)))) for n in ours.shape)
    return _equal(theirs[step], ours[step]) and _equal(theirs, ours)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")


def _equal_geometry(a: Image, b: Image) -> bool:
    """Tell whether two images with equal values lie alike, to the last digit of their spacing."""
    if (a.affine is None) != (b.affine is None):
        return False
    spacing = [tuple(one.spacing[axis] for axis in one.to_display[0]) for one in (a, b)]
    if spacing[0] != spacing[1]:
        return False
    if a.affine is None:
        return a.units == b.units
    places = [orientation.apply_to_affine(one.affine, one.spatial_shape, one.to_display) for one in (a, b)]
    return np.allclose(*places, atol=1e-3)
