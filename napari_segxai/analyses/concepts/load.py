"""Opening a survey that was saved, without its model and without reading an image."""

from __future__ import annotations

import os
from functools import partial

import numpy as np

from napari_segxai.analyses.concepts.result import Survey, SurveyMap
from napari_segxai.analyses.concepts.sources import cases_of
from napari_segxai.analyses.explain.load import charts_of
from napari_segxai.core.arguments import checked
from napari_segxai.io.cases.case import Case
from napari_segxai.io.galleries import read_galleries
from napari_segxai.io.results import Saved, open_folder, reading_record


@checked()
def load_survey(folder: str | os.PathLike[str]) -> Survey:
    """Open a survey as it was saved.

    Parameters
    ----------
    folder : str or path-like
        The folder, or its record.json.

    Returns
    -------
    Survey
        The images of its maps are read when `Survey.to_layers` shows them.

    Raises
    ------
    UserError
        If it holds no survey, one of another version, or files that were changed since.
    """
    saved = open_folder(folder, "survey")
    return read_survey(saved)


def read_survey(saved: Saved) -> Survey:
    """Return a survey from a folder of results."""
    facts = saved.record
    with reading_record(saved.folder, "survey"):
        cases = {case.id: case for case in cases_of(facts)}
        record = {key: facts[key] for key in _KEYS if key in facts}
        maps = tuple(
            SurveyMap(
                one["case"],
                one["name"],
                partial(_array, saved, one["file"], case),
                case.read,
                one.get("of", {}),
            )
            for one in facts["maps"]
            for case in [cases[one["case"]]]
        )
        charts = charts_of(saved)
        galleries = read_galleries(saved, facts.get("galleries", ()))
        return Survey(record, list(facts["rows"]), charts, maps, dict(facts["tables"]), galleries)


_KEYS = (
    "method", "parameters", "labels", "concepts", "source", "layout", "find", "cases", "model", "device", "seed", "passes", "seconds",
    "results", "unit", "sentence", "warnings", "partial", "created", "versions",
)  # fmt: skip


def _array(saved: Saved, name: str, case: Case) -> np.ndarray:
    return saved.on_grid(name, case.read().frame(0))
