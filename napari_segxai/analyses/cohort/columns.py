"""What the numbers of a cohort's tables are called, their units, and which end is better."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from napari_segxai.core.errors import UserError
from napari_segxai.metrics.registry import find_metric


@dataclass(frozen=True)
class Column:
    """A number of a table, described.

    Attributes
    ----------
    name : str
        As the table has it.
    title, unit : str
        For people; the unit is "" for a plain number.
    better : {"higher", "lower"} or None
        Which end is better; None where neither is.
    """

    name: str
    title: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None

    @property
    def axis(self) -> str:
        """The title of an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


_KNOWN = {
    one.name: one
    for one in (
        Column("size_px", "Size of the object", "pixels"),
        Column("confidence", "Mean confidence", "", "higher"),
        Column("entropy_bits", "Mean entropy", "bits", "lower"),
        Column("truth_px", "True size", "pixels"),
        Column("truth_dice", "Dice with the truth", "", "higher"),
        Column("seconds", "Time", "s", "lower"),
        Column("n_dilations", "Dilations"),
        Column("dice_explained", "Dice explained", "", "higher"),
        Column("ratio_sufficient", "Ratio of the sufficient region", "", "lower"),
        Column("ratio_mask", "Perturbation ratio, on the mask", "", "lower"),
        Column("ratio_image", "Perturbation ratio, on the image", "", "lower"),
    )
}
_MEASURE = re.compile(r"(area|volume)_(.+?)([23])")


def describe(name: str) -> Column:
    """Describe a column by its name: of the objects, of a method, or of a metric, also with parameters ("ips:binarize=0.2")."""
    if name in _KNOWN:
        return _KNOWN[name]
    if size := _MEASURE.fullmatch(name):
        return Column(name, size[1].capitalize(), size[2] + {"2": "²", "3": "³"}[size[3]])
    metric, _, given = name.partition(":")
    try:
        found = find_metric(metric)
    except UserError:
        words = name.replace("_", " ")
        return Column(name, words[:1].upper() + words[1:])
    title = f"{found.title}, {given.replace('=', ' ').replace(':', ', ')}" if given else found.title
    return Column(name, title, found.unit, found.better)
