"""Reading a folder of results back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.record import SCHEMA
from napari_segxai.io import ending, read_image
from napari_segxai.io.held import KINDS, RECORD, check_digests, look


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
        """
        for kind in (".tif", ".png") if image.spatial_dims == 2 else ():
            if f"{name}{kind}" in self.record["files"]:
                return read_image(self.folder / f"{name}{kind}").array
        from napari_segxai.io.nifti.read import read_nifti
        from napari_segxai.io.nifti.write import stored_on_grid

        self._listed(f"{name}.nii.gz")
        stored = read_nifti(self.folder / f"{name}.nii.gz").array
        return stored_on_grid(stored, image)

    def json(self, name: str) -> Any:
        """Return what a JSON file in the folder says.

        Raises
        ------
        UserError
            If the record lists no such file, or it is not JSON.
        """
        self._listed(name)
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise UserError(f"{self.folder / name} is not JSON; save the result again.") from None

    def file(self, name: str) -> Path:
        """Return where a file lies that the record lists.

        Raises
        ------
        UserError
            If it lists no such file.
        """
        self._listed(name)
        return self.folder / name

    def _listed(self, name: str) -> None:
        """Refuse to read what the record does not list: its names come from whoever wrote it."""
        if name not in self.record["files"]:
            raise UserError(f"{self.folder}: its record lists no file {name!r}; save the result again.")


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
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    schema = record.get("schema")
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        way = "update napari-segxai to open it" if newer else "make it again to open it"
        raise UserError(
            f"{folder} was saved by {'a newer' if newer else 'an older'} version of this program; {way}."
        )
    check_digests(folder, held)
    return Saved(folder, {**record, "kind": held.kind})
