"""A comparison as a table, as curves and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.explain.result import write_explanation
from napari_segxai.analyses.flow.tiles import cut
from napari_segxai.analyses.provenance import now, versions
from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.figures.colormaps import SIGNED
from napari_segxai.io.image_record import image_as_dict
from napari_segxai.io.names import file_names
from napari_segxai.io.saving import RECORD, complete, replacing, save_folder
from napari_segxai.io.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_segxai.analyses.compare.result import Comparison

TABLE, VALUES, CURVES, PICTURE, NOTES = (
    "table.csv",
    "values.csv",
    "curves.csv",
    "comparison.png",
    "notes.txt",
)
SURE = (TABLE, PICTURE)
"""Files that every comparison has."""

PICTURES = (".png", ".pdf", ".svg")
ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


def save_comparison(comparison: Comparison, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the table, its values one by one, the curves, the picture and every explanation; see `Comparison.save`."""

    def write(new: Path) -> dict[str, Any]:
        write_csv(new / TABLE, comparison.table)
        if comparison.rows:
            write_csv(new / VALUES, values(comparison))
        points = curve_points(comparison)
        if points:
            write_csv(new / CURVES, points)
        save_picture([comparison], new / PICTURE)
        if comparison.warnings:
            (new / NOTES).write_text("\n".join(comparison.warnings) + "\n", encoding="utf-8")
        folders = map_folders(comparison.explanations)
        for name, explanation in comparison.explanations.items():
            own = new / folders[name]
            own.mkdir()
            complete(own, write_explanation(explanation, own))
        return facts_of(comparison, "comparison")

    return save_folder(folder, write, overwrite=overwrite)


def map_folders(names: Iterable[str]) -> dict[str, str]:
    """Return the name of the folder of every map."""
    return file_names(names, taken=(TABLE, VALUES, CURVES, PICTURE, NOTES, RECORD))


def facts_of(comparison: Comparison, kind: str) -> dict[str, Any]:
    """Return what the record of a comparison, or of a sweep, says."""
    records = {name: each.record for name, each in comparison.explanations.items()}
    target, first = comparison.target, next(iter(records.values()), None)
    return {
        "kind": kind,
        "target": {
            "label": target.label,
            "region": target.as_dict()["region"],
            "score": target.score,
            "reduction": target.reduction,
        },
        "model": None if first is None else first.model,
        "image": image_as_dict(comparison.image),
        "maps": {
            name: {"method": records[name].method, "parameters": records[name].parameters}
            if name in records
            else {}
            for name in comparison.maps
        },
        "metrics": [metric.name for metric in comparison.metrics],
        "partial": comparison.partial,
        "passes": comparison.passes.as_dict(),
        "seconds": round(comparison.seconds, 3),
        "warnings": list(comparison.warnings),
        "created": now(),
        "versions": versions(),
    }


