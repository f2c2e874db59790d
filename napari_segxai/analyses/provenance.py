"""What records say of models and images, and of what computed."""

from __future__ import annotations

import datetime
import importlib.metadata
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard
    from napari_segxai.models.segmentation import SegmentationModel


def facts_of_model(model: SegmentationModel) -> dict[str, Any]:
    """Return what tells a model apart from others."""
    card = model.card
    return {
        "name": card.name,
        "source": model.source,
        "labels": list(card.labels),
        **_drawing(card),
        "sha256": model.sha256,
        "licence": card.licence,
    }


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


def facts_of_image(image: Image) -> dict[str, Any]:
    """Return what tells an image apart from others, and where it lies."""
    return {
        "name": image.name,
        "path": image.path,
        "sha256": image.sha256,
        "shape": list(image.shape),
        "spacing": list(image.spacing),
        "units": image.units,
        "affine": None if image.affine is None else image.affine.tolist(),
        **_taken(image),
    }


def _taken(image: Image) -> dict[str, Any]:
    """Say what was taken of a layer that has more axes than space, or more levels, and what was joined."""
    layer = image.layer
    out: dict[str, Any] = {}
    if len(layer.get("letters", "")) > image.spatial_dims:
        out["axes"] = layer["letters"]
    if at := image.at:
        out["at"] = at
    if layer.get("level"):
        out["level"] = layer["level"]
    if "joined" in image.header:
        out["channels"] = [{"name": one.name, "path": one.path} for one in image.header["joined"]]
    return out


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
