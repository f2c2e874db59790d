"""A column of a table, described: its unit, which end is better, and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["higher", "lower"]

_SPELLED = {"iou": "IoU", "auc": "AUC", "r2": "R2", "dice": "Dice", "tcav": "TCAV"}
"""Words of the names of columns that are not written as other words are."""

_NUMBERED = re.compile(r"(.*\D)\d+")


@dataclass(frozen=True)
class Column:
    """A column of a table, described.

    Attributes
    ----------
    name : str
        As the table has it. UNIT stands for the unit of the image, LABEL for the name of a label, N at its end for a number.
    title, unit : str
        For people; the unit is "" for a plain number.
    better : {"higher", "lower"} or None
        Which end is better; None where neither is.
    meaning : str
        What it says.
    control_of : str
        The column whose control it is, with which it shares a scale; "" for none.
    """

    name: str
    title: str
    unit: str = ""
    better: Better | None = None
    meaning: str = ""
    control_of: str = ""

    @property
    def axis(self) -> str:
        """The title of an axis; a unit that is the title again ("cases") is said once."""
        return f"{self.title} ({self.unit})" if self.unit not in ("", self.title.lower()) else self.title


def titled(name: str, meaning: str = "", unit: str = "", better: Better | None = None) -> Column:
    """Return a column whose title is its name, in words."""
    words = " ".join(_SPELLED.get(word, word) for word in name.split("_"))
    return Column(name, words[:1].upper() + words[1:], unit, better, meaning)


def described_by(columns: Iterable[Column], name: str) -> Column | None:
    """Return the one of some columns that describes a name, also "axis_N" of "axis_3"; None where none does."""
    known = {column.name: column for column in columns}
    if name in known:
        return known[name]
    numbered = _NUMBERED.fullmatch(name)
    general = known.get(f"{numbered[1]}N") if numbered else None
    return None if general is None else replace(titled(name), unit=general.unit, meaning=general.meaning)
