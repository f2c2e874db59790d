"""Reading a folder of results back."""

from __future__ import annotations

import csv
import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError, reason_of
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.io import ending
from napari_segxai.io.held import KINDS, RECORD, check_digests, check_schema, look
from napari_segxai.io.json_files import read_json

WIDEST = 8
"""Bytes of a value on the grid of an image; a file that asks for more is not what its record tells of."""


@dataclass(frozen=True)
class Saved:
    """A folder of results.

    Attributes
    ----------
    folder
        Where it lies.
    record
        What its record.json says.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def kind(self) -> str:
        """What it holds, a key of `io.held.KINDS`."""
        return self.record["kind"]

    def on_grid(self, name: str, image: Image) -> np.ndarray:
        """Return what `write_volume` wrote of an array on the spatial grid of an image.

        Parameters
        ----------
        name
            Of the file, without its ending: a volume is read from .nii.gz, of a 2D image what lies beside it.

        Raises
        ------
        UserError
            If the record lists no such file, or it does not lie on this grid; one that is larger is not read.
        """
        largest = math.prod(image.spatial_shape) * WIDEST
        for kind in (".tif", ".png") if image.spatial_dims == 2 else ():
            if f"{name}{kind}" in self.record["files"]:
                array = self.picture(f"{name}{kind}", largest)
                if array.shape != image.spatial_shape:
                    raise UserError(
                        f"{self.folder / name}{kind}: its shape {array.shape} is not that of {image.name}, "
                        f"{image.spatial_shape}; save the result again."
                    )
                return array
        from napari_segxai.io.nifti.write import stored_on_grid

        return stored_on_grid(self.volume(f"{name}.nii.gz", largest), image)

    def labels(self, name: str, image: Image, count: int) -> np.ndarray:
        """Return what `write_volume` wrote of an array of whole numbers on the spatial grid of an image.

        Parameters
        ----------
        name
            Of the file, without its ending.
        count
            The numbers are from 0 to below this.

        Raises
        ------
        UserError
            If it holds others.
        """
        array = self.on_grid(name, image)
        if (array.dtype.kind == "f" and not np.array_equal(array, np.rint(array))) or not (
            array.min() >= 0 and array.max() < count
        ):
            raise UserError(
                f"{self.folder / name}: it holds other numbers than the whole ones from 0 to {count - 1} that its record tells "
                "of; save the result again."
            )
        return array

    def picture(self, name: str, largest: int) -> np.ndarray:
        """Return the pixels of a picture in the folder, if they are not more than `largest` bytes."""
        from napari_segxai.io.raster import read_raster

        return read_raster(self.file(name), largest=largest).array

    def volume(self, name: str, largest: int) -> np.ndarray:
        """Return the values of a volume in the folder, in the order of the file, if they are not more than `largest` bytes."""
        from napari_segxai.io.nifti.read import read_nifti

        return read_nifti(self.file(name), largest=largest).array

    def json(self, name: str) -> Any:
        """Return what a JSON file in the folder says.

        Raises
        ------
        UserError
            If the record lists no such file, or it is not JSON.
        """
        try:
            return read_json(self.file(name))
        except UserError:
            raise
        except ValueError as reason:
            raise UserError(f"{self.folder / name} is not JSON ({reason}); save the result again.") from None

    def file(self, name: str) -> Path:
        """Return where a file lies that the record lists.

        Raises
        ------
        UserError
            If it lists no such file.
        """
        if name not in self.record["files"]:  # names come from whoever wrote the record
            raise UserError(f"{self.folder}: its record lists no file {name!r}; save the result again.")
        return self.folder / name


@contextmanager
def reading_record(where: object, kind: str) -> Generator[None]:
    """While open, what a record raises that does not say what it should becomes a sentence.

    Parameters
    ----------
    where
        The folder or file that is named.
    kind
        What the record is of, a key of `io.held.KINDS`.

    Raises
    ------
    UserError
        With the reason.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, csv.Error) as error:
        raise UserError(
            f"{where}: its record lacks what the record of {KINDS[kind]} says ({reason_of(error)}); save the result again."
        ) from error


def is_result(path: str | Path) -> bool:
    """Tell whether a path is a folder with a record.json, or such a file."""
    path = Path(path)
    return (path.name == RECORD and path.is_file()) or (not ending(path) and (path / RECORD).is_file())


def open_folder(path: str | Path, kind: str | None = None) -> Saved:
    """Open a folder of results.

    Parameters
    ----------
    path
        The folder, or its record.json.
    kind
        What it has to hold, a key of `io.held.KINDS`; anything by default.

    Raises
    ------
    UserError
        If it holds no result, one of another kind, one that was saved by another version, or files that were changed
        since.
    """
    folder = user_path(path)
    folder = folder.parent if folder.name == RECORD else folder
    held = look(folder)
    if not held.kind:
        raise UserError(f"{folder} holds no record.json; name a folder that a result was saved to.")
    if kind is not None and held.kind != kind:
        raise UserError(f"{folder} holds {held.words}, not {KINDS[kind]}.")
    record = held.record
    check_schema(folder, record)
    from napari_segxai.io.forms.check import check_form  # which loads pydantic

    check_form(folder, held.kind, record)
    check_digests(folder, held)
    return Saved(folder, {**record, "kind": held.kind})
