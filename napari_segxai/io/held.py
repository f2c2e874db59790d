"""What a folder of results holds, as its record says it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from napari_segxai.core.errors import UserError
from napari_segxai.core.record import SCHEMA
from napari_segxai.io.json_files import read_json

RECORD = "record.json"


STAGE = ".segxai-saving"
"""Hidden folder in which a save is made ready."""


KINDS = {
    "explanation": "an explanation",
    "comparison": "a comparison",
    "sweep": "a sweep",
    "information flow": "an information flow",
    "channel importance": "an importance of channels",
    "cohort": "a cohort",
    "job of a cohort": "a job of a cohort",
    "survey": "a survey",
    "export for 3D Slicer": "an export for 3D Slicer",
}


@dataclass(frozen=True)
class Held:
    """What a folder holds.

    Attributes
    ----------
    kind
        What its record is of, a key of `KINDS`; "" without a record.
    files
        SHA-256 of the files that the record lists, by name in the folder; the record itself is not among them.
    listed
        Whether the record has a list: records of versions before 0.1.0 had none.
    record
        What the record says.
    """

    kind: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    listed: bool = True
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def words(self) -> str:
        """What the folder holds, with its article."""
        return KINDS.get(self.kind, "a result")


def look(folder: str | Path) -> Held:
    """Return what a folder holds.

    Raises
    ------
    UserError
        If its record.json is not one of ours, or lists what lies outside the folder.
    """
    path = Path(folder) / RECORD
    if not os.path.lexists(path):
        return Held()
    not_ours = f"{path} is not a record of this program; move it away or choose another folder"
    try:
        record = read_json(path)
    except ValueError as reason:
        raise UserError(f"{not_ours} ({reason}).") from None
    if not isinstance(record, dict):
        raise UserError(f"{not_ours}.")
    kind, files = record.get("kind", "explanation" if "method" in record else ""), record.get("files")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{not_ours}.")
    if files is None:
        return Held(kind, listed=False, record=record)
    if not isinstance(files, dict) or not all(is_inside(name) for name in files):
        raise UserError(f"{path} lists files that lie outside its folder; move it away.")
    return Held(kind, files, record=record)


def is_newer(record: Mapping[str, Any]) -> bool:
    """Tell whether a record was written by a newer version of this program."""
    schema = record.get("schema")
    return isinstance(schema, int) and schema > SCHEMA


def check_schema(folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse what another version of this program wrote.

    Raises
    ------
    UserError
        With what to do.
    """
    schema = record.get("schema")
    if schema == SCHEMA and not isinstance(schema, bool | float):
        return
    newer = is_newer(record)
    way = "update napari-segxai to open it" if newer else "make it again to open it"
    raise UserError(
        f"{folder} was saved by {'a newer' if newer else 'an older'} version of this program; {way}."
    )


def check_digests(folder: Path, held: Held) -> None:
    """Refuse a folder whose files are not those that its record lists.

    Raises
    ------
    UserError
        If one is missing, or was changed.
    """
    root = folder.resolve()
    for name, digest in held.files.items():
        try:
            found = file_digest(folder / name) if is_file(folder / name) and is_within(root, name) else None
        except OSError as error:
            raise UserError(
                f"{folder / name} cannot be read ({error.strerror}); save the result again."
            ) from None
        if found is None:
            raise UserError(f"{folder / name} is missing, though the record lists it; save the result again.")
        if found != digest:
            raise UserError(
                f"{folder / name} was changed since it was saved, so that its record does not hold any more; save the "
                "result again."
            )


def is_within(root: Path, name: str) -> bool:
    """Tell whether no link on the way to a file leads out of its folder, whose own links are resolved."""
    return (root / name).parent.resolve().is_relative_to(root)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(path: Path) -> bool:
    """Tell whether a path is a file itself, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):  # of a name with a zero byte
        return False


def is_inside(name: str) -> bool:
    """Tell whether a name that a record lists is a plain name in the folder, or in a folder of it."""
    path = PurePosixPath(name)
    plain = not path.is_absolute() and ".." not in path.parts and path.parts[:1] != (STAGE,)
    return bool(path.parts) and plain and not set(name) & set("\\:\0")
