"""What a method found, and why it may have found nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from napari_segxai.core.chart import Chart
from napari_segxai.core.gallery import Gallery


class EmptyRegion(Exception):
    """There is no pixel to explain; the message says why. Caught where explanations are made."""


class NotDrawn(EmptyRegion):
    """The label is drawn nowhere that is asked about; `what` says so, as the beginning of a sentence."""

    def __init__(self, what: str):
        super().__init__(f"{what}, so there is nothing to explain and the map is zero.")
        self.what = what


OF_A_MISS = "the map shows what moves the label's score there, not why the label is drawn."
"""How to read a map where the label is not drawn: the end of a sentence."""


@dataclass(frozen=True)
class Finding:
    """What a method found, on the model grid.

    Attributes
    ----------
    map
        (*model grid), or coarser for maps of a network layer.
    maps
        Further maps by name, such as checkpoints.
    series
        Images over the steps of a search, by name: (steps, *model grid).
    masks
        Boolean (*model grid) by name.
    stages
        (*model grid), whole numbers: 0 outside, else the stage at which a pixel came in.
    stage_table
        One row per stage.
    curves
        Columns of numbers by name.
    tables
        Rows of plain values by name; a number that is not defined is None.
    charts
        Pictures of axes, as data.
    galleries
        Small pictures in rows.
    numbers
        Results in one number or word each.
    warnings
        What a user should know before believing the map.
    why_zero
        Why the map is zero everywhere, where it is and the method knows.
    """

    map: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)
    series: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)
    stages: Tensor | None = None
    stage_table: Sequence[Mapping[str, Any]] = ()
    curves: dict[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    why_zero: str = ""
