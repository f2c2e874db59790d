"""Results that were saved, as layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import napari

from napari_segxai.analyses.explain.load import load_explanation
from napari_segxai.analyses.flow.load import load_flow
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.gui.viewer.runs import LONGEST, shortened
from napari_segxai.io.layer_data import layers_from_image
from napari_segxai.io.results import open_folder

LayerData = tuple[Any, dict[str, Any], str]


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
        kwargs["metadata"]["segxai_folder"] = folder
    return layers


def _of_explanation(folder: str) -> Iterator[LayerData]:
    explanation = load_explanation(folder)
    yield from image_layers(explanation.image)
    yield from explanation.to_layers()


def _of_flow(folder: str) -> Iterator[LayerData]:
    """Yield the image, the prediction, and the maps of the tiles that were saved; of none, those where labels emerge."""
    flow = load_flow(folder)
    keys = [(label, layer) for label, layer, _ in open_folder(folder).record["tiles"]]
    keys = keys or [(label, (flow.emergence(label) or flow.layers[-1]).name) for label in flow.labels]
    yield from image_layers(flow.image)
    for position, (label, layer) in enumerate(keys):
        about = f"{shortened(label, LONGEST)} at {shortened(layer, LONGEST)}"
        for array, kwargs, kind in flow.explanation(label, layer).to_layers(
            prediction=position == 0, about=about
        ):
            if kind == "image" and position + 1 < len(keys):  # maps lie upon each other: one is seen at first
                kwargs["visible"] = False
            yield array, kwargs, kind


LAYERS: dict[str, Callable[[str], Iterator[LayerData]]] = {
    "explanation": _of_explanation,
    "information flow": _of_flow,
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


def _path_of(metadata: dict[str, Any]) -> str | None:
    """Return the file of a layer that is an image, as our reader notes it."""
    if "segxai" in metadata:
        return None
    return metadata.get("nifti", metadata).get("path")
