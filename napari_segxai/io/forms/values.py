"""The values of which forms are made: counts, names, shapes, affines, columns."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

EXACT = ConfigDict(extra="forbid")
"""Of a form without other keys."""


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name is there twice")
    return names


def _rectangle(rows: list[list[float]]) -> list[list[float]]:
    if len({len(row) for row in rows}) > 1:
        raise ValueError("rows have to be equally long")
    return rows


def _place(rows: list[list[float]]) -> list[list[float]]:
    matrix = np.array(rows, float)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not lengths.all() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6 or rows[3] != [0, 0, 0, 1]:
        raise ValueError("this affine is singular")
    return rows


def _numbers(name: str) -> str:
    try:
        kind = np.dtype(name).kind
    except (TypeError, ValueError):
        kind = "?"
    if kind not in "buif":
        raise ValueError("this is not a type of numbers")
    return name


def _columns(curve: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if len({len(column) for column in curve.values()}) > 1:
        raise ValueError("columns have to be equally long")
    return curve


def _rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError("rows have to have the same columns")
    return rows


def _ascending(limits: list[float]) -> list[float]:
    if not limits[0] < limits[1]:
        raise ValueError("the lower limit has to come first")
    return limits


Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Names = Annotated[list[str], AfterValidator(_distinct)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Row4 = Annotated[list[float], Field(min_length=4, max_length=4)]
Affine = Annotated[list[Row4], Field(min_length=4, max_length=4), AfterValidator(_place)]
Matrix = Annotated[list[list[float]], AfterValidator(_rectangle)]
Shape = Annotated[list[Positive], Field(min_length=1, max_length=6)]
Grid = Annotated[list[Positive], Field(min_length=2, max_length=3)]
Index = Annotated[list[Count], Field(min_length=2, max_length=3)]
Columns = Annotated[dict[str, list[float | None]], AfterValidator(_columns)]
DType = Annotated[str, AfterValidator(_numbers)]
Axis = Annotated[int, Field(ge=0, le=2)]
Time = Annotated[list[float | str], Field(min_length=3, max_length=3)]
Limits = Annotated[Pair, AfterValidator(_ascending)]
Rows = Annotated[list[dict[str, float | None]], AfterValidator(_rows)]
Scalar = None | bool | float | str
Plain = Scalar | list[Scalar]


class PassesForm(TypedDict):  # noqa: D101  (all forms: see docs/file_formats.md)
    forward: Count
    backward: Count
    suffix: NotRequired[Count]
