"""The result of comparing: maps of one prediction side by side, what metrics say of each, its picture and its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.analyses.compare.asked import Asked
from napari_segxai.analyses.compare.drawing import drawn_of
from napari_segxai.analyses.compare.tables import curve_points, values
from napari_segxai.analyses.explain.files import write_on_grid, write_prediction
from napari_segxai.analyses.explain.result import Explanation, write_explanation
from napari_segxai.analyses.provenance import now, versions
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError, known_name
from napari_segxai.core.image import Image
from napari_segxai.core.paths import user_path
from napari_segxai.core.prediction import label_image, where
from napari_segxai.core.progress import Passes
from napari_segxai.core.record import SCHEMA, as_json
from napari_segxai.core.target import Target
from napari_segxai.core.text_table import Rows
from napari_segxai.figures.compare import Drawn, picture
from napari_segxai.figures.style import PAGE, write_figure
from napari_segxai.io.held import RECORD
from napari_segxai.io.image_record import image_as_dict
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import complete, replacing, save_folder
from napari_segxai.io.tables import write_csv
from napari_segxai.metrics.functional.chance import columns
from napari_segxai.metrics.functional.ties import tied
from napari_segxai.metrics.registry import Metric

TABLE, VALUES, CURVES, PICTURE, NOTES, ROWS, ABOUT = (
    "table.csv",
    "values.csv",
    "curves.csv",
    "comparison.png",
    "notes.txt",
    "rows.json",
    "target",
)
ALWAYS_WRITTEN = (TABLE, PICTURE)
"""Files that every comparison has."""

PICTURES = (".png", ".pdf", ".svg")
ARROWS: Mapping[str | None, str] = {"higher": " ↑", "lower": " ↓", None: ""}
"""What follows the name of a number, by which end is better."""

IGNORED = 255
"""In the file of the truth: what nobody has labelled."""


@dataclass
class Comparison:
    """Maps of one prediction, and what metrics say of each; a map or metric that it has not is refused (`UserError`).

    Attributes
    ----------
    image : Image
        What was explained.
    target : Target
        What was asked about it.
    explanations : dict of str to Explanation
        By name; maps that were given as plain arrays are not among them.
    maps : dict of str to numpy.ndarray
        By name, raw and signed, on the image grid.
    metrics : tuple of Metric
        In the order asked for.
    rows : list of dict
        One per map and metric; see `metrics.table.evaluate_steps`.
    prediction : numpy.ndarray or None
        As `SegmentationModel.predict` returns it.
    overlapping : bool
        Whether that is a mask for every label but the background, because a pixel can have several labels.
    label : int
        Position of the label that was explained.
    truth : numpy.ndarray or None
        Boolean, on the image grid: where the label really is, if known.
    ignored : numpy.ndarray or None
        Boolean, on the image grid: where nobody has labelled anything; None for nowhere.
    passes : Passes
        Of the metrics alone, as are the seconds; those of the methods are in their records.
    seconds : float
        Wall-clock time.
    warnings : list of str
        What a user should know before believing the numbers, e.g. that the truth was resampled.
    partial : bool
        Whether it was stopped, or goes on: only the first maps are there, and not all of what metrics say.
    model : dict or None
        What a record says of the model; see `analyses.provenance.facts_of_model`.
    asked : Asked or None
        What else was asked, so that it can be asked again; None where that is not known.
    created : str
        Of a comparison that was loaded: when it was saved first, UTC; else "".
    versions : dict of str to str
        Of a comparison that was loaded: with which packages; else empty.
    saved_picture : bytes or None
        Of a comparison that was loaded: its picture as PNG, for an image that cannot be read any more.
    """

    image: Image
    target: Target
    explanations: dict[str, Explanation]
    maps: dict[str, np.ndarray]
    metrics: tuple[Metric, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    prediction: np.ndarray | None = None
    overlapping: bool = False
    label: int = 1
    truth: np.ndarray | None = None
    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    partial: bool = False
    model: dict[str, Any] | None = None
    asked: Asked | None = None
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    saved_picture: bytes | None = field(default=None, repr=False)
    ignored: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)} of {self.target.label!r} in {self.image.name!r})"

    def shown(self, prediction: np.ndarray | None) -> np.ndarray:
        """Return a prediction as one label image; of labels that overlap, the one that was explained.

        Parameters
        ----------
        prediction : ndarray or None
            As `SegmentationModel.predict` returns it; None before the network has run.
        """
        if prediction is None:  # the network has not run yet
            return np.zeros(self.image.spatial_shape, np.uint8)
        return label_image(prediction, self.label, overlapping=self.overlapping)

    def value(self, name: str, metric: str) -> float | None:
        """Return a number; None where it is undefined.

        Parameters
        ----------
        name : str
            Of the map.
        metric : str
            Name of the metric; see `list_metrics`.
        """
        return self._row(name, metric)["value"]

    def reason(self, name: str, metric: str) -> str:
        """Say why a number is undefined.

        Parameters
        ----------
        name : str
            Of the map.
        metric : str
            Name of the metric; see `list_metrics`.
        """
        return self._row(name, metric)["reason"]

    def curve(self, name: str, metric: str) -> dict[str, list[float]] | None:
        """Return the curve whose area a metric is: its columns share and score.

        Parameters
        ----------
        name : str
            Of the map.
        metric : str
            Name of the metric; see `list_metrics`.
        """
        return self._row(name, metric)["curve"]

    def chance(self, name: str, metric: str) -> tuple[float, float] | None:
        """Return what random maps of the same area reach: mean and 95th percentile; None where that is not measured.

        Parameters
        ----------
        name : str
            Of the map.
        metric : str
            Name of the metric; see `list_metrics`.
        """
        row = self._row(name, metric)
        return None if row.get("chance") is None else (row["chance"], row["chance_high"])

    def is_chance(self, name: str, metric: str) -> bool:
        """Tell whether a map is no better than random maps of the same area.

        Parameters
        ----------
        name : str
            Of the map.
        metric : str
            Name of the metric; see `list_metrics`.
        """
        return self._row(name, metric).get("above_chance") is False

    def _row(self, name: str, metric: str) -> dict[str, Any]:
        for row in self.rows:
            if row["map"] == name and row["metric"] == metric:
                return row
        known_name(name, self.names, "this comparison has no map")
        known_name(metric, (m.name for m in self.metrics), "this comparison has no metric")
        raise UserError(f"{metric} was not measured of {name}.")

    @property
    def names(self) -> list[str]:
        """The maps, and the random orders, in the order of the table."""
        return list(dict.fromkeys([*self.maps, *(row["map"] for row in self.rows)]))

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row per map: map, method, seconds, a column per metric, and beside it what random maps reach."""
        out = Rows()
        for name in self.names:
            record = self.explanations[name].record if name in self.explanations else None
            row: dict[str, Any] = {
                "map": name,
                "method": record.method if record else "",
                "seconds": record.seconds if record else None,
            }
            for found in self.rows:
                if found["map"] == name:
                    row |= {found["metric"]: found["value"], **columns(found)}
            out.append(row)
        return out

    def best(self, metric: str) -> str | None:
        """Return the map that is best by a metric, the first of equals; None where there is no better, or no number.

        Parameters
        ----------
        metric : str
            Name of a metric of this comparison.

        Raises
        ------
        UserError
            If it has no such metric.
        """
        by_name = {m.name: m for m in self.metrics}
        found = by_name[known_name(metric, by_name, "this comparison has no metric")]
        values = {name: self.value(name, metric) for name in self.maps}
        known = {name: value for name, value in values.items() if value is not None}
        if found.better is None or not known:
            return None
        top = (max if found.better == "higher" else min)(known.values())
        return next(name for name, value in known.items() if tied(value, top))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write the table, the curves, a picture and a folder per explanation, as one step; returns what was written.

        table.csv has a row per map; values.csv a row per map and metric, with the reason where a value is undefined;
        curves.csv a row per point of a curve; comparison.png shows the maps; notes.txt holds the
        warnings, if there are any. rows.json and the folder target hold what `load_comparison` needs beside these.

        Parameters
        ----------
        folder : str or Path
            It is made if it is not there.
        overwrite : bool
            Whether earlier results in the folder are replaced.

        Returns
        -------
        list of Path
            What was written, the record last.

        Raises
        ------
        UserError
            If the folder already holds results and `overwrite` is False, or cannot be written.
        """
        return save_comparison(self, user_path(folder), overwrite=overwrite)


def save_comparison(comparison: Comparison, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table, its values one by one, the curves, the picture and every explanation; see `Comparison.save`."""

    def write(new: Path) -> dict[str, Any]:
        write_csv(new / TABLE, comparison.table)
        if comparison.rows:
            write_csv(new / VALUES, values(comparison.rows, comparison.explanations))
        points = curve_points(comparison.rows, comparison.explanations)
        if points:
            write_csv(new / CURVES, points)
        _write_picture(comparison, new / PICTURE)
        if comparison.warnings:
            (new / NOTES).write_text("\n".join(comparison.warnings) + "\n", encoding="utf-8")
        return write_comparison(comparison, new, "comparison")

    return save_folder(folder, write, overwrite=overwrite)


