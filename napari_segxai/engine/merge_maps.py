"""Merging the maps of several network layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.preprocessing.resample import resize

Merge = Literal["mean of rescaled", "sum of raw"]
HELP = "mean of maps that are each scaled to [0, 1] (published code; strength is lost), or sum of raw maps"


def merged_unit(unit: str) -> Callable[[Any], str]:
    """Return the function that names the unit of merged maps; only maps that stay raw have one."""
    return lambda options: f"{unit}, summed" if options.merge == "sum of raw" else "mean of maps from 0 to 1"


def decoder_convolutions(layers: Sequence[NetworkLayer], model: str) -> list[NetworkLayer]:
    """Return every convolution and up-convolution between the bottleneck and the head.

    Raises
    ------
    UserError
        If there is none.
    """
    found = [layer for layer in layers if layer.stage == "decoder" and layer.convolution]
    if not found:
        raise UserError(
            f"{model} has no convolution between its bottleneck and its head; choose a method for one network layer."
        )
    return found


def merge_maps(maps: Sequence[Tensor], how: Merge | Literal["mean"]) -> Tensor:
    """Bring maps of any size to the largest and merge them; negative values are dropped before rescaling."""
    shape = max((tuple(m.shape) for m in maps), key=math.prod)
    whole = torch.stack([resize(m.float()[None, None], shape, linear=True)[0, 0] for m in maps])
    if how == "sum of raw":
        return whole.sum(0)
    if how == "mean":
        return whole.mean(0)
    whole = whole.clamp(min=0)
    dims = tuple(range(1, whole.ndim))
    low, high = whole.amin(dims, keepdim=True), whole.amax(dims, keepdim=True)
    return ((whole - low) / (high - low).where(high > low, 1)).mean(0)
