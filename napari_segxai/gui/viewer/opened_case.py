"""A case of a cohort as layers, piece by piece: its image, its truth, and the maps that were saved of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.analyses.cohort.result import CASES
from napari_segxai.analyses.explain.load import load_explanation
from napari_segxai.core.errors import UserError
from napari_segxai.gui.viewer.opened import FOLDERS, LayerData, dress_what_is_opened
from napari_segxai.io import read_image
from napari_segxai.io.cases.case import Case
from napari_segxai.io.held import RECORD, look
from napari_segxai.io.layer_data import layers_from_image

CASE = "segxai_case"
"""In the metadata of a layer of a case: the folder of its cohort, its id, and the label and map where it is of one."""

OUTLINED = "segxai_outlined"
"""In the metadata of a layer of labels of which the outline is shown."""


@dataclass(frozen=True)
class Piece:
    """What is read at once of a case.

    Attributes
    ----------
    name
        "image", "truth", "map" for the map that was asked for, "map 1", ... for the others.
    read
        Returns its layers, lowest first; raises UserError where it cannot be read.
    place
        The slice that is gone to, as an axis of the layer and an index; None where the map of another case says it.
    """

    name: str
    read: Callable[[], Iterator[LayerData]]
    place: tuple[int, int] | None = None


def case_of_folder(path: str | Path) -> tuple[Path, Mapping[str, Any], str] | None:
    """Return the folder of the cohort, its record, and the id of the case whose results a folder holds; None if it holds none."""
    path = Path(path)
    if path.parent.name != CASES or not path.is_dir() or not (path.parents[1] / RECORD).is_file():
        return None
    try:
        held = look(path.parents[1])
    except UserError:
        return None
    if held.kind != "cohort":
        return None
    from napari_segxai.io.forms.check import check_form

    check_form(path.parents[1], held.kind, held.record)
    found = [case["id"] for case in held.record["cases"] if case["folder"] == path.name]
    return (path.parents[1], held.record, found[0]) if found else None


def pieces_of(
    folder: Path, record: Mapping[str, Any], case: str, label: str = "", map: str = ""
) -> list[Piece]:
    """Return what there is of a case, in the order in which it is looked at.

    Parameters
    ----------
    folder, record
        Of the cohort.
    label, map
        The map that comes first, with all its regions; of the others the map alone.
    """
    told = next(one for one in record["cases"] if one["id"] == case)
    maps = [
        (job["label"], job["map"], folder / CASES / told["folder"] / job["place"])
        for job in record["jobs"]
        if job["kind"] == "map"
    ]
    maps = [one for one in maps if _kept(one[2])]
    maps.sort(key=lambda one: (one[0] != label if label else 0, one[1] != map if map else 0))
    pieces = [Piece("image", partial(image_of, told, {CASE: _of_case(folder, case)}))]
    if maps:
        pieces.append(Piece("map", partial(_map, folder, case, *maps[0], whole=True)))
    if told["truth"] is not None:
        pieces.append(Piece("truth", partial(truth_of, told, {CASE: _of_case(folder, case)})))
    for k, one in enumerate(maps[1:], 1):
        pieces.append(Piece(f"map {k}", partial(_map, folder, case, *one, whole=False)))
    return pieces


def layers_of_case(path: str | Path) -> list[LayerData]:
    """Return all layers of the case whose results a folder holds, lowest first; what cannot be read is left out.

    Raises
    ------
    UserError
        If the folder holds no case of a cohort, or nothing of it can be read.
    """
    found = case_of_folder(path)
    if found is None:
        raise UserError(f"{path}: holds no case of a cohort; name a folder in the folder `cases` of one.")
    layers: dict[str, list[LayerData]] = {}
    why = ""
    for piece in pieces_of(*found):
        try:
            layers[piece.name] = list(piece.read())
        except UserError as error:
            why = why or str(error)
    if not layers:
        raise UserError(why)
    order = sorted(layers, key=lambda name: {"image": 0, "truth": 1}.get(name, 2))
    dress_what_is_opened()
    return [data for name in order for data in layers[name]]


def _of_case(folder: Path, case: str, label: str = "", map: str = "") -> dict[str, str]:
    return {"cohort": str(folder), "case": case, "label": label, "map": map}


def _kept(place: Path) -> bool:
    """Tell whether the maps of a job were kept, and not its rows alone."""
    try:
        return look(place).kind == "explanation"
    except UserError:
        return False


def image_of(told: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[LayerData]:
    """Read the image of a case of a record.

    Parameters
    ----------
    told
        What the record says of the case.
    about
        Goes into the metadata of its layers.
    """
    image = Case(told["id"], tuple(Path(path) for path in told["images"])).read()
    for array, kwargs, kind in layers_from_image(image):
        kwargs["metadata"].update(about)
        yield array, kwargs, kind


def truth_of(told: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[LayerData]:
    """Read the truth of a case of a record, hidden at first; see `image_of`."""
    image = read_image(told["truth"])
    values = image.array
    whole = values.dtype.kind in "biu" or bool(np.array_equal(values, np.rint(values)))
    for array, kwargs, _ in layers_from_image(image):
        kwargs["name"] = f"truth · {kwargs['name']}"
        kwargs["metadata"].update(about)
        if not whole or kwargs.pop("rgb", False):
            yield array, kwargs, "image"
            continue
        for word in ("blending", "contrast_limits"):
            kwargs.pop(word, None)
        kind = np.uint8 if array.min() >= 0 and array.max() < 256 else np.int32
        yield array.astype(kind), {**kwargs, "opacity": 0.4, "visible": False}, "labels"


def _map(folder: Path, case: str, label: str, map: str, place: Path, *, whole: bool) -> Iterator[LayerData]:
    explanation = load_explanation(place)
    about = f"{map} · {label} · {case}"
    for array, kwargs, kind in explanation.to_layers(prediction=whole, about=about):
        meta = kwargs["metadata"]
        if not whole:
            if meta["segxai_role"] != "saliency":
                continue
            kwargs["visible"] = False
        meta["segxai_folder"] = str(place)
        meta[FOLDERS] = {"explanation": str(place), "cohort": str(folder)}
        meta[CASE] = _of_case(folder, case, label, map)
        if meta["segxai_role"] == "prediction":
            kwargs["name"] += f" · {case}"
        yield array, kwargs, kind


def richest_plane(found: Sequence[LayerData]) -> int | None:
    """Return the plane, along the first axis of the layer, that has most of a map; None without a map of a volume."""
    for array, kwargs, _ in found:
        if kwargs["metadata"].get("segxai_role") == "saliency" and array.ndim == 3:
            return int(np.argmax([_amount(plane) for plane in array]))
    return None


def _amount(plane: np.ndarray) -> float:
    """Return how much of a map a plane has: plane by plane, since whole volumes would be copied several times."""
    found = float(np.abs(plane).sum())
    return found if np.isfinite(found) else float(np.abs(np.nan_to_num(plane)).sum())
