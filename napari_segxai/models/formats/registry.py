"""The registry of model formats: a format is added by adding one file to this folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_segxai.core.registry import Registry
from napari_segxai.models.card import ModelCard
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.segmentation import SegmentationModel

Load = Callable[..., SegmentationModel]
Card = Callable[[Any], ModelCard | PartialCard | None]


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
        (source, *, card, trust) -> `SegmentationModel`. `card` is a whole `ModelCard`, or None: then the stored one.
    card : callable, optional
        (source) -> `ModelCard`, or `PartialCard` where the files do not say all: the card of what is stored there, without
        building its network. None, or a function that returns None, where a card is always given beside it.
    code : callable, optional
        (source) -> `Path`: the file beside which the code of its network is looked for first. None where networks come from
        installed packages alone.
    general : bool
        Whether it takes what others may know better, such as any folder; it is asked after them.
    """

    name: str
    handles: Callable[[Any], bool]
    load: Load
    card: Card | None = None
    code: Callable[[Path], Path] | None = None
    general: bool = False


_known: Registry[Format] = Registry(
    "model format", "napari_segxai.models.formats", "napari_segxai.model_formats"
)


def model_format(
    name: str,
    *,
    handles: Callable[[Any], bool],
    card: Card | None = None,
    code: Callable[[Path], Path] | None = None,
    general: bool = False,
) -> Callable[[Load], Load]:
    """Register the decorated function, which loads a model, as the format `name`; see `Format`."""

    def register(load: Load) -> Load:
        _known.add(name, Format(name, handles, load, card, code, general), load)
        return load

    return register


def all_formats() -> tuple[Format, ...]:
    """Return all formats in the order in which they are asked: those of this package, those of others, then general ones."""
    return tuple(sorted(_known.all(), key=lambda one: one.general))
