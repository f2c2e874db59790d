"""Maps of one prediction side by side, and what metrics say of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core.prediction import label_image
from napari_segxai.core.progress import Passes
from napari_segxai.core.text_table import Rows
from napari_segxai.metrics.functional.chance import columns
from napari_segxai.metrics.functional.ties import tied

if TYPE_CHECKING:
    from napari_segxai.analyses.explain.result import Explanation
    from napari_segxai.core.image import Image
    from napari_segxai.core.target import Target
    from napari_segxai.metrics.registry import Metric


@dataclass
class Comparison:
    """Maps of one prediction, and what metrics say of each.

    Attributes
    ----------
    image, target
        What was explained.
    explanations
        By name; maps that were given as plain arrays are not among them.
    maps
        By name, raw and signed, on the image grid.
    metrics
        In the order asked for.
    rows
        One per map and metric; see `metrics.evaluate.evaluate_steps`.
    prediction
        As `SegmentationModel.predict` returns it.
    overlapping
        Whether that is a mask for every label but the background, because a pixel can have several labels.
    label
        Position of the label that was explained.
    truth
        Boolean, on the image grid: where the label really is, if known.
    passes, seconds
        Of the metrics alone; those of the methods are in their records.
    warnings
        What a user should know before believing the numbers, e.g. that the truth was resampled.
    partial
        Whether it was stopped, or goes on: only the first maps are there, and not all of what metrics say.
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

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)} of {self.target.label!r} in {self.image.name!r})"

    def shown(self, prediction: np.ndarray | None) -> np.ndarray:
        """Return a prediction as one label image; of labels that overlap, the one that was explained."""
        if prediction is None:  # the network has not run yet
            return np.zeros(self.image.spatial_shape, np.uint8)
        return label_image(prediction, self.label, overlapping=self.overlapping)

    def value(self, name: str, metric: str) -> float | None:
        """Return a number; None where it is undefined."""
        return self._row(name, metric)["value"]

    def reason(self, name: str, metric: str) -> str:
        """Say why a number is undefined."""
        return self._row(name, metric)["reason"]

    def curve(self, name: str, metric: str) -> dict[str, list[float]] | None:
        """Return the curve whose area a metric is: its columns share and score."""
        return self._row(name, metric)["curve"]

    def chance(self, name: str, metric: str) -> tuple[float, float] | None:
        """Return what random maps of the same area reach: mean and 95th percentile; None where that is not measured."""
        row = self._row(name, metric)
        return None if row.get("chance") is None else (row["chance"], row["chance_high"])

    def is_chance(self, name: str, metric: str) -> bool:
        """Tell whether a map is no better than random maps of the same area."""
        return self._row(name, metric).get("above_chance") is False

    def _row(self, name: str, metric: str) -> dict[str, Any]:
        for row in self.rows:
            if row["map"] == name and row["metric"] == metric:
                return row
        raise KeyError((name, metric))

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
        """Return the map that is best by a metric, the first of equals; None where there is no better, or no number."""
        [found] = [m for m in self.metrics if m.name == metric]
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
        warnings, if there are any.

        Raises
        ------
        UserError
            If the folder already holds results and `overwrite` is False, or cannot be written.
        """
        from napari_segxai.analyses.compare.files import save_comparison

        return save_comparison(self, Path(folder), overwrite=overwrite)
