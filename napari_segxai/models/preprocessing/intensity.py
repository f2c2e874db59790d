"""Intensity steps of a model card, fitted to one image and then applied to tensors or to single values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError

if TYPE_CHECKING:
    from napari_segxai.models.card import Intensity

Step = Callable[[Tensor], Tensor]


def fit(steps: Sequence[Intensity], tensor: Tensor) -> tuple[Tensor, tuple[Step, ...]]:
    """Apply `steps` in order to `tensor`; return the result and the steps with what they measured.

    Every step is a pointwise function of the intensity once fitted, so that the fitted steps also tell
    what a single raw intensity (air, say) becomes for the network.

    Parameters
    ----------
    tensor
        (1, channels, *spatial), float32, finite.
    """
    fitted = []
    for step in steps:
        function = _FIT[step.kind](getattr(step, step.kind), tensor)
        tensor = function(tensor)
        fitted.append(function)
    return tensor, tuple(fitted)


def quantiles(values: Tensor, shares: Sequence[float]) -> list[Tensor]:
    """Linearly interpolated quantiles of all values; `torch.quantile` without its limit of 2^24 values."""
    flat = values.flatten().numpy()
    places = [share * (flat.size - 1) for share in shares]
    ranks = sorted({min(int(place) + k, flat.size - 1) for place in places for k in (0, 1)})
    parted = np.partition(flat, ranks)
    out = []
    for place in places:
        lower, upper = parted[int(place)], parted[min(int(place) + 1, flat.size - 1)]
        out.append(torch.as_tensor(lower + (upper - lower) * (place - int(place)), dtype=values.dtype))
    return out


def _clip(bounds: tuple[float, float], _: Tensor) -> Step:
    return lambda x: x.clamp(*bounds)


def _clip_percentiles(percentiles: tuple[float, float], tensor: Tensor) -> Step:
    low, high = quantiles(tensor, [p / 100 for p in percentiles])
    return lambda x: x.clamp(low, high)


def _rescale(target: tuple[float, float], tensor: Tensor) -> Step:
    low, span = tensor.min(), tensor.max() - tensor.min()
    scale = (target[1] - target[0]) / (span if span > 0 else torch.ones_like(span))
    return lambda x: (x - low) * scale + target[0]


def _window(bounds: tuple[float, float], _: Tensor) -> Step:
    low, high = bounds
    return lambda x: (x.clamp(low, high) - low) / (high - low)


def _zscore(_: bool, tensor: Tensor) -> Step:
    dims = tuple(range(2, tensor.ndim))
    mean, std = tensor.mean(dims, keepdim=True), tensor.std(dims, keepdim=True)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return lambda x: (x - mean) / std


def _divide(divisor: float, _: Tensor) -> Step:
    return lambda x: x / divisor


def _normalize(numbers: dict[str, tuple[float, ...]], tensor: Tensor) -> Step:
    channels = tensor.shape[1]
    for key, values in numbers.items():
        if len(values) not in (1, channels):
            raise UserError(
                f"model card: intensity normalize {key} has {len(values)} numbers for {channels} channels."
            )
    shape = (1, -1) + (1,) * (tensor.ndim - 2)
    mean, std = (torch.tensor(numbers[key], dtype=tensor.dtype).view(shape) for key in ("mean", "std"))
    return lambda x: (x - mean) / std


def _scale_shift(numbers: tuple[float, float], _: Tensor) -> Step:
    scale, shift = numbers
    return lambda x: x * scale + shift


_FIT: dict[str, Callable[..., Step]] = {
    "clip": _clip,
    "clip_percentiles": _clip_percentiles,
    "rescale": _rescale,
    "window": _window,
    "zscore": _zscore,
    "divide": _divide,
    "normalize": _normalize,
    "scale_shift": _scale_shift,
}
