"""Galleries as plain data: small pictures in named rows, such as crops of images that a unit answers to most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError


@dataclass(frozen=True, eq=False)
class Picture:
    """One small picture.

    Attributes
    ----------
    row : str
        The row in which it stands: what it is of, such as a unit or a concept.
    values : ndarray of float32 of shape (rows, columns), or (rows, columns, 3)
        Grey values, or red, green and blue.
    text : str
        Below it, in few words.
    limits : tuple of float
        Values that are drawn black and white; colours have the same for all three.
    case : str
        Id of the case that it is cut from, which a click opens; "" for what is cut from none.
    at : tuple of int
        Index on the image grid of the case at which its middle lies; empty for what is cut from none.
    of : mapping
        Which rows of the tables of a survey it shows; see `shows`.

    Raises
    ------
    UserError
        If the values are no picture.
    """

    row: str
    values: np.ndarray
    text: str = ""
    limits: tuple[float, float] = (0.0, 1.0)
    case: str = ""
    at: tuple[int, ...] = ()
    of: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, np.float32)
        if values.size == 0 or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)):
            raise UserError(
                f"a picture of {self.row!r} has the shape {values.shape}; give (rows, columns) or (rows, columns, 3)."
            )
        low, high = (float(one) for one in self.limits)
        object.__setattr__(self, "values", np.nan_to_num(values))
        object.__setattr__(self, "limits", (low, high if high > low else low + 1.0))
        object.__setattr__(self, "at", tuple(int(one) for one in self.at))

    @property
    def pixels(self) -> np.ndarray:
        """As it is drawn: uint8 (rows, columns, 3)."""
        low, high = self.limits
        gray = np.rint(255 * np.clip((self.values - low) / (high - low), 0, 1)).astype(np.uint8)
        return gray if gray.ndim == 3 else np.repeat(gray[:, :, None], 3, 2)


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures in rows.

    Attributes
    ----------
    name : str
        Of its files; no two galleries of a result have one name.
    title : str
        What it shows.
    pictures : tuple of Picture
        Those of a row beside each other, in this order.
    caption : str
        Below it: what the reader has to know.
    """

    name: str
    title: str
    pictures: tuple[Picture, ...]
    caption: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pictures", tuple(self.pictures))

    def rows(self) -> dict[str, list[Picture]]:
        """Return the pictures by row, in the order in which rows first come."""
        out: dict[str, list[Picture]] = {}
        for picture in self.pictures:
            out.setdefault(picture.row, []).append(picture)
        return out

    def as_json(self) -> dict[str, Any]:
        """Return what a record says of it: all but the values of its pictures."""
        own = {name: value for name, value in vars(self).items() if name != "pictures"}
        told = [{name: value for name, value in vars(p).items() if name != "values"} for p in self.pictures]
        return {**own, "pictures": told}


def shows(of: Mapping[str, Any], case: str, row: Mapping[str, Any]) -> bool:
    """Tell whether a picture, or a map, shows a row of a table.

    Parameters
    ----------
    of
        Values of columns: it shows the rows that have them, as far as their table has the columns; "start|end" is a value that
        one of two columns has. Without any it shows the rows of its case, and all of a table that is not about cases.
    case
        Of the picture.
    row
        The row.
    """
    own = of or {"case": case}
    said = [
        any(row[column] == value for column in columns)
        for key, value in own.items()
        if (columns := [column for column in key.split("|") if column in row])
    ]
    return all(said) if said else not of


def plane_of_grid(values: np.ndarray, at: Sequence[int] | None = None) -> np.ndarray:
    """Return a picture of values on a grid: a volume's plane across its first axis, colours of three channels, else the first.

    Parameters
    ----------
    values
        (channels, *grid), of two or three axes.
    at
        Index on the grid through which the plane goes; its middle by default.
    """
    if values.ndim == 4:
        values = values[:, values.shape[1] // 2 if at is None else at[0]]
    return np.moveaxis(values, 0, -1) if len(values) == 3 else values[0]
