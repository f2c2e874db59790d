"""A case of a survey as layers, piece by piece: its image, its truth, and a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from napari_segxai.analyses.concepts.result import Survey
from napari_segxai.analyses.concepts.sources import cases_of
from napari_segxai.core import orientation
from napari_segxai.gui.viewer.opened import LayerData
from napari_segxai.gui.viewer.opened_case import CASE, OUTLINED, Piece, image_of, truth_of
from napari_segxai.io.cases.masks import find_masks
from napari_segxai.io.layer_data import layer_metadata, layer_transform

OUTLINE: dict[int | None, str] = {None: "transparent", 0: "transparent", 1: "#4cc9f0"}
"""Colours of the mask of a concept."""

SURVEY = "segxai_survey"
"""In the metadata of a layer of a survey: its record."""


KINDS = ("truth", "predicted")
"""Concepts that are no drawn masks."""


MARK = 0.1
"""Diameter of the ring around the middle of a crop, as a share of the image's longest side."""


def pieces_of(
    survey: Survey,
    case: str,
    name: str = "",
    place: tuple[int, int] | None = None,
    concept: str = "",
    at: tuple[int, ...] = (),
) -> list[Piece]:
    """Return what there is to be shown of a case.

    Parameters
    ----------
    name
        Of the map that is shown with it; "" for none.
    place
        The slice that is gone to: an axis and an index; by default the one that was looked at, where a 2D model was asked.
    concept
        Of which the drawn mask is shown, where there is one; "" for none.
    at
        Index on the image grid that is marked: the middle of a crop, which may be an empty place; empty for none.
    """
    told = next(one for one in survey.record["cases"] if one["id"] == case)
    about = {CASE: case, SURVEY: dict(survey.record)}
    seen = (0, told["slice"]) if place is None and told["slice"] is not None else place
    pieces = [Piece("image", partial(image_of, told, about), seen)]
    if told["truth"] is not None:
        pieces.append(Piece("truth", partial(truth_of, told, about)))
    if name:
        pieces.append(Piece("map", partial(_map, survey, case, name), seen))
    if concept and survey.record["concepts"] not in (None, *KINDS):
        pieces.append(Piece("concept", partial(_concept, survey, case, concept, about)))
    if at:
        pieces.append(Piece("place", partial(_place, survey, case, at, about)))
    return pieces


def _place(survey: Survey, case: str, at: tuple[int, ...], about: Mapping[str, Any]) -> Iterator[LayerData]:
    """Yield a ring around an index on the image grid."""
    image = next(one for one in cases_of(survey.record) if one.id == case).read().frame(0)
    shape, (order, flips) = image.spatial_shape, image.to_display
    shown = [shape[k] - 1 - at[k] if flip else at[k] for k, flip in zip(order, flips, strict=True)]
    kwargs = {
        "name": f"middle of the crop · {case}",
        "metadata": {**layer_metadata(image), **about},
        "size": MARK * max(shape),
        "symbol": "disc",
        "face_color": "transparent",
        "border_color": OUTLINE[1],
        "border_width": 0.08,
    }
    yield np.array([shown], float), {**layer_transform(image), **kwargs}, "points"


def _map(survey: Survey, case: str, name: str) -> Iterator[LayerData]:
    yield survey.to_layers(case, name)[-1]


def _concept(survey: Survey, case: str, concept: str, about: Mapping[str, Any]) -> Iterator[LayerData]:
    """Yield the mask of a concept as an outline; nothing where the case has none."""
    cases = cases_of(survey.record)
    image = next(one for one in cases if one.id == case).read().frame(0)
    mask = find_masks(survey.record["concepts"], cases).read(case, image).get(concept)
    if mask is not None:
        shown = np.ascontiguousarray(orientation.apply(mask.astype(np.uint8), image.to_display))
        meta = {**layer_metadata(image), **about, OUTLINED: True}
        kwargs = {"name": f"{concept} · {case}", "metadata": meta, "colormap": OUTLINE, "opacity": 1.0}
        yield shown, {**layer_transform(image), **kwargs}, "labels"


def case_of(metadata: Mapping[str, Any], survey: Survey | None) -> str:
    """Return the case of a layer, if a survey is about the same folder of cases; else ""."""
    case, told = metadata.get(CASE), metadata.get(SURVEY)
    if survey is None or not isinstance(told, Mapping) or told["source"] != survey.record["source"]:
        return ""
    return case if isinstance(case, str) else ""
