"""What takes the place of hidden pixels: one choice that all methods share.

Every name but "inpaint" stands for one image, so that a half-hidden pixel lies half-way to it. "inpaint" depends on
what is hidden: the pixels around it are drawn in from the pixels that are left, coarse to fine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.engine.primitives.regularizers import mix
from napari_segxai.models.preprocessing.resample import resize

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.preprocessing.prepared import Prepared
    from napari_segxai.models.segmentation import SegmentationModel

Baseline = Literal["background", "zero", "minimum", "mean", "blur", "noise", "inpaint"] | float
"""background: "nothing there" (the card's background value, such as air; the image's minimum when the card has
none). zero: 0 in what enters the network, whatever that means there. minimum, mean: of the image, per channel.
blur: the image without its details. noise: normal, with the image's mean and deviation per channel. inpaint: drawn
in from what is left around. A number: that intensity of the image."""

HELP = (
    "what hidden pixels become: nothing there (air, black), 0 for the network, the image's minimum or mean, a blurred "
    "image, noise, what is around them, or a number: an intensity of the image"
)

Hide = Callable[[Tensor], Tensor]
"""Masks (n, 1, *grid) in [0, 1], 1 where the image is kept -> inputs (n, channels, *grid)."""

BLUR = 1 / 20
"""Standard deviation of the blur, as a share of the longest side."""


def check_baseline(kind: Baseline, model: SegmentationModel, image: Image) -> None:
    """Refuse a number that is not an intensity of the image.

    Raises
    ------
    UserError
        With the range that would be right.
    """
    if isinstance(kind, str) or not image.is_read:
        return  # what is lazy is read in the job, which asks again
    values = image.array
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    known = [float(values.min()), float(values.max())] if values.size else [0.0]
    if model.card.background_value is not None:
        known.append(float(model.card.background_value))
    low, high = min(known), max(known)
    if not low <= kind <= high:
        raise UserError(
            f"baseline {kind:g} is outside the intensities of {image.name}; give a number from {low:g} to {high:g}."
        )


def baseline_image(
    kind: Baseline,
    model: SegmentationModel,
    prepared: Prepared,
    tensor: Tensor,
    pixels: Tensor | None,
    seed: int,
) -> Tensor:
    """Return the baseline as the network sees it: (1, channels, 1, ...), or of the input's shape.

    Parameters
    ----------
    tensor
        The network's input (1, channels, *grid).
    pixels
        Boolean (*grid): what "inpaint" hides; None for any other kind.
    """
    dims = tuple(range(2, tensor.ndim))
    if not isinstance(kind, str):
        return prepared.network_value(kind).to(tensor.device)
    if kind == "zero":
        return tensor.new_zeros((1, tensor.shape[1]) + (1,) * len(dims))
    if kind == "mean":
        return tensor.mean(dims, keepdim=True)
    if kind == "blur":
        return blurred(tensor, BLUR * max(tensor.shape[2:]))
    if kind == "noise":
        # numpy's generator: the same numbers on every device
        drawn = np.random.default_rng(seed).standard_normal(tensor.shape, np.float32)
        noise = torch.from_numpy(drawn).to(tensor.device)
        return tensor.mean(dims, keepdim=True) + tensor.std(dims, keepdim=True, unbiased=False) * noise
    if kind == "inpaint":
        assert pixels is not None
        return inpainted(tensor, (~pixels).float()[None, None])
    if kind == "background" and model.card.background_value is not None:
        return prepared.network_value(model.card.background_value).to(tensor.device)
    return tensor.amin(dims, keepdim=True)


def hide_behind(tensor: Tensor, baseline: Tensor) -> Hide:
    """Return what mixes the input with a fixed baseline."""
    shown = tensor.contiguous()  # mixing runs along rows; with channels last it takes ten times as long
    difference = cache(lambda: shown - baseline)
    return lambda masks: mix(baseline, shown, masks, difference)


def inpainted(tensor: Tensor, masks: Tensor) -> Tensor:
    """Fill what is hidden from what is left around it; differentiable in the masks.

    Push-pull: weighted means over blocks of 2, 4, 8, ... cells, then back to fine, each cell taking from the coarser
    level what its own block lacks (after Gortler et al., SIGGRAPH 1996, section 3.4). Where nothing at all is left, the
    image's mean.

    Parameters
    ----------
    tensor
        (1, channels, *grid).
    masks
        (n, 1, *grid) in [0, 1]: how much of a pixel is left.
    """
    return masks * tensor + (1 - masks) * _fill(masks * tensor, masks, tensor.mean())


def _fill(weighted: Tensor, weight: Tensor, mean: Tensor) -> Tensor:
    """Return the values of the cells at one level of the pyramid, from the sums and weights of what is known."""
    shape = weight.shape[2:]
    own = weighted / weight.clamp(min=1e-6)
    if max(shape) == 1:
        return torch.where(weight > 1e-6, own, mean)
    pool = F.avg_pool2d if len(shape) == 2 else F.avg_pool3d
    kernel = tuple(min(2, n) for n in shape)
    cells = math.prod(kernel)
    sums = cells * pool(weight, kernel, ceil_mode=True, count_include_pad=False)
    known = sums.clamp(max=1)  # one known cell is enough for its block
    values = cells * pool(weighted, kernel, ceil_mode=True, count_include_pad=False)
    coarse = _fill(values * known / sums.clamp(min=1e-6), known, mean)
    return weight * own + (1 - weight) * resize(coarse, shape, linear=True)


def blurred(tensor: Tensor, sigma: float) -> Tensor:
    """Return a Gaussian blur of (n, channels, *grid), `sigma` in cells; the edge goes on outside."""
    out = tensor
    for axis in range(2, tensor.ndim):
        n = tensor.shape[axis]
        places = torch.arange(n, device=tensor.device, dtype=tensor.dtype)
        radius = math.ceil(6 * sigma)
        outside = torch.arange(-radius, n + radius, device=tensor.device, dtype=tensor.dtype)
        weights = torch.exp(-0.5 * ((places[:, None] - outside[None]) / sigma) ** 2)
        weights /= weights.sum(1, keepdim=True)
        matrix = torch.zeros(n, n, device=tensor.device, dtype=tensor.dtype)
        matrix.index_add_(1, outside.clamp(0, n - 1).long(), weights)
        out = torch.tensordot(out, matrix, dims=([axis], [1])).movedim(-1, axis)
    return out.contiguous()
