"""Small folders of results of every kind, and ways in which a stranger or a broken disk harms them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from helpers.labels import nested, regions
from helpers.networks import LinearHead, card, planted_image, planted_model
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer

import napari_segxai as sx
from napari_segxai.gui.viewer.displayed import displayed_image
from napari_segxai.io.held import file_digest

HARMS: tuple[Any, ...] = (
    None, "", [], {}, -1, 1e308, float("nan"), 10**40, 10**9, True, "x" * 100_000, "../../etc/passwd", "/etc/passwd",
    "a\0b", "a\nb", "C:\\a\\b", [None], {"": None}, [[[]]], 0, 1.5, "object",
)  # fmt: skip
"""What stands in a record in place of a value."""

GONE = object()
"""In place of a value: its key is left out."""


def turned_volume(folder: Path) -> sx.Image:
    """An oblique volume with pixels that are no cubes."""
    affine = np.array([[0, 1.5, 0.2, -7], [-2, 0, 0, 3], [0, 0.3, 2.5, 1], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(planted_image(3).array, affine), folder / "head.nii.gz")
    return sx.read_image(folder / "head.nii.gz")


def an_explanation(folder: Path) -> Any:
    region = np.zeros((6, 32, 32), bool)
    region[1:5, 16:26, 6:16] = True
    target = sx.Target("object", region=region)
    found = sx.explain(planted_model(3), turned_volume(folder), target, "misure", iterations=4)
    sx.check(found, planted_model(3), checks=["other-seed"])
    return found


def of_a_film(folder: Path) -> Any:
    """One time point, with stages, of a layer that lies turned in a viewer."""
    film = np.stack([planted_image().array * k for k in (0, 1, 2)])
    viewer = ViewerModel()
    placed = {"scale": (3, 0.5, 2), "axis_labels": ("t", "y", "x"), "units": ("s", "um", "um")}
    layer = viewer.add_layer(ImageLayer(film, name="film", rotate=20, **placed))
    viewer.dims.set_point(0, 3.0)
    model = planted_model()
    return sx.explain(model, displayed_image(layer, viewer, 1).image, "object", "misure", iterations=2)


def of_overlapping_labels(folder: Path) -> Any:
    model = regions(paint_order=["whole", "core", "enhancing"])
    return sx.explain(model, nested(), "core", "vanilla-gradient")


def at_a_layer(folder: Path) -> Any:
    image = planted_image(3).array
    return sx.explain(
        planted_model(3), sx.Image(image, spacing=(1, 2, 1.5)), "object", "seg-grad-cam", layer="mix"
    )


def a_comparison(folder: Path) -> Any:
    image = planted_image()
    asked = {"metrics": ["ips", "insertion-dice"], "steps": 3, "chance": 2, "controls": 1}
    target = sx.Target("object", region=image.array > 0.5)
    return sx.compare(
        planted_model(),
        image,
        target,
        ["vanilla-gradient"],
        maps={"own": image.array},
        truth=image.array > 0.8,
        **asked,
    )


def a_sweep(folder: Path) -> Any:
    asked = {"metrics": ["ips"], "chance": 2}
    return sx.sweep(
        planted_model(), planted_image(), "object", "misure:iterations=2", {"lam": [0.1, 1]}, **asked
    )


def a_flow(folder: Path) -> Any:
    array = np.random.default_rng(0).normal(size=(8, 10, 3)).astype(np.float32)
    model = sx.load_model(LinearHead(inputs=3), card=card(channels=["r", "g", "b"]))
    return sx.information_flow(
        model, sx.Image(array, channel_axis=2), region="image", layers="all", causal=True
    )


MAKE: dict[str, tuple[Callable[[Path], Any], Callable[..., Any]]] = {
    "explanation": (an_explanation, sx.load_explanation),
    "film": (of_a_film, sx.load_explanation),
    "overlapping": (of_overlapping_labels, sx.load_explanation),
    "layer": (at_a_layer, sx.load_explanation),
    "comparison": (a_comparison, sx.load_comparison),
    "sweep": (a_sweep, sx.load_sweep),
    "flow": (a_flow, sx.load_flow),
}
"""By name: what makes a result, and what opens its folder."""


def make(name: str, folder: Path) -> Path:
    """Save a result; returns its folder."""
    found = MAKE[name][0](folder)
    more = {"tiles": [next(reversed(found.tiles))]} if name == "flow" else {}
    found.save(folder / name, **more)
    return folder / name


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value of a record, but for the digests of files; of a list of equals the first."""
    if above == ("files",):
        return
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for key, below in items:
        yield (*above, key)
        yield from places(below, (*above, key))


def changed(record: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a record with one value in place of another; without it if that is `GONE`."""
    out = copy.deepcopy(record)
    *above, last = place
    parent = out
    for key in above:
        parent = parent[key]
    if value is GONE:
        del parent[last]
    else:
        parent[last] = value
    return out


def seal(folder: Path, name: str = "record.json") -> None:
    """Have the record list a file as it is now, as whoever wrote it would."""
    path = folder / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["files"][name] = file_digest(folder / name)
    path.write_text(json.dumps(record), encoding="utf-8")
