"""Average maps of the information flows of a cohort: one picture for every network layer and label.

Maps of several cases are averaged only where they lie on one grid: images of one shape and place, seen at one slice. That is so for
images that were registered, or cut to one frame; else a pixel of one case is another place than that of the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.result import Cohort
from napari_segxai.analyses.flow.result import Flow
from napari_segxai.analyses.flow.tiles import best_position, colors, upright
from napari_segxai.core.errors import UserError
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.figures.planes import cut

FEWEST = 2
"""Cases of one grid below which there is nothing to average."""

APART = 0.5
"""Overlap of the objects below which they lie in other places."""

PREDICTION = "prediction"
"""The first row: where the label is drawn."""

CAPTION = (
    "Means over cases whose images lie on one grid. Every map is divided by its largest value, so that all cases count alike: the number "
    "is the highest mean, which is 1 where all maps are highest at the same place. Colours end there; blue speaks against the label. The "
    "first row says in which share of the cases a pixel is drawn as the label. How strong the maps of a layer are, `maximum` in flow.csv says."
)


@dataclass
class _Label:
    """What is added up of a label."""

    cases: int = 0
    drawn: Any = 0.0
    maps: dict[str, Any] = field(default_factory=dict)

    def add(self, flow: Flow, label: str) -> None:
        self.cases += 1
        self.drawn = self.drawn + upright(flow.drawn[label], flow.placement, flow.image).astype(np.float64)
        for layer in flow.layers:
            tile = flow.tiles[label, layer.name]
            own = upright(np.nan_to_num(tile.map), flow.placement, flow.image)
            end = float(np.abs(own).max()) or 1.0
            self.maps[layer.name] = self.maps.get(layer.name, 0.0) + own.astype(np.float64) / end

    @property
    def overlap(self) -> float:
        """Mean share of the object of a case that lies in that of another; 1 where all are the same."""
        total = float(self.drawn.sum())
        pairs = float((self.drawn**2).sum()) - total  # of a case with itself it is the whole object
        return pairs / (total * (self.cases - 1)) if total and self.cases > 1 else 0.0


def average_maps(cohort: Cohort, rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[Gallery, ...], list[str]]:
    """Average the maps of the flows that were kept.

    Parameters
    ----------
    cohort
        Whose flows they are; they are read from its folder, one after the other.
    rows
        Of its table of flows: those of labels that are drawn.

    Returns
    -------
    tuple of Gallery
        One, with a row per network layer and a picture per label; none where nothing can be averaged.
    list of str
        What speaks against the pictures, or why there are none.
    """
    if cohort.record.get("keep", "all") != "all":
        return (), ["There are no average maps: the run kept tables alone (keep='all', --keep all)."]
    known = {case["id"]: case.get("folder") for case in cohort.record["cases"]}
    asked: dict[str, list[str]] = {}
    for row in rows:
        if row["label"] not in asked.setdefault(row["case"], []):
            asked[row["case"]].append(row["label"])
    cases = [case for case in asked if known.get(case)]
    grids: dict[str, tuple] = {}
    for case in cases:
        if (flow := _flow(cohort, case)) is not None:
            grids[case] = _grid(flow)
    if not grids:
        return (), []
    grid, count = Counter(grids.values()).most_common(1)[0]
    if count < FEWEST:
        return (), [
            "There are no average maps: no two cases lie on one grid (shape, place and slice), as registered images do."
        ]
    sums: dict[str, _Label] = {}
    for case in (case for case in grids if grids[case] == grid):
        flow = _flow(cohort, case)
        for label in asked[case] if flow is not None else ():
            sums.setdefault(label, _Label()).add(flow, label)  # ty: ignore[invalid-argument-type]
    found = {label: one for label, one in sums.items() if one.cases >= FEWEST}
    said = []
    if len(grids) > count:
        said.append(
            f"{len(grids) - count} of {len(grids)} cases lie on another grid and are in no average map."
        )
    apart = [label for label, one in found.items() if one.overlap < APART]
    if apart:
        shares = ", ".join(f"{found[label].overlap:.0%} of {label}" for label in apart)
        said.append(
            f"Objects of different cases lie in different places ({shares} is shared by two cases in the mean), so that their average maps "
            "are blurred and say little; look at single cases."
        )
    return ((_gallery(found),) if found else ()), said


def _flow(cohort: Cohort, case: str) -> Flow | None:
    """Return the flow of a case; None where it was not kept, or cannot be read any more."""
    try:
        return cohort.information_flow(case)
    except UserError:
        return None


def _grid(flow: Flow) -> tuple:
    """Return what is the same for cases that lie on one grid."""
    affine = flow.image.affine
    place = None if affine is None else tuple(np.round(np.asarray(affine, float), 3).ravel().tolist())
    shapes = tuple((layer.name, layer.shape[1:]) for layer in flow.layers)
    return repr(flow.placement), place, shapes


def _gallery(found: Mapping[str, _Label]) -> Gallery:
    """Return a row per network layer, with a picture per label."""
    pictures = []
    middle = best_position([one.drawn for one in found.values()])  # of volumes the slice where most is drawn
    for label, one in found.items():
        share = cut(one.drawn / one.cases, middle)
        pictures.append(Picture(PREDICTION, share, f"{label}, {one.cases} cases"))
    for layer in next(iter(found.values())).maps:
        for label, one in found.items():
            mean = one.maps[layer] / one.cases
            end, plane = float(np.abs(mean).max()) or 1.0, cut(mean, middle)
            pictures.append(Picture(layer, colors(plane, end) / 255, f"{label}: {end:.2f}"))
    return Gallery("average_maps", "Average maps", tuple(pictures), CAPTION)
