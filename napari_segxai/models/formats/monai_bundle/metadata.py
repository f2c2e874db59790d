"""What metadata.json says of a network: names of its channels and labels, and words for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_segxai.models.formats.monai_bundle.config import BUNDLE
from napari_segxai.models.loading.json_mapping import json_mapping

LONGEST = 2000
"""Characters of a text for people."""

FOR_PEOPLE = {
    "description": "description",
    "data_source": "trained_on",
    "authors": "credit",
    "license": "license",
}


@dataclass(frozen=True)
class Metadata:
    """What metadata.json says.

    Attributes
    ----------
    name
        Of the network.
    channels, labels
        Names in their order; None where they are not told.
    dims
        Axes of space; None where they are not told.
    for_people
        Further keys of a card.
    monai
        The version of MONAI that it was made with; "" where it is not told.
    """

    name: str
    channels: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    dims: int | None = None
    for_people: dict[str, str] = field(default_factory=dict)
    monai: str = ""


def read_metadata(path: Path) -> Metadata:
    """Read metadata.json; what it does not say, or not in the way of MONAI, is left out.

    Raises
    ------
    UserError
        If the file is there and cannot be read.
    """
    name = path.parents[1].name
    if not path.is_file():
        return Metadata(name)
    facts = json_mapping(path, BUNDLE)
    format_ = _mapping(facts.get("network_data_format"))
    image = _first(_mapping(format_.get("inputs")), "image")
    segmentation = _first(_mapping(format_.get("outputs")), "segmentation")
    shape = image.get("spatial_shape")
    return Metadata(
        _text(facts.get("name")) or name,
        _names(image.get("channel_def")),
        _names(segmentation.get("channel_def", segmentation.get("label_def"))),
        len(shape) if isinstance(shape, list) and len(shape) in (2, 3) else None,
        {key: _text(facts.get(own)) for own, key in FOR_PEOPLE.items() if _text(facts.get(own))},
        _text(facts.get("monai_version")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(entries: Mapping[str, Any], format_: str) -> Mapping[str, Any]:
    """Return the entry of a format (or a type), else the first."""
    found = [_mapping(entry) for entry in entries.values()]
    fitting = [entry for entry in found if format_ in (entry.get("format"), entry.get("type"))]
    return next(iter((*fitting, *found)), {})


def _names(told: Any) -> tuple[str, ...] | None:
    """Return names that are numbered from 0 on, each once."""
    if not isinstance(told, Mapping) or not told or set(told) != {str(k) for k in range(len(told))}:
        return None
    names = [_text(told[str(k)])[:200] or f"channel {k}" for k in range(len(told))]
    return tuple(
        f"{name} {names[:k].count(name) + 1}" if names.count(name) > 1 else name
        for k, name in enumerate(names)
    )


def _text(value: Any) -> str:
    """Return one line of plain text."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in value[:LONGEST]).split())
