"""What is explained: a label, the pixels asked about, and what is read of the network there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from napari_segxai.core.errors import UserError

Score = Literal["logit", "probability", "log_probability"]
Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Point:
    """One pixel, by its index in the spatial axes of the image."""

    at: tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """All pixels from `low` to `high`, both included, by index in the spatial axes of the image."""

    low: tuple[int, ...]
    high: tuple[int, ...]


@dataclass(frozen=True)
class Component:
    """The connected component of the predicted label that holds a pixel."""

    at: tuple[int, ...]


Region = None | str | np.ndarray | Point | Box | Component | Sequence[Any]


@dataclass(frozen=True, eq=False)
class Target:
    """The question put to the network.

    Parameters
    ----------
    label
        The label by name (or position).
    region
        The set of pixels M that is asked about: None for the pixels predicted as the label; "image" for all
        pixels; a boolean array on the image grid; a `Point` (or a tuple of indices); a `Box` (or a pair of
        tuples); a `Component`.
    score
        What is read at every pixel: the label's logit, its probability or the logarithm of that.
    reduction
        Whether the score is averaged or summed over M. The mean keeps objects of different size comparable.

    Raises
    ------
    UserError
        If a score, a reduction or a region is not one of these.
    """

    label: str | int
    region: Region = None
    score: Score = "logit"
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        for name, known in (("score", get_args(Score)), ("reduction", get_args(Reduction))):
            if getattr(self, name) not in known:
                raise UserError(
                    f"target: {name} {getattr(self, name)!r} is unknown; choose {' or '.join(known)}."
                )
        object.__setattr__(self, "region", _read_region(self.region))

    def describe_region(self) -> str:
        """The region in words, for the record."""
        region = self.region
        if region is None:
            return "predicted pixels"
        if isinstance(region, np.ndarray):
            return f"drawn region of {int(region.sum())} pixels"
        if isinstance(region, Point):
            return f"pixel {region.at}"
        if isinstance(region, Box):
            return f"box {region.low} to {region.high}"
        if isinstance(region, Component):
            return f"connected component at {region.at}"
        return "whole image"


def _read_region(region: Region) -> str | np.ndarray | Point | Box | Component | None:
    if region is None or isinstance(region, Point | Box | Component):
        return region
    if isinstance(region, str):
        if region != "image":
            raise UserError(f"region {region!r} is unknown; use 'image', an array, a point or a box.")
        return region
    if isinstance(region, tuple | list) and region:
        if is_index(region):
            return Point(tuple(int(v) for v in region))
        if len(region) == 2 and all(is_index(v) for v in region):
            return Box(*(tuple(int(v) for v in corner) for corner in region))
    try:
        array = np.asarray(region)
    except ValueError:  # rows of different length
        raise UserError("a region array has to have rows of one length.") from None
    if array.dtype.kind not in "bui":
        raise UserError(f"a region array is boolean (or whole numbers, 0 outside), not {array.dtype}.")
    return array.astype(bool)


def is_index(value: object) -> bool:
    """Tell whether `value` is a tuple of whole numbers (truth values are none)."""
    return isinstance(value, tuple | list) and all(
        isinstance(v, int | np.integer) and not isinstance(v, bool) for v in value
    )
