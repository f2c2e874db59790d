"""The script by which 3D Slicer opens an export: what it shows stands at its top as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.io.saving import replacing


@dataclass(frozen=True)
class MapFile:
    """A map, and how it is meant to be shown.

    Attributes
    ----------
    file, name
        Of the map.
    limits
        Lowest and highest value that is shown.
    colors
        Red, green, blue and opacity, each in [0, 1], from the lowest to the highest value; those between are interpolated.
    signed
        Whether values below 0 mean something.
    """

    file: str
    name: str
    limits: tuple[float, float]
    colors: np.ndarray
    signed: bool


HIDDEN = 0.02
"""Share of its range below which a map without signs is not drawn, so that the image stays visible."""

_SCRIPT = '''"""Opens this folder in 3D Slicer.

In Slicer's Python console:  import runpy; runpy.run_path("/path/to/open_in_slicer.py")
From a terminal:             Slicer --python-script open_in_slicer.py
"""

import os

import slicer

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = {images}
MAPS = {maps}
HIDDEN_SEGMENTS = {hidden}
POINTS = {points}


def color_table(name, knots):
    """A table of 256 colours between those of the knots."""
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetNumberOfColors(256)
    table.SetName(name)
    for k in range(256):
        place = k / 255 * (len(knots) - 1)
        low = min(int(place), len(knots) - 2)
        share = place - low
        table.SetColor(k, *[a + (b - a) * share for a, b in zip(knots[low], knots[low + 1])])
    slicer.mrmlScene.AddNode(table)
    return table


images = [slicer.util.loadVolume(os.path.join(HERE, name)) for name in IMAGES]
maps = []
for told in MAPS:
    node = slicer.util.loadVolume(os.path.join(HERE, told["file"]), {{"name": told["name"], "show": False}})
    low, high = told["limits"]
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(color_table(told["name"], told["colors"]).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)
    if not told["signed"]:  # what is lower is not drawn
        display.SetThreshold(low + {share} * (high - low), max(high, told["highest"]))
        display.ApplyThresholdOn()
    maps.append(node)

if os.path.exists(os.path.join(HERE, "regions.seg.nrrd")):
    regions = slicer.util.loadSegmentation(os.path.join(HERE, "regions.seg.nrrd"))
    for segment in HIDDEN_SEGMENTS:
        regions.GetDisplayNode().SetSegmentVisibility(segment, False)
    regions.GetDisplayNode().SetAllSegmentsOpacity2DFill(0.0)  # outlines alone

if POINTS:
    slicer.util.loadMarkups(os.path.join(HERE, "points.mrk.json"))

slicer.util.setSliceViewerLayers(background=images[0], foreground=maps[0], foregroundOpacity=0.75, fit=True)
'''


def write_script(
    path: Path,
    images: Sequence[str],
    maps: Sequence[tuple[MapFile, float]],
    hidden: Sequence[str],
    points: bool,
) -> Path:
    """Write the script.

    Parameters
    ----------
    images
        Names of files, the one that is shown first.
    maps
        Each with its highest value; the first is laid over the image.
    hidden
        Segments, by their ID, that are not shown at first.
    points
        Whether there are any.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    told = [
        {
            "file": one.file,
            "name": one.name,
            "limits": [float(v) for v in one.limits],
            "highest": float(highest),
            "colors": np.asarray(one.colors, float).round(4).tolist(),
            "signed": one.signed,
        }
        for one, highest in maps
    ]
    text = _SCRIPT.format(
        images=_source(list(images)),
        maps=_source(told),
        hidden=_source(list(hidden)),
        points=bool(points),
        share=HIDDEN,
    )
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def _source(value: Any) -> str:
    """Return plain values as Python's source, in ASCII: a name is a text there and nothing else."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + "".join(f"    {item!a},\n" for item in value) + "]"
    return ascii(value)
