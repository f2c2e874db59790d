"""What is explained: a label, the pixels asked about, and how they become one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.network import SegmentationModel
    from napari_segxai.models.preprocessing.spatial import Placement

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

    def pixels(self, image: Image, placement: Placement, predicted: Tensor) -> Tensor:
        """Return M on the model grid.

        Parameters
        ----------
        predicted
            Boolean (*model grid): where the label is predicted.

        Raises
        ------
        UserError
            If the region does not lie on the image grid.
        """
        region = self.region
        if region is None:
            return predicted
        if isinstance(region, str):
            return placement.inside().to(predicted.device)
        if isinstance(region, np.ndarray):
            if region.shape != image.spatial_shape:
                raise UserError(
                    f"the region has shape {region.shape}, but {image.name} has {image.spatial_shape}; draw it on the "
                    "image's own grid."
                )
            inside = region
        else:
            inside = np.zeros(image.spatial_shape, bool)
            if isinstance(region, Box):
                _check_index(region.low, image)
                _check_index(region.high, image)
                if any(low > high for low, high in zip(region.low, region.high, strict=True)):
                    raise UserError(
                        f"the box {region.low} to {region.high} is empty; its lower corner comes first."
                    )
                inside[tuple(slice(a, b + 1) for a, b in zip(region.low, region.high, strict=True))] = True
            else:
                _check_index(region.at, image)
                inside[region.at] = True
        if not inside.any():
            raise UserError(
                "the region is empty; draw something in it, or leave it out for the predicted pixels."
            )
        grid = placement.mask_to_grid(inside).to(predicted.device)
        if isinstance(region, Component):
            return _component(predicted, grid)
        return grid


def _read_region(region: Region) -> str | np.ndarray | Point | Box | Component | None:
    if region is None or isinstance(region, Point | Box | Component):
        return region
    if isinstance(region, str):
        if region != "image":
            raise UserError(f"region {region!r} is unknown; use 'image', an array, a point or a box.")
        return region
    if isinstance(region, tuple | list) and region:
        if _is_index(region):
            return Point(tuple(int(v) for v in region))
        if len(region) == 2 and all(_is_index(v) for v in region):
            return Box(*(tuple(int(v) for v in corner) for corner in region))
    try:
        array = np.asarray(region)
    except ValueError:  # rows of different length
        raise UserError("a region array has to have rows of one length.") from None
    if array.dtype.kind not in "bui":
        raise UserError(f"a region array is boolean (or whole numbers, 0 outside), not {array.dtype}.")
    return array.astype(bool)


def _is_index(value: object) -> bool:
    """Tell whether `value` is a tuple of whole numbers (truth values are none)."""
    return isinstance(value, tuple | list) and all(
        isinstance(v, int | np.integer) and not isinstance(v, bool) for v in value
    )


def _check_index(index: tuple[int, ...], image: Image) -> None:
    shape = image.spatial_shape
    if not _is_index(index):
        raise UserError(f"pixel {index!r} is no index: give one whole number for every spatial axis.")
    if len(index) != len(shape):
        raise UserError(f"pixel {tuple(index)} needs {len(shape)} numbers: {image.name} has shape {shape}.")
    if not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
        raise UserError(f"pixel {tuple(index)} is outside {image.name}, whose shape is {shape}.")


def _component(predicted: Tensor, seed: Tensor) -> Tensor:
    """Return the connected components of `predicted` that touch `seed` (full connectivity)."""
    from skimage.measure import label

    parts = label(predicted.cpu().numpy())
    touched = np.unique(parts[seed.cpu().numpy()])
    return torch.from_numpy(np.isin(parts, touched[touched > 0])).to(predicted.device)


def is_label(logits: Tensor, label: int) -> Tensor:
    """Return where a label has the highest logit: (N, labels, *grid) -> boolean (N, *grid).

    The same as ``logits.argmax(1) == label`` (the first label wins a tie), several times faster on the CPU.
    """
    own, out = logits[:, label], None
    for other in range(logits.shape[1]):
        if other != label:
            wins = own > logits[:, other] if other < label else own >= logits[:, other]
            out = wins if out is None else out.logical_and_(wins)
    return torch.ones_like(own, dtype=torch.bool) if out is None else out


def read_scores(model: SegmentationModel, logits: Tensor, label: int, score: Score) -> Tensor:
    """Return the score of a label at every pixel: (N, labels, *grid) -> (N, *grid), differentiable."""
    if score == "logit":
        return logits[:, label]
    sigmoid = model.card.activation == "sigmoid"
    if score == "log_probability":
        logs = torch.nn.functional.logsigmoid(logits) if sigmoid else logits.log_softmax(1)
        return logs[:, label]
    return model.probability(logits, label)


def reduce_scores(
    values: Tensor, pixels: Tensor, reduction: Reduction, count: Tensor | None = None
) -> Tensor:
    """Reduce (N, *grid) over the pixel set M (*grid) to (N,): the sum or mean of eq. 4 in Hasany 2025.

    Parameters
    ----------
    count
        Pixels in M, where that is known.
    """
    total = values.flatten(1) @ pixels.flatten().to(values.dtype)
    if reduction == "sum":
        return total
    return total / (pixels.sum().clamp(min=1) if count is None else count)
