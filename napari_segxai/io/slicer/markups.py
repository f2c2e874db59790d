"""Points as 3D Slicer keeps them: .mrk.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_segxai.io.saving import replacing

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
"""A name by which Slicer knows the version; nothing is fetched."""


@dataclass(frozen=True)
class Mark:
    """A point with a name.

    Attributes
    ----------
    label, description
        What it is, short and long.
    position
        RAS+, millimetres.
    """

    label: str
    description: str
    position: tuple[float, float, float]


def write_points(path: Path, name: str, marks: Sequence[Mark]) -> Path:
    """Write points as one list of markups.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    points = [
        {
            "id": str(number),
            "label": mark.label,
            "description": mark.description,
            "associatedNodeID": "",
            "position": [-mark.position[0], -mark.position[1], mark.position[2]],
            "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
            "selected": True,
            "locked": True,
            "visibility": True,
            "positionStatus": "defined",
        }
        for number, mark in enumerate(marks, start=1)
    ]
    told = {
        "@schema": SCHEMA,
        "markups": [
            {
                "type": "Fiducial",
                "name": name,
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "locked": True,
                "labelFormat": "%N-%d",
                "controlPoints": points,
            }
        ],
    }
    with replacing(path) as beside:
        beside.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return path