def _write_picture(comparison: Comparison, path: Path) -> None:
    """Draw the picture; of a loaded comparison whose image cannot be read any more, write the one that was saved."""
    try:
        save_picture([comparison], path)
    except UserError:
        if comparison.saved_picture is None:
            raise
        path.write_bytes(comparison.saved_picture)


def write_comparison(comparison: Comparison, folder: Path, kind: str, below: str = "") -> dict[str, Any]:
    """Write what a comparison holds, to be read again; tables and pictures for people are written elsewhere.

    Parameters
    ----------
    folder : Path
        Of the results; it may hold other files.
    kind : str
        Of the record.
    below : str
        Folder in it for the maps, with a slash; "" for the folder itself.

    Returns
    -------
    dict
        What the record says.
    """
    names = map_folders(comparison.maps)
    image = comparison.image.frame(0)
    told: dict[str, dict[str, Any]] = {}
    for name, map in comparison.maps.items():
        own, explanation = folder / below / names[name], comparison.explanations.get(name)
        own.mkdir(parents=True)
        told[name] = {"folder": below + names[name]}
        if explanation is not None:
            record = explanation.record
            told[name] |= {"method": record.method, "parameters": record.parameters}
            complete(own, write_explanation(explanation, own))
        else:
            told[name]["dtype"] = map.dtype.str
            write_on_grid(own, image, "napari-segxai", "saliency", map.copy(), "image")
    if comparison.rows:
        lines = (as_json(row, indent=None) for row in comparison.rows)
        (folder / ROWS).write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    return {**facts_of(comparison, kind), "maps": told, "prediction": _write_about(comparison, folder, image)}


