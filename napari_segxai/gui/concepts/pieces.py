"""A case of a survey as layers, piece by piece: its image, its truth, and a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from napari_segxai.analyses.concepts.crops import Crop
from napari_segxai.analyses.concepts.result import Survey
from napari_segxai.gui.viewer.opened import LayerData
from napari_segxai.gui.viewer.opened_case import CASE, Piece, image_of, truth_of

SURVEY = "segxai_survey"
"""In the metadata of a layer of a survey: its record."""


def pieces_of(survey: Survey, case: str, crop: Crop | None = None) -> list[Piece]:
    """Return what there is to be shown of a case.

    Parameters
    ----------
    crop
        Of the map that is shown with it, at the slice of the crop.
    """
    told = next(one for one in survey.record["cases"] if one["id"] == case)
    about = {CASE: case, SURVEY: dict(survey.record)}
    seen = told["slice"] if crop is None else None
    pieces = [Piece("image", partial(image_of, told, about), None if seen is None else (0, seen))]
    if told["truth"] is not None:
        pieces.append(Piece("truth", partial(truth_of, told, about)))
    if crop is not None:
        pieces.append(Piece("map", partial(_map, survey, crop), crop.place))
    return pieces


def _map(survey: Survey, crop: Crop) -> Iterator[LayerData]:
    yield survey.to_layers(crop.case, crop.name)[-1]


def case_of(metadata: Mapping[str, Any], survey: Survey | None) -> str:
    """Return the case of a layer, if a survey is about the same folder of cases; else ""."""
    case, told = metadata.get(CASE), metadata.get(SURVEY)
    if survey is None or not isinstance(told, Mapping) or told["source"] != survey.record["source"]:
        return ""
    return case if isinstance(case, str) else ""
