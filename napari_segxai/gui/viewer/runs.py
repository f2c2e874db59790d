"""The runs in a viewer: their names, which prediction is there already, and which results are hidden for a new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import frame_words
from napari_segxai.core.target import region_words
from napari_segxai.gui.viewer import events
from napari_segxai.methods.registry import find_method

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_segxai.analyses.explain.result import Explanation

LayerData = tuple[Any, dict, str]

MOST_FACTS = 3
"""That a name tells: a list of layers has room for little more."""

LONGEST = 28
"""Characters of one fact."""

TOLD = "segxai_told"
"""In the metadata of a layer that is named by what tells its run from the others: those words."""

STEPPED_BACK = "segxai_stepped_back"
"""In the metadata of a prediction that was hidden for another one."""


def role(data: LayerData) -> str:
    """Return what a layer of an explanation is."""
    return data[1]["metadata"]["segxai_role"]


def new_run(viewer: ViewerModel, explanation: Explanation, about: str | None = None) -> list[LayerData]:
    """Return the layers of an explanation that the viewer lacks, named and numbered; older results are hidden.

    Parameters
    ----------
    about
        What the names say about the run; by default what distinguishes it from the others.
    """
    runs = records(viewer)
    number = max(runs, default=0) + 1
    by_facts = about is None
    if by_facts:
        runs[number] = explanation.record.as_dict()
        about = describe_run(runs[number], [other for key, other in runs.items() if key != number])
    found = explanation.to_layers(number, about=about)
    for _, kwargs, _ in found if by_facts else ():
        kwargs["metadata"][TOLD] = about
    rename_older(viewer, runs)
    same = {k: _same_prediction(viewer, data) for k, data in enumerate(found) if role(data) == "prediction"}
    hide_older(viewer, predictions=None in same.values())
    for layer in same.values():
        if layer is not None and layer.metadata.pop(STEPPED_BACK, False):
            layer.visible = True
    return [data for k, data in enumerate(found) if same.get(k) is None]


def rename_older(viewer: ViewerModel, runs: Mapping[int, Mapping[str, Any]]) -> None:
    """Let the names of earlier runs, too, say what distinguishes them from the others; a name that the user gave stays."""
    for layer in viewer.layers:
        number, old = layer.metadata.get("segxai_number"), layer.metadata.get(TOLD)
        if old is None or number not in runs or f"#{number} · {old}" not in layer.name:
            continue
        new = describe_run(runs[number], [other for key, other in runs.items() if key != number])
        if new != old:
            layer.metadata[TOLD] = new
            layer.name = layer.name.replace(f"#{number} · {old}", f"#{number} · {new}")


def records(viewer: ViewerModel) -> dict[int, Mapping[str, Any]]:
    """Return the records of the runs whose results are in the viewer, by number."""
    held = [layer.metadata for layer in viewer.layers if isinstance(layer.metadata.get("segxai_number"), int)]
    return {meta["segxai_number"]: meta["segxai"] for meta in held}


def hide_older(viewer: ViewerModel, *, predictions: bool = False) -> None:
    """Hide the results of earlier runs, unless layers lie side by side in napari's grid.

    Parameters
    ----------
    predictions
        Whether predictions are hidden, too.
    """
    if viewer.canvas.grid.enabled:
        return
    for layer in viewer.layers:
        kind = layer.metadata.get("segxai_role")
        if "segxai" not in layer.metadata:
            continue
        back = layer.metadata.pop(events.IN_3D, False) if kind != "prediction" or predictions else False
        if not (layer.visible or back):
            continue
        if kind != "prediction":
            layer.visible = False
        elif predictions:
            layer.metadata[STEPPED_BACK] = True
            layer.visible = False


def describe_run(record: Mapping[str, Any], others: Any) -> str:
    """Describe a run in a few words: its method, and what distinguishes it from the other runs.

    Parameters
    ----------
    record
        Of the run.
    others
        Records of the other runs.
    """
    own = _facts(record)
    rest = [_facts(other) for other in others]
    several = len(record["model"]["labels"]) > 2
    words = []
    for key, word in own.items():
        differs = any(key in other and other[key] != word for other in rest)
        if key in ("method", "frame") or differs or (key == "label" and several):
            words.append(shortened(word, LONGEST))
    more = " …" if len(words) > MOST_FACTS + 1 else ""
    return " · ".join(words[: MOST_FACTS + 1]) + more


def shortened(word: str, most: int) -> str:
    """Shorten a word to at most so many characters in its middle, since long names mostly differ at their ends."""
    half = (most - 1) // 2
    return word if len(word) <= most else f"{word[:half]}…{word[-half:]}"


def _facts(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what a run was asked, in words, the most telling first; parameters are those of one method."""
    target, method = record["target"], record["method"]
    error, against, band = target.get("error"), target.get("against"), target.get("boundary")
    where = region_words(target["region"]) if error is None else f"{error} {target['component']}"
    facts = {"method": method, "label": target["label"], "region": where}
    facts["against"] = "no contrast" if against is None else f"rather than {against}"
    facts["boundary"] = "no border" if band is None else f"border {band[0]:g} to {band[1]:g}"
    if frame := frame_words(record["image"].get("at", {})):
        facts["frame"] = frame
    try:
        layers = find_method(method).layer_parameters
    except UserError:  # a method of another version: its parameters are named in full
        layers = ()
    for name, value in record["parameters"].items():
        facts[f"{method} {name}"] = (
            str(value) if name in layers else f"{name.replace('_', ' ')} {_word(value)}"
        )
    facts["seed"] = f"seed {record['seed']}"
    facts["slice"] = "every slice" if record["slice"] is None else f"slice {record['slice']}"
    facts["score"], facts["reduction"] = target["score"], target["reduction"]
    facts["model"], facts["image"] = record["model"]["name"], record["image"]["name"]
    return facts


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "auto"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _same_prediction(viewer: ViewerModel, data: LayerData) -> Layer | None:
    """Return the layer that shows this prediction of the same model and image already, if there is one."""
    array, kwargs, _ = data
    record = kwargs["metadata"]["segxai"]
    for layer in viewer.layers:
        held = layer.metadata.get("segxai")
        if held is None or layer.metadata.get("segxai_role") != "prediction":
            continue
        asked = all(held[part].get("name") == record[part].get("name") for part in ("model", "image"))
        asked = asked and layer.metadata.get("segxai_name") == kwargs["name"]
        asked = asked and held["image"].get("at") == record["image"].get("at")
        if asked and layer.data.shape == array.shape and np.array_equal(layer.data, array):
            return layer
    return None
