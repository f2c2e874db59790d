"""Opening an explanation that was saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.analyses.explain.display import display_of
from napari_segxai.analyses.explain.files import CHARTS, RESERVED, native_image
from napari_segxai.analyses.explain.result import Explanation
from napari_segxai.core.arguments import checked
from napari_segxai.core.chart import Chart, chart_of
from napari_segxai.core.image import Image
from napari_segxai.core.prediction import label_dtype
from napari_segxai.core.record import Record, as_json
from napari_segxai.core.target import Target
from napari_segxai.io.forms.check import check_form
from napari_segxai.io.galleries import read_galleries
from napari_segxai.io.image_record import image_from_dict
from napari_segxai.io.results import Saved, open_folder, reading_record

SERIES = 4 * 1024
"""Bytes that images over steps may have for each pixel of the image."""

FINER, SMALL = 64 * 8, 1 << 28
"""Bytes that a map of a network layer may have: per pixel of the image, since layers can be finer, and in any case."""


@checked()
def load_explanation(folder: str | Path) -> Explanation:
    """Open an explanation that `Explanation.save` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder, or the record.json in it.

    Returns
    -------
    Explanation
        With the maps, masks, tables and the record that were saved: maps and masks value by value; numbers that were
        not finite are None in the record. The values of the image are read from its own file when they are needed.

    Raises
    ------
    UserError
        If the folder holds something else, was saved by another version, or was changed since.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> sx.load_explanation("results").record.method  # doctest: +SKIP
    'misure'
    """
    saved = open_folder(folder, "explanation")
    return read_explanation(saved, saved.record)


def read_explanation(saved: Saved, facts: Mapping[str, Any], below: str = "") -> Explanation:
    """Return an explanation from a folder of results.

    Parameters
    ----------
    facts
        What its record says, with the names of its files.
    below
        Beginning of the names of its files: of the folder inside the folder in which they lie, with a slash.

    Raises
    ------
    UserError
        If the record does not say what the record of an explanation says.
    """
    where = saved.folder / below
    if below:
        check_form(where, "explanation", facts)
    with reading_record(where, "explanation"):
        found = _read(saved, facts, below)
        _check(saved, found, facts, below)
    return found


def _read(saved: Saved, facts: Mapping[str, Any], below: str) -> Explanation:
    record = Record.from_dict(facts)
    image = image_from_dict(record.image)

    def on_grid(name: str, grid: Image = image) -> np.ndarray:
        return saved.on_grid(below + name, grid)

    native = native_affine = None
    largest = max(FINER * math.prod(image.spatial_shape), SMALL)
    files = saved.record["files"]
    if f"{below}saliency_native.tif" in files:
        native = saved.picture(f"{below}saliency_native.tif", largest)
    elif f"{below}saliency_native.nii.gz" in files:
        if facts["native_affine"] is not None:
            native_affine = np.array(facts["native_affine"], float)
        stored = saved.volume(f"{below}saliency_native.nii.gz", largest)
        native = on_native_grid(stored, native_affine, image)
    stages = saved.labels(f"{below}dilation_stages", image, 1 << 16) if facts["stage_table"] else None
    return Explanation(
        map=on_grid("saliency"),
        image=image,
        record=record,
        prediction=read_prediction(saved, facts["prediction"], record.model, image, below),
        native=native,
        native_affine=native_affine,
        maps={name: on_grid(file) for name, file in facts["maps"].items()},
        masks={name: on_grid(file) > 0 for name, file in facts["masks"].items()},
        stages=stages.astype(np.uint16) if stages is not None else None,
        series={name: _series(saved, below + file, image) for name, file in facts.get("series", {}).items()},
        stage_table=list(facts["stage_table"]),
        curves={
            name: {key: _numbers(values) for key, values in columns.items()}
            for name, columns in facts["curves"].items()
        },
        tables={name: list(rows) for name, rows in facts.get("tables", {}).items()},
        charts=charts_of(saved, below),
        galleries=read_galleries(saved, facts.get("galleries", ()), below),
        region=on_grid("region") > 0 if record.target["region"]["kind"] == "drawn" else None,
    )


def charts_of(saved: Saved, below: str = "") -> tuple[Chart, ...]:
    """Return the charts of a result; none where it has none."""
    name = f"{below}{CHARTS}"
    return tuple(map(chart_of, saved.json(name))) if name in saved.record["files"] else ()


def _series(saved: Saved, name: str, image: Image) -> np.ndarray:
    """Return images over steps, as they were written: (steps, *image grid)."""
    from napari_segxai.io.nifti.write import stored_on_grid

    stored = saved.volume(f"{name}.nii.gz", SERIES * math.prod(image.spatial_shape))
    frames = stored if stored.ndim == 4 else stored.reshape(*stored.shape, *(1,) * (4 - stored.ndim))
    return np.stack([stored_on_grid(frames[..., k], image) for k in range(frames.shape[-1])])


def _check(saved: Saved, found: Explanation, facts: Mapping[str, Any], below: str) -> None:
    """Raise an error if a record says one thing here and another there."""
    check_label(facts["target"]["label"], facts["model"]["labels"])
    check_region(found.target, facts["target"])
    check_slice(facts, found.image)
    if found.native is not None and found.native.ndim != found.image.spatial_dims:
        raise ValueError("saliency_native: has other axes than the image")
    if found.stages is not None and "stage" not in found.stage_table[0]:
        raise ValueError("stage_table has no column stage")
    if as_json(display_of(found.map, facts["display"]["unit"])) != as_json(facts["display"]):
        raise ValueError("display: it is that of another map")
    prediction = facts["prediction"] if isinstance(facts["prediction"], dict) else {}
    known = {
        *RESERVED,
        *facts["maps"].values(),
        *facts.get("series", {}).values(),
        *facts["masks"].values(),
        *prediction.values(),
    }
    if found.stages is None:
        known.remove("dilation_stages")
    if found.region is None:
        known.remove("region")
    for name in saved.record["files"]:
        file = name.removeprefix(below)
        if name.startswith(below) and "/" not in file and file.endswith(".nii.gz") and file[:-7] not in known:
            raise ValueError(f"{file}: it is among the files, and nothing says what it is")


def check_slice(facts: Mapping[str, Any], image: Image) -> None:
    """Raise an error if the slice or axis of a record is none of its image."""
    if (facts["slice"], facts["axis"]) != (None, None) and image.spatial_dims != 3:
        raise ValueError("slice and axis: the image has none")
    if facts["slice"] is not None and facts["slice"] >= max(image.spatial_shape):
        raise ValueError("slice: it lies outside the image")


def check_label(label: str | int, labels: Sequence[str]) -> None:
    """Raise an error if the label of a target is none of the model's."""
    if label not in labels and not (isinstance(label, int) and label < len(labels)):
        raise ValueError(f"target.label: the model has no label {label!r:.100}")


