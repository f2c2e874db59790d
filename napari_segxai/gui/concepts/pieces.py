"""A case of a survey as layers, piece by piece: its image, its truth, and a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from napari_segxai.analyses.concepts.result import Survey
from napari_segxai.gui.viewer.opened import LayerData
from napari_segxai.gui.viewer.opened_case import CASE, Piece, image_of, truth_of

SURVEY = "segxai_survey"
"""In the metadata of a layer of a survey: its record."""


def pieces_of(survey: Survey, case: str, name: str = "", place: tuple[int, int] | None = None) -> list[Piece]:
    """Return what there is to be shown of a case.

    Parameters
    ----------
    name
        Of the map that is shown with it; "" for none.
    place
        The slice that is gone to: an axis and an index; by default the one that was looked at, where a 2D model was asked.
    """
    told = next(one for one in survey.record["cases"] if one["id"] == case)
    about = {CASE: case, SURVEY: dict(survey.record)}
    seen = (0, told["slice"]) if place is None and told["slice"] is not None else place
    pieces = [Piece("image", partial(image_of, told, about), seen)]
    if told["truth"] is not None:
        pieces.append(Piece("truth", partial(truth_of, told, about)))
    if name:
        pieces.append(Piece("map", partial(_map, survey, case, name), seen))
    return pieces


def _map(survey: Survey, case: str, name: str) -> Iterator[LayerData]:
    yield survey.to_layers(case, name)[-1]


def case_of(metadata: Mapping[str, Any], survey: Survey | None) -> str:
    """Return the case of a layer, if a survey is about the same folder of cases; else ""."""
    case, told = metadata.get(CASE), metadata.get(SURVEY)
    if survey is None or not isinstance(told, Mapping) or told["source"] != survey.record["source"]:
        return ""
    return case if isinstance(case, str) else ""
