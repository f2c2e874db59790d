"""One row per object: what is known of it before it is explained, and what one map of it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.metrics.functional.bootstrap import is_measured


def maps_of(cohort: Cohort) -> list[str]:
    """Return the names of the maps that worked, in the order of the table."""
    return list(dict.fromkeys(row["map"] for row in cohort.maps if not row["error"]))


def find_map(cohort: Cohort, columns: Sequence[str], asked: str = "") -> str:
    """Return the map that has all these numbers, for some object at least.

    Parameters
    ----------
    asked : str
        The one that a user wants; the first that fits by default.

    Raises
    ------
    UserError
        If there is none.
    """
    known = maps_of(cohort)
    if asked and asked not in known:
        raise UserError(f"{cohort.folder.name} has no map {asked!r}; {nearest(asked, known)}")
    for name in [asked] if asked else known:
        own = [row for row in cohort.maps if row["map"] == name and not row["error"]]
        if all(any(is_measured(row.get(column)) for row in own) for column in columns):
            return name
    what = f"the map {asked!r}" if asked else f"no map of {cohort.folder.name}"
    does = "has not" if asked else "has"
    raise UserError(
        f"{what} {does} all of {', '.join(columns)} for any object; run a method or metrics that give them, such as misure."
    )


def joined(cohort: Cohort, map: str) -> list[dict[str, Any]]:
    """Return the objects that have this map, each with its numbers; of what both tables tell, the objects' is taken."""
    maps = {(row["case"], row["label"]): row for row in cohort.maps if row["map"] == map and not row["error"]}
    return [
        {**maps[row["case"], row["label"]], **row}
        for row in cohort.objects
        if not row["error"] and (row["case"], row["label"]) in maps
    ]