def check_region(target: Target, facts: Mapping[str, Any]) -> None:
    """Raise an error if a drawn region is not the one of which the record tells."""
    if target.as_dict()["region"] != facts["region"]:
        raise ValueError("target.region: the region that is saved is another one")


def read_prediction(
    saved: Saved, files: str | Mapping[str, str], model: Mapping[str, Any], image: Image, below: str = ""
) -> np.ndarray:
    """Return the prediction that `write_prediction` wrote.

    Parameters
    ----------
    files
        What it returned.
    model
        What a record says of the model.
    image
        On whose grid it lies.
    below
        Beginning of the names of its files.
    """
    labels = model["labels"]
    if (order := model.get("paint_order")) is not None and sorted(order) != sorted(labels[1:]):
        raise ValueError("model.paint_order: names other labels")
    if (thresholds := model.get("thresholds")) is not None and list(thresholds) != labels[1:]:
        raise ValueError("model.thresholds: names other labels")
    if isinstance(files, str) == model["overlapping"]:
        raise ValueError("prediction: it does not fit model.overlapping")
    if not isinstance(files, str):
        return np.stack([saved.on_grid(below + files[name], image) > 0 for name in labels[1:]])
    return saved.labels(below + files, image, len(labels)).astype(label_dtype(len(labels)))


def on_native_grid(stored: np.ndarray, affine: np.ndarray | None, image: Image) -> np.ndarray:
    """Bring a volume of a network layer's map from the order of its file to that of the image."""
    if affine is not None:
        return stored
    from napari_segxai.io.nifti.write import stored_on_grid

    turned = stored.transpose(2, 1, 0)
    return stored_on_grid(stored, native_image(np.ascontiguousarray(turned), None, image))


def _numbers(values: list[Any]) -> list[Any]:
    return [float("nan") if value is None else value for value in values]
