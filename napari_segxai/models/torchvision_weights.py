"""What torchvision says of weights that it publishes, as a model card: categories, and how images are prepared."""

from __future__ import annotations

from enum import Enum
from typing import Any

from napari_segxai.core.errors import UserError

PLACE = "napari_segxai.models.zoo.torchvision"


def is_weights(value: object) -> bool:
    """Tell whether something is a member of one of torchvision's enums of weights, such as ``FCN_ResNet50_Weights.DEFAULT``."""
    return isinstance(value, Enum) and type(value).__module__.startswith("torchvision.models.")


def card_of_weights(weights: Any) -> dict[str, Any]:
    """Return a card for the network of which these are the weights.

    Raises
    ------
    UserError
        If they are not of a segmentation network.
    """
    ready = weights.transforms()
    if "segmentation" not in type(weights).__module__ or not hasattr(ready, "resize_size"):
        raise UserError(
            f"{weights} are not the weights of a segmentation network; those of torchvision.models.segmentation are."
        )
    meta = weights.meta
    name = type(weights).__name__.removesuffix("_Weights").lower()
    way = str(ready.interpolation.value)
    grid: dict[str, Any] = {} if ready.resize_size is None else {"shortest_edge": int(ready.resize_size[0])}
    if way in ("nearest", "bicubic"):
        grid["interpolation"] = way
    measured = "; ".join(
        f"{of}: {', '.join(f'{key} {value}' for key, value in numbers.items())}"
        for of, numbers in meta.get("_metrics", {}).items()
    )
    return {
        "name": f"{name} {weights.name}",
        "labels": list(meta["categories"]),
        "spatial_dims": 2,
        "channels": ["red", "green", "blue"],
        "grid": grid,
        "intensity": [
            {"divide": 255},
            {"normalize": {"mean": list(map(float, ready.mean)), "std": list(map(float, ready.std))}},
        ],
        "output": "out",
        "ignored_values": [255],  # the rim of objects in Pascal VOC, which torchvision's trainings leave out
        "description": " ".join(str(meta.get("_docs", "")).split()),
        "provenance": str(weights.url),
        "validation": measured,
    }