def values(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row per map and metric: map, method, metric, form, value, unit, better, reason, and the chance level.

    A value is None (an empty cell) where it is undefined; then the reason says why. Of Dice explained, PPS and pointing
    numbers, chance and chance_high say what random maps of the same area reach (mean, 95th percentile).
    """
    methods = {name: explanation.record.method for name, explanation in comparison.explanations.items()}
    words = ("metric", "form", "value", "unit", "better", "reason", "chance", "chance_high", "above_chance")
    return [
        {"map": row["map"], "method": methods.get(row["map"], ""), **{word: row.get(word) for word in words}}
        for row in comparison.rows
    ]


def curve_points(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row per point of every curve: map, metric, share, score, and what random maps reach there.

    The share is that of pixels shown or hidden; over a threshold or over dilation it is the threshold or the stage.
    Dice over dilation stage is called "dice-over-dilation".
    """
    out = []
    for row in comparison.rows:
        curve = row["curve"]
        if curve is not None:
            level = row.get("chance_curve") or {}
            none = [None] * len(curve["share"])
            found = zip(
                curve["share"], curve["score"], level.get("mean", none), level.get("high", none), strict=True
            )
            out += [
                {
                    "map": row["map"],
                    "metric": row["metric"],
                    "share": x,
                    "score": y,
                    "chance": mean,
                    "chance_high": high,
                }
                for x, y, mean, high in found
            ]
    for name, explanation in comparison.explanations.items():
        if (stages := explanation.curves.get("dilation")) is not None:
            pairs = zip(stages["dilations"], stages["dice"], strict=True)
            out += [{"map": name, "metric": "dice-over-dilation", "share": x, "score": y} for x, y in pairs]
    return out


def save_picture(cases: Sequence[Comparison | Drawn], path: str | Path, *, common: bool = False) -> Path:
    """Draw comparisons and write the picture: cases as rows; image, prediction and maps as columns.

    Parameters
    ----------
    cases
        Comparisons of several images, labels or models, or what is drawn of them.
    path
        Ending in .png, .pdf or .svg.
    common
        Whether the maps of a case share one colour scale; they should only where their methods share a unit.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    UserError
        If there is no map, or the ending is another.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"{path}: a picture ends in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")
    figure = picture(cases, common=common)
    with replacing(path) as beside:
        figure.savefig(beside)
    return path


@dataclass(frozen=True)
class DrawnMap:
    """One slice of a map, and the ends of the whole map."""

    values: np.ndarray
    low: float
    end: float


@dataclass(frozen=True)
class Drawn:
    """What a picture needs of a comparison: one slice of everything, as it is shown.

    Attributes
    ----------
    name, label
        Of the image, and what is explained.
    ground
        The image, grey, in [0, 1].
    prediction
        Label values.
    maps
        By name.
    """

    name: str
    label: str
    ground: np.ndarray
    prediction: np.ndarray
    maps: dict[str, DrawnMap]

    @classmethod
    def of(cls, case: Comparison) -> Drawn:
        """Cut a comparison where its object is largest."""
        predicted = _upright(case, case.shown(case.prediction))
        position = _position(predicted)
        maps = {
            name: DrawnMap(
                cut(_upright(case, map), position).copy(), float(map.min()), float(np.abs(map).max())
            )
            for name, map in case.maps.items()
        }
        label = str(getattr(case.target, "label", ""))
        return cls(case.image.name, label, _grey(case, position), cut(predicted, position).copy(), maps)


def picture(cases: Sequence[Comparison | Drawn], *, common: bool = False) -> Figure:
    """Draw cases as rows, and image, prediction and maps as columns (Hasany et al. 2026, figures 1 to 3).

    Parameters
    ----------
    common
        Whether the maps of a case share one colour scale; they should only where their methods share a unit.
    """
    from matplotlib.figure import Figure

    rows = [case if isinstance(case, Drawn) else Drawn.of(case) for case in cases]
    names = list(dict.fromkeys(name for row in rows for name in row.maps))
    if not names:
        raise UserError("there is no map to draw yet.")
    columns = 2 + len(names)
    height, width = rows[0].ground.shape
    tall = float(np.clip(1.7 * height / width, 0.8, 3))
    figure = Figure(
        figsize=(0.3 + 1.75 * columns, 0.45 + (tall + 0.3) * len(rows)), dpi=120, layout="compressed"
    )
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        _draw_case(axes, row, names, common)
    for axis, title in zip(grid[0], ("image", "prediction", *names), strict=True):
        axis.set_title(title, fontsize=7)
    return figure


def _draw_case(axes: Sequence[Axes], row: Drawn, names: Sequence[str], common: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    outline = row.prediction > 0
    axes[0].set_ylabel(f"{row.name}\n{row.label}", fontsize=7)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.imshow(row.ground, cmap="gray")
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[1].imshow(
        np.ma.masked_equal(row.prediction, 0),
        cmap="tab10",
        vmin=0,
        vmax=9,
        alpha=0.6,
        interpolation="nearest",
    )
    for axis, name in zip(axes[2:], names, strict=True):
        if name not in row.maps:
            axis.text(0.5, 0.5, "none", ha="center", transform=axis.transAxes, color="white", fontsize=7)
            continue
        map = row.maps[name]
        end = (max(each.end for each in row.maps.values()) if common else map.end) or 1.0
        if map.low < 0:
            signed = LinearSegmentedColormap.from_list("signed", SIGNED["colors"])
            axis.imshow(map.values, cmap=signed, vmin=-end, vmax=end)
        else:  # a map without negative values may have a floor: what counts is what rises above it
            axis.imshow(map.values, cmap="inferno", vmin=map.low, vmax=end, alpha=0.75)
        if outline.any() and not outline.all():
            axis.contour(outline, levels=[0.5], colors="white", linewidths=0.6)


def _upright(case: Comparison, array: np.ndarray) -> np.ndarray:
    return np.asarray(orientation.apply(np.asarray(array), case.image.to_display))


def _position(volume: np.ndarray) -> float:
    """Return where a volume's slice with the largest object lies, in [0, 1]."""
    if volume.ndim == 2 or not volume.any():
        return 0.5
    sizes = (volume > 0).sum((1, 2))
    return (int(sizes.argmax()) + 0.5) / len(sizes)


def _grey(case: Comparison, position: float) -> np.ndarray:
    channels = [cut(_upright(case, each), position) for each in case.image.channels_first()]
    values = np.mean(np.stack(channels).astype(np.float32), axis=0)
    low, high = np.nanpercentile(values, [1, 99])
    return np.clip((values - low) / (high - low if high > low else 1), 0, 1)
