"""The registry of model formats: a format is added by adding one file to this folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_segxai.core.registry import Registry
from napari_segxai.models.segmentation import SegmentationModel

Load = Callable[..., SegmentationModel]


@dataclass(frozen=True)
class Format:
    """A way in which models are stored.

    Attributes
    ----------
    name : str
        Lower-case with hyphens.
    handles : callable
        (source) -> bool, whether a source is stored in this way: a name, a `Path`, or an object of Python.
    load : callable
        (source, *, card, trust) -> `SegmentationModel`.
    """

    name: str
    handles: Callable[[Any], bool]
    load: Load


_known: Registry[Format] = Registry(
    "model format", "napari_segxai.models.formats", "napari_segxai.model_formats"
)


def model_format(name: str, *, handles: Callable[[Any], bool]) -> Callable[[Load], Load]:
    """Register the decorated function, which loads a model, as the format `name`; see `Format`."""

    def register(load: Load) -> Load:
        _known.add(name, Format(name, handles, load), load)
        return load

    return register


def all_formats() -> tuple[Format, ...]:
    """Return all formats in the order in which they are asked: those of this package, then those of others."""
    return _known.all()
