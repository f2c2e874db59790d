"""Results that were saved, as layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import ref

import napari
import numpy as np

from napari_segxai.analyses.compare.load import load_comparison
from napari_segxai.analyses.compare.result import Comparison
from napari_segxai.analyses.concepts.load import load_survey
from napari_segxai.analyses.explain.load import load_explanation
from napari_segxai.analyses.flow.load import load_flow
from napari_segxai.analyses.sweep.load import load_sweep
from napari_segxai.analyses.sweep.result import best_cells
from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.figures.colormaps import SIGNED, UNSIGNED
from napari_segxai.gui.viewer.layers import dress
from napari_segxai.gui.viewer.runs import LONGEST, shortened
from napari_segxai.io.held import RECORD
from napari_segxai.io.layer_data import layer_metadata, layer_transform, layers_from_image
from napari_segxai.io.placing import on_axes_of_layer
from napari_segxai.io.results import open_folder

LayerData = tuple[Any, dict[str, Any], str]

FOLDERS = "segxai_opened"
"""In the metadata of a layer of an opened result: the folders of all that it is part of, by their kinds."""

MAP = "segxai_map"
"""In the metadata of a layer of an opened comparison or sweep: the name of its map there."""


def layers_of_saved(path: str | Path) -> list[LayerData]:
    """Return the layers of a saved result, lowest first; see `reader.read_results`."""
    kind = open_folder(path).kind
    if kind not in LAYERS:
        raise UserError(
            f"{path} holds a result without layers; open it in Python, or look at the tables and pictures in its folder."
        )
    folder = str(Path(path).parent if Path(path).is_file() else path)
    layers = list(LAYERS[kind](folder))
    for _, kwargs, _ in layers:
        meta = kwargs["metadata"]
        meta.setdefault("segxai_folder", folder)
        if "segxai_role" in meta or MAP in meta:  # not the image
            meta[FOLDERS] = {kind: folder, **meta.get(FOLDERS, {})}
    dress_what_is_opened()
    return layers


def dress_what_is_opened() -> None:
    """Let the layers of opened results get what cannot be given with their data, once napari has made them."""
    if (viewer := napari.current_viewer()) is not None:
        viewer.layers.events.inserted.connect(_dress)  # connecting it again changes nothing


def _dress(event: Any) -> None:
    """Give outlines, colour bar and caption to a layer that napari has made of an opened result."""
    viewer, layer = napari.current_viewer(), event.value
    if viewer is not None and "segxai_folder" in layer.metadata and "segxai_role" in layer.metadata:
        dress(viewer, layer)


def _of_explanation(folder: str) -> Iterator[LayerData]:
    explanation = load_explanation(folder)
    yield from image_layers(explanation.image)
    yield from explanation.to_layers()


def _of_flow(folder: str) -> Iterator[LayerData]:
    """Yield the image, the prediction, and the maps of the tiles that were saved; of none, those where labels emerge."""
    flow = load_flow(folder)
    record = open_folder(folder).record
    saved = {
        (label, layer): own
        for label, layer, own in record.get("tiles", ())
        if f"{own}/{RECORD}" in record["files"]  # nothing outside the folder
    }
    keys = list(saved) or [(label, (flow.emergence(label) or flow.layers[-1]).name) for label in flow.labels]
    yield from image_layers(flow.image)
    for position, (label, layer) in enumerate(keys):
        about = f"{shortened(label, LONGEST)} at {shortened(layer, LONGEST)}"
        for array, kwargs, kind in flow.explanation(label, layer).to_layers(
            prediction=position == 0, about=about
        ):
            if kind == "image" and position + 1 < len(keys):  # maps lie upon each other: one is seen at first
                kwargs["visible"] = False
            if (label, layer) in saved:
                kwargs["metadata"][FOLDERS] = {"explanation": str(Path(folder, saved[label, layer]))}
            yield array, kwargs, kind


def _of_comparison(folder: str) -> Iterator[LayerData]:
    found = load_comparison(folder)
    yield from _maps(folder, found, list(found.maps))


def _of_sweep(folder: str) -> Iterator[LayerData]:
    """Yield the image, the prediction, and the map of the best combination by the first number that has a better end."""
    found = load_sweep(folder)
    numbers = [number for number in found.numbers if number.better]
    best = np.flatnonzero(best_cells(found.array(numbers[0]), numbers[0].better)) if numbers else ()
    yield from _maps(
        folder, found.comparison, [list(found.comparison.maps)[int(best[0]) if len(best) else 0]]
    )


def _maps(folder: str, comparison: Comparison, names: Sequence[str]) -> Iterator[LayerData]:
    """Yield the image, the prediction and maps, which lie upon each other: the last is seen at first."""
    yield from image_layers(comparison.image)
    folders = {name: told["folder"] for name, told in open_folder(folder).record["maps"].items()}
    told = False
    for name in names:
        explanation = comparison.explanations.get(name)
        if explanation is None:
            layers = [_own_map(comparison.image, comparison.maps[name], name)]
        else:
            bare = replace(explanation, masks={}, maps={}, stages=None)
            layers = bare.to_layers(prediction=not told, about=shortened(name, LONGEST))
            told = True
        for array, kwargs, kind in layers:
            if kind == "image" and name != names[-1]:
                kwargs["visible"] = False
            if explanation is not None:  # it has a record of its own, from which its plan is made again
                own = kwargs["metadata"]["segxai_folder"] = str(Path(folder, folders[name]))
                kwargs["metadata"][FOLDERS] = {"explanation": own}
            if kind == "image":
                kwargs["metadata"][MAP] = name
            yield array, kwargs, kind


def _own_map(image: Image, map: np.ndarray, name: str) -> LayerData:
    """Return the layer of a map that was given as an array, and has no record."""
    shown, placed = on_axes_of_layer(
        np.ascontiguousarray(orientation.apply(map, image.to_display)), image.layer
    )
    end, signed = float(np.abs(map).max()) or 1.0, map.min() < 0
    return (
        shown,
        {
            **layer_transform(image),
            **placed,
            "metadata": layer_metadata(image),
            "name": name,
            "colormap": SIGNED if signed else UNSIGNED,
            "contrast_limits": (-end if signed else 0.0, end),
            "blending": "translucent_no_depth",
        },
        "image",
    )


def _of_survey(folder: str) -> Iterator[LayerData]:
    """Yield the images of the cases of which maps are kept, each with its maps; the first map over its image is seen at first."""
    cases: list[str] = []
    maps = 0
    for array, kwargs, kind in load_survey(folder).to_layers():
        meta = kwargs["metadata"]
        if "segxai_case" in meta:
            meta[MAP] = meta["segxai_name"]
            maps += 1
            kwargs["visible"] = maps == 1
        else:
            cases.append(kwargs["name"])
            kwargs["visible"] = len(cases) == 1
        yield array, kwargs, kind


LAYERS: dict[str, Callable[[str], Iterator[LayerData]]] = {
    "explanation": _of_explanation,
    "information flow": _of_flow,
    "comparison": _of_comparison,
    "sweep": _of_sweep,
    "survey": _of_survey,
}


def image_layers(image: Image) -> list[LayerData]:
    """Return layers of an image that was explained; none if it is shown already, or its values are not there any more."""
    viewer = napari.current_viewer()
    if viewer is not None and any(_path_of(layer.metadata) == image.path for layer in viewer.layers):
        return []
    if "around" in image.layer:  # it is one time point, or one place, of a file with more
        return []
    try:
        _ = image.array
    except UserError:
        return []
    return layers_from_image(image)


def image_layer_of(viewer: Any, image: Image) -> Any | None:
    """Return the layer of a viewer that shows an image, as far as their files tell."""
    same = (layer for layer in viewer.layers if image.path and _path_of(layer.metadata) == image.path)
    return next((layer for layer in same if layer._type_string == "image"), None)


def layers_opened(viewer: Any, kind: str, folder: str) -> dict[str, ref[Any]]:
    """Return the layers of a viewer that were opened with a comparison or sweep, by the names of their maps."""
    return {
        layer.metadata[MAP]: ref(layer)
        for layer in viewer.layers
        if MAP in layer.metadata and folder_of(layer, kind) == folder
    }


def folder_of(layer: Any | None, kind: str) -> str | None:
    """Return the folder of the result of a kind that a layer was opened with, if it was."""
    folders = layer.metadata.get(FOLDERS) if layer is not None else None
    return folders.get(kind) if isinstance(folders, dict) else None


def _path_of(metadata: dict[str, Any]) -> str | None:
    """Return the file of a layer that is an image, as our reader notes it."""
    if "segxai" in metadata:
        return None
    return metadata.get("nifti", metadata).get("path")
