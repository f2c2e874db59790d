"""Opening a comparison that was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from napari_segxai.analyses.compare.asked import Asked
from napari_segxai.analyses.compare.result import ABOUT, IGNORED, PICTURE, ROWS, Comparison
from napari_segxai.analyses.explain.load import check_label, check_region, read_explanation, read_prediction
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes
from napari_segxai.core.target import Target
from napari_segxai.io.forms.check import check_form
from napari_segxai.io.held import RECORD
from napari_segxai.io.image_record import image_from_dict
from napari_segxai.io.results import Saved, open_folder, reading_record
from napari_segxai.metrics.registry import Metric, all_metrics


@checked()
def load_comparison(folder: str | Path) -> Comparison:
    """Open a comparison that `Comparison.save` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder, or the record.json in it.

    Returns
    -------
    Comparison
        With the maps, explanations, numbers, curves, chance levels, random orders and the prediction that were saved,
        value by value and in their order. The values of the image are read from its own file when they are needed.

    Raises
    ------
    UserError
        If the folder holds something else, was saved by another version, or was changed since.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> sx.load_comparison("comparison").best("dice-explained")  # doctest: +SKIP
    'misure'
    """
    return read_comparison(open_folder(folder, "comparison"))


def read_comparison(saved: Saved) -> Comparison:
    """Return the comparison from a folder of results, be it of a comparison or of a sweep.

    Raises
    ------
    UserError
        If its record does not say what it should.
    """
    with reading_record(saved.folder, "comparison"):
        return _read(saved)


def _read(saved: Saved) -> Comparison:
    facts, files = saved.record, saved.record["files"]
    image = image_from_dict(facts["image"])

    def about(name: str) -> np.ndarray:
        return saved.on_grid(f"{ABOUT}/{name}", image)

    maps, explanations = {}, {}
    for name, map_facts in facts["maps"].items():
        below = f"{map_facts['folder']}/"
        if "method" in map_facts:
            explanations[name] = read_explanation(saved, saved.json(below + RECORD), below)
            _check_map(name, explanations[name], map_facts, image)
            asked = (facts.get("asked") or {"methods": {}})["methods"].get(name, map_facts)
            if (asked["method"], asked["parameters"]) != (map_facts["method"], map_facts["parameters"]):
                raise ValueError(f"asked.methods.{name}: its map has other parameters")
            maps[name] = explanations[name].map
        else:
            maps[name] = saved.on_grid(f"{below}saliency", image).astype(np.dtype(map_facts["dtype"]))
    rows = saved.json(ROWS) if ROWS in files else []
    check_form(saved.folder / ROWS, "rows", rows)
    _check_rows(rows, list(maps), facts["metrics"])
    drawn = facts["target"]["region"]["kind"] == "drawn"
    target = Target.from_dict(facts["target"], about("region") > 0 if drawn else None)
    check_label(target.label, facts["model"]["labels"])
    check_label(facts["label"], facts["model"]["labels"])
    check_region(target, facts["target"])
    prediction = facts["prediction"]
    true = about("truth") if facts["truth"] else None
    ignored = None if true is None else true == IGNORED
    return Comparison(
        image=image,
        target=target,
        explanations=explanations,
        maps=maps,
        metrics=tuple(_metric(name, rows) for name in facts["metrics"]),
        rows=rows,
        prediction=None
        if prediction is None
        else read_prediction(saved, prediction, facts["model"], image, f"{ABOUT}/"),
        overlapping=facts["model"]["overlapping"],
        label=facts["label"],
        truth=None if true is None else true == 1,
        ignored=ignored if ignored is not None and ignored.any() else None,
        passes=Passes(**facts["passes"]),
        seconds=facts["seconds"],
        warnings=list(facts["warnings"]),
        partial=facts["partial"],
        model=facts["model"],
        asked=None if facts.get("asked") is None else Asked(**facts["asked"]),
        created=facts["created"],
        versions=dict(facts["versions"]),
        saved_picture=(saved.folder / PICTURE).read_bytes() if PICTURE in files else None,
    )


def _check_map(name: str, found: Explanation, facts: Mapping[str, Any], image: Image) -> None:
    """Raise an error if a map has a record that tells of another run, or of another image."""
    record = found.record
    if (record.method, record.parameters) != (facts["method"], facts["parameters"]):
        raise ValueError(f"maps.{name}: its own record tells of other parameters")
    if (found.image.spatial_shape, found.image.sha256) != (image.spatial_shape, image.sha256):
        raise ValueError(f"maps.{name}: its own record tells of another image")


def _check_rows(rows: Sequence[Mapping[str, Any]], maps: Sequence[str], metrics: Sequence[str]) -> None:
    """Raise an error if numbers are missing, or one is there twice."""
    keys = [(row["map"], row["metric"]) for row in rows]
    if len(set(keys)) < len(keys):
        raise ValueError(f"{ROWS}: a number is there twice")
    if rows and not {(name, metric) for name in maps for metric in metrics} <= set(keys):
        raise ValueError(f"{ROWS}: a number is missing")


def _metric(name: str, rows: list[dict[str, Any]]) -> Metric:
    """Return a metric by name; of one that is not known here, what its rows say of it."""
    known = next((metric for metric in all_metrics() if metric.name == name), None)
    if known is not None:
        return known

    def measure(evaluation: Any) -> NoReturn:
        raise UserError(f"the metric {name!r} is not known here; install what it came from to measure by it.")

    row = next((row for row in rows if row["metric"] == name), {})
    words = {word: row.get(word, "") for word in ("unit", "family", "form")}
    return Metric(
        name=name,
        title=row.get("title", name),
        better=row.get("better"),
        **words,
        needs=(),
        source="",
        summary="",
        series=(),
        measure=measure,
    )
