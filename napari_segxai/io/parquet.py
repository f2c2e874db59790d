"""Tables as parquet files: every column has its type, also where cells are empty, and says what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_segxai.core.extras import need
from napari_segxai.io.tables import columns_of, kind_of


def need_parquet() -> Any:
    """Return the package that writes parquet.

    Raises
    ------
    UserError
        If it is not installed.
    """
    return need("pyarrow.parquet", "cohort", "a parquet table")


def write_parquet(
    path: Path, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Mapping[str, str]]
) -> Path:
    """Write a table.

    Parameters
    ----------
    path
        Of a file that is not there.
    rows
        Plain values.
    about
        By column what its metadata say.

    Raises
    ------
    UserError
        If pyarrow is not installed.
    """
    parquet = need_parquet()
    arrow = need("pyarrow", "cohort", "a parquet table")
    types = {
        "boolean": arrow.bool_(),
        "integer": arrow.int64(),
        "number": arrow.float64(),
        "text": arrow.string(),
    }
    fields, columns = [], []
    for name in columns_of(rows):
        values = [row.get(name) for row in rows]
        kind = kind_of(values)
        as_kind = {"number": float, "text": str}.get(kind, lambda value: value)
        fields.append(arrow.field(name, types[kind], metadata=dict(about.get(name, {}))))
        columns.append(
            arrow.array([None if value is None else as_kind(value) for value in values], types[kind])
        )
    parquet.write_table(arrow.table(columns, schema=arrow.schema(fields)), path)
    return path
