"""Opening an information flow that was saved."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.analyses.explain.load import check_slice, read_prediction
from napari_segxai.analyses.flow.plan import METHODS
from napari_segxai.analyses.flow.result import KIND, MAPS, TABLE, Flow
from napari_segxai.analyses.flow.tiles import NUMBERS, OPTIONAL, Remark, Tile
from napari_segxai.core.arguments import checked
from napari_segxai.core.image import Image
from napari_segxai.core.progress import Passes
from napari_segxai.io.arrays import read_arrays
from napari_segxai.io.image_record import image_from_dict
from napari_segxai.io.results import Saved, open_folder, reading_record
from napari_segxai.io.tables import as_cell
from napari_segxai.methods.registry import find_method
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.preprocessing.spatial import Placement

FACTS = (
    "target",
    "model",
    "image",
    "device",
    "seed",
    "slice",
    "axis",
    "unit",
    "engine",
    "created",
    "versions",
)
"""What of a record is `Flow.facts`."""


@checked()
def load_flow(folder: str | Path) -> Flow:
    """Open an information flow that `Flow.save` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder, or the record.json in it.

    Returns
    -------
    Flow
        With the tiles, numbers, advice and warnings that were saved; figure, table and layers are made of these, without
        the model. `causal_check` has to be given the model, and reads the values of the image from its own file.

    Raises
    ------
    UserError
        If the folder holds something else, was saved by another version, or was changed since.

    Examples
    --------
    >>> import napari_segxai as sx
    >>> flow = sx.load_flow("flow")  # doctest: +SKIP
    >>> flow.emergence("white matter").name  # doctest: +SKIP
    'decoder1'
    """
    saved = open_folder(folder, KIND)
    with reading_record(saved.folder, KIND):
        return _read(saved, saved.record)


def _read(saved: Saved, facts: Mapping[str, Any]) -> Flow:
    layers = tuple(_layer(each) for each in facts["network_layers"])
    labels, placement = tuple(facts["labels"]), _placement(facts["placement"])
    image = image_from_dict(facts["image"])
    _check(facts, image)
    arrays = read_arrays(
        saved.file(MAPS),
        {
            **{f"drawn_{row}": (placement.shape, "bool") for row in range(len(labels))},
            **{
                f"map_{row}_{column}": (layer.shape[1:], "float32")
                for row in range(len(labels))
                for column, layer in enumerate(layers)
            },
        },
    )
    with saved.file(TABLE).open(newline="", encoding="utf-8") as file:
        rows = iter(zip(list(csv.DictReader(file)), facts["advice"], strict=True))
    tiles = {}
    for row, label in enumerate(labels):
        for column, layer in enumerate(layers):
            numbers, remarks = next(rows)
            tiles[label, layer.name] = Tile(
                label,
                layer,
                arrays[f"map_{row}_{column}"],
                **{name: _number(numbers.get(name, ""), name) for name in NUMBERS},
                remarks=tuple(_remark(each) for each in remarks),
            )
            _check_row(tiles[label, layer.name], numbers)
    drawn = facts["target"]["region"]["kind"] == "drawn"
    return Flow(
        image=image,
        method=facts["method"],
        options=find_method(facts["method"]).make_options(facts["parameters"]),
        layers=layers,
        labels=labels,
        tiles=tiles,
        passes=Passes(**facts["passes"]),
        placement=placement,
        drawn={label: arrays[f"drawn_{row}"] for row, label in enumerate(labels)},
        facts={name: facts[name] for name in FACTS},
        region=saved.on_grid("region", image) > 0 if drawn else None,
        seconds=facts["seconds"],
        warnings=list(facts["warnings"]),
        notes={label: list(facts["notes"][label]) for label in labels},
        missed=dict(facts["missed"]),
        truth=_truth(saved, image),
        truth_notes=list(facts.get("truth_notes", ())),
        bottlenecks=tuple(facts["bottlenecks"]),
        attention=bool(facts["attention"]),
        known_prediction=read_prediction(saved, facts["prediction"], facts["model"], image),
    )


def _truth(saved: Saved, image: Image) -> np.ndarray | None:
    """Return the true labels as they were given, in the form of a prediction."""
    files, model = saved.record.get("truth"), saved.record["model"]
    if files is None:
        return None
    if model["overlapping"]:
        return read_prediction(saved, files, model, image)
    return saved.labels(files, image, 1 << 16).astype(np.uint16)  # as `truth_labels` gives it


def _check(facts: Mapping[str, Any], image: Image) -> None:
    """Raise an error if a record says one thing here and another there."""
    if facts["method"] not in METHODS:
        raise ValueError(f"method: there is none that is called {facts['method']!r:.100}")
    check_slice(facts, image)
    if facts["layers"] != [layer["name"] for layer in facts["network_layers"]]:
        raise ValueError("layers: network_layers has others")
    for name, known in (("labels", facts["model"]["labels"]), ("bottlenecks", facts["layers"])):
        if unknown := [each for each in facts[name] if each not in known]:
            raise ValueError(f"{name}: there is no {unknown[0]!r:.100}")
    place, n = facts["placement"], image.spatial_dims
    order, flips = place["turn"]
    kinds = [{type(each) for each in part} for part in (order, flips)]
    if sorted(order) != list(range(n)) or len(flips) != n or kinds != [{int}, {bool}]:
        raise ValueError("placement.turn: does not fit the axes of the image")
    if tuple(place["image_shape"]) != image.spatial_shape:
        raise ValueError("placement.image_shape: the image has another shape")
    if place["slice"] is not None and place["slice"] >= image.spatial_shape[order[0]]:
        raise ValueError("placement.slice: lies outside the image")
    box = place.get("box")
    if box is not None and (
        len(box) != n - (place["slice"] is not None)
        or any(
            not start < stop <= image.spatial_shape[axis]
            for (start, stop), axis in zip(box, order[-len(box) :], strict=True)
        )
    ):
        raise ValueError("placement.box: lies outside the image")
    shape, inner = place["shape"], place["resampled_shape"]
    start = place.get("start")
    starts = [0] * len(shape) if start is None else start
    if {len(shape), len(inner), len(starts)} != {n - (place["slice"] is not None)} or any(
        not -at < many or not at < cells or (start is None and cells > many)
        for at, cells, many in zip(starts, inner, shape, strict=True)
    ):
        raise ValueError("placement.shape: does not fit the image")
    if any(place.get(name) is not None and len(place[name]) != len(shape) for name in ("steps", "first")):
        raise ValueError("placement.steps: does not fit the grid")
    if any(len(layer["shape"]) != len(shape) + 1 for layer in facts["network_layers"]):
        raise ValueError("network_layers: a shape does not fit the model grid")
    if any(
        label not in facts["labels"] or layer not in facts["layers"]
        for label, layer, _ in facts.get("tiles", ())
    ):
        raise ValueError("tiles: names others than labels and layers")


def _check_row(tile: Tile, row: Mapping[str, str]) -> None:
    """Raise an error if a row of the table tells of another tile than the record does at its place."""
    for name, value in tile.as_row().items():
        if name not in NUMBERS and row[name] != str(as_cell(value)):
            raise ValueError(
                f"{TABLE}: {name} is {row[name]!r:.100}, and the record tells of {str(value)!r:.100}"
            )


def _number(text: str, name: str) -> float | None:
    return None if text == "" and name in OPTIONAL else float(text)


def _remark(facts: Mapping[str, Any]) -> Remark:
    words, numbers = tuple(map(str, facts["words"])), tuple(map(str, facts["numbers"]))
    for number in numbers:
        float(number)  # raises
    if len(words) != len(numbers) + 1:
        raise ValueError("advice that is not a sentence")
    return Remark(str(facts["rule"]), words, numbers)


def _layer(facts: Mapping[str, Any]) -> NetworkLayer:
    return NetworkLayer(
        **{**facts, "shape": tuple(int(n) for n in facts["shape"]), "aliases": tuple(facts["aliases"])}
    )


def _placement(facts: Mapping[str, Any]) -> Placement:
    whole = lambda name: tuple(int(n) for n in facts[name])  # noqa: E731
    order, flips = facts["turn"]
    turn = tuple(int(k) for k in order), tuple(bool(flip) for flip in flips)
    shapes = {name: whole(name) for name in ("image_shape", "resampled_shape", "shape")}
    box, apart = facts.get("box"), facts.get("apart", (None, None))
    cut = {"box": None if box is None else tuple(tuple(ends) for ends in box), "apart": tuple(apart)}
    for name in ("steps", "first"):
        cut[name] = None if facts.get(name) is None else tuple(map(float, facts[name]))
    cut["start"] = None if facts.get("start") is None else whole("start")
    return Placement(**{**facts, **shapes, **cut, "turn": turn})
