"""Tables as CSV files."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
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
    text = as_csv(columns_of(rows), rows, "\r\n")
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        file.write(text)
    return path


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], end: str = "\n") -> str:
    """Return a table as text, with a head; names that look like formulas are marked as in `write_csv`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    writer.writerow([as_cell(name) for name in columns])
    writer.writerows([as_cell(row.get(name)) for name in columns] for row in rows)
    return out.getvalue()


def read_table(path: Path) -> str:
    """Return the text of a table that a user has written: UTF-8 or, where its mark says so, UTF-16.

    Nothing else is taken: names that differ in letters that cannot be read would become one.

    Raises
    ------
    UserError
        If it is neither.
    """
    held = path.read_bytes()
    try:
        text = held.decode("utf-16" if held.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{path}: is not a table that is read here; save it as CSV in UTF-8.")
    return text


def as_cell(value: Any) -> Any:
    """Return a value as it stands in a table: a name that looks like a formula with an apostrophe before it."""
    if not isinstance(value, str):
        return value
    # Spreadsheets pass over what cannot be seen, and take wide characters for the usual ones.
    begin = unicodedata.normalize("NFKC", value).lstrip().lstrip("\ufeff\u200b")[:1]
    if not begin or begin not in "=+-@":
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
