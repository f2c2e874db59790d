"""What records say of models and images, and of what computed."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel


def facts_of_model(model: SegmentationModel) -> dict[str, Any]:
    """Return what tells a model apart from others."""
    card = model.card
    return {
        "name": card.name,
        "source": model.source,
        "path": None if model.path is None else str(model.path),
        "labels": list(card.labels),
        **_drawing(card),
        **({} if card.windows is None else {"windows": windows_of(card)}),
        "sha256": model.sha256,
        "license": card.license,
    }


def windows_of(card: ModelCard) -> dict[str, Any] | None:
    """Return the windows through which a model sees images, as plain values; None without."""
    if card.windows is None:
        return None
    found = dataclasses.asdict(card.windows)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _drawing(card: ModelCard) -> dict[str, Any]:
    """What a reader of the record has to know of how labels are drawn."""
    if card.thresholds is None:
        return {"overlapping": False}
    paint_order = None if card.paint_order is None else list(card.paint_order)
    return {
        "overlapping": card.overlapping,
        "thresholds": card.named_thresholds,
        "paint_order": paint_order,
    }


def now() -> str:
    """Return the UTC time."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return dict(_versions())


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Read once, since reading package metadata takes milliseconds."""
    names = ("napari-segxai", "torch", "numpy", "scikit-image")
    return tuple((name, importlib.metadata.version(name)) for name in names)
