"""Intensity steps of a model card, fitted to one image and then applied to tensors or to single values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError

if TYPE_CHECKING:
    from napari_segxai.models.preprocessing.rules import Intensity

Step = Callable[[Tensor], Tensor]


def fit(
    steps: Sequence[Intensity], tensor: Tensor, names: Sequence[str] = ()
) -> tuple[Tensor, tuple[Step, ...]]:
    """Apply `steps` in order to `tensor`; return the result and the steps with what they measured.

    Every step is a pointwise function of the intensity once fitted, so that the fitted steps also tell
    what a single raw intensity (air, say) becomes for the network.

    Parameters
    ----------
    tensor
        (1, channels, *spatial), float32, finite. It is written into: a volume has room for few copies.
    names
        Names of the channels; only needed where a step is for some.
    """
    fitted = []
    inside = filled(tensor) if any(step.standardize == "nonzero" for step in steps) else None
    for step in steps:
        own = _positions(step.channels, names)
        if step.standardize == "nonzero":
            assert inside is not None
            function: Step = Within(tensor, own, inside)
            tensor = function(tensor)
            fitted.append(function)
            continue
        how = {key: getattr(step, key) for key in ("jointly", "eps") if getattr(step, key) is not None}
        function = _on(own, _FIT[step.kind](getattr(step, step.kind), tensor[:, own], **how))
        for part in slabs(tensor):
            part.copy_(function(part))
        fitted.append(function)
    return tensor, tuple(fitted)


SLAB = 2**24
"""Numbers of an image that a step is applied to at once."""


def slabs(tensor: Tensor) -> tuple[Tensor, ...]:
    """Divide (1, channels, *spatial) along the first axis of space; views."""
    first = tensor.shape[2]
    return tensor.split(max(1, SLAB * first // max(1, tensor.numel())), 2)


Channels = slice | list[int]


def _positions(wanted: Sequence[str] | None, names: Sequence[str]) -> Channels:
    """Return where channels lie; a slice, which makes a view, where they lie side by side."""
    if wanted is None:
        return slice(None)
    found = [list(names).index(name) for name in wanted]
    side_by_side = found == list(range(found[0], found[0] + len(found)))
    return slice(found[0], found[0] + len(found)) if side_by_side else found


def _on(channels: Channels, step: Step) -> Step:
    """Return a step for some channels, which leaves the memory layout of the others as it is: sums depend on it."""
    if channels == slice(None):
        return step

    def on_some(x: Tensor) -> Tensor:
        x[:, channels] = step(x[:, channels])
        return x

    return on_some


def filled(tensor: Tensor) -> Tensor:
    """Return where any channel is not 0, and the holes of that: boolean (1, 1, *spatial)."""
    from scipy.ndimage import binary_fill_holes

    return torch.from_numpy(binary_fill_holes((tensor[0] != 0).any(0).numpy()))[None, None]


class Within:
    """A z-score of each channel within a mask, outside of which the values stay: they are 0 there.

    Sums are numpy's, in the order in which the values lie in memory, as nnU-Net takes them.
    """

    def __init__(self, tensor: Tensor, channels: Channels, inside: Tensor):
        self.channels, self.inside = channels, inside
        mask = inside[0, 0].numpy()
        values = [channel.numpy()[mask] for channel in tensor[0, channels]]
        shape = (1, len(values), *(1,) * (tensor.ndim - 2))
        self.mean = torch.tensor([float(each.mean()) if each.size else 0.0 for each in values]).view(shape)
        self.std = torch.tensor(
            [max(float(each.std()), LEAST) if each.size else 1.0 for each in values]
        ).view(shape)

    def __call__(self, x: Tensor) -> Tensor:
        """Write the z-scores where the mask is; of single values, where any channel is not 0."""
        is_image = x.shape[2:] == self.inside.shape[2:]
        inside = self.inside if is_image else (x != 0).any(1, keepdim=True)
        thick = slabs(x)[0].shape[2]
        for part, mask in zip(x.split(thick, 2), inside.split(thick, 2), strict=True):
            own = part[:, self.channels]
            part[:, self.channels] = torch.where(mask, (own - self.mean) / self.std, own)
        return x


LEAST = 1e-8
"""By which a standard deviation or a range of 0 is replaced, as in nnU-Net."""


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


def _standardize(over: str, tensor: Tensor, *, jointly: bool = False, eps: float = 0.0) -> Step:
    if over == "nonzero values":
        return _standardize_values(tensor)
    shape = (1, -1) + (1,) * (tensor.ndim - 2)
    arrays = [channel.numpy() for channel in _measured(tensor, jointly)]
    mean = torch.tensor([float(each.mean()) for each in arrays]).view(shape)
    std = torch.tensor([float(each.std()) + eps for each in arrays]).clamp(min=LEAST).view(shape)
    return lambda x: (x - mean) / std


def _standardize_values(tensor: Tensor) -> Step:
    """Return a z-score with mean and standard deviation of what is not 0 in all channels together, as MONAI computes it."""
    values = tensor[tensor != 0]
    if not values.numel():
        return lambda x: x
    mean, std = values.mean(), values.std(correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return lambda x: torch.where(x != 0, (x - mean) / std, x)


def _measured(tensor: Tensor, jointly: bool) -> Tensor:
    """Return what is measured by itself: each channel, or all of them as one."""
    return tensor if jointly else tensor[0]


def _percentile_range(
    percentiles: tuple[float, float], tensor: Tensor, *, jointly: bool = False, eps: float = 0.0
) -> Step:
    shape = (1, -1) + (1,) * (tensor.ndim - 2)
    found = [quantiles(each, [p / 100 for p in percentiles]) for each in _measured(tensor, jointly)]
    low, high = (torch.stack(list(ends)).view(shape) for ends in zip(*found, strict=True))
    span = (high - low + eps).clamp(min=LEAST)
    return lambda x: (x - low) / span


def _unit_range(_: bool, tensor: Tensor) -> Step:
    dims = tuple(range(2, tensor.ndim))
    low = tensor.amin(dims, keepdim=True)
    span = (tensor.amax(dims, keepdim=True) - low).clamp(min=LEAST)
    return lambda x: (x - low) / span


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
    "standardize": _standardize,
    "unit_range": _unit_range,
    "percentile_range": _percentile_range,
    "divide": _divide,
    "normalize": _normalize,
    "scale_shift": _scale_shift,
}
