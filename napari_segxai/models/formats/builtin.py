"""The models that are installed with the plugin, by name."""

from __future__ import annotations

from pathlib import Path

from napari_segxai.datasets.resources import resource
from napari_segxai.models.card import ModelCard
from napari_segxai.models.formats import folder
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.segmentation import SegmentationModel


def names() -> dict[str, Path]:
    """Return the built-in models: name -> folder."""
    root = resource("sample_data") / "models"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{folder.CARD}"))}


def handles(source: object) -> bool:
    """Tell whether `source` is the name of a built-in model."""
    return isinstance(source, str) and source in names()


def card_of(source: str) -> ModelCard:
    """Return the card of a built-in model."""
    return folder.card_in(names()[source])


@model_format("builtin", handles=handles, card=card_of)
def load(source: str, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Load a built-in model."""
    model = folder.load(names()[source], card=card, trust=trust)
    model.source = f"built-in {source}"
    return model