def _write_about(comparison: Comparison, folder: Path, image: Image) -> str | dict[str, str] | None:
    """Write what the maps explain: the prediction, the truth and the drawn region, as far as they are there."""
    about = folder / ABOUT
    write = partial(write_on_grid, about, image, "napari-segxai")
    masks = {"truth": comparison.truth, "region": comparison.target.region}
    for name, mask in masks.items():
        if isinstance(mask, np.ndarray):
            about.mkdir(exist_ok=True)
            values = mask.astype(np.uint8)
            if name == "truth" and comparison.ignored is not None:
                values[comparison.ignored] = IGNORED
            write(name, values, "labels")
    model, prediction = comparison.model, comparison.prediction
    if prediction is None or model is None:
        return None
    about.mkdir(exist_ok=True)
    files = file_names((("prediction", label) for label in model["labels"]), taken=(*masks, "prediction"))
    return write_prediction(prediction, model, files, write)


def map_folders(names: Iterable[str]) -> dict[str, str]:
    """Return the name of the folder of every map."""
    return file_names(names, taken=(TABLE, VALUES, CURVES, PICTURE, NOTES, ROWS, ABOUT, RECORD))


def facts_of(comparison: Comparison, kind: str) -> dict[str, Any]:
    """Return what the record of a comparison, or of a sweep, says; see `write_comparison` for its maps."""
    return {
        "kind": kind,
        "schema": SCHEMA,
        "target": comparison.target.as_dict(),
        "label": comparison.label,
        "model": comparison.model,
        "image": image_as_dict(comparison.image),
        "metrics": [metric.name for metric in comparison.metrics],
        "asked": None if comparison.asked is None else comparison.asked.as_dict(),
        "truth": comparison.truth is not None,
        "partial": comparison.partial,
        "passes": comparison.passes.as_dict(),
        "seconds": round(comparison.seconds, 3),
        "warnings": list(comparison.warnings),
        "created": comparison.created or now(),
        "versions": comparison.versions or versions(),
    }


@checked()
def save_picture(
    cases: Sequence[Comparison | Drawn], path: str | Path, *, common: bool = False, width: float = PAGE
) -> Path:
    """Draw comparisons for print and write the picture: of every case its image, its prediction and its maps.

    Every map has a colour bar with its unit; outlines show prediction and truth, and a bar how long so many mm are, where the
    image knows it. Pixels are written at 300 dpi; PDF and SVG hold their fonts.

    Parameters
    ----------
    cases : sequence of Comparison
        Comparisons of several images, labels or models, or what is drawn of them.
    path : str or Path
        Ending in .png, .pdf or .svg.
    common : bool
        Whether the maps of a case share one colour scale; they should only where their methods share a unit.
    width : float
        Of the picture in mm, from 40 to 400: 180 for two columns of a journal, 85 for one.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    UserError
        If there is no map, the ending is another, or the width is none.
    """
    path = user_path(path)
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"{path}: a picture ends in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")
    if not 40 <= width <= 400:
        raise UserError(f"width {width:g} mm is none of a page; choose 40 to 400, such as 85 or 180.")
    figure = picture([drawn(case) for case in cases], common=common, width=width)
    with replacing(path) as beside:
        write_figure(figure, beside)
    return path


def drawn(case: Comparison | Drawn) -> Drawn:
    """Return what a picture needs of a comparison: it is cut where its object is largest."""
    if isinstance(case, Drawn):
        return case
    units = {name: found.record.display.get("unit", "") for name, found in case.explanations.items()}
    predicted = case.prediction
    return drawn_of(
        case.image.frame(0),
        str(getattr(case.target, "label", "")),
        case.shown(predicted),
        {name: (map, units.get(name, "")) for name, map in case.maps.items()},
        labels=(case.model or {}).get("labels", ()),
        object=None if predicted is None else where(predicted, case.label, overlapping=case.overlapping),
        truth=case.truth,
    )
