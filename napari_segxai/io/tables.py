"""Tables as CSV files."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from napari_segxai.core.errors import UserError
from napari_segxai.io.saving import replacing

Kind = Literal["boolean", "integer", "number", "text"]

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How files begin that a spreadsheet saved as "Unicode text"."""


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows; one that an earlier row has not lies behind what it follows in its own row."""
    out: list[str] = []
    for row in rows:
        place = 0
        for key in row:
            if key not in out:
                out.insert(place, key)
            place = out.index(key) + 1
    return out


def kind_of(values: Iterable[Any]) -> Kind:
    """Return what a column holds, but for its empty cells; a column of empty cells holds numbers."""
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return "boolean"
    if types == {int}:
        return "integer"
    return "number" if types <= {bool, int, float} else "text"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a table; a row has an empty cell where it lacks a column.

    A name that a spreadsheet would take for a formula gets an apostrophe before it.

    Raises
    ------
    UserError
        If it cannot be written; then an older file is as it was.
    """
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns_of(rows))
        writer.writeheader()
        writer.writerows({key: as_cell(value) for key, value in row.items()} for row in rows)
    return path


def read_table(path: Path) -> str:
    """Return the text of a table that a user has written: UTF-8 or, where its mark says so, UTF-16; what is neither becomes "?".

    Raises
    ------
    UserError
        If it is UTF-16 without a mark, or no text.
    """
    held = path.read_bytes()
    text = held.decode("utf-16" if held.startswith(UTF_16) else "utf-8-sig", errors="replace")
    if "\0" in text:
        raise UserError(f"{path}: is not a table that is read here; save it as CSV in UTF-8.")
    return text


def as_cell(value: Any) -> Any:
    """Return a value as it stands in a table: a name that looks like a formula with an apostrophe before it."""
    if not (isinstance(value, str) and value.startswith(("=", "+", "-", "@"))):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
